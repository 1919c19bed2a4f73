"""The Emperor's own sockets: opened here, or handed over by systemd (socket activation).

A socket of systemd's is taken for the option whose address it has, or by its name (``FileDescriptorName=stats`` or
``command``) where no address is configured.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from imperator.kernel.sockets import give_away_socket_file, open_socket, parse_address, remove_socket_file
from imperator.reign.effects import Severity
from imperator.reign.names import VassalName

Say = Callable[[Severity, str, str, VassalName | None], None]


@dataclass(slots=True)
class OpenedSocket:
    """A bound socket, and the address whose file is ours to remove (``None``: systemd's own)."""

    socket: socket.socket
    address: str | None

    def give_to(self, uid: int | None, gid: int | None) -> None:
        """The Emperor is about to become another user, who has to be able to remove the file. Raises OSError."""
        path = None if self.address is None else parse_address(self.address).path
        if path is not None:
            give_away_socket_file(path, -1 if uid is None else uid, -1 if gid is None else gid)

    def remove_file(self, say: Say) -> None:
        if self.address is None:
            return
        try:
            remove_socket_file(self.address)
        except OSError as error:
            text = f"the socket {self.address} is left behind: {error.strerror} for uid {os.geteuid()}"
            say(Severity.WARNING, "socket", text, None)


class InheritedSockets:
    """What systemd handed over, until somebody takes it."""

    def __init__(self, found: list[tuple[str, socket.socket]]) -> None:
        self._left = found

    def take(self, name: str, address: str | None, kind: socket.SocketKind) -> socket.socket | None:
        for index, (own_name, sock) in enumerate(self._left):
            matches = own_name == name if address is None else _is_bound_to(sock, address)
            if sock.type == kind and matches:
                del self._left[index]
                sock.setblocking(False)
                return sock
        return None

    def close_rest(self, say: Say) -> None:
        for name, sock in self._left:
            text = f"systemd handed over a socket ({name or sock.getsockname()!r}) that nothing here asks for: closed"
            say(Severity.WARNING, "socket", text, None)
            sock.close()
        self._left.clear()


def _is_bound_to(sock: socket.socket, address: str) -> bool:
    wanted = parse_address(address)
    if sock.family != wanted.family:
        return False
    bound = sock.getsockname()
    if isinstance(bound, bytes):
        bound = bound.decode(errors="surrogateescape")
    if isinstance(bound, str):
        return bound == wanted.where
    host, port = bound[:2]
    return port == wanted.where[1] and host in (wanted.where[0] or "0.0.0.0", "0.0.0.0", "::")


def open_or_take(
    inherited: InheritedSockets,
    name: str,
    address: str | None,
    kind: socket.SocketKind,
    *,
    mode: int | None,
    backlog: int = 100,
) -> OpenedSocket | None:
    """The socket for one option; ``None``: it is not asked for. Raises OSError or ValueError that names the address."""
    taken = inherited.take(name, address, kind)
    if taken is not None:
        return OpenedSocket(taken, None)
    if address is None:
        return None
    return OpenedSocket(open_socket(address, kind, mode=mode, backlog=backlog), address)
