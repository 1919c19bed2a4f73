"""Several worker processes under one master: forked from it, replaced when they end, stopped with it.

Each worker is the master's child and hears from it through a socket pair with the bytes of the Emperor protocol: the
end of that stream is the end of the master, and a worker never outlives it. A worker that ends at once is started again
later each time; one that asked to be replaced (``max-requests``) at once.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from imperator.instance.children import Children, in_words
from imperator.instance.keeper import Keeper, Timer
from imperator.instance.link import Link
from imperator.instance.master import HEARD
from imperator.instance.phases import HOOK_FAILED
from imperator.reign.protocol import FromVassal, ToVassal

LONGEST_DELAY = 30.0
"""Seconds between two starts of a worker that ends at once."""
STEADY = 5.0
"""Seconds after which a worker counts as one that runs."""
CANNOT_SERVE = 22
"""The exit code of a worker whose application cannot be loaded, with ``need-app``."""

_LARGEST_REPORT = 1 << 18
"""Bytes."""

Say = Callable[[str], None]
Work = Callable[[int, bool, Link, socket.socket], int]
"""What a worker does: given its number, whether it is the first with that, its link to the master, and where it is
asked for reports (each question is a byte, and answered with one packet of JSON); returns its exit code."""
Report = dict[str, Any]


class _Seat:
    """The place of one worker, whoever sits in it at the moment."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid: int | None = None
        self.started = 0.0
        self.starts = 0
        self.failures = 0
        self.end: socket.socket | None = None
        """Our end of its socket pair."""
        self.told = False
        """It was told to stop, or has asked to be replaced."""
        self.idle = False
        self.spawned = 0.0
        """Seconds since 1970."""
        self.questions: socket.socket | None = None
        self.again: Timer | None = None


class Workers:
    """All workers of one master. Belongs to the keeper's thread, which is the master's main thread."""

    def __init__(self, count: int, work: Work, keeper: Keeper, children: Children, say: Say) -> None:
        self._seats = [_Seat(number) for number in range(1, count + 1)]
        self._work = work
        self._keeper = keeper
        self._children = children
        self._say = say
        self._ending = False
        self.on_accepting: Callable[[], None] = lambda: None
        self.on_loyal: Callable[[], None] = lambda: None
        self.on_heartbeat: Callable[[], None] = lambda: None
        self.on_over: Callable[[], None] = lambda: None
        """The last worker has ended after :meth:`stop`."""
        self.on_hopeless: Callable[[int], None] = lambda code: None
        """A worker has said that no other one would do better."""
        self.on_idle: Callable[[], None] = lambda: None
        """All of them have been idle for a while."""
        self._doors: list[int] = []
        """Listening sockets, while nobody serves: the first connection starts the workers."""
        self._asleep = False
        self._askers: list[Callable[[Sequence[Report]], None]] = []
        self._reports: dict[int, Report] = {}
        self._to_replace: list[_Seat] = []
        self._replacing: _Seat | None = None

    @property
    def running(self) -> int:
        return sum(1 for seat in self._seats if seat.pid is not None)

    @property
    def pids(self) -> list[int]:
        return [seat.pid for seat in self._seats if seat.pid is not None]

    def start(self) -> None:
        """Start all of them."""
        self._ending = False
        for seat in self._seats:
            self._start(seat)

    def _start(self, seat: _Seat) -> None:
        seat.again = None
        if self._ending or seat.pid is not None:
            return
        ours, theirs = socket.socketpair()
        questions, answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        seat.started = time.monotonic()
        seat.starts += 1
        seat.told = seat.idle = False
        # The wakeup descriptor is shared until the child has its own: what it hears before would be told to the master.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        pid = os.fork()
        if pid == 0:
            self._be_worker(seat, (ours, questions), theirs, answers)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        answers.close()
        ours.setblocking(False)
        questions.setblocking(False)
        seat.pid, seat.end, seat.questions = pid, ours, questions
        seat.spawned = time.time()
        self._keeper.watch(ours.fileno(), lambda: self._hear(seat))
        self._children.watch(pid, lambda code: self._ended(seat, code))
        self._say(f"worker {seat.number}: pid {pid}")

    def _be_worker(
        self, mine: _Seat, masters: Sequence[socket.socket], theirs: socket.socket, answers: socket.socket
    ) -> None:
        """In the child. Does not return."""
        code = 1
        try:
            for one in masters:
                one.close()
            for seat in self._seats:
                if seat.end is not None:
                    seat.end.close()
                if seat.questions is not None:
                    seat.questions.close()
            code = self._work(mine.number, mine.starts == 1, Link(theirs.detach()), answers)
        except SystemExit as end:  # a hook's "exit"
            code = end.code if isinstance(end.code, int) else 0
        except BaseException:  # noqa: BLE001 (the process ends here: nothing of it may run on in the master's name)
            import traceback

            self._say(f"worker {mine.number}: {traceback.format_exc()}")
        finally:
            os._exit(code)

    # -- what they say

    def _hear(self, seat: _Seat) -> None:
        if seat.end is None:
            return
        try:
            data = seat.end.recv(4096)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET
            data = b""
        if not data:
            self._keeper.unwatch(seat.end.fileno())
            return
        for byte in data:
            match byte:
                case FromVassal.ACCEPTING:
                    self.on_accepting()
                    if seat is self._replacing and not seat.told:
                        self._replace_next()
                case FromVassal.LOYAL:
                    self.on_loyal()
                case FromVassal.HEARTBEAT:
                    self.on_heartbeat()
                case FromVassal.VOLUNTARY_SHUTDOWN:
                    self._is_idle(seat)
                case FromVassal.READY:  # it asks to be replaced
                    seat.told = True

    def _ended(self, seat: _Seat, code: int) -> None:
        lived = time.monotonic() - seat.started
        told, seat.pid = seat.told, None
        if seat.end is not None:
            self._keeper.unwatch(seat.end.fileno())
            seat.end.close()
            seat.end = None
        if seat.questions is not None:
            self._keeper.unwatch(seat.questions.fileno())
            seat.questions.close()
            seat.questions = None
        if self._ending or self._asleep:
            if not self.running:
                self._all_gone()
            return
        if code in (CANNOT_SERVE, HOOK_FAILED):
            self.on_hopeless(code)
            return
        seat.failures = 0 if told or lived >= STEADY else seat.failures + 1
        delay = 0.0 if seat.failures <= 1 else min(2.0 ** (seat.failures - 2), LONGEST_DELAY)
        if not told:
            later = f"; next one in {delay:g} s" if delay else ""
            self._say(f"worker {seat.number} (pid {seat.pid}) {in_words(code)} after {lived:.1f} s{later}")
        seat.again = self._keeper.after(delay, lambda: self._start(seat))

    # -- what they report

    def ask(self, done: Callable[[Sequence[Report]], None]) -> None:
        """Ask all of them for a report; ``done`` is called with what there is, at the latest after a moment."""
        from imperator.instance.stats import PATIENCE

        self._askers.append(done)
        if len(self._askers) > 1:
            return  # they are being asked
        self._reports = {}
        for seat in self._seats:
            if seat.questions is not None:
                self._keeper.watch(seat.questions.fileno(), partial(self._hear_report, seat))
                with suppress(OSError):  # it is at its end
                    seat.questions.send(b"?")
        self._keeper.after(PATIENCE, self._reported)
        self._look_whether_all_reported()

    def _hear_report(self, seat: _Seat) -> None:
        if seat.questions is None:
            return
        try:
            data = seat.questions.recv(_LARGEST_REPORT)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET
            data = b""
        if not data:
            self._keeper.unwatch(seat.questions.fileno())
            return
        import json

        self._reports[seat.number] = json.loads(data)
        self._look_whether_all_reported()

    def _look_whether_all_reported(self) -> None:
        if all(seat.number in self._reports for seat in self._seats if seat.questions is not None):
            self._reported()

    def _reported(self) -> None:
        from imperator.instance.stats import unanswered

        askers, self._askers = self._askers, []
        if not askers:
            return
        reports = []
        for seat in self._seats:
            if seat.questions is not None:
                self._keeper.unwatch(seat.questions.fileno())
            found = self._reports.get(seat.number) or unanswered(seat.number, seat.pid, seat.spawned)
            reports.append({**found, "last_spawn": int(seat.spawned), "respawn_count": seat.starts})
        for asker in askers:
            asker(reports)

    # -- asleep

    def start_at_first_request(self, doors: Sequence[int]) -> None:
        """Start nobody before somebody connects to one of these listening sockets (``cheap``)."""
        self._asleep = True
        self._doors = list(doors)
        for door in doors:
            self._keeper.watch(door, self._wake_up)

    def _wake_up(self) -> None:
        for door in self._doors:
            self._keeper.unwatch(door)
        self._asleep = False
        self._say("somebody connects: starting the workers")
        self.start()

    def _is_idle(self, seat: _Seat) -> None:
        seat.idle = True
        if all(other.idle for other in self._seats if other.pid is not None):
            for other in self._seats:
                other.idle = False
            self.on_idle()

    def send_to_sleep(self) -> None:
        """End all of them until somebody connects again."""
        self._say("no requests: ending the workers")
        self._asleep = True
        for seat in self._seats:
            self._tell_to_stop(seat)

    def _all_gone(self) -> None:
        if self._ending:
            self.on_over()
        else:
            self._say("asleep until somebody connects")
            self.start_at_first_request(self._doors)

    # -- the end

    def stop(self, mercy: float) -> None:
        """Tell all of them to end; kill whoever has not after the mercy, a moment later than they do it themselves."""
        self._ending = True
        for seat in self._seats:
            if seat.again is not None:
                seat.again.cancel()
            self._tell_to_stop(seat)
        self._keeper.after(mercy + 1.0, self.kill)
        if not self.running:
            self._keeper.soon(self.on_over)

    def _tell_to_stop(self, seat: _Seat) -> None:
        if seat.end is not None:
            seat.told = True
            try:
                seat.end.send(bytes((ToVassal.STOP_GRACEFULLY,)))
            except OSError:  # it is at its end already
                return

    def kill(self) -> None:
        """End whoever is left."""
        for seat in self._seats:
            if seat.pid is not None:
                os.kill(seat.pid, signal.SIGKILL)

    def replace_one_by_one(self) -> None:
        """Stop each, the next one when its successor accepts (``touch-chain-reload``)."""
        self._to_replace = [seat for seat in self._seats if seat.pid is not None]
        self._replace_next()

    def _replace_next(self) -> None:
        self._replacing = None
        if self._to_replace and not self._ending:
            self._replacing = self._to_replace.pop(0)
            self._tell_to_stop(self._replacing)
