"""YAML, as the original understands it: by a small reader of its own, which knows lines of ``key: value`` and no more.

It takes what stands after the colon as it is: quotes stay, a value may begin with ``%`` or ``*``, everything from a
``#`` on is a comment, and how far a line is indented within a section does not matter. At a list, a nested mapping or
a text of several lines it ends, and the rest of the section is lost.

What it reads to the end means the same here. Only where something would be lost, a real YAML parser is asked, and where
that can read the text, it counts.
"""

from __future__ import annotations

from imperator.config.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Line = tuple[str, str, int]
    """A key, its value, and the number of the line."""

_NO_KEY = ("-", "[", "{")


class Section:
    """One section, as the small reader has it."""

    def __init__(self, lost_from: int | None) -> None:
        self.lines: list[Line] = []
        self.ended = False
        """A line ended it, not the end of the text."""
        self.lost_from = lost_from
        """The line from which on something is lost; ``None``: nothing is."""


def section(text: str, asked: str) -> Section | None:
    """The section that was asked for; ``None``: there is none."""
    found: Section | None = None
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].partition("\0")[0]
        words = line.lstrip(" \t\r")
        if not line:
            continue
        is_outside = line == words
        if found is None:
            header, colon, rest = words.partition(":")
            if is_outside and colon and not words.startswith(_NO_KEY) and header == asked:
                found = Section(number if rest.strip() else None)
            continue
        if is_outside:
            found.ended = True
            break
        if not words:
            continue
        entry = _entry(words, number)
        if entry is None:
            found.ended = True
            found.lost_from = number
            break
        found.lines.append(entry)
    return found


def _entry(words: str, number: int) -> Line | None:
    if words.startswith(_NO_KEY):
        return None
    separator = ": " if ": " in words else ":\t"
    key, found, value = words.partition(separator)
    if not found:
        return None
    # A carriage return at the end would stay, and make the value useless.
    return key.rstrip(" \t"), value.lstrip(" \t\r").rstrip(" \t\r"), number


def headers(text: str) -> list[str]:
    """The names of the sections that the small reader can find."""
    names = []
    for raw in text.split("\n"):
        line = raw.partition("#")[0].partition("\0")[0]
        name, colon, _ = line.partition(":")
        if colon and line[0] not in " \t\r-[{":
            names.append(name)
    return list(dict.fromkeys(names))


def real(text: str, where: str) -> dict[str, list[Line]]:
    """All sections, read by a real YAML parser; scalars stay as they are written. Raises ConfigurationError."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        raise ConfigurationError(f"{where}:{line}", str(getattr(error, "problem", error))) from error
    if not isinstance(root, yaml.MappingNode):
        return {}
    sections: dict[str, list[Line]] = {}
    for name, body in root.value:
        lines = sections.setdefault(str(name.value), [])
        for key, value in body.value if isinstance(body, yaml.MappingNode) else ():
            for item in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(item, yaml.ScalarNode):
                    lines.append((str(key.value), str(item.value), key.start_mark.line + 1))
    return sections
