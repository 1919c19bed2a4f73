"""Something a person should know about a configuration, though it is no error."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Note:
    """``where`` is ``file:line``, a file, or ``command line``."""

    where: str
    text: str
