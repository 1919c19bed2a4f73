"""Makes the spawner's orders: what a vassal's process is given, from its fds to its last directory.

The order of things between clone and exec is the original's (reference: "Vassal life" in the manual's terms).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imperator.config.hook import Hook
from imperator.config.settings import EmperorSettings
from imperator.config.variables import ATTRIBUTES, MONITOR
from imperator.court.binary import Binary, is_imperator
from imperator.court.confinement import Confinement
from imperator.court.environment import Environment
from imperator.court.networks import Connection, Networks
from imperator.court.spawner import EnvironmentId, Order, Spawner
from imperator.kernel.cgroup import Place
from imperator.kernel.credentials import groups_of
from imperator.reign.arguments import Livery
from imperator.reign.names import Serial, SourceName
from imperator.reign.wanted import Wanted

EMPEROR_FD = 3
CONFIG_FD = 4
MOST_ATTRIBUTES = 64 * 1024
"""Bytes of attributes that a process can be told: an order holds twice as much in all, and execve(2) one variable."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The Emperor's ends of what it shares with a new process; -1 where there is none."""

    emperor: int
    config: int
    output: int
    inode: int
    """Of the vassal's end of the emperor fd."""
    network: Connection | None
    """Its own network; to be ended with it."""


class Recruiter:
    """Turns a wanted vassal into an order and the Emperor's ends of its file descriptors."""

    def __init__(
        self,
        spawner: Spawner,
        settings: EmperorSettings,
        livery: Livery,
        binary: Binary,
        environment: Environment,
        limits: tuple[int, int],
        confinement: Confinement,
        networks: Networks | None,
    ) -> None:
        self._networks = networks
        self._confinement = confinement
        self._spawner = spawner
        self._settings = settings
        self._livery = livery
        self._binary = binary
        self._environment = environment
        self._known: dict[tuple[bool, bool, SourceName | None], EnvironmentId] = {}
        self._for_hooks = spawner.learn_environment(environment.common)
        self._limits = limits

    def _environment_of(self, wanted: Wanted, binaries: Sequence[str]) -> EnvironmentId:
        """Most vassals share one; whoever has a config fd, or is our own uwsgi, or Imperator, has more in it."""
        reload_path = self._binary.reload_path if binaries[0] == self._binary.path else None
        monitor = wanted.source if any(map(is_imperator, binaries)) else None
        kind = (reload_path is not None, wanted.config is not None, monitor)
        number = self._known.get(kind)
        if number is None:
            variables = dict(self._environment.common)
            if reload_path is not None:
                variables.setdefault(b"UWSGI_BINARY_PATH", os.fsencode(reload_path))
            variables[b"UWSGI_EMPEROR_FD"] = b"%d" % EMPEROR_FD
            if wanted.config is not None:
                variables[b"UWSGI_EMPEROR_FD_CONFIG"] = b"%d" % CONFIG_FD
            if monitor is not None:
                variables[os.fsencode(MONITOR)] = os.fsencode(monitor)
            number = self._known[kind] = self._spawner.learn_environment(variables)
        return number

    def recruit(
        self,
        serial: Serial,
        wanted: Wanted,
        listening: int | None,
        expect: Callable[[Ends], object],
        places: Sequence[Place],
    ) -> None:
        """Ask for a vassal's process. Nothing is left of it if this fails.

        Raises OSError if its file descriptors cannot be made, PoolError if there is no address for it.
        """
        ours: list[int] = []
        theirs: list[tuple[int, tuple[int, ...]]] = []
        lent: list[int] = []
        network: Connection | None = None
        try:
            emperor, child = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            child.setblocking(True)
            ours.append(emperor.detach())
            lent.append(child.detach())
            theirs.append((lent[-1], (EMPEROR_FD,)))
            config = output = -1
            if wanted.config is not None:
                here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                here.setblocking(False)
                config = here.detach()
                ours.append(config)
                lent.append(there.detach())
                theirs.append((lent[-1], (CONFIG_FD,)))
            if self._settings.vassal_log == "prefix":
                output, write_end = os.pipe2(os.O_CLOEXEC)
                os.set_blocking(output, False)
                ours.append(output)
                lent.append(write_end)
                theirs.append((write_end, (1, 2)))
            if listening is not None:
                theirs.append((listening, (0,)))
            if self._networks is not None:
                network = self._networks.connect(serial, wanted.name)
            order = self._order(serial, wanted, theirs, places, network)
        except BaseException:
            for fd in ours + lent:
                os.close(fd)
            if network is not None:
                network.end()
            raise
        expect(Ends(ours[0], config, output, os.fstat(lent[0]).st_ino, network))
        self._spawner.spawn(order)
        for fd in lent:
            os.close(fd)

    def _order(
        self,
        serial: Serial,
        wanted: Wanted,
        theirs: list[tuple[int, tuple[int, ...]]],
        places: Sequence[Place],
        network: Connection | None,
    ) -> Order:
        settings = self._settings
        variables = self._environment.own(wanted.name, wanted.directory)
        if network is not None:
            variables |= network.variables
        commands: list[list[bytes]] = []
        if settings.vassals_start_hook is not None:
            variables[b"UWSGI_VASSALS_DIR"] = os.fsencode(wanted.directory)
            commands.append([os.fsencode(settings.vassals_start_hook), os.fsencode(wanted.name)])
        binaries = self._livery.binaries(wanted)
        if wanted.attributes and any(map(is_imperator, binaries)):
            attributes = json.dumps(dict(wanted.attributes)).encode()
            if len(attributes) <= MOST_ATTRIBUTES:
                variables[os.fsencode(ATTRIBUTES)] = attributes
        chdir = wanted.attributes.get(settings.emperor_chdir_attr) if settings.emperor_chdir_attr else None
        return Order(
            serial=serial,
            environment=self._environment_of(wanted, binaries),
            variables=variables,
            binaries=[os.fsencode(binary) for binary in binaries],
            arguments=[os.fsencode(argument) for argument in self._livery.arguments(wanted)],
            directory=os.fsencode(wanted.directory),
            credentials=self._credentials(wanted),
            tenancy=self._tenancy(wanted),
            fds=[fd for fd, _ in theirs],
            targets=[targets for _, targets in theirs],
            before_drop=told(settings.hook_as_vassal_before_drop),
            commands=commands,
            hooks=told(settings.hook_as_vassal),
            phase="as-vassal",
            chdir_at_last=None if chdir is None else os.fsencode(chdir),
            clone_flags=self._confinement.namespaces,
            bounding=None if self._confinement.bounding is None else sorted(self._confinement.bounding),
            network=None if network is None else network.special,
            limits=self._limits,
            places=places,
            hardening=self._confinement.hardening,
        )

    def _credentials(self, wanted: Wanted) -> tuple[int, int, list[int]] | None:
        if not self._settings.emperor_tyrant:
            return None
        groups = groups_of(wanted.uid, wanted.gid) if self._settings.emperor_tyrant_initgroups else []
        return wanted.uid, wanted.gid, groups

    def _tenancy(self, wanted: Wanted) -> tuple[bytes, bool] | None:
        """The file that has to belong to the vassal's user, if it is in a file."""
        if not self._settings.emperor_tyrant or wanted.config is not None:
            return None
        return os.fsencode(wanted.name), self._settings.emperor_tyrant_nofollow or self._settings.emperor_nofollow

    def hooks_order(
        self,
        serial: int,
        wanted: Wanted,
        hooks: tuple[Hook, ...],
        phase: str,
        *,
        pid: int | None = None,
        command: str | None = None,
        namespaces: Sequence[str] | None = None,
    ) -> Order:
        """An order for a process that only runs hooks, as the Emperor, and ends.

        ``namespaces``: it enters these of ``pid`` first, or with an empty one all that differ.
        """
        variables = {
            b"UWSGI_VASSAL_CONFIG": os.fsencode(wanted.name),
            b"UWSGI_HOOK_CONTEXT": os.fsencode(wanted.name),
            b"UWSGI_VASSAL_UID": b"%d" % wanted.uid,
            b"UWSGI_VASSAL_GID": b"%d" % wanted.gid,
            b"UWSGI_VASSALS_DIR": os.fsencode(wanted.directory),
        }
        if pid is not None:
            variables[b"UWSGI_VASSAL_PID"] = b"%d" % pid
        return Order(
            serial=serial,
            environment=self._for_hooks,
            variables=variables,
            directory=os.fsencode(wanted.directory),
            commands=[] if command is None else [[os.fsencode(command), os.fsencode(wanted.name)]],
            hooks=told(hooks),
            phase=phase,
            limits=self._limits,
            all_hooks=True,
            namespaces_of=None if namespaces is None else pid,
            namespaces=namespaces or (),
            dies_with_emperor=False,
        )

    def socket_order(
        self,
        serial: int,
        owner: tuple[int, int],
        *,
        bind: tuple[str, int, int, int] | None = None,
        remove: str | None = None,
    ) -> Order:
        """An order for a process that, as ``owner``, listens on an address, or removes the file of one, and ends.

        ``bind``: the address, its backlog and mode, and the socket over which ours is sent.
        """
        return Order(
            serial=serial,
            environment=self._for_hooks,
            directory=os.fsencode(os.getcwd()),
            credentials=(*owner, []),
            fds=[] if bind is None else [bind[3]],
            targets=[] if bind is None else [(3,)],
            bind=None if bind is None else bind[:3],
            remove_socket=remove,
            limits=self._limits,
        )


def told(hooks: tuple[Hook, ...]) -> list[tuple[str, str, str]]:
    return [(hook.action, hook.argument, hook.where) for hook in hooks]
