"""The Emperor's end of the scribe (:mod:`imperator.kernel.scribe`): cuts the vassals' output into lines for the log."""

from __future__ import annotations

import asyncio
import marshal
import os
import socket
from collections.abc import Callable
from pathlib import Path

from imperator.bureau.journal import Journal
from imperator.court.helper import start_helper
from imperator.reign.names import Serial, VassalName

LONGEST_LINE = 8192
"""Bytes of a line of output before it is cut."""

_SCRIPT = Path(__file__).parent.parent / "kernel" / "scribe.py"
_AT_ONCE = 200
"""File descriptors in one message: less than SCM_MAX_FD, unix(7)."""
_MESSAGES_AT_ONCE = 32
"""Messages taken in before the loop may do something else."""


class Transcript:
    """The output of one instance since its last newline."""

    __slots__ = ("name", "partial")

    def __init__(self, name: VassalName) -> None:
        self.name = name
        self.partial = b""

    def take(self, data: bytes, journal: Journal) -> None:
        *lines, rest = (self.partial + data).split(b"\n")
        for line in lines:
            journal.vassal_output(self.name, line[:LONGEST_LINE], len(line) > LONGEST_LINE)
        if len(rest) > LONGEST_LINE:
            journal.vassal_output(self.name, rest[:LONGEST_LINE], True)
            rest = b""
        self.partial = rest

    def finish(self, journal: Journal) -> None:
        if self.partial:
            journal.vassal_output(self.name, self.partial)


class Scribe:
    """One scribe process, and whose output it reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, journal: Journal, say: Callable[[str], None]) -> None:
        """``say`` is called when something is wrong."""
        self._loop = loop
        self._journal = journal
        self._say = say
        self._transcripts: dict[Serial, Transcript] = {}
        self._unsent: dict[Serial, int] = {}
        """Read ends of pipes that the scribe has not been given yet."""
        self._all_said = asyncio.Event()
        self._all_said.set()
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        with theirs:
            self._process = start_helper(_SCRIPT, (theirs.fileno(),))
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._hear)

    def listen(self, serial: Serial, name: VassalName, pipe: int) -> None:
        """Read an instance's output from ``pipe``, which belongs to the scribe from now on."""
        if not self._unsent:
            self._loop.call_soon(self._send)
        self._unsent[serial] = pipe
        self._transcripts[serial] = Transcript(name)
        self._all_said.clear()

    def _send(self) -> None:
        while self._unsent:
            some = dict(list(self._unsent.items())[:_AT_ONCE])
            try:
                socket.send_fds(self._socket, [marshal.dumps(list(some))], list(some.values()))
            except BlockingIOError:
                self._loop.call_later(0.01, self._send)
                return
            except (BrokenPipeError, ConnectionResetError):
                return  # it died: _hear starts another, which is given what is left
            for serial, pipe in some.items():
                os.close(pipe)
                del self._unsent[serial]

    def _hear(self) -> None:
        for _ in range(_MESSAGES_AT_ONCE):
            try:
                message = self._socket.recv(65536)
            except BlockingIOError:
                return
            except ConnectionResetError:
                message = b""
            if not message:
                self._replace()
                return
            self._take(*marshal.loads(message))

    def _take(self, serial: Serial, data: bytes) -> None:
        transcript = self._transcripts.get(serial)
        if transcript is None:
            return
        if data:
            transcript.take(data, self._journal)
        else:
            transcript.finish(self._journal)
            del self._transcripts[serial]
            if not self._transcripts:
                self._all_said.set()

    def _replace(self) -> None:
        self._disconnect()
        waiting = {serial: self._transcripts[serial] for serial in self._unsent}
        for serial, transcript in self._transcripts.items():
            if serial not in waiting:
                transcript.finish(self._journal)
        self._transcripts = waiting
        if not waiting:
            self._all_said.set()
        self._start()
        self._loop.call_soon(self._send)
        self._say("the scribe process died: what the vassals print is lost until each is started again")

    def _disconnect(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._process.wait()

    async def last_words(self, patience: float) -> None:
        """Take in what the last vassals said before they ended; a stranger may hold a pipe open, so not for ever."""
        try:
            await asyncio.wait_for(self._all_said.wait(), patience)
        except TimeoutError:
            self._say(f"{len(self._transcripts)} pipes for output are still held open by somebody")

    def close(self) -> None:
        self._disconnect()
        for pipe in self._unsent.values():
            os.close(pipe)
        for transcript in self._transcripts.values():
            transcript.finish(self._journal)
