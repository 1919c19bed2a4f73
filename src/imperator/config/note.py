"""Something a person should know about a configuration, though it is no error."""

from __future__ import annotations

from imperator.config.records import record


@record
class Note:
    """``where`` is ``file:line``, a file, or ``command line``."""

    where: str
    text: str
