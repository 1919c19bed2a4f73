"""SIGCHLD as a file descriptor (signalfd(2)).

However many children end, there is one signal to read: a pipe that carries a byte a signal would overflow when
thousands end at once, and lose the SIGTERM that comes among them.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_SFD_NONBLOCK = os.O_NONBLOCK
_SFD_CLOEXEC = os.O_CLOEXEC
_SIZE = 128
"""sizeof(struct signalfd_siginfo)."""
_PID = slice(12, 16)
"""Where ssi_pid is in it."""

_libc = ctypes.CDLL(None, use_errno=True)


class ChildSignals:
    """Readable whenever a child has ended since the last :meth:`drain`.

    SIGCHLD is blocked in the calling thread from now on, as signalfd(2) asks for; children inherit that and have to
    set their mask themselves.
    """

    def __init__(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        mask = (ctypes.c_uint64 * 16)()  # sigset_t: 1024 bits
        mask[0] = 1 << (signal.SIGCHLD - 1)
        self._fd = _libc.signalfd(-1, ctypes.byref(mask), _SFD_NONBLOCK | _SFD_CLOEXEC)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, f"signalfd: {os.strerror(code)}")

    def fileno(self) -> int:
        return int(self._fd)

    def drain(self) -> int | None:
        """Take what is there; the pid of one child that something happened to, ``None`` if there is no news.

        Others may have ended as well: a signal that is pending already is not sent again.
        """
        try:
            news = os.read(self._fd, _SIZE * 8)
        except BlockingIOError:
            return None
        return int.from_bytes(news[_PID], sys.byteorder)

    def close(self) -> None:
        os.close(self._fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
