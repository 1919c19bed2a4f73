"""The desk at which a file monitor works: what is known, what has to be looked at again, and when.

It holds back what should not be told yet: a file that is still being written, and one that is gone for a moment because
an editor is about to put another in its place.
"""

from __future__ import annotations

import os
import stat
import time

from imperator.kernel.inotify import Mask
from imperator.reign.wanted import Wanted

UNFINISHED = 1.0
"""Seconds that a file may stay open for writing after its creation before it is taken as it is."""
VANISHED = 0.1
"""Seconds that a file must be away before it counts as removed."""

_COMPLETE = int(Mask.CLOSE_WRITE | Mask.MOVED_TO)
_BORN = int(Mask.CREATE)


class Desk:
    """Names to look at, now or at a moment."""

    def __init__(self) -> None:
        self.known: dict[str, Wanted] = {}
        """What was told last, by name."""
        self._now: set[str] = set()
        self._later: dict[str, float] = {}
        self._missing: dict[str, float] = {}
        """Since when a known file has been away."""

    def happened(self, name: str, path: str, mask: int, now: float) -> None:
        """Something happened to the file: look at it now, or wait for it to be complete."""
        if mask & _COMPLETE:
            self.look(name)
        elif mask & _BORN and _may_be_unfinished(path):
            self._now.discard(name)
            self._later[name] = now + UNFINISHED
        elif name not in self._later:
            self._now.add(name)

    def look(self, name: str) -> None:
        """Look at it at once."""
        self._later.pop(name, None)
        self._now.add(name)

    def look_later(self, name: str, at: float) -> None:
        self._later[name] = at

    def take_due(self, now: float) -> set[str]:
        """The names to look at now."""
        due, self._now = self._now, set()
        for name in [name for name, at in self._later.items() if at <= now]:
            del self._later[name]
            due.add(name)
        return due

    def next_look(self) -> float | None:
        """When there is something to look at; ``None``: nothing is held back."""
        if self._now:
            return 0.0
        return min(self._later.values(), default=None)

    def is_gone(self, name: str, now: float) -> bool:
        """A known file is not there: says whether it has been away long enough. If not, it is looked at again."""
        since = self._missing.setdefault(name, now)
        if now - since >= VANISHED:
            del self._missing[name]
            return True
        self._later[name] = since + VANISHED
        return False

    def is_there(self, name: str) -> None:
        self._missing.pop(name, None)

    def clear(self) -> None:
        self._now.clear()
        self._later.clear()
        self._missing.clear()


def _may_be_unfinished(path: str) -> bool:
    """A file that was just created by opening it is complete when it is closed; a link to a file is so at once."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1


def is_fresh(wanted: Wanted, known: Wanted | None, horizon: float = UNFINISHED) -> bool:
    """Seen by a scan and not by a notice: it may be half written if it was modified only just now."""
    if known is not None and known.stamp == wanted.stamp:
        return False
    return abs(time.time() - wanted.modified) < horizon
