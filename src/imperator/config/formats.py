"""The formats of a configuration: each text becomes sections of keys, values and line numbers.

Repeated keys are kept in their order. A key without a value is ``true``. Nothing is expanded here.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from xml.parsers import expat

from imperator.config.errors import ConfigurationError

ROOT = "uwsgi"
"""The section that is read where none is named."""


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


def parse(text: str, name: str) -> Document:
    """Read a text in the format that its name's ending says; ini where it says none. Raises ConfigurationError."""
    document = Document(name)
    match os.path.splitext(name)[1]:
        case ".xml":
            _xml(text, document)
        case ".yaml" | ".yml":
            _yaml(text, document)
        case ".json" | ".js":
            _json(text, document)
        case ".toml":
            _toml(text, document)
        case _:
            _ini(text, document)
    return document


def _ini(text: str, document: Document) -> None:
    section = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line[0] in ";#":
            continue
        if line.startswith("["):
            if not line.endswith("]"):
                raise ConfigurationError(f"{document.where}:{number}", f"the section {line!r} has no closing bracket")
            section = line[1:-1]
            document.sections.setdefault(section, [])
            continue
        key, separator, value = line.partition("=")
        document.add(section, key.strip(), value.strip() if separator else "true", number)


def _xml(text: str, document: Document) -> None:
    parser = expat.ParserCreate()
    section: list[str] = []
    path: list[str] = []
    pieces: list[str] = []

    def is_section() -> bool:
        """The root is one, or, where the root is a mere wrapper, each of its children is."""
        return not path or (len(path) == 1 and path[0] not in (ROOT, "emperor"))

    def start(tag: str, attributes: dict[str, str]) -> None:
        if is_section():
            section[:] = [attributes.get("id", tag)]
            document.sections.setdefault(section[0], [])
        path.append(tag)
        pieces.clear()

    def end(tag: str) -> None:
        path.pop()
        if not is_section():
            document.add(section[0], tag, "".join(pieces).strip() or "true", parser.CurrentLineNumber)
        pieces.clear()

    def refuse(*_: object) -> None:
        raise ConfigurationError(f"{document.where}:{parser.CurrentLineNumber}", "entity declarations are refused")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = pieces.append
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text, True)
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
    if not isinstance(root, yaml.MappingNode):
        raise ConfigurationError(f"{document.where}:1", "a mapping of sections was expected")
    for name, body in root.value:
        document.sections.setdefault(str(name.value), [])
        for key, value in body.value if isinstance(body, yaml.MappingNode) else ():
            values = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for item in values:
                document.add(str(name.value), str(key.value), str(item.value) or "true", key.start_mark.line + 1)


def _json(text: str, document: Document) -> None:
    try:
        _mapping(json.loads(text), document)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{document.where}:{error.lineno}", error.msg) from error


def _toml(text: str, document: Document) -> None:
    try:
        _mapping(tomllib.loads(text), document)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{document.where}:1", str(error)) from error


def _mapping(root: object, document: Document) -> None:
    if not isinstance(root, dict):
        raise ConfigurationError(f"{document.where}:1", "a mapping of sections was expected")
    for section, body in root.items():
        document.sections.setdefault(str(section), [])
        for key, value in body.items() if isinstance(body, dict) else ():
            for item in value if isinstance(value, list) else [value]:
                text = {True: "true", False: "false", None: "true"}.get(item) if not item else None
                shown = "true" if item is True else text if text is not None else str(item)
                document.add(str(section), str(key), shown, 1)
