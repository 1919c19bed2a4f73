"""The command socket: datagrams, each one uwsgi packet of keys and values.

Four bytes of header (modifier1, a 16-bit little-endian size, modifier2), then pairs of key and value, each a 16-bit
little-endian size and as many bytes. Keys ``cmd`` (or ``command``), ``vassal``, ``msg``; commands ``spawn``,
``respawn``, ``stop``, ``log``. Whoever can write to the socket may command: a UNIX socket is for its owner alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable

from imperator.reign.effects import Severity
from imperator.reign.events import Command, Event, Ordered
from imperator.reign.names import VassalName

SOCKET_MODE = 0o600
_LARGEST = 65536

Say = Callable[[Severity, str, str, VassalName | None], None]


class BadPacket(ValueError):
    """The datagram is no command."""


def parse_packet(data: bytes) -> dict[str, bytes]:
    """Read the pairs of a uwsgi packet. Raises :class:`BadPacket`."""
    if len(data) < 4:
        raise BadPacket("shorter than its header")
    size = int.from_bytes(data[1:3], "little")
    body = data[4 : 4 + size]
    if len(body) != size:
        raise BadPacket(f"its header promises {size} bytes and {len(body)} came")
    words: list[bytes] = []
    while body:
        length = int.from_bytes(body[:2], "little")
        if len(body) < 2 + length:
            raise BadPacket("it ends in the middle of a string")
        words.append(body[2 : 2 + length])
        body = body[2 + length :]
    if len(words) % 2:
        raise BadPacket("a key has no value")
    return {os.fsdecode(key): value for key, value in zip(words[::2], words[1::2], strict=True)}


class CommandSocket:
    """Takes orders from a bound datagram socket."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, post: Callable[[Event], None], say: Say
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._post = post
        self._say = say
        loop.add_reader(sock, self._readable)

    def _readable(self) -> None:
        try:
            data = self._socket.recv(_LARGEST)
        except (BlockingIOError, ConnectionError):
            return
        try:
            self._obey(parse_packet(data))
        except BadPacket as error:
            self._say(Severity.ERROR, "command", f"the command socket got something that is no command: {error}", None)

    def _obey(self, packet: dict[str, bytes]) -> None:
        word = os.fsdecode(packet.get("cmd") or packet.get("command") or b"")
        if word == "log":
            self._say(Severity.INFO, "message", os.fsdecode(packet.get("msg", b"")), None)
            return
        try:
            command = Command(word)
        except ValueError:
            known = ", ".join(command.value for command in Command)
            raise BadPacket(f"there is no command {word!r}: one of {known}, log") from None
        name = os.fsdecode(packet.get("vassal", b""))
        if not name:
            raise BadPacket(f"{word} needs a vassal's name")
        self._post(Ordered(command, VassalName(name)))

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()
