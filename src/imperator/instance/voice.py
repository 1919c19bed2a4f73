"""What an instance says for itself: one line each, on standard error.

Under an Emperor the line gets its time and the vassal's name there; an instance that stands alone says the time itself.
``log-date`` puts a time before each line in either case, in a format of strftime(3) or in the original's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping


class Voice:
    """Says lines. Safe from every thread: each line is one write(2)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._format = "" if "UWSGI_EMPEROR_FD" in environ else "%Y-%m-%d %H:%M:%S "

    def dated(self, log_date: str | None) -> None:
        """What ``log-date`` says: a format, or a yes."""
        if log_date is not None and log_date.lower() not in ("false", "0", "no"):
            given = log_date if "%" in log_date else "%a %b %e %H:%M:%S %Y"
            self._format = f"{given} - "

    def __call__(self, text: str) -> None:
        stamp = time.strftime(self._format) if self._format else ""
        os.write(2, f"{stamp}{text}\n".encode(errors="surrogateescape"))
