"""The formats of a configuration: each text becomes sections of keys, values and line numbers.

Repeated keys are kept in their order, and values as they are written. Nothing is expanded here. What a key without a
value is depends on the format, as in the original: nothing in ini, ``1`` in XML.
"""

from __future__ import annotations

import os

from imperator.config.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Final

    from imperator.config.note import Note

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


class Entry:
    """One key and its value, and the line that it stands in."""

    __slots__ = ("key", "line", "value")

    def __init__(self, key: str, value: str, line: int) -> None:
        self.key = key
        self.value = value
        self.line = line

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entry) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return f"Entry{self._all!r}"

    @property
    def _all(self) -> tuple[str, str, int]:
        return self.key, self.value, self.line


class Document:
    """The sections of one text, by name, in the order in which they come."""

    __slots__ = ("notes", "sections", "slip", "where")

    def __init__(self, where: str) -> None:
        self.where = where
        self.sections: dict[str, list[Entry]] = {}
        self.notes: list[Note] = []
        """What a person should know of the reading."""
        self.slip: Note | None = None
        """One of them that is certainly a mistake."""

    def add(self, section: str, key: str, value: str, line: int) -> None:
        self.sections.setdefault(section, []).append(Entry(key, value, line))

    def note(self, line: int, text: str) -> Note:
        """Something that a person should know."""
        from imperator.config.note import Note

        note = Note(f"{self.where}:{line}", text)
        self.notes.append(note)
        return note

    def take(self, sections: Mapping[str, Iterable[tuple[str, str, int]]]) -> None:
        """Sections as a reader has them."""
        for name, lines in sections.items():
            self.sections[name] = [Entry(*line) for line in lines]


class Section:
    """What counts of a text where one section of it is asked for."""

    __slots__ = ("entries", "forgets_itself", "is_there", "notes")

    def __init__(
        self,
        entries: list[Entry],
        is_there: bool = True,
        notes: list[Note] | None = None,
        forgets_itself: bool = False,
    ) -> None:
        self.entries = entries
        self.is_there = is_there
        """There is such a section at all."""
        self.notes = notes or []
        """What a person should know of the reading."""
        self.forgets_itself = forgets_itself
        """The original forgets the section's name: its option shows the file alone (XML; YAML if another follows)."""


def format_of(name: str) -> str | None:
    """The format that a name's ending tells; ``None``: it tells none."""
    return FORMATS.get(os.path.splitext(name)[1][1:])


def parse(text: str, name: str, form: str | None = None) -> Document:
    """All sections, in the given format, or the one that its name's ending tells, or ini. Raises ConfigurationError.

    For whoever asks what there is: a slip of the pen that the original passes over is an error here.
    """
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
    if document.slip is not None:
        raise ConfigurationError(document.slip.where, document.slip.text)
    return document


def section(text: str, name: str, form: str, asked: str | None) -> Section:
    """The section that was asked for (``None``: the usual one). Raises ConfigurationError."""
    match form:
        case "xml":
            return _xml_section(text, name, asked)
        case "yaml":
            return _yaml_section(text, name, asked or ROOT)
        case "ini":
            document = Document(name)
            _ini(text, document)
            entries = document.sections.get(asked or ROOT)
            return Section(entries or [], entries is not None, document.notes)
        case _:
            entries = parse(text, name, form).sections.get(asked or ROOT)
    if entries is None and form == "json":
        raise ConfigurationError(name, f"there is no object called {asked or ROOT}")
    return Section(entries or [], entries is not None)


def _xml_section(text: str, name: str, asked: str | None) -> Section:
    from imperator.config import xml_reader

    found = xml_reader.elements(text.encode(errors="surrogateescape"), name)
    lines = xml_reader.section(found, asked)
    if lines is None and asked is not None:
        lines = xml_reader.sections(found).get(asked)
    return Section([Entry(*line) for line in lines or ()], lines is not None, forgets_itself=True)


def _yaml_section(text: str, name: str, asked: str) -> Section:
    from imperator.config import yaml_reader

    found = yaml_reader.section(text, asked)
    notes = []
    if found is None or found.lost_from is not None:
        try:
            lines = yaml_reader.real(text, name).get(asked)
        except ConfigurationError as error:
            if found is not None:
                from imperator.config.note import Note

                where = f"{name}:{found.lost_from}"
                notes.append(Note(where, f"from here on the section is lost, for this is no YAML ({error})"))
        else:
            if lines is not None:
                ended = found is not None and found.ended
                return Section([Entry(*line) for line in lines], forgets_itself=ended)
    if found is None:
        return Section([], is_there=False)
    return Section([Entry(*line) for line in found.lines], notes=notes, forgets_itself=found.ended)


def _ini(text: str, document: Document) -> None:
    section = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line, null, _ = raw.partition("\0")
        line = line.strip(" \t\r")
        if null:
            document.note(number, "there is a null character in this line, and what comes after it is lost")
        if not line or line[0] in ";#":
            continue
        if line.startswith("["):
            section = line[1:-1]
            if not line.endswith("]"):  # the last character goes, whatever it is
                note = document.note(
                    number, f"the section {line!r} has no closing bracket, so it is called {section!r}"
                )
                document.slip = document.slip or (note if "]" not in line else None)
            document.sections.setdefault(section, [])
            continue
        key, _, value = line.partition("=")
        document.add(section, key.rstrip(" \t\r"), value.lstrip(" \t\r"), number)


def _xml(text: str, document: Document) -> None:
    from imperator.config import xml_reader

    found = xml_reader.elements(text.encode(errors="surrogateescape"), document.where)
    document.take(xml_reader.sections(found))


def _yaml(text: str, document: Document) -> None:
    from imperator.config import yaml_reader

    names = yaml_reader.headers(text)
    if not names:
        document.take(yaml_reader.real(text, document.where))
    for name in names:
        found = section(text, document.where, "yaml", name)
        document.sections[name] = found.entries
        if found.notes and document.slip is None:
            document.slip = found.notes[0]


def _json(text: str, document: Document) -> None:
    import json

    text = text.partition("\0")[0]
    try:
        text.encode()
        root = json.loads(text, parse_constant=_no_number, parse_float=_real)
        _refuse_no_texts(root)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{document.where}:{error.lineno}", error.msg) from error
    except UnicodeEncodeError as error:
        raise ConfigurationError(document.where, "JSON must be UTF-8, and this is not") from error
    except ValueError as error:
        raise ConfigurationError(document.where, str(error)) from error
    except RecursionError as error:
        raise ConfigurationError(document.where, "it is nested too deeply to be read") from error
    _mapping(root, document, _Lines(text, r'(?<!\\)"{key}"\s*:', lambda key: json.dumps(key, ensure_ascii=False)[1:-1]))


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


def _real(digits: str) -> float:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too big")
    return number


def _refuse_no_texts(value: object) -> None:
    """What the original's JSON does not have: the character 0, halves of characters, numbers of more than 64 bits."""
    match value:
        case str():
            if "\0" in value or (not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value)):
                raise ValueError(f"{value!r} is no text")
        case bool():
            pass
        case int():
            if not -(1 << 63) <= value < 1 << 63:
                raise ValueError(f"{value} is too big")
        case dict():
            for key, item in value.items():
                _refuse_no_texts(key)
                _refuse_no_texts(item)
        case list():
            for item in value:
                _refuse_no_texts(item)


def _toml(text: str, document: Document) -> None:
    import tomllib

    try:
        root = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{document.where}:1", str(error)) from error
    _mapping(root, document, _Lines(text, r'^[ \t]*["\']?{key}["\']?[ \t]*=', str))


class _Lines:
    """In which line each key stands, in texts whose parsers do not tell: they are looked for one after the other."""

    def __init__(self, text: str, pattern: str, written: Callable[[str], str]) -> None:
        self._text = text
        self._pattern = pattern
        self._written = written
        self._position = 0

    def next(self, key: str) -> int:
        import re

        pattern = re.compile(self._pattern.replace("{key}", re.escape(self._written(key))), re.MULTILINE)
        found = pattern.search(self._text, self._position) or pattern.search(self._text)
        if found is None:  # written in another way: with escapes
            return self._text.count("\n", 0, self._position) + 1
        self._position = found.end()
        return self._text.count("\n", 0, found.start()) + 1


def _mapping(root: object, document: Document, lines: _Lines) -> None:
    if not isinstance(root, dict):
        raise ConfigurationError(f"{document.where}:1", "a mapping of sections was expected")
    for section, body in root.items():
        if not isinstance(body, dict):
            continue
        document.sections.setdefault(str(section), [])
        for key, value in body.items():
            line = lines.next(str(key))
            items: Iterable[object] = value if isinstance(value, list) else [value]
            for item in items:
                # What is neither text, number nor truth means nothing to the original, and is passed over by it.
                if item is None or isinstance(item, bool):
                    document.add(str(section), str(key), _FALSE_WORDS[item], line)
                elif isinstance(item, str | int):
                    document.add(str(section), str(key), str(item), line)
