"""The words that carry meaning through every room."""

from __future__ import annotations

from typing import NewType

VassalName = NewType("VassalName", str)
"""What a vassal is called: a bare file name, a globbed path, or a key of a database.

File names are bytes on Linux; those that are no UTF-8 are kept with ``surrogateescape`` (PEP 383).
"""

SourceName = NewType("SourceName", str)
"""One ``emperor = …`` value, as it may be shown to a person (without secrets)."""

Seconds = NewType("Seconds", float)
"""A moment on the monotonic clock, or a length of time. Never a wall-clock time."""

Serial = NewType("Serial", int)
"""One process tree of a vassal. Never used twice in the life of an Emperor, unlike a pid."""

LONGEST_NAME = 254
"""Bytes in the longest vassal name: the original's limit."""


def objection_to_name(name: VassalName) -> str | None:
    """Why no program can be given this name; ``None``: it can. A database may hold names that no file could have."""
    try:
        length = len(name.encode(errors="surrogateescape"))
    except UnicodeEncodeError:
        return "the name is no valid text (it holds half a surrogate pair): rename it"
    if not name:
        return "the name is empty: give it one"
    if "\0" in name:
        return "the name holds a NUL byte: rename it"
    if length > LONGEST_NAME:
        return f"the name is {length} bytes long; {LONGEST_NAME} is the most: rename it"
    return None
