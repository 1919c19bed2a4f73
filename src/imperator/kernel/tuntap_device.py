"""A TUN device whose other end is the tuntap router: packets from the kernel to a stream, and back.

It runs in a small process of its own beside the instance, for its loop must not wait for the interpreter's lock of an
application. While the router is away (it is restarted, the Emperor reloads) it tries to reach it again, and packets are
lost as on any cable. The first packet that registered the device is sent again then, so nobody takes its address.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from imperator.kernel.firewall import DeviceRule
from imperator.kernel.sockets import parse_address
from imperator.kernel.tuntap import GREETING, PACKET, RULES, Stream, framed, is_packet

AT_ONCE: Final = 64
CHUNK: Final = 262144
RETRY: Final = 0.2
"""Seconds between two attempts to reach the router."""
PATIENCE: Final = 30.0
"""Seconds that one attempt may take, as in the original."""


def connect(address: str) -> socket.socket:
    """To the router. Raises OSError, or ValueError for what is no address."""
    where = parse_address(address)
    sock = socket.socket(where.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(PATIENCE)
        sock.connect(where.where)
    except OSError:
        sock.close()
        raise
    return sock


class Device:
    """One device and its connection."""

    def __init__(self, tun: int, address: str, rules: Sequence[DeviceRule], *, credentials: bool) -> None:
        self._tun = tun
        self._address = address
        self._rules = b"".join(rule.to_wire() for rule in rules)
        self._credentials = credentials
        self._first = b""
        """The packet that has registered us, framed."""

    def serve(self, sock: socket.socket, say: Callable[[str], None]) -> NoReturn:
        """For ever. ``say`` is called when the connection is lost, and when there is one again."""
        while True:
            try:
                self._introduce(sock)
                self._exchange(sock)
            except OSError as error:
                say(f"the tuntap router at {self._address} is away: {error.strerror or error}")
            sock.close()
            sock = self._reach_again()
            say(f"the tuntap router at {self._address} is back")

    def _introduce(self, sock: socket.socket) -> None:
        if self._credentials:
            own = struct.pack("=iII", os.getpid(), os.getuid(), os.getgid())
            sock.sendmsg([GREETING], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, own)])
        if self._rules:
            sock.sendall(framed(self._rules, RULES))
        if self._first:
            sock.sendall(self._first)

    def _exchange(self, sock: socket.socket) -> None:
        """Until the connection is lost, which raises OSError."""
        stream = Stream()
        poll = select.poll()
        poll.register(self._tun, select.POLLIN)
        poll.register(sock, select.POLLIN)
        number = sock.fileno()
        while True:
            for fd, _ in poll.poll():
                if fd == number:
                    data = sock.recv(CHUNK)
                    if not data:
                        raise ConnectionResetError(0, "it has closed the connection")
                    for kind, packet in stream.take(data):
                        if kind == PACKET:
                            self._write(packet)
                else:
                    self._send_all_there_is(sock)

    def _send_all_there_is(self, sock: socket.socket) -> None:
        """What the kernel has, in one piece. A router that does not read makes us wait, and the kernel drop."""
        frames = []
        for packet in self._packets():
            if is_packet(packet):
                frames.append(framed(packet))
        if frames:
            self._first = self._first or frames[0]
            sock.sendall(b"".join(frames))

    def _packets(self) -> list[bytes]:
        packets: list[bytes] = []
        try:
            while len(packets) < AT_ONCE:
                packets.append(os.read(self._tun, 65536))
        except BlockingIOError:
            pass
        return packets

    def _write(self, packet: bytes) -> None:
        try:
            os.write(self._tun, packet)
        except OSError:  # the interface is down: as on any cable
            return

    def _reach_again(self) -> socket.socket:
        while True:
            time.sleep(RETRY)
            self._packets()  # nobody is to get them late
            try:
                return connect(self._address)
            except OSError:
                continue
