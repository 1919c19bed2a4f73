"""Where puppets appear: the test's end of every vassal that runs ``puppet.py``. Everything is awaited."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

PATIENCE = 20.0
"""Seconds that anything may take on a machine under load before a test gives up."""

CONFIG_FLAGS = ("--ini", "--xml", "--yaml", "--json", "--toml", "--config")

_SCRIPT = Path(__file__).with_name("puppet.py")


class Puppet:
    """One vassal process. What it was given is in ``given``."""

    def __init__(self, connection: socket.socket, given: dict[str, Any], pid: int) -> None:
        """``pid``: the number that it has for us, whatever it has in its own namespace."""
        self._connection = connection
        self._heard: deque[dict[str, Any]] = deque()
        self.given = given
        self.pid = pid
        self.argv: list[str] = given["argv"]
        self.environ: dict[str, str] = given["environ"]
        self.fds = {int(number): target for number, target in given["fds"].items()}

    @property
    def name(self) -> str:
        """The vassal's name, as its arguments say."""
        for flag, value in itertools.pairwise(self.argv):
            if flag in CONFIG_FLAGS:
                return value.removeprefix("emperor://")
        return ""

    # -- orders

    def _order(self, **what: object) -> None:
        self._connection.send(json.dumps(what).encode())

    def say(self, *bytes_: int) -> None:
        """Send bytes to the Emperor."""
        self._do(say=bytes_)

    def exit(self, code: int) -> None:
        """End with an exit code, and be gone when this returns."""
        self._order(exit=code)
        self.expect_gone()

    def kill(self, number: int) -> None:
        """Be killed by a signal from outside, and be gone when this returns."""
        os.kill(self.pid, number)
        self.expect_gone()

    def catch(self, number: int) -> None:
        """Report this signal instead of dying of it."""
        self._do(catch=number)

    def ignore(self, number: int) -> None:
        self._do(ignore=number)

    def stay(self) -> None:
        """Do not end when the Emperor says so."""
        self._do(stay=True)

    def print(self, text: str) -> None:
        self._do(print=text)

    def hang_up(self) -> None:
        """Close its emperor fd."""
        self._do(hang_up=True)

    def flood(self, fd: int) -> None:
        """Have a child that writes to one of its file descriptors without end."""
        self._do(flood=fd)

    def become(self, uid: int) -> None:
        """Change to another user, as a ``uid`` option has it."""
        self._do(become=uid)

    def fork(self, new_session: bool = False) -> int:
        """Have a child that sleeps for ever; returns its pid."""
        self._order(fork=new_session)
        pid = int(self._expect("forked"))
        self._expect("done")
        return pid

    def evaluate(self, code: str) -> str:
        """The value of an expression in its process, as text; of one that fails the name of the error (``EPERM``)."""
        self._order(evaluate=code)
        value = str(self._expect("value"))
        self._expect("done")
        return value

    def daemon(self) -> int:
        """Have a process in the background that has left its parent, group and session; returns its pid."""
        self._order(daemon=True)
        pid = int(self._expect("daemon"))
        self._expect("done")
        return pid

    def serve(self, answer: bytes) -> int:
        """Answer one connection to the socket that is fd 0; returns how many were answered."""
        self._order(serve=answer.decode("latin-1"))
        served = int(self._expect("served"))
        self._expect("done")
        return served

    def orphan(self) -> int:
        """Leave a process behind that ends at once; returns its pid (in the vassal's namespace)."""
        self._order(orphan=True)
        pid = int(self._expect("orphaned"))
        self._expect("done")
        return pid

    def run(self, *argv: str) -> None:
        """Become another program."""
        self._order(run=argv)

    def next_config(self) -> str:
        """The next configuration on the config fd."""
        self._order(config=True)
        config = str(self._expect("config"))
        self._expect("done")
        return config

    def _do(self, **what: object) -> None:
        self._order(**what)
        self._expect("done")

    # -- what happens to it

    def expect_byte(self, timeout: float = PATIENCE) -> int:
        """The next byte on its emperor fd."""
        return int(self._expect("byte", timeout))

    def expect_signal(self, timeout: float = PATIENCE) -> int:
        """The next signal that it catches."""
        return int(self._expect("signal", timeout))

    def expect_end_of_stream(self, timeout: float = PATIENCE) -> None:
        """The Emperor closed the emperor fd."""
        self._expect("end", timeout)

    def heard(self, key: str) -> bool:
        """Whether something of this kind was heard and not asked for yet."""
        return any(key in message for message in self._heard)

    def expect_gone(self, timeout: float = PATIENCE) -> None:
        """The process (and whoever shares its connection) has ended."""
        deadline = time.monotonic() + timeout
        while True:
            message = self._receive(deadline)
            if message is None:
                return
            self._heard.append(message)

    def nothing_heard(self, seconds: float) -> None:
        """For what must *not* happen: no byte, no signal, no end within this time."""
        deadline = time.monotonic() + seconds
        try:
            message = self._heard.popleft() if self._heard else self._receive(deadline)
        except TimeoutError:
            return
        raise AssertionError(f"{self.name}: unexpected: {message}")

    @property
    def alive(self) -> bool:
        """Its process is there, and no zombie."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    def _expect(self, key: str, timeout: float = PATIENCE) -> Any:
        """The next message with this key; others stay for later."""
        for message in self._heard:
            if key in message:
                self._heard.remove(message)
                return message[key]
        deadline = time.monotonic() + timeout
        while True:
            reply = self._receive(deadline)
            if reply is None:
                raise AssertionError(f"{self.name} (pid {self.pid}) ended while its test waited for: {key}")
            if key in reply:
                return reply[key]
            self._heard.append(reply)

    def _receive(self, deadline: float) -> dict[str, Any] | None:
        self._connection.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            data = self._connection.recv(1 << 20)
        except ConnectionResetError:
            return None
        except TimeoutError:
            heard = ", ".join(map(str, self._heard)) or "nothing"
            raise TimeoutError(f"{self.name} (pid {self.pid}): waited in vain; heard otherwise: {heard}") from None
        return json.loads(data) if data else None


class Stage:
    """Listens for puppets. ``binary`` is the program to give as ``--binary-path``; any user may execute it."""

    def __init__(self, directory: Path) -> None:
        # A file and no abstract address: that would be of one network namespace only.
        self.address = str(directory / "stage")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.bind(self.address)
        os.chmod(self.address, 0o777)
        self._socket.listen(4096)
        self.binary = directory / "puppet"
        # The real interpreter and not the virtual environment's: that may be in a place that only we may enter.
        self.binary.write_text(f"#!{os.path.realpath(sys.executable)} -IS\n" + _SCRIPT.read_text())
        self.binary.chmod(0o755)
        self._waiting: list[Puppet] = []
        self.all: list[Puppet] = []
        """Everybody who has appeared."""

    def next(self, name: str | None = None, timeout: float = PATIENCE) -> Puppet:
        """The next puppet that appears, or the next with this name."""
        deadline = time.monotonic() + timeout
        while True:
            for puppet in self._waiting:
                if name in (None, puppet.name):
                    self._waiting.remove(puppet)
                    return puppet
            if not self._accept(deadline):
                raise TimeoutError(f"no vassal called {name!r} appeared; others: {[p.name for p in self._waiting]}")

    def next_of(self, *names: str) -> list[Puppet]:
        """One puppet of each name, in any order of appearance."""
        return [self.next(name) for name in names]

    def nobody_appears(self, seconds: float, name: str | None = None) -> None:
        """For what must *not* happen."""
        try:
            puppet = self.next(name, seconds)
        except TimeoutError:
            return
        raise AssertionError(f"{puppet.name} appeared (pid {puppet.pid})")

    def _accept(self, deadline: float) -> bool:
        if not select.select([self._socket], (), (), max(deadline - time.monotonic(), 0.0))[0]:
            return False
        connection, _ = self._socket.accept()
        connection.settimeout(PATIENCE)
        try:
            hello = connection.recv(1 << 20)
        except ConnectionResetError:
            hello = b""
        if not hello:  # it died before it could say who it is
            connection.close()
            return True
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        puppet = Puppet(connection, json.loads(hello)["hello"], struct.unpack("3i", credentials)[0])
        self._waiting.append(puppet)
        self.all.append(puppet)
        return True

    def close(self) -> None:
        self._socket.close()
        for puppet in self.all:
            puppet._connection.close()


def have(program: str) -> bool:
    return shutil.which(program) is not None
