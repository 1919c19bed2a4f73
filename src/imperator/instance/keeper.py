"""The keeper: one loop that waits for whatever an instance has to react to while its main thread serves.

Signals, the Emperor's orders, files that change, times that come. It runs in a thread of its own where the main thread
is busy serving, and in the main thread where nothing is served (a master, an instance that has only daemons). A signal
reaches it through the interpreter's wakeup descriptor, at once, even while the main thread is in native code.

``asyncio`` would do all of this and costs as much memory as a small application.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count

Callback = Callable[[], None]


class Timer:
    """Something to be done at a time; :meth:`cancel` it if not."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None


class Keeper:
    """Calls whoever wants to know. Everything but :meth:`soon` and :meth:`stop` belongs to the keeper's own thread."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._readers: dict[int, Callback] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._soon: deque[Callback] = deque()
        self._signals: dict[int, Callback] = {}
        self._wake_end, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._running = False
        self._thread: threading.Thread | None = None
        self.watch(self._wake_end, self._woken)

    # -- what to wait for

    def watch(self, fd: int, callback: Callback) -> None:
        """Call whenever there is something to read, or the other end is gone."""
        self._readers[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        if self._readers.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def at(self, due: float, callback: Callback) -> Timer:
        """Call at a moment of the monotonic clock."""
        timer = Timer(due, callback)
        heapq.heappush(self._timers, (due, next(self._order), timer))
        return timer

    def after(self, seconds: float, callback: Callback) -> Timer:
        return self.at(time.monotonic() + seconds, callback)

    def every(self, seconds: float, callback: Callback) -> None:
        """Call again and again. What was missed (a machine that slept) is not made up for."""

        def again() -> None:
            callback()
            self.after(seconds, again)

        self.after(seconds, again)

    def on_signals(self, numbers: Iterable[int], callback: Callable[[int], None]) -> None:
        """Call with the number of each of these signals. Only from the main thread, before anything is served."""
        for number in numbers:
            self._signals[number] = lambda number=number: callback(number)  # type: ignore[misc]
            signal.signal(number, _noticed)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def hand_on_signals(self) -> int:
        """After the loop: a descriptor with what was heard since, for the program that this one executes next.

        Signals are heard by whichever thread does not block them, until the very moment of execve(2).
        """
        os.set_inheritable(self._wake_end, True)
        return self._wake_end

    # -- from any thread

    def soon(self, callback: Callback) -> None:
        """Call in the keeper's thread, as soon as possible."""
        self._soon.append(callback)
        self._nudge()

    def stop(self) -> None:
        """End the loop."""
        self._running = False
        self._nudge()

    def _nudge(self) -> None:
        try:
            os.write(self._wakeup, b"\0")
        except BlockingIOError:  # it is full: whoever reads it wakes up anyway
            return

    # -- running

    def run(self) -> None:
        """Wait and call, until :meth:`stop`."""
        self._running = True
        while self._running:
            timeout = None
            if self._timers:
                timeout = max(0.0, (self._timers[0][0] - time.monotonic()) * 1000)
            for fd, _ in self._poll.poll(timeout):
                reader = self._readers.get(fd)
                if reader is not None:
                    reader()
            self._call_due()

    def start(self) -> None:
        """Run in a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="keeper", daemon=True)
        self._running = True
        self._thread.start()

    def join(self) -> None:
        """Wait until the loop has ended that :meth:`start` has begun."""
        if self._thread is not None:
            self._thread.join()

    def _woken(self) -> None:
        for number in os.read(self._wake_end, 4096):
            callback = self._signals.get(number)
            if callback is not None:
                callback()
        while self._soon:
            self._soon.popleft()()

    def _call_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                callback()


def _noticed(number: int, frame: object) -> None:
    """The wakeup descriptor has told the keeper; there has to be a handler for that."""


def signals_handed_on(fd: int) -> list[int]:
    """What :meth:`Keeper.hand_on_signals` has left, by whoever was executed with it; closes the descriptor."""
    try:
        found = os.read(fd, 4096)
    except BlockingIOError:
        found = b""
    os.close(fd)
    return sorted(set(found) - {0})
