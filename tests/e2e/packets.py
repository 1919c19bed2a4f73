"""Packets of IPv4, made by hand, and a device that is no device: a test's own connection to the tuntap router."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from imperator.kernel.tuntap import RULES, Stream, framed

from .stage import PATIENCE


def packet(source: str, destination: str, content: bytes = b"hello", port: int = 7777) -> bytes:
    """A datagram."""
    udp = struct.pack("!HHHH", port, port, 8 + len(content), 0) + content
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, *map(socket.inet_aton, (source, destination))
    )
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def checksum(head: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(head) // 2}H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class FakeDevice:
    """Speaks to the router as a device does."""

    def __init__(self, path: Path) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(path))
        self._stream = Stream()
        self._packets: list[bytes] = []

    def __enter__(self) -> FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, *packets: bytes) -> None:
        self.sock.sendall(b"".join(map(framed, packets)))

    def send_rules(self, rules: bytes) -> None:
        self.sock.sendall(framed(rules, RULES))

    def next(self) -> bytes:
        """The content of the next datagram that comes, past whatever else the kernel sends."""
        while True:
            while self._packets:
                one = self._packets.pop(0)
                if one[9] == socket.IPPROTO_UDP:
                    return one[28:]
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the router has closed the connection")
            self._packets += [content for _, content in self._stream.take(data)]

    def expect_end(self) -> None:
        try:
            self.next()
        except (EOFError, ConnectionResetError):
            return
        raise AssertionError("the router is still there")
