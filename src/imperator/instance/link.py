"""The vassal's end of the Emperor protocol: one byte a message over the socket in ``UWSGI_EMPEROR_FD``.

An instance that no Emperor started has an :class:`Unlinked` one, so nobody has to ask. What may be sent, in the order
of a vassal's life: ready (it is up), accepting (it serves), loyal (it has managed a request), heartbeat, asleep.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from enum import Enum

from imperator.reign.protocol import FromVassal, ToVassal


class Order(Enum):
    """What the Emperor wants."""

    STOP = "stop"
    STOP_GRACEFULLY = "stop gracefully"
    RELOAD = "reload"
    ABANDONED = "the Emperor is gone"
    """Its end of the socket was closed: whoever it was, it does not live any more."""


_ORDERS = {
    int(ToVassal.STOP): Order.STOP,
    int(ToVassal.RELOAD): Order.RELOAD,
    int(ToVassal.STOP_GRACEFULLY): Order.STOP_GRACEFULLY,
}


class Unlinked:
    """No Emperor: nothing is sent anywhere, and nothing comes."""

    fd: int | None = None

    def ready(self) -> None:
        """It is up."""
        self._send(FromVassal.READY)

    def accepting(self) -> None:
        """It accepts requests."""
        self._send(FromVassal.ACCEPTING)

    def loyal(self) -> None:
        """It has managed its first request."""
        self._send(FromVassal.LOYAL)

    def heartbeat(self) -> None:
        """Its workers are well."""
        self._send(FromVassal.HEARTBEAT)

    def asleep(self) -> None:
        """It asks to be stopped; on demand, to be put to sleep again."""
        self._send(FromVassal.VOLUNTARY_SHUTDOWN)

    def orders(self) -> list[Order]:
        """What the Emperor has sent since the last time. Never waits."""
        return []

    def _send(self, message: FromVassal) -> None:
        return


class Link(Unlinked):
    """A link to a living Emperor."""

    def __init__(self, fd: int) -> None:
        self.fd: int | None = fd
        os.set_blocking(fd, False)

    def orders(self) -> list[Order]:
        if self.fd is None:
            return []
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return []
        except OSError:  # ECONNRESET
            data = b""
        if not data:
            self.fd = None
            return [Order.ABANDONED]
        return [_ORDERS[byte] for byte in data if byte in _ORDERS]

    def _send(self, message: FromVassal) -> None:
        """An Emperor that is gone, or does not read, is noticed where its orders are read."""
        if self.fd is not None:
            try:
                os.write(self.fd, bytes((int(message),)))
            except OSError:
                return


def link_from(environ: Mapping[str, str]) -> Unlinked:
    """The link that the environment names, if there is one."""
    try:
        fd = int(environ["UWSGI_EMPEROR_FD"])
    except (KeyError, ValueError):
        return Unlinked()
    try:
        with socket.socket(fileno=os.dup(fd)) as found:
            is_link = found.family == socket.AF_UNIX and found.type == socket.SOCK_STREAM
    except OSError:  # EBADF, ENOTSOCK: an old variable that speaks of something else
        return Unlinked()
    return Link(fd) if is_link else Unlinked()
