"""The Emperor's end of the spawner: sends requests, hears answers, and replaces a spawner that died.

The spawner is :mod:`imperator.kernel.spawner`, a process of its own. Messages are marshalled tuples over a SEQPACKET
socket, file descriptors beside them (SCM_RIGHTS): both ends are the same interpreter, and nobody else has the sockets.

To the spawner: ``("environment", id, variables)`` and ``("spawn", serial, ...)``, see :meth:`Order.message`. From it:
lists of ``(serial, pid, "")`` and ``(serial, -1, why)``. A child that fails before its exec sends ``(serial, why)``
over the reports socket.
"""

from __future__ import annotations

import asyncio
import marshal
import os
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from imperator.court.hardening import Hardening
from imperator.court.helper import start_helper
from imperator.kernel.cgroup import Place
from imperator.kernel.processes import children, holds_one_of

_SCRIPT = Path(__file__).parent.parent / "kernel" / "spawner.py"

EnvironmentId = int


@dataclass(slots=True, kw_only=True)
class Order:
    """One process to make. ``fds`` are lent for the call; each goes to the numbers in ``targets`` beside it."""

    serial: int
    environment: EnvironmentId
    variables: dict[bytes, bytes] = field(default_factory=dict)
    binaries: Sequence[bytes] = ()
    """Tried in this order; empty: only hooks and commands run, then the process ends."""
    arguments: Sequence[bytes] = ()
    directory: bytes = b"/"
    credentials: tuple[int, int, list[int]] | None = None
    fds: Sequence[int] = ()
    targets: Sequence[Sequence[int]] = ()
    before_drop: Sequence[tuple[str, str, str]] = ()
    """Hooks: action, argument, ``file:line``."""
    commands: Sequence[Sequence[bytes]] = ()
    hooks: Sequence[tuple[str, str, str]] = ()
    all_hooks: bool = False
    """One that fails does not keep the next one from running."""
    phase: str = ""
    chdir_at_last: bytes | None = None
    namespaces_of: int | None = None
    namespaces: Sequence[str] = ()
    """Those to enter, as /proc/PID/ns calls them; empty: all that are not the Emperor's."""
    clone_flags: int = 0
    """Flags of clone(2): namespaces of its own."""
    network: dict[str, Any] | None = None
    """What the child does in a network namespace of its own: see ``kernel/interfaces.py``; ``None``: nothing."""
    bounding: Sequence[int] | None = None
    """The only capabilities that it can ever have; ``None``: as the Emperor."""
    tenancy: tuple[bytes, bool] | None = None
    """A tenant's file, looked at after the drop (:mod:`imperator.kernel.tenancy`), and whether its link is meant."""
    bind: tuple[str, int, int] | None = None
    """Listen on this address, with this backlog and mode, and send the socket over fd 3 (SCM_RIGHTS)."""
    remove_socket: str | None = None
    """Remove the file of this address."""
    places: Sequence[Place] = ()
    """Its control group: in each hierarchy a directory, and what is to be written there."""
    hardening: Hardening | None = None
    limits: tuple[int, int] | None = None
    dies_with_emperor: bool = True

    @property
    def special(self) -> bool:
        """Does anything but the usual happen between clone and exec?"""
        return bool(
            self.variables
            or self.credentials
            or self.before_drop
            or self.commands
            or self.hooks
            or self.chdir_at_last
            or self.namespaces_of
            or self.clone_flags
            or self.network is not None
            or self.bounding is not None
            or self.bind is not None
            or self.remove_socket is not None
            or self.places
            or self.hardening is not None
        )

    def message(self) -> bytes:
        special = None
        if self.special:
            special = {
                "variables": self.variables,
                "credentials": self.credentials,
                "before_drop": list(self.before_drop),
                "commands": [list(command) for command in self.commands],
                "hooks": list(self.hooks),
                "phase": self.phase,
                "chdir_at_last": self.chdir_at_last,
                "namespaces_of": self.namespaces_of,
                "namespaces": list(self.namespaces),
                "all_hooks": self.all_hooks,
                "clone_flags": self.clone_flags,
                "network": self.network,
                "tenancy": self.tenancy,
                "bind": self.bind,
                "remove_socket": self.remove_socket,
                "bounding": None if self.bounding is None else list(self.bounding),
                "places": list(self.places),
                "hardening": None if self.hardening is None else self.hardening.message(),
            }
        return marshal.dumps(
            (
                "spawn",
                self.serial,
                self.environment,
                self.directory,
                list(self.binaries),
                list(self.arguments),
                [list(targets) for targets in self.targets],
                self.limits,
                self.dies_with_emperor,
                special,
            )
        )


class Client(Protocol):
    """Who hears what the spawner says."""

    def spawn_succeeded(self, serial: int, pid: int) -> None: ...

    def spawn_failed(self, serial: int, reason: str) -> None: ...

    def child_reported(self, serial: int, reason: str) -> None: ...

    def spawner_replaced(self) -> None:
        """The spawner died and there is a new one."""
        ...


class Spawner:
    """One spawner process and the conversation with it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, client: Client) -> None:
        self._loop = loop
        self._client = client
        self._environments: dict[tuple[tuple[bytes, bytes], ...], EnvironmentId] = {}
        self._asked: dict[int, int] = {}
        """Whose answer is outstanding, and the inode of the first socket that its process is given (0: none)."""
        self._backlog: deque[tuple[bytes, list[int]]] = deque()
        """Messages that did not fit into the socket, with their own copies of the fds."""
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def busy(self) -> bool:
        """An answer is outstanding: there may be a child whose pid is not known yet."""
        return bool(self._asked)

    def _start(self) -> None:
        kind = socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        self._control, control = socket.socketpair(socket.AF_UNIX, kind)
        self._reports, reports = socket.socketpair(socket.AF_UNIX, kind)
        with control, reports:
            self._process = start_helper(_SCRIPT, (control.fileno(), reports.fileno()))
        for sock in (self._control, self._reports):
            sock.setblocking(False)
        self._loop.add_reader(self._control, self._hear)
        self._loop.add_reader(self._reports, self.hear_reports)
        for variables, number in self._environments.items():
            self._send(marshal.dumps(("environment", number, variables)), ())

    def learn_environment(self, variables: Mapping[bytes, bytes]) -> EnvironmentId:
        """Tell the spawner an environment once; orders name it by number."""
        key = tuple(variables.items())
        number = self._environments.get(key)
        if number is None:
            number = self._environments[key] = len(self._environments)
            self._send(marshal.dumps(("environment", number, key)), ())
        return number

    def spawn(self, order: Order) -> None:
        """Ask for a process; exactly one of ``spawn_succeeded`` and ``spawn_failed`` follows."""
        self._asked[order.serial] = os.fstat(order.fds[0]).st_ino if order.fds else 0
        self._send(order.message(), order.fds)

    # -- the conversation

    def _send(self, message: bytes, fds: Sequence[int]) -> None:
        if not self._backlog:
            try:
                self._send_now(message, fds)
                return
            except BlockingIOError:
                self._loop.add_writer(self._control, self._send_backlog)
            except (BrokenPipeError, ConnectionResetError):
                return  # it died: the reader sees that, and says so for whatever was asked
        self._backlog.append((message, [os.dup(fd) for fd in fds]))

    def _send_now(self, message: bytes, fds: Sequence[int]) -> None:
        if fds:
            socket.send_fds(self._control, [message], list(fds))
        else:
            self._control.send(message)

    def _send_backlog(self) -> None:
        try:
            while self._backlog:
                message, fds = self._backlog[0]
                self._send_now(message, fds)
                self._backlog.popleft()
                for fd in fds:
                    os.close(fd)
        except BlockingIOError:
            return
        except (BrokenPipeError, ConnectionResetError):
            pass
        self._loop.remove_writer(self._control)

    def _hear(self) -> None:
        for _ in range(64):
            try:
                data = self._control.recv(65536)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self._replace()
                return
            for serial, pid, reason in marshal.loads(data):
                self._asked.pop(serial, None)
                if pid > 0:
                    self._client.spawn_succeeded(serial, pid)
                else:
                    self._client.spawn_failed(serial, reason)

    def hear_reports(self) -> None:
        """Take in what failing children said; called before an exit status is judged, so the reason is there first."""
        while True:
            try:
                data = self._reports.recv(65536)
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return  # the spawner died; _hear replaces it
            serial, reason = marshal.loads(data)
            self._client.child_reported(serial, reason)

    def _replace(self) -> None:
        """It died (killed by somebody, or out of memory): nothing may be lost by that."""
        self.hear_reports()
        self._disconnect()
        self._process.wait()
        asked, self._asked = self._asked, {}
        made = self._made_in_secret(asked)
        self._start()
        self._client.spawner_replaced()
        for serial in asked:
            if serial in made:
                self._client.spawn_succeeded(serial, made[serial])
            else:
                self._client.spawn_failed(serial, "the spawner process died")

    def _made_in_secret(self, asked: Mapping[int, int]) -> dict[int, int]:
        """Processes that it made before it died, and whose pids it told nobody: known by the socket they were given."""
        serials = {inode: serial for serial, inode in asked.items() if inode}
        if not serials:
            return {}
        holders = ((pid, holds_one_of(pid, serials)) for pid in children())
        return {serials[inode]: pid for pid, inode in holders if inode is not None}

    def _disconnect(self) -> None:
        self._loop.remove_reader(self._control)
        self._loop.remove_writer(self._control)
        self._loop.remove_reader(self._reports)
        self._control.close()
        self._reports.close()
        for _, fds in self._backlog:
            for fd in fds:
                os.close(fd)
        self._backlog.clear()

    def close(self) -> None:
        """End the spawner."""
        self._disconnect()
        self._process.wait()
