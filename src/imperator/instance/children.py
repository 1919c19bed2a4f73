"""Processes that an instance has started: each watched through a pidfd, and only those reaped.

The application may have children of its own in the same process, and their endings are its own business: so nothing
here waits for just any child (pidfd_open(2)).
"""

from __future__ import annotations

import os
from collections.abc import Callable

from imperator.instance.keeper import Keeper

Ended = Callable[[int], None]
"""Called with the exit code, or the negative number of the signal that killed it."""


class Children:
    """Tells whoever started a process that it has ended. Belongs to the keeper's thread."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._fds: dict[int, int] = {}
        """pid → pidfd"""

    def watch(self, pid: int, ended: Ended) -> None:
        """``ended`` is called once, as soon as the child ``pid`` has ended and was reaped."""
        fd = os.pidfd_open(pid)
        self._fds[pid] = fd

        def readable() -> None:
            self._keeper.unwatch(fd)
            del self._fds[pid]
            os.close(fd)
            _, status = os.waitpid(pid, 0)
            ended(os.waitstatus_to_exitcode(status))

        self._keeper.watch(fd, readable)

    def forget_all(self) -> None:
        """In a process that was forked: these are the parent's children."""
        for fd in self._fds.values():
            self._keeper.unwatch(fd)
            os.close(fd)
        self._fds.clear()


def in_words(code: int) -> str:
    """``exited with code 1``, ``was killed by SIGKILL``."""
    if code >= 0:
        return f"exited with code {code}"
    import signal

    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-code}"
