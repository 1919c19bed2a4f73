"""The Emperor's end of the engineer (:mod:`imperator.kernel.engineer`): tells it who has ended, and replaces it.

It is started while the Emperor still has root's rights, and waited for: a bridge that cannot be had is a reason not to
start. One that dies later is replaced, and nobody is unplugged by that.
"""

from __future__ import annotations

import asyncio
import json
import marshal
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path

from imperator.court.helper import start_helper
from imperator.kernel.bridge import Plan

Say = Callable[[str], None]

_SCRIPT = Path(__file__).parent.parent / "kernel" / "engineer.py"
_PATIENCE = 30.0
"""Seconds that it may take to build the bridge."""
_NEXT_TRY = 5.0
"""Seconds until it is started again where it could not build the bridge."""


class Engineer:
    """One engineer process: :meth:`start` it, then :meth:`attach` it to the loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._backlog: deque[bytes] = deque()
        """What did not fit into the socket, or came while there was no engineer."""
        self.bridge = 0
        """Index of the bridge's interface."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._say: Say = lambda text: None
        self._again: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self) -> str:
        """Build the bridge; returns why there is no way to the outside, or nothing. Raises OSError."""
        self._launch()
        self._socket.settimeout(_PATIENCE)
        try:
            data = self._socket.recv(65536)
            what, index, text = (
                marshal.loads(data) if data else ("refused", 0, "the process that builds it ended at once")
            )
        except (TimeoutError, ConnectionResetError):
            what, index, text = "refused", 0, f"the process that builds it did not answer within {_PATIENCE:g} s"
        if what != "ready":
            self.close()
            raise OSError(0, str(text))
        self._socket.setblocking(False)
        self.bridge = index
        return str(text)

    def _launch(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        plan = {"name": self._plan.name, "network": str(self._plan.network)}
        paths = [path for path in sys.path if os.path.isabs(path)]
        with theirs:
            self._process = start_helper(_SCRIPT, (theirs.fileno(),), str(os.getpid()), json.dumps(plan), *paths)

    def attach(self, loop: asyncio.AbstractEventLoop, say: Say) -> None:
        """Hear it from now on. ``say`` is called when something is wrong."""
        self._loop = loop
        self._say = say
        loop.add_reader(self._socket, self._hear)

    def unplug(self, name: str) -> None:
        """The instance with this interface has ended."""
        message = marshal.dumps(name)
        if not self._backlog:
            try:
                self._socket.send(message)
                return
            except BlockingIOError:
                if self._loop is not None:
                    self._loop.add_writer(self._socket, self._send_backlog)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it died: the next one is told
        self._backlog.append(message)

    def _send_backlog(self) -> None:
        assert self._loop is not None
        try:
            while self._backlog:
                self._socket.send(self._backlog[0])
                self._backlog.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._socket, self._send_backlog)
            return
        except (BrokenPipeError, ConnectionResetError):
            pass
        self._loop.remove_writer(self._socket)

    def _hear(self) -> None:
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._replace()
            return
        what, index, text = marshal.loads(data)
        if what == "refused":
            self._say(f"vassal-net: the bridge {self._plan.name} cannot be had: {text}")
        elif what == "trouble":
            self._say(f"vassal-net: {text}")
        else:
            self.bridge = index
            if text:
                self._say(f"vassal-net: there is no way out: {text}")
            self._send_backlog()

    def _replace(self) -> None:
        self._disconnect()
        self._say("the engineer process (vassal-net) died; a new one is started, no vassal was touched")
        self._launch_again()

    def _launch_again(self) -> None:
        assert self._loop is not None
        try:
            self._launch()
        except OSError as error:
            self._say(f"the engineer process cannot be started: {error.strerror}")
            self._again = self._loop.call_later(_NEXT_TRY, self._launch_again)
            return
        self._socket.setblocking(False)
        # Not heard at once: where it cannot have the bridge it ends again, and would be started without a pause.
        self._again = self._loop.call_later(_NEXT_TRY, self._loop.add_reader, self._socket, self._hear)

    def _disconnect(self) -> None:
        if self._loop is not None and self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self._socket.close()
        self._process.wait()

    def close(self) -> None:
        """Take the bridge away."""
        if self._again is not None:
            self._again.cancel()
        self._disconnect()
