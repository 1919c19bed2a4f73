"""Where Imperator on purpose understands something else than the original; by the case's name in the corpus."""

from __future__ import annotations

from typing import Final

_CRASH = "the original crashes where an option without a value stands in logic"
_GARBAGE = "the original reads memory that is none of its business"
_SECTION = "a section can be asked for wherever a file is named; the original refuses"
_YAML = "the original's reader loses this, and a real YAML parser reads it"
_XML = "the original (with expat) takes a part of the text for the whole"
_SECTIONS_OF_XML = "an element of any name can be a section, for several vassals in one file"

DECISIONS: Final[dict[str, str]] = {
    "command-line-logic-around-a-flag": _CRASH,
    "command-line-logic-loop-around-a-flag": _CRASH,
    "environment-logic": _CRASH,
    "ini/percent_is_the_last_byte.ini": _GARBAGE,
    "includes/directory.ini": _GARBAGE,
    "placeholders/file_is_a_directory.ini": _GARBAGE,
    "json/big_numbers.json": "the original cuts numbers to 32 bits and ten characters",
    "includes/inherit_section.ini": _SECTION,
    "includes/section_in_include.ini": _SECTION,
    "positional-file-with-section": _SECTION,
    "stdin-section": _SECTION,
    "includes/colon_in_the_name.ini": "a file with a colon in its name can be named, where no other is meant",
    "includes/config.ini": "--config reads a file of any format; the original has no reader for it but in plugins",
    "logic/if_hostname_match.ini": "in the original no pattern ever matches a host name",
    "logic/built_in_plugins.ini": "python3, asgi and rsgi are built in here",
    "options/a_vassal.ini": "the original writes the block to the log file; here it is for whoever has asked",
    "xml/cdata.xml": _XML,
    "xml/comments.xml": _XML,
    "xml/entities.xml": _XML,
    "xml/newline_first.xml": _XML,
    "xml/newline_inside.xml": _XML,
    "xml/processing_instruction.xml": _XML,
    "xml/includes.xml": "the original forgets what stands after an included XML file",
    "xml-id-of-an-element-that-is-no-uwsgi": _SECTIONS_OF_XML,
    "xml-name-of-an-element": _SECTIONS_OF_XML,
    "yaml/carriage_returns.yaml": "the original keeps the carriage return as a part of each value",
    "yaml/empty_values.yaml": _YAML,
    "yaml/flow_root.yaml": _YAML,
    "yaml/header_indented.yaml": _YAML,
    "yaml/header_with_blank.yaml": _YAML,
    "yaml/list.yaml": _YAML,
    "yaml/list_not_indented.yaml": _YAML,
    "yaml/multi_line.yaml": _YAML,
    "yaml/nested_map.yaml": _YAML,
}
