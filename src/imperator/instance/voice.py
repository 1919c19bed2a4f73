"""What an instance says for itself: one line each, on standard error.

Under an Emperor the line gets its time and the vassal's name there; an instance that stands alone says the time itself.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping


class Voice:
    """Says lines. Safe from every thread: each line is one write(2)."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._under_emperor = "UWSGI_EMPEROR_FD" in environ

    def __call__(self, text: str) -> None:
        stamp = "" if self._under_emperor else time.strftime("%Y-%m-%d %H:%M:%S ")
        os.write(2, f"{stamp}{text}\n".encode(errors="surrogateescape"))
