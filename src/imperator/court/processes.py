"""The instances that are alive: their pids and their emperor fds. One object a process.

It turns what the kernel says into events, and carries out what the reign wants sent. It decides nothing.

A pid is only ever used for a child of ours that has not been reaped, and the kernel gives no such number to anybody
else; whoever watches on behalf of others (the guardian) is given a pidfd.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from signal import SIGKILL, SIGTERM

from imperator.court.background import Background
from imperator.court.cgroups import Groups
from imperator.court.guardian import Guardian
from imperator.court.networks import Connection
from imperator.court.watch import Watch
from imperator.kernel.background import command_of
from imperator.kernel.processes import ignores_as_init, kill_group, reap, send_signal
from imperator.reign.events import Event, Exited, FellSilent, Received, Spawned
from imperator.reign.names import Serial, VassalName
from imperator.reign.protocol import LONGEST_OWN_CONFIG, config_packet

_SILENCE = 0.5
"""Seconds between the end of the emperor fd's stream and the conclusion that the vassal, alive, closed it."""
_MOST_UNSENT = 4 * LONGEST_OWN_CONFIG
"""Bytes of configurations that wait for a vassal to read them, until it counts as one that does not."""


class Process:
    """One instance. ``pid`` is -1 until it is known, file descriptors are -1 where there is none (any more)."""

    __slots__ = (
        "config", "emperor", "inode", "name", "network", "pid", "processes", "serial", "signalled", "spoke", "unsent",
    )  # fmt: skip

    def __init__(
        self,
        processes: Processes,
        serial: Serial,
        name: VassalName,
        emperor: int,
        config: int,
        inode: int,
        network: Connection | None,
    ) -> None:
        self.processes = processes
        self.serial = serial
        self.name = name
        self.pid = -1
        self.emperor = emperor
        self.config = config
        self.inode = inode
        """Of its own end of the emperor fd."""
        self.spoke = self.signalled = False
        self.unsent = b""
        """What there is no room for in the socket of the configuration yet."""
        self.network = network

    def readable(self, fd: int) -> None:
        """Take in all bytes that are there; at the end of the stream, close."""
        if self.read_emperor() and self.emperor >= 0:
            self.close_emperor()
            self.processes.fell_silent(self)

    def read_emperor(self) -> bool:
        """Take in all bytes that are there; says whether the stream has ended."""
        if self.emperor < 0:
            return False
        try:
            data = os.read(self.emperor, 4096)
        except BlockingIOError:
            return False
        except OSError:  # ECONNRESET: it died with our bytes unread
            data = b""
        post = self.processes.post
        self.spoke = self.spoke or bool(data)
        for byte in data:
            post(Received(self.serial, byte))
        return not data

    def close_emperor(self) -> None:
        if self.emperor >= 0:
            self.processes.watch.remove(self.emperor)
            os.close(self.emperor)
            self.emperor = -1

    def send(self, byte: int) -> None:
        if self.emperor >= 0:
            try:
                os.write(self.emperor, bytes((byte,)))
                return
            except BlockingIOError:
                pass  # it has left thousands of bytes unread: it does not listen
            except OSError:  # EPIPE, ECONNRESET
                self.close_emperor()
        self.processes.post(FellSilent(self.serial))

    def send_config(self, config: bytes) -> None:
        """Send it, as fast as it is read: the socket holds only a part of a long one."""
        if self.config < 0:
            return
        waiting = bool(self.unsent)
        self.unsent += config_packet(config)
        if len(self.unsent) > _MOST_UNSENT:
            self._give_up_config()
        elif not waiting:
            self._send_rest()
            if self.unsent:
                self.processes.loop.add_writer(self.config, self._send_rest)

    def _send_rest(self) -> None:
        try:
            self.unsent = self.unsent[os.write(self.config, self.unsent) :]
        except BlockingIOError:
            return
        except OSError:  # EPIPE, ECONNRESET
            self._give_up_config()
            return
        if not self.unsent:
            self.processes.loop.remove_writer(self.config)

    def _give_up_config(self) -> None:
        self.processes.loop.remove_writer(self.config)
        self.unsent = b""
        self.processes.post(FellSilent(self.serial))

    def close(self) -> None:
        self.close_emperor()
        if self.config >= 0:
            self.processes.loop.remove_writer(self.config)
            os.close(self.config)
            self.config = -1
        if self.network is not None:
            self.network.end()
            self.network = None


class Processes:
    """Every instance, by its serial."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        watch: Watch,
        post: Callable[[Event], None],
        hear_reports: Callable[[], None],
        guardian: Guardian,
        complain: Callable[[str], None],
        groups: Groups | None,
    ) -> None:
        self.loop = loop
        self.watch = watch
        self.post = post
        self._hear_reports = hear_reports
        self._guardian = guardian
        self._complain = complain
        self._background = Background(loop, post)
        self._groups = groups
        self._by_serial: dict[Serial, Process] = {}
        self._by_pid: dict[int, Process] = {}

    def __len__(self) -> int:
        return len(self._by_serial)

    def expect(
        self,
        serial: Serial,
        name: VassalName,
        emperor: int,
        config: int,
        inode: int,
        network: Connection | None = None,
    ) -> Process:
        """A process was asked for: these are our ends of its file descriptors, from now on owned here."""
        process = Process(self, serial, name, emperor, config, inode, network)
        self._by_serial[serial] = process
        self.watch.add(emperor, process)
        return process

    def started(self, serial: Serial, pid: int) -> None:
        process = self._by_serial[serial]
        process.pid = pid
        self._by_pid[pid] = process
        self._guardian.guard(pid)
        self.post(Spawned(serial, pid))

    def failed(self, serial: Serial) -> None:
        """It never came to be."""
        process = self._by_serial.pop(serial, None)
        if process is not None:
            process.close()
        if self._groups is not None:
            self._groups.forget(serial)

    def get(self, serial: Serial) -> Process | None:
        return self._by_serial.get(serial)

    def by_pid(self, pid: int) -> Process | None:
        return self._by_pid.get(pid)

    def networks(self) -> dict[VassalName, str | None]:
        """The address of each that has a network of its own; ``None``: it has, but only ``lo``."""
        return {
            process.name: None if process.network.address is None else str(process.network.address)
            for process in self._by_serial.values()
            if process.network is not None
        }

    def pids(self) -> Iterable[int]:
        return self._by_pid

    def signal(self, serial: Serial, number: int) -> None:
        """Signal an instance: SIGKILL its whole process group (or control group), anything else its first process.

        SIGTERM to one that is process 1 of its namespace, and that has no handler, would be lost, where it ends
        everybody else: such a one is killed at once.
        """
        process = self._by_serial.get(serial)
        if process is None or process.pid < 0:
            return
        process.signalled = True
        if number == SIGKILL and self._groups is not None:
            self._groups.kill(serial)
        self._send(process, number)

    def _send(self, process: Process, number: int) -> None:
        try:
            if number == SIGKILL or (number == SIGTERM and ignores_as_init(process.pid, number)):
                kill_group(process.pid)
            else:
                send_signal(process.pid, number)
        except PermissionError as error:
            self._complain(f"{process.name} (pid {process.pid}) cannot be signalled: {error.strerror}")

    def ended(self, process: Process) -> None:
        """It has ended and is not reaped yet. What it said last comes before the news of its end."""
        held = not process.read_emperor() and process.emperor >= 0
        program = command_of(process.pid)
        # Its workers must not linger on its sockets: the zombie still holds the group's number, so this is safe.
        self._send(process, SIGKILL)
        ending = reap(process.pid)
        if ending is None:
            return
        self._hear_reports()
        process.read_emperor()
        left = -1
        if held and ending.code == 0 and not process.spoke and not process.signalled:
            left = os.dup(process.emperor)
        del self._by_serial[process.serial]
        del self._by_pid[process.pid]
        self._guardian.forget(process.pid)
        process.close()

        def gone(reason: str | None) -> None:
            self.post(Exited(process.serial, ending.code, ending.signal, reason))
            if left >= 0:
                self._background.left(process.name, program, left, process.inode)

        if self._groups is None:
            gone(None)
        else:  # what it has left behind ends before it counts as ended
            self._groups.clear_out(process.serial, ending.signal, gone)

    def fell_silent(self, process: Process) -> None:
        """It closed its end. Most often it is dying, and SIGCHLD says so in a moment: only a lasting silence counts."""
        self.loop.call_later(_SILENCE, self._still_silent, process)

    def _still_silent(self, process: Process) -> None:
        if self._by_serial.get(process.serial) is process:
            self.post(FellSilent(process.serial))

    def close(self) -> None:
        """The Emperor ends: nobody is left in the background."""
        self._background.close()
