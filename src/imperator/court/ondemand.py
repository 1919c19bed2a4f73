"""The listening sockets of on-demand vassals: opened once, kept over every start, watched only while they sleep."""

from __future__ import annotations

import socket
from collections.abc import Callable

from imperator.court.watch import Watch
from imperator.kernel.sockets import open_socket, remove_socket_file
from imperator.reign.events import Event, Knocked, SocketFailed
from imperator.reign.names import VassalName

DEFAULT_MODE = 0o666
"""As the original: any web server of this machine may connect."""


class Doorbell:
    """One listening socket. It rings once, then stays silent until it is armed again."""

    __slots__ = ("address", "armed", "name", "post", "socket", "watch")

    def __init__(self, watch: Watch, post: Callable[[Event], None], name: VassalName, address: str) -> None:
        self.watch = watch
        self.post = post
        self.name = name
        self.address = address
        self.armed = False
        self.socket: socket.socket | None = None

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

    def close(self) -> None:
        self.disarm()
        if self.socket is not None:
            self.socket.close()
            self.socket = None
            remove_socket_file(self.address)


class Doorbells:
    """Every on-demand socket, by vassal."""

    def __init__(self, watch: Watch, post: Callable[[Event], None], backlog: int, mode: int | None) -> None:
        self._watch = watch
        self._post = post
        self._backlog = backlog
        self._mode = DEFAULT_MODE if mode is None else mode
        self._bells: dict[VassalName, Doorbell] = {}

    def open(self, name: VassalName, address: str) -> None:
        """Listen on ``address`` (or go on listening) and ring at the first connection."""
        bell = self._bells.get(name)
        if bell is not None and bell.address != address:
            self.close(name)
            bell = None
        if bell is None:
            bell = Doorbell(self._watch, self._post, name, address)
            try:
                bell.socket = open_socket(address, backlog=self._backlog, mode=self._mode)
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                self._post(SocketFailed(name, reason))
                return
            self._bells[name] = bell
        bell.arm()

    def fd(self, name: VassalName) -> int | None:
        """The socket to hand to a vassal that is started; nobody else accepts from it from now on."""
        bell = self._bells.get(name)
        if bell is None or bell.socket is None:
            return None
        bell.disarm()
        return bell.socket.fileno()

    def close(self, name: VassalName) -> None:
        bell = self._bells.pop(name, None)
        if bell is not None:
            bell.close()

    def close_all(self) -> None:
        for name in list(self._bells):
            self.close(name)
