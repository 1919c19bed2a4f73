"""Processes that do one thing and end, made by the spawner: hooks, a socket that has to be bound with a user's rights.

Their serials are negative: instances have the positive ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from imperator.court.guardian import Guardian
from imperator.court.spawner import Order, Spawner
from imperator.kernel.processes import kill_group, reap

Done = Callable[[str | None], None]
"""Called once, with the reason of the failure, or ``None``."""


@dataclass(slots=True, eq=False)
class Errand:
    """One such process."""

    serial: int
    done: Done
    pid: int = -1
    failure: str | None = None
    limit: asyncio.TimerHandle | None = None

    def end(self, why: str) -> None:
        """It is not wanted any more, or takes too long."""
        self.failure = why
        if self.pid > 0:
            kill_group(self.pid)


class Errands:
    """Sends them, and hears how they end."""

    def __init__(self, loop: asyncio.AbstractEventLoop, guardian: Guardian, spawner: Spawner) -> None:
        self._loop = loop
        self._guardian = guardian
        self._spawner = spawner
        self._running: dict[int, Errand] = {}
        self._last = 0
        self.idle = asyncio.Event()
        """Set while nobody is on an errand."""
        self.idle.set()

    def __len__(self) -> int:
        return len(self._running)

    def send(self, order_of: Callable[[int], Order], done: Done, longest: float | None = None) -> Errand:
        """``order_of`` makes the order for a serial; ``longest``: seconds until it is killed."""
        self._last -= 1
        self.idle.clear()
        errand = self._running[self._last] = Errand(self._last, done)
        self._spawner.spawn(order_of(errand.serial))
        if longest is not None:
            errand.limit = self._loop.call_later(longest, errand.end, f"still running after {longest:g} s: killed")
        return errand

    # -- what the spawner and the kernel say

    def spawn_succeeded(self, serial: int, pid: int) -> None:
        errand = self._running[serial]
        errand.pid = pid
        self._guardian.guard(pid)
        if errand.failure is not None:  # its end was wanted before it began
            kill_group(pid)

    def spawn_failed(self, serial: int, reason: str) -> None:
        errand = self._running[serial]
        self._forget(errand)
        errand.done(f"no process could be made: {reason}")

    def child_reported(self, serial: int, reason: str) -> None:
        errand = self._running.get(serial)
        if errand is not None:
            errand.failure = reason

    def ended(self, errand: Errand) -> None:
        ending = reap(errand.pid)
        if ending is None:
            return
        self._spawner.hear_reports()
        self._guardian.forget(errand.pid)
        self._forget(errand)
        if ending.code == 0:
            errand.done(errand.failure)
        else:
            errand.done(errand.failure or f"ended with {ending.code if ending.signal is None else ending.signal}")

    def _forget(self, errand: Errand) -> None:
        del self._running[errand.serial]
        if errand.limit is not None:
            errand.limit.cancel()
        if not self._running:
            self.idle.set()

    def knows(self, pid: int) -> Errand | None:
        return next((errand for errand in self._running.values() if errand.pid == pid), None)

    def pids(self) -> Iterable[int]:
        return [errand.pid for errand in self._running.values() if errand.pid > 0]
