"""Who wants to know of what: many interests over few inotify watches.

An interest is a directory, a name in it (or any name) and the key of whoever asked. One watch per directory serves them
all, however many there are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field

from imperator.kernel.inotify import Inotify, Mask
from imperator.monitors.routes import Step

ANY = ""
"""Every name in the directory."""

_GONE = int(Mask.IGNORED | Mask.UNMOUNT | Mask.DELETE_SELF | Mask.MOVE_SELF)


@dataclass(frozen=True, slots=True)
class News:
    """Something happened to ``name`` in ``directory`` (empty: to the directory itself) that concerns ``key``."""

    key: str
    directory: str
    name: str
    mask: int


@dataclass(slots=True)
class _Directory:
    path: str
    keys: dict[str, set[str]] = field(default_factory=dict)
    """Name → keys."""


class Interests:
    """One inotify instance, shared by everything that a monitor watches."""

    def __init__(self) -> None:
        self._inotify = Inotify()
        self._directories: dict[int, _Directory] = {}
        self._held: dict[str, list[tuple[int, str]]] = {}
        """Key → (watch, name)."""

    def fileno(self) -> int:
        return self._inotify.fileno()

    def add(self, key: str, steps: Iterable[Step]) -> None:
        """``key`` wants to know of these, beside what it wants already. Raises OSError.

        A directory that is not there (any more) is passed over: whoever asked has a step before it.
        """
        held = self._held.setdefault(key, [])
        for directory, name in steps:
            try:
                wd = self._inotify.watch(os.fsencode(directory))
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            known = self._directories.setdefault(wd, _Directory(directory))
            known.keys.setdefault(name, set()).add(key)
            held.append((wd, name))

    def replace(self, key: str, steps: Iterable[Step]) -> None:
        """``key`` wants to know of these and of nothing else."""
        old = self._held.pop(key, [])
        try:
            self.add(key, steps)
        finally:
            kept = set(self._held[key])
            for wd, name in old:
                if (wd, name) not in kept:
                    self._drop(key, wd, name)

    def forget(self, key: str) -> None:
        for wd, name in self._held.pop(key, []):
            self._drop(key, wd, name)

    def _drop(self, key: str, wd: int, name: str) -> None:
        directory = self._directories.get(wd)
        if directory is None or name not in directory.keys:
            return
        directory.keys[name].discard(key)
        if not directory.keys[name]:
            del directory.keys[name]
        if not directory.keys:
            del self._directories[wd]
            self._inotify.unwatch(wd)

    @property
    def has_more(self) -> bool:
        """So much happens that the last reading did not bring all of it."""
        return self._inotify.has_more

    def read(self) -> list[News] | None:
        """What has happened, a few thousand notices at most; ``None``: nobody knows what (IN_Q_OVERFLOW)."""
        news: list[News] = []
        overflow = False
        for notice in self._inotify.read():
            if notice.mask & Mask.Q_OVERFLOW:
                overflow = True
                continue
            directory = self._directories.get(notice.wd)
            if directory is None:
                continue
            name = os.fsdecode(notice.name)
            if notice.mask & _GONE:
                for keys in directory.keys.values():
                    news += [News(key, directory.path, "", notice.mask) for key in keys]
                if notice.mask & Mask.IGNORED:
                    del self._directories[notice.wd]
                continue
            for key in directory.keys.get(ANY, ()):
                news.append(News(key, directory.path, name, notice.mask))
            for key in directory.keys.get(name, ()):
                news.append(News(key, directory.path, name, notice.mask))
        return None if overflow else news

    def close(self) -> None:
        self._inotify.close()
