"""The network interfaces of a network namespace, from the inside: netdevice(7), ip(7), network_namespaces(7).

Loaded by the spawner by its path, like :mod:`.jail`, in the child that is to have a network of its own. With ioctl(2)
and without netlink: a child between clone and exec writes to as little memory as it can. Every function raises OSError.
"""

from __future__ import annotations

import _socket as socket
import fcntl
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SIOCADDRT = 0x890B
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_IFF_MULTICAST = 0x1000
_RTF_UP = 0x1
_RTF_GATEWAY = 0x2

INSIDE = "eth0"
"""What a vassal's end of its pair is called, as in most containers."""


def settle(network: dict[str, Any]) -> None:
    """In the child: have ``lo``, and where there is an ``address``, the interface that has been plugged in."""
    control = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        for number, content in requests(network):
            try:
                fcntl.ioctl(control, number, content)
            except FileExistsError:  # that route is there already
                continue
    finally:
        control.close()


def requests(network: dict[str, Any]) -> list[tuple[int, bytes]]:
    """What :func:`settle` does, as ioctls."""
    found = [(_SIOCSIFFLAGS, _flags("lo", _IFF_UP))]
    if network["address"] is not None:
        found += configuration(INSIDE, network["address"], network["mask"], network["gateway"])
    return found


def configure(control: Any, name: str, address: str, mask: str, gateway: str | None) -> None:
    """Give an interface its address, raise it, and where there is a gateway, send everything else there."""
    for number, content in configuration(name, address, mask, gateway):
        fcntl.ioctl(control, number, content)


def configuration(name: str, address: str, mask: str, gateway: str | None) -> list[tuple[int, bytes]]:
    """The same, as ioctls."""
    found = [
        (_SIOCSIFADDR, _name(name) + _address(address)),
        (_SIOCSIFNETMASK, _name(name) + _address(mask)),
        (_SIOCSIFFLAGS, _flags(name, _IFF_UP | _IFF_MULTICAST)),
    ]
    if gateway is not None:
        everywhere = _address("0.0.0.0")
        # struct rtentry: padding, destination, gateway, mask, flags, and the rest zero
        route = struct.pack("L", 0) + everywhere + _address(gateway) + everywhere
        found.append((_SIOCADDRT, (route + struct.pack("H", _RTF_UP | _RTF_GATEWAY)).ljust(120, b"\0")))
    return found


def raise_interface(control: Any, name: str) -> None:
    """Set it up: IFF_UP."""
    (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, _name(name) + bytes(16)), 16)
    fcntl.ioctl(control, _SIOCSIFFLAGS, _flags(name, flags | _IFF_UP))


def _flags(name: str, flags: int) -> bytes:
    """A ``struct ifreq``."""
    return (_name(name) + struct.pack("H", flags & 0xFFFF)).ljust(40, b"\0")


def _name(name: str) -> bytes:
    """The first half of ``struct ifreq``: 16 bytes, the last of them 0."""
    return name.encode()[:15].ljust(16, b"\0")


def _address(address: str) -> bytes:
    """A ``struct sockaddr_in`` without a port, and room for the rest of the union in ``struct ifreq``."""
    return struct.pack("HH", socket.AF_INET, 0) + bytes(map(int, address.split("."))) + bytes(8)
