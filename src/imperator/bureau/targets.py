"""Where the log goes: an open descriptor, a file that is rotated, or a UDP address.

Used by the thread of :mod:`imperator.bureau.sink` only, so everything here may block. A target raises OSError when it
cannot write; the sink decides whether to try again.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import time
from collections.abc import Callable
from typing import Final, Protocol

_CHUNK: Final = 1 << 20
"""Bytes that are written at once at most."""
_LOOK_EVERY: Final = 1.0
"""Seconds between two looks whether the file was moved away, at the least."""
_ROTATE_AGAIN: Final = 60.0
"""Seconds after a rotation that failed before the next try."""
_WRITABLE_WAIT: Final = 0.2
"""Seconds that a full non-blocking descriptor is waited for before the sink may look at other things."""
_MODE: Final = 0o640

Say = Callable[[str], None]
"""Takes a warning for the log itself."""


class Target(Protocol):
    """A place for lines."""

    def room(self) -> int:
        """How many bytes it wants next, at most; it gets one line at the least. 0: one line at a time."""
        ...

    def write(self, data: memoryview) -> int:
        """Write some; returns how many bytes. Raises OSError (BlockingIOError: wait first)."""
        ...

    def wait(self) -> None:
        """Wait until it can be written, for a moment at most."""
        ...

    def close(self) -> None: ...


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(_WRITABLE_WAIT * 1000)


class FdTarget:
    """An open descriptor, such as the error output; it is not closed."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def room(self) -> int:
        return _CHUNK

    def write(self, data: memoryview) -> int:
        return os.write(self.fd, data)

    def wait(self) -> None:
        _wait_writable(self.fd)

    def close(self) -> None:
        return


class UdpTarget:
    """A UDP address: one datagram a line, without the newline. What nobody receives is lost, as UDP has it."""

    def __init__(self, host: str, port: int) -> None:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._socket = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise

    def room(self) -> int:
        return 0

    def write(self, data: memoryview) -> int:
        for _ in range(2):
            # The first try may tell the answer to an earlier datagram, and send nothing: nobody listened then.
            with contextlib.suppress(ConnectionRefusedError):
                self._socket.send(data[:-1])
                break
        return len(data)

    def wait(self) -> None:
        _wait_writable(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()


class FileTarget:
    """A log file: appended to, renamed away when it has grown to ``max_size`` bytes (0: never).

    A file that somebody else moved away or removed (logrotate) is opened anew within a second. Where the new one
    cannot be opened, the old one goes on being written and the log says so, once.
    """

    def __init__(self, path: str, max_size: int = 0, backup_name: str | None = None, say: Say | None = None) -> None:
        self._path = path
        self._max_size = max_size
        self._backup_name = backup_name
        self.say = say
        self._grumbled = False
        self._next_look = 0.0
        self._rotates_from = 0.0
        """No rotation is tried before this moment."""
        self._fd = -1
        self._identity = (0, 0)
        self._size = 0
        self._is_regular = False
        self._open()

    def _open(self) -> None:
        # O_NONBLOCK: a FIFO without a reader must not hang the Emperor's start (fifo(7)).
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        fd = os.open(self._path, flags, _MODE)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = fd
        found = os.fstat(fd)
        self._identity = (found.st_dev, found.st_ino)
        self._size = found.st_size
        self._is_regular = stat.S_ISREG(found.st_mode)
        self._next_look = time.monotonic() + _LOOK_EVERY

    def room(self) -> int:
        self._look()
        if not self._rotates():
            return _CHUNK
        return min(max(self._max_size - self._size, 0), _CHUNK)

    def write(self, data: memoryview) -> int:
        if self._rotates() and self._size and self._size + len(data) > self._max_size:
            self._rotate()
        try:
            written = os.write(self._fd, data)
        except BlockingIOError:
            raise
        except OSError:
            self._next_look = 0.0
            self._look()
            raise
        self._size += written
        return written

    def wait(self) -> None:
        _wait_writable(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _look(self) -> None:
        """Is the file still where it was? Its size is read again too: it may have been truncated in place."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + _LOOK_EVERY
        try:
            found = os.stat(self._path)
            if (found.st_dev, found.st_ino) == self._identity:
                self._size = found.st_size
                return
        except FileNotFoundError:
            pass
        except OSError as error:
            self._grumble(f"cannot be looked at: {error.strerror}")
            return
        try:
            self._open()
            self._grumbled = False
        except OSError as error:
            self._grumble(f"was moved away, and a new one cannot be opened: {error.strerror}; the old one is kept")

    def _rotates(self) -> bool:
        return bool(self._max_size) and self._is_regular and time.monotonic() >= self._rotates_from

    def _rotate(self) -> None:
        backup = self._backup_name or f"{self._path}.{int(time.time())}"
        try:
            if self._backup_name is None:
                backup = _unused(backup)
            os.rename(self._path, backup)
            self._open()
            self._grumbled = False
        except OSError as error:
            self._grumble(f"cannot be rotated to {backup}: {error.strerror}; it goes on growing")
            self._rotates_from = time.monotonic() + _ROTATE_AGAIN

    def _grumble(self, text: str) -> None:
        if not self._grumbled and self.say is not None:
            self._grumbled = True
            self.say(f"the log file {self._path} {text}")


def _unused(name: str) -> str:
    """``name``, or with ``.1``, ``.2`` … behind it: two rotations within a second must not overwrite each other."""
    candidate, number = name, 0
    while os.path.lexists(candidate):
        number += 1
        candidate = f"{name}.{number}"
    return candidate
