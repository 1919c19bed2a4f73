"""Files that are watched for a change: ``touch-reload`` and its kin. Told by inotify, through their directories.

A file may be replaced, removed and come back; only one that is there and differs from what it was counts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from imperator.instance.keeper import Keeper

if TYPE_CHECKING:
    from imperator.kernel.inotify import Inotify

Changed = Callable[[str], None]
Say = Callable[[str], None]


class Touches:
    """All watched files of an instance. Belongs to the keeper's thread."""

    def __init__(self, keeper: Keeper, say: Say) -> None:
        self._keeper = keeper
        self._say = say
        self._files: list[tuple[str, Changed]] = []
        self._stamps: dict[str, tuple[int, ...] | None] = {}
        self._inotify: Inotify | None = None

    def watch(self, paths: Sequence[str], changed: Changed) -> None:
        """Call with the path whenever one of them changes."""
        for path in paths:
            full = os.path.abspath(path)
            self._files.append((full, changed))
            self._stamps[full] = _stamp(full)
            try:
                if self._inotify is None:
                    from imperator.kernel.inotify import Inotify

                    self._inotify = Inotify()
                    self._keeper.watch(self._inotify.fileno(), self._look)
                self._inotify.watch(os.fsencode(os.path.dirname(full)))
            except OSError as error:
                self._say(f"{path} cannot be watched: {error.strerror}")

    def _look(self) -> None:
        assert self._inotify is not None
        for _ in self._inotify.read():
            pass
        for path, changed in self._files:
            stamp = _stamp(path)
            if stamp is not None and stamp != self._stamps[path]:
                self._stamps[path] = stamp
                changed(path)


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino, found.st_size)
