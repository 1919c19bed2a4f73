"""The formats of a configuration: each text becomes sections of keys, values and line numbers.

Repeated keys are kept in their order, and values as they are written. Nothing is expanded here. What a key without a
value is depends on the format, as in the original: nothing in ini, ``1`` in XML.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from imperator.config.errors import ConfigurationError

ROOT: Final = "uwsgi"
"""The section that is read where none is named."""

FORMATS: Final[dict[str, str]] = {
    "ini": "ini",
    "xml": "xml",
    "xmlconfig": "xml",
    "yaml": "yaml",
    "yml": "yaml",
    "yaml-config": "yaml",
    "json": "json",
    "js": "json",
    "toml": "toml",
}
"""The options that load a file, and the format that each expects. Most are endings of file names, too."""

_FALSE_WORDS: Final = {True: "1", False: "0", None: "0"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One key and its value, and the line that it stands in (1 for the formats that do not tell)."""

    key: str
    value: str
    line: int


@dataclass(slots=True)
class Document:
    """The sections of one text, by name, in the order in which they come."""

    where: str
    sections: dict[str, list[Entry]] = field(default_factory=dict)

    def add(self, section: str, key: str, value: str, line: int) -> None:
        self.sections.setdefault(section, []).append(Entry(key, value, line))


def format_of(name: str) -> str | None:
    """The format that a name's ending tells; ``None``: it tells none."""
    return FORMATS.get(os.path.splitext(name)[1][1:])


def parse(text: str, name: str, form: str | None = None) -> Document:
    """Read a text in the given format, or the one that its name's ending tells, or ini. Raises ConfigurationError."""
    document = Document(name)
    match form or format_of(name):
        case "xml":
            _xml(text, document)
        case "yaml":
            _yaml(text, document)
        case "json":
            _json(text, document)
        case "toml":
            _toml(text, document)
        case _:
            _ini(text, document)
    return document


def _ini(text: str, document: Document) -> None:
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip(" \t\r")
        if not line or line[0] in ";#":
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ConfigurationError(f"{document.where}:{number}", f"the section {line!r} has no closing bracket")
            section = line[1:-1]
            document.sections.setdefault(section, [])
            continue
        key, _, value = line.partition("=")
        document.add(section, key.rstrip(" \t\r"), value.lstrip(" \t\r"), number)


class _XmlReader:
    """Takes in the events of a parser. Sections are the elements ``uwsgi``, or the children of a mere wrapper."""

    def __init__(self, document: Document) -> None:
        from xml.parsers import expat

        self.document = document
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._text
        self.parser.EntityDeclHandler = self._refuse
        self._path: list[str] = []
        self._names: tuple[str, ...] = ()
        """What the section is called: by its tag, and by its id if it has one."""
        self._open: tuple[str, int] | None = None
        """The option whose text is being collected, and its line."""
        self._pieces: list[str] = []

    def _is_section(self) -> bool:
        return not self._path or (len(self._path) == 1 and self._path[0] not in (ROOT, "emperor"))

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if self._is_section():
            self._names = (tag, attributes["id"]) if attributes.get("id", tag) != tag else (tag,)
            for name in self._names:
                self.document.sections.setdefault(name, [])
        else:
            self._flush("".join(self._pieces))
            self._open = (tag, self.parser.CurrentLineNumber)
        self._path.append(tag)

    def _end(self, tag: str) -> None:
        self._path.pop()
        self._flush("".join(self._pieces) or "1")

    def _text(self, text: str) -> None:
        if self._open is not None:
            self._pieces.append(text)

    def _flush(self, value: str) -> None:
        """The option's text has ended: at its own end, or where another element begins in it."""
        if "\n" in value:
            value = value.strip()
        if self._open is not None and value:
            for name in self._names:
                self.document.add(name, self._open[0], value, self._open[1])
        self._open = None
        self._pieces.clear()

    def _refuse(self, *_: object) -> None:
        where = f"{self.document.where}:{self.parser.CurrentLineNumber}"
        raise ConfigurationError(where, "entity declarations are refused")


def _xml(text: str, document: Document) -> None:
    from xml.parsers import expat

    try:
        _XmlReader(document).parser.Parse(text, True)
    except expat.ExpatError as error:
        raise ConfigurationError(f"{document.where}:{error.lineno}", expat.ErrorString(error.code)) from error


def _yaml(text: str, document: Document) -> None:
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise ConfigurationError(f"{document.where}:{line}", str(getattr(error, "problem", error))) from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{document.where}:1", "a mapping of sections was expected")
    for name, body in root.value:
        document.sections.setdefault(str(name.value), [])
        for key, value in body.value if isinstance(body, yaml.MappingNode) else ():
            for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(item, yaml.ScalarNode):
                    document.add(str(name.value), str(key.value), str(item.value), key.start_mark.line + 1)


def _json(text: str, document: Document) -> None:
    import json

    try:
        root = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{document.where}:{error.lineno}", error.msg) from error
    _mapping(root, document)


def _toml(text: str, document: Document) -> None:
    import tomllib

    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{document.where}:1", str(error)) from error
    _mapping(root, document)


def _mapping(root: object, document: Document) -> None:
    if not isinstance(root, dict):
        raise ConfigurationError(f"{document.where}:1", "a mapping of sections was expected")
    for section, body in root.items():
        document.sections.setdefault(str(section), [])
        for key, value in body.items() if isinstance(body, dict) else ():
            items: Iterable[object] = value if isinstance(value, list) else [value]
            for item in items:
                # What is neither text, number nor truth means nothing to the original, and is passed over by it.
                if item is None or isinstance(item, bool):
                    document.add(str(section), str(key), _FALSE_WORDS[item], 1)
                elif isinstance(item, str | int):
                    document.add(str(section), str(key), str(item), 1)
