"""The listening sockets of on-demand vassals: opened once, kept over every start, watched only while they sleep.

In tyrant mode a socket is bound, and its file removed, by a process that has the rights of the vassal's user and no
others: where somebody else's directory or a port below 1024 is asked for, the kernel says no. Such a socket is not for
everybody either, unless ``chmod-socket`` says so.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from imperator.court.errands import Done, Errands
from imperator.court.recruiter import Recruiter
from imperator.court.watch import Watch
from imperator.kernel.sockets import open_socket, remove_socket_file
from imperator.reign.events import Event, Knocked, SocketFailed
from imperator.reign.names import VassalName

DEFAULT_MODE = 0o666
"""As the original: any web server of this machine may connect."""
DEFAULT_MODE_OF_A_TYRANT = 0o660
LONGEST = 10.0
"""Seconds that binding or removing may take: the directory may be on a file system that does not answer."""

Owner = tuple[int, int]
"""uid, gid."""


@dataclass(frozen=True, slots=True)
class Means:
    """How sockets are opened. ``recruiter`` and ``errands`` make a process with somebody else's rights."""

    recruiter: Recruiter
    errands: Errands
    tyrant: bool
    backlog: int
    mode: int


class Doorbell:
    """One listening socket. It rings once, then stays silent until it is armed again."""

    __slots__ = ("_waiting", "address", "armed", "closed", "name", "owner", "post", "socket", "watch")

    def __init__(
        self, watch: Watch, post: Callable[[Event], None], name: VassalName, address: str, owner: Owner | None
    ) -> None:
        """``owner``: with whose rights the file is made and removed; ``None``: our own."""
        self.watch = watch
        self.post = post
        self.name = name
        self.address = address
        self.owner = owner
        self.armed = False
        self.closed = False
        self.socket: socket.socket | None = None
        """``None``: not open yet."""
        self._waiting: list[Done] = []
        """Starts that came before the socket."""

    def opened(self, sock: socket.socket) -> None:
        self.socket = sock
        if self._waiting:
            self.answer(None)
        else:
            self.arm()

    def answer(self, failure: str | None) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done(failure)

    def once_open(self, done: Done) -> None:
        if self.socket is None:
            self._waiting.append(done)
        else:
            done(None)

    def arm(self) -> None:
        if not self.armed and self.socket is not None:
            self.armed = True
            self.watch.add(self.socket.fileno(), self)

    def disarm(self) -> None:
        if self.armed and self.socket is not None:
            self.armed = False
            self.watch.remove(self.socket.fileno())

    def readable(self, fd: int) -> None:
        self.disarm()
        self.post(Knocked(self.name))

    def close(self) -> bool:
        """Let go of the socket; whether there was one, and so perhaps a file."""
        self.disarm()
        self.closed = True
        if self.socket is None:
            return False
        self.socket.close()
        self.socket = None
        return True


class Doorbells:
    """Every on-demand socket, by vassal."""

    def __init__(
        self, watch: Watch, post: Callable[[Event], None], means: Means, complain: Callable[[str], None]
    ) -> None:
        self._watch = watch
        self._post = post
        self._means = means
        self._complain = complain
        self._bells: dict[VassalName, Doorbell] = {}

    def open(self, name: VassalName, address: str, owner: Owner) -> None:
        """Listen on ``address`` (or go on listening) and ring at the first connection."""
        whose = owner if self._means.tyrant else None
        bell = self._bells.get(name)
        if bell is not None and (bell.address, bell.owner) != (address, whose):
            self.close(name)
            bell = None
        if bell is not None:
            bell.arm()
            return
        bell = self._bells[name] = Doorbell(self._watch, self._post, name, address, whose)
        if whose is not None:
            self._have_bound(bell, whose)
            return
        try:
            bell.opened(open_socket(address, backlog=self._means.backlog, mode=self._means.mode))
        except (OSError, ValueError) as error:
            self._failed(bell, error.strerror if isinstance(error, OSError) and error.strerror else str(error))

    def _failed(self, bell: Doorbell, reason: str) -> None:
        if self._bells.get(bell.name) is bell:
            del self._bells[bell.name]
            self._post(SocketFailed(bell.name, reason))
        bell.answer(reason)

    def _have_bound(self, bell: Doorbell, owner: Owner) -> None:
        """By a process of the owner's: it sends the socket and ends."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        asked = (bell.address, self._means.backlog, self._means.mode, theirs.fileno())

        def done(failure: str | None) -> None:
            with ours:
                if failure is not None:
                    self._failed(bell, f"{failure} (as uid {owner[0]}, gid {owner[1]})")
                    return
                _, fds, _, _ = socket.recv_fds(ours, 1, 1)
            sock = socket.socket(fileno=fds[0])
            sock.setblocking(False)
            if bell.closed:
                sock.close()
                self._remove_file(bell)
                bell.answer("its on-demand socket is not wanted any more")
            else:
                bell.opened(sock)

        with theirs:
            recruiter = self._means.recruiter
            self._means.errands.send(lambda serial: recruiter.socket_order(serial, owner, bind=asked), done, LONGEST)

    def fd(self, name: VassalName) -> int | None:
        """The socket to hand to a vassal that is started; nobody else accepts from it from now on."""
        bell = self._bells.get(name)
        if bell is None or bell.socket is None:
            return None
        bell.disarm()
        return bell.socket.fileno()

    def once_open(self, name: VassalName, done: Done) -> None:
        """Call ``done`` at once, or when the socket that is being opened for this vassal is there, or cannot be."""
        bell = self._bells.get(name)
        if bell is None:
            done(None)
        else:
            bell.once_open(done)

    def close(self, name: VassalName) -> None:
        bell = self._bells.pop(name, None)
        if bell is not None and bell.close():
            self._remove_file(bell)

    def _remove_file(self, bell: Doorbell) -> None:
        if bell.owner is None:
            try:
                remove_socket_file(bell.address)
            except OSError as error:
                self._complain(f"the socket {bell.address} is left behind: {error.strerror} for uid {os.geteuid()}")
            return

        def done(failure: str | None) -> None:
            if failure is not None:
                self._complain(f"the socket {bell.address} is left behind: {failure}")

        recruiter, owner = self._means.recruiter, bell.owner
        self._means.errands.send(
            lambda serial: recruiter.socket_order(serial, owner, remove=bell.address), done, LONGEST
        )

    def close_all(self) -> None:
        for name in list(self._bells):
            self.close(name)
