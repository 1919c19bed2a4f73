"""The attributes of a vassal: raw keys of the ``[emperor]`` section of its file, not expanded."""

from __future__ import annotations

from imperator.config.formats import parse


def collect_attributes(text: bytes, name: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The wanted keys, the last value of each. Raises ConfigurationError for a broken file."""
    document = parse(text.decode(errors="surrogateescape"), name)
    return {entry.key: entry.value for entry in document.sections.get("emperor", []) if entry.key in keys}
