"""TUN devices, and packets of IPv4 in a stream (Documentation/networking/tuntap, netdevice(7)).

Between a device and the router every packet has four bytes before it, as in the original: 0, its size (16 bits,
little-endian), and 0, or 1 for a block of firewall rules.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from typing import Final

PATH: Final = "/dev/net/tun"
LARGEST: Final = 65535
PACKET: Final = 0
RULES: Final = 1
GREETING: Final = b"uwsgi-tuntap"
"""What a device says first where credentials are checked, with its own beside it: unix(7), SCM_CREDENTIALS."""

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x1
_IFF_NO_PI: Final = 0x1000
_HEAD: Final = struct.Struct("<BHB")


def open_tun(name: str) -> int:
    """A TUN device that lives as long as its file descriptor (non-blocking, close-on-exec). Raises OSError."""
    if not name or len(name.encode()) > 15:
        raise OSError(0, f"{name!r}: a device's name has 1 to 15 bytes")
    try:
        fd = os.open(PATH, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise OSError(error.errno, f"{PATH}: {error.strerror}") from error
    try:
        fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(fd)
        hint = " (CAP_NET_ADMIN is needed)" if isinstance(error, PermissionError) else ""
        raise OSError(error.errno, f"{name}: {error.strerror}{hint}") from error
    return fd


def framed(data: bytes, kind: int = PACKET) -> bytes:
    """With its four bytes before it."""
    return _HEAD.pack(0, len(data), kind) + data


class Stream:
    """Takes bytes in as they come, and gives out what is whole."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Every ``(kind, content)`` that has become whole."""
        data = self._rest + data if self._rest else data
        position, end = 0, len(data)
        unpack = _HEAD.unpack_from
        while end - position >= 4:
            _, size, kind = unpack(data, position)
            following = position + 4 + size
            if following > end:
                break
            yield kind, data[position + 4 : following]
            position = following
        self._rest = data[position:]


def is_packet(data: bytes) -> bool:
    """Whether it can be one of IPv4: a device's kernel sends some of IPv6 on its own."""
    return len(data) >= 20 and data[0] >> 4 == 4
