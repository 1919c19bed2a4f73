"""The Emperor's end of the guardian (:mod:`imperator.kernel.guardian`): tells it whom to kill when we are gone.

New processes are told together, once per turn of the loop. A guardian that dies is replaced and told everything again.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path

from imperator.court.helper import start_helper

_SCRIPT = Path(__file__).parent.parent / "kernel" / "guardian.py"
_AT_ONCE = 64
"""pidfds in one message: less than SCM_MAX_FD, unix(7), and not too many to have open for a moment."""


class Guardian:
    """One guardian process."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        everyone: Callable[[], Iterable[int]],
        say: Callable[[str], None],
        groups: Sequence[str],
    ) -> None:
        """``everyone``: the pids of all that live; ``say`` is called when something is wrong; ``groups``: the
        directories of the control groups that all vassals are below.
        """
        self._loop = loop
        self._everyone = everyone
        self._say = say
        self._groups = list(groups)
        self._untold: set[int] = set()
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> None:
        self._lifeline, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            self._process = start_helper(_SCRIPT, (theirs.fileno(),))
        self._lifeline.send(marshal.dumps({"groups": self._groups}))
        self._lifeline.setblocking(False)
        self._loop.add_reader(self._lifeline, self._died)

    def guard(self, pid: int) -> None:
        """Kill this child of ours when we are gone."""
        if not self._untold:
            self._loop.call_soon(self._tell)
        self._untold.add(pid)

    def forget(self, pid: int) -> None:
        """It has ended and was reaped: the number means nothing any more."""
        self._untold.discard(pid)

    def _tell(self) -> None:
        while self._untold:
            pids = list(islice(self._untold, _AT_ONCE))
            pidfds: list[int] = []
            try:
                pidfds += map(os.pidfd_open, pids)
                socket.send_fds(self._lifeline, [marshal.dumps(pids)], pidfds)
            except BlockingIOError:
                self._loop.call_later(0.01, self._tell)
                return
            except (BrokenPipeError, ConnectionResetError):
                return  # it died: _died tells the next one everything
            except OSError as error:  # EMFILE: some of them, sooner or later
                self._cannot_tell(error)
                return
            finally:
                for pidfd in pidfds:
                    os.close(pidfd)
            self._untold.difference_update(pids)

    def _cannot_tell(self, error: OSError) -> None:
        self._say(f"{len(self._untold)} processes are not guarded yet: {error.strerror}")
        self._loop.call_later(1.0, self._tell)

    def _died(self) -> None:
        self._disconnect()
        self._start()
        self._untold = set(self._everyone())
        self._loop.call_soon(self._tell)
        self._say("the guardian process died; there is a new one, no vassal was touched")

    def _disconnect(self) -> None:
        self._loop.remove_reader(self._lifeline)
        self._lifeline.close()
        self._process.wait()

    def close(self) -> None:
        """Let it go; whatever it still guards, it kills first."""
        self._tell()
        self._disconnect()
