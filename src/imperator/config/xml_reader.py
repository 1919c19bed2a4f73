"""XML, as the original understands it: the elements inside each ``<uwsgi>`` are options, wherever that stands.

With an id only those ``<uwsgi>`` count whose first attribute is this ``id``. An element inside an option's is an option
too. What is no ``<uwsgi>`` counts where nobody else would read it: as a section by its name, ``file.xml:app1``.
"""

from __future__ import annotations

from imperator.config.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    Line = tuple[str, str, int]
    """A key, its value, and the number of the line."""

ROOT = "uwsgi"
_MOST_TEXT = 4 << 20
"""Characters. More than any configuration has: entities that stand for others that stand for others."""


class Element:
    """One element: its tag, its first attribute, and what stands in it before its first child."""

    def __init__(self, tag: str, first: tuple[str, str] | None, line: int, depth: int) -> None:
        self.tag = tag
        self.first = first
        self.line = line
        self.depth = depth
        self.pieces: list[str] = []
        self.children = False
        self.end = 0
        """The position of the first element after it that is not in it."""

    @property
    def value(self) -> str | None:
        """The text; ``1`` of an empty element, ``None`` where there is nothing but a child."""
        text = "".join(self.pieces)
        if "\n" in text:
            text = text.strip()
        return text or (None if self.children else "1")


def elements(text: bytes, where: str) -> list[Element]:
    """All elements in their order. Raises ConfigurationError."""
    from xml.parsers import expat

    found: list[Element] = []
    open_: list[Element] = []
    length = 0
    parser = expat.ParserCreate()

    def start(tag: str, attributes: list[str]) -> None:
        first = (attributes[0], attributes[1]) if attributes else None
        if open_:
            open_[-1].children = True
        element = Element(tag, first, parser.CurrentLineNumber, len(open_))
        found.append(element)
        open_.append(element)

    def end(_: str) -> None:
        open_.pop().end = len(found)

    def characters(piece: str) -> None:
        nonlocal length
        length += len(piece)
        if length > _MOST_TEXT:
            raise ConfigurationError(f"{where}:{parser.CurrentLineNumber}", "too much text: entities that multiply?")
        if open_ and not open_[-1].children:
            open_[-1].pieces.append(piece)

    parser.ordered_attributes = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    try:
        parser.Parse(text, True)
    except expat.ExpatError as error:
        # As in the original: what comes after the root is not looked at.
        if error.code != expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
            raise ConfigurationError(f"{where}:{error.lineno}", expat.ErrorString(error.code)) from error
    return found


def section(found: list[Element], identity: str | None) -> list[Line] | None:
    """The options of each ``<uwsgi>``, or of those with this id; ``None``: there is none."""
    lines: list[Line] = []
    is_there = False
    closes = 0
    """The first element that is not in the ``<uwsgi>`` any more."""
    for position, element in enumerate(found):
        if position >= closes:
            if element.tag == ROOT and (identity is None or element.first == ("id", identity)):
                is_there = True
                closes = element.end
            continue
        if element.tag == ROOT:  # its end is taken for the end of the outer one
            closes = element.end
        if element.value is not None and (element.tag != ROOT or element.pieces):
            lines.append((element.tag, element.value, element.line))
    return lines if is_there else None


def sections(found: list[Element]) -> dict[str, list[Line]]:
    """By tag and by id: the root element, or the children of one that is a mere wrapper."""
    result: dict[str, list[Line]] = {}
    names: tuple[str, ...] = ()
    for element in found:
        is_section = element.depth == 0 or (element.depth == 1 and found[0].tag not in (ROOT, "emperor"))
        if is_section:
            identity = element.first[1] if element.first is not None and element.first[0] == "id" else element.tag
            names = tuple(dict.fromkeys((element.tag, identity)))
            for name in names:
                result.setdefault(name, [])
        elif element.value is not None:
            for name in names:
                result[name].append((element.tag, element.value, element.line))
    return result
