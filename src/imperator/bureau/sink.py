"""The way of log lines out of the process: a thread takes all that wait and writes them at once.

Rules:

* :meth:`Sink.put` never waits for the disk, the terminal or the network, and never raises.
* What waits is bounded. When it is full, lines are dropped and counted: vassals' output first, for the Emperor's own
  lines have a reserve. When it has drained, one line says how many were lost.
* No error ends it. A full disk (ENOSPC, EDQUOT, EIO) is tried again every second, with the lines kept as long as
  there is room; where nobody can ever read what was written (EPIPE, EBADF) they are dropped, counted, and the next
  ones tried.
"""

from __future__ import annotations

import errno
import math
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from imperator.bureau.targets import Target

LIMIT: Final = 16 << 20
"""Bytes that may wait."""
RESERVE: Final = 1 << 20
"""Bytes of them for the Emperor's own lines."""
_RETRY_EVERY: Final = 1.0
"""Seconds between two tries of a target that fails."""
_GATHER: Final = 0.01
"""Seconds from a write to the next: lines that come meanwhile go together, the first after a pause goes at once."""
_HOPELESS: Final = frozenset({errno.EPIPE, errno.EBADF, errno.EINVAL, errno.ECONNRESET, errno.EMSGSIZE})
"""Errors at which keeping the lines makes no sense."""


class Sink:
    """Lines in, bytes out. ``say`` makes a line of the sink's own (a warning) from its text."""

    def __init__(self, target: Target, say: Callable[[str], bytes], limit: int = LIMIT, reserve: int = RESERVE) -> None:
        self._target = target
        self._say = say
        self._limit = limit
        self._output_limit = limit - reserve
        self._cond = threading.Condition(threading.Lock())
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost_output = 0
        self._lost_own = 0
        self._lost_taken = 0
        """Lines of either kind that were taken to be written and could not be."""
        self._lost_since = ""
        """Why lines were lost since the last report: an error in words; empty: it was too slow."""
        self._idle = False
        self._closing = False
        self._deadline = math.inf
        """When close() stops waiting (monotonic)."""
        self._thread: threading.Thread | None = None
        self.trouble: str | None = None
        """Why nothing can be written at the moment, in words."""

    @property
    def lost(self) -> int:
        """Lines lost and not yet reported."""
        return self._lost_output + self._lost_own + self._lost_taken

    def put(self, line: bytes, *, output: bool = False) -> None:
        """Take one line (with its newline). ``output``: a vassal's, the first to be dropped."""
        with self._cond:
            if self._bytes + len(line) > (self._output_limit if output else self._limit) or self._closing:
                if output:
                    self._lost_output += 1
                else:
                    self._lost_own += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            if self._idle:
                self._idle = False
                self._cond.notify_all()
            elif self._thread is None:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no threads left for this user: the lines wait, the next one tries again
            return
        self._thread = thread

    def close(self, timeout: float = 2.0) -> bool:
        """Write what waits, for ``timeout`` seconds at most; says whether everything was written."""
        with self._cond:
            self._closing = True
            self._deadline = time.monotonic() + timeout
            self._cond.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                return False
        self._target.close()
        return not self._lines and not self.lost

    # -- in the thread

    def _run(self) -> None:
        # Signals are the main thread's: one that arrives here may never be seen there (signalfd(2)).
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            while chunk := self._take():
                self._write(memoryview(chunk))
                self._gather()
        finally:
            with self._cond:
                self._thread = None  # if a bug ended it, the next line starts another

    def _take(self) -> bytes:
        """The next lines, joined; empty: closing, and nothing is left."""
        with self._cond:
            while not self._lines and not self._must_report():
                if self._closing:
                    return b""
                self._idle = True
                self._cond.wait()
            self._idle = False
            if self._must_report():
                self._lines.append(self._report())
        room = self._target.room()
        with self._cond:
            taken: list[bytes] = []
            while self._lines and (not taken or len(self._lines[0]) <= room):
                line = self._lines.popleft()
                taken.append(line)
                room -= len(line)
                self._bytes -= len(line)
        return b"".join(taken)

    def _must_report(self) -> bool:
        return bool(self.lost) and self.trouble is None and self._bytes <= self._limit // 2

    def _report(self) -> bytes:
        why = f"the log could not be written ({self._lost_since})" if self._lost_since else "the log cannot keep up"
        counts = {
            " of vassals' output": self._lost_output,
            " of the Emperor's own": self._lost_own,
            "": self._lost_taken,
        }
        lost = " and ".join(
            f"{count} {'line' if count == 1 else 'lines'}{what}" for what, count in counts.items() if count
        )
        self._lost_output = self._lost_own = self._lost_taken = 0
        self._lost_since = ""
        line = self._say(f"{lost} lost: {why}")
        self._bytes += len(line)
        return line

    def _write(self, data: memoryview) -> None:
        while data:
            try:
                written = self._target.write(data)
            except BlockingIOError:
                self._target.wait()
                if time.monotonic() > self._deadline:
                    return
            except OSError as error:
                self.trouble = error.strerror or os.strerror(error.errno or 0)
                self._lost_since = self.trouble
                if error.errno in _HOPELESS or self._rest():
                    with self._cond:
                        self._lost_taken += bytes(data).count(b"\n")
                    return
            else:
                self.trouble = None
                data = data[written:]
        if not self.lost:
            self._lost_since = ""

    def _gather(self) -> None:
        """Let some lines come together: each waking of this thread takes the interpreter from the loop for a moment."""
        with self._cond:
            self._cond.wait_for(lambda: self._closing, _GATHER)

    def _rest(self) -> bool:
        """Wait before the next try; says whether there is to be none, because the sink is closing."""
        with self._cond:
            return self._cond.wait_for(lambda: self._closing, _RETRY_EVERY)
