"""SIGCHLD: every child that ends is found, told apart and reaped.

Ours are vassals, hook processes and the Emperor's helpers. As PID 1 of a container, or as a subreaper, an Emperor also
inherits orphans that it never made; they are reaped as they end. A child that is not known is only taken for an orphan
when no spawn is under way: it may be a vassal whose pid has not been told yet.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imperator.kernel.processes import has_ended, next_ended_child, reap
from imperator.kernel.signalfd import ChildSignals

_AT_ONCE = 200
"""Ends dealt with before the loop may do something else."""
_THE_REST = 0.002
"""Seconds from a signal to the look for others that ended with the same signal."""
_AGAIN = 0.01
"""Seconds until the next look, when the answer had to wait."""


class Children:
    """Reaps everybody."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, claim: Callable[[int], bool], spawning: Callable[[], bool]
    ) -> None:
        """``claim`` reaps a process of ours that has ended, if it is one; ``spawning``: one is being made."""
        self._loop = loop
        self._claim = claim
        self._spawning = spawning
        self._again: asyncio.TimerHandle | None = None
        self._signals = ChildSignals()
        loop.add_reader(self._signals, self._ended)

    def _ended(self) -> None:
        """The one that the signal names at once; then the rest, for which the kernel goes through all children."""
        pid = self._signals.drain()
        if pid is not None and has_ended(pid):
            self._claim(pid)
        if self._again is None:
            self._again = self._loop.call_later(_THE_REST, self.look)

    def look(self) -> None:
        """Deal with every child that has ended."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        for _ in range(_AT_ONCE):
            pid = next_ended_child()
            if pid is None:
                return
            if not self._claim(pid):
                if self._spawning():
                    self._again = self._loop.call_later(_AGAIN, self.look)
                    return
                reap(pid)
        self._again = self._loop.call_later(0, self.look)

    def look_again(self) -> None:
        """A pid was told: if a look had to wait for that, it need not any more."""
        if self._again is not None:
            self.look()

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._loop.remove_reader(self._signals)
        self._signals.close()
