"""Notifications of what happens in directories (inotify(7)), by ctypes: the libraries on PyPI for it are unkept."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator
from enum import IntFlag
from typing import NamedTuple


class Mask(IntFlag):
    """What happened; the values of <sys/inotify.h>."""

    ATTRIB = 0x4
    CLOSE_WRITE = 0x8
    MOVED_FROM = 0x40
    MOVED_TO = 0x80
    CREATE = 0x100
    DELETE = 0x200
    DELETE_SELF = 0x400
    MOVE_SELF = 0x800
    UNMOUNT = 0x2000
    Q_OVERFLOW = 0x4000
    IGNORED = 0x8000
    ONLYDIR = 0x1000000
    ISDIR = 0x40000000


IN_DIRECTORY = int(
    Mask.ATTRIB
    | Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
"""All that changes what a directory holds. Not IN_MODIFY: a file counts when its writer has closed it."""


class Notice(NamedTuple):
    """One event. ``mask`` is a combination of :class:`Mask` as a plain int, for it is compared ten thousand times."""

    wd: int
    mask: int
    name: bytes


_HEAD = struct.Struct("iIII")
_BUFFER = 16 * 1024
"""Bytes that are read at once: some five hundred events, which take a few milliseconds to go through."""
_LARGEST_NOTICE = _HEAD.size + 256
_libc = ctypes.CDLL(None, use_errno=True)

_HINTS = {
    errno.EMFILE: "too many inotify instances: raise fs.inotify.max_user_instances (or 'ulimit -n')",
    errno.ENOSPC: "too many inotify watches: raise fs.inotify.max_user_watches",
}


def _failure(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, _HINTS.get(code, f"{what}: {os.strerror(code)}"))


class Inotify:
    """One inotify instance: non-blocking, close-on-exec."""

    def __init__(self) -> None:
        self.has_more = False
        """The last reading filled its buffer: there is more to read."""
        self._fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise _failure("inotify_init1")

    def fileno(self) -> int:
        return int(self._fd)

    def watch(self, directory: bytes) -> int:
        """Watch a directory; the same one, by whatever path, has the same number. Raises OSError."""
        wd: int = _libc.inotify_add_watch(self._fd, directory, IN_DIRECTORY)
        if wd < 0:
            raise _failure("inotify_add_watch")
        return wd

    def unwatch(self, wd: int) -> None:
        """Fails silently where the kernel has dropped the watch already (the directory is gone)."""
        _libc.inotify_rm_watch(self._fd, wd)

    def read(self) -> Iterator[Notice]:
        """What has happened since the last call, or as much of it as is read at once: see :attr:`has_more`.

        Whoever can write to a directory can fill the queue faster than anybody empties it: so it is never emptied in
        one go.
        """
        try:
            data = os.read(self._fd, _BUFFER)
        except BlockingIOError:
            self.has_more = False
            return
        self.has_more = len(data) > _BUFFER - _LARGEST_NOTICE
        offset = 0
        while offset < len(data):
            wd, mask, _, length = _HEAD.unpack_from(data, offset)
            offset += _HEAD.size
            yield Notice(wd, mask, data[offset : offset + length].rstrip(b"\0"))
            offset += length

    def close(self) -> None:
        os.close(self._fd)
