"""A pair of interfaces from a bridge into a process's network namespace: veth(4), rtnetlink(7).

Loaded by the spawner by its path, before the first clone that needs it. Each vassal's start waits for this one request,
so it is written out here: through the netlink library, which does all the rest (:mod:`.bridge`), it takes twice as
long.
"""

from __future__ import annotations

import _socket as socket
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AF_NETLINK = 16
_AF_BRIDGE = 7
_RTM_NEWLINK = 16
_RTM_NEWNEIGH = 28
_REQUEST = 0x1
_ACK = 0x4
_REPLACE = 0x100
_EXCL = 0x200
_CREATE = 0x400
_IFF_UP = 1
_NESTED = 0x8000
_IFLA_ADDRESS = 1
_IFLA_IFNAME = 3
_IFLA_MASTER = 10
_IFLA_LINKINFO = 18
_IFLA_NET_NS_PID = 19
_INFO_KIND = 1
_INFO_DATA = 2
_INFO_SLAVE_KIND = 4
_INFO_SLAVE_DATA = 5
_VETH_PEER = 1
_BRPORT_ISOLATED = 33
_NDA_DST = 1
_NDA_LLADDR = 2
_NUD_NOARP = 0x40
_NUD_PERMANENT = 0x80
_NTF_MASTER = 0x04
_NTF_STICKY = 0x40


class Plugs:
    """One socket, for all pairs to come. It belongs to the network namespace in which it was made."""

    def __init__(self) -> None:
        self._netlink: Any = socket.socket(_AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._netlink.bind((0, 0))

    def plug(self, pid: int, network: dict[str, Any]) -> None:
        """A pair from ``network["bridge"]`` (its index) into the namespace of ``pid``. Raises OSError."""
        self._ask(request(pid, network))
        if network["isolated"]:
            self._ask(isolation(network["name"]))
        # Whoever is root in its own namespace can claim its neighbour's addresses: the host does not listen to that.
        self._ask(neighbour(network["bridge"], network["address"], network["link address"]))
        self._ask(place(socket.if_nametoindex(network["name"]), network["link address"]))

    def _ask(self, message: bytes) -> None:
        self._netlink.send(message)
        (code,) = struct.unpack_from("i", self._netlink.recv(4096), 16)  # struct nlmsgerr: 0, or -errno
        if code:
            raise OSError(-code, os.strerror(-code))


def request(pid: int, network: dict[str, Any]) -> bytes:
    """The whole message: both ends up, ours in the bridge, the other there."""
    inside = _link(0)
    inside += _attribute(_IFLA_IFNAME, network["inside"].encode() + b"\0")
    inside += _attribute(_IFLA_NET_NS_PID, struct.pack("I", pid))
    inside += _attribute(_IFLA_ADDRESS, network["link address"])
    details = _attribute(_INFO_KIND, b"veth\0")
    details += _attribute(_INFO_DATA | _NESTED, _attribute(_VETH_PEER | _NESTED, inside))
    body = _link(_IFF_UP)
    body += _attribute(_IFLA_IFNAME, network["name"].encode() + b"\0")
    body += _attribute(_IFLA_MASTER, struct.pack("I", network["bridge"]))
    body += _attribute(_IFLA_LINKINFO | _NESTED, details)
    return struct.pack("IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST | _ACK | _EXCL | _CREATE, 0, 0) + body


def isolation(name: str) -> bytes:
    """The message after it: this port of a bridge speaks to no other isolated one."""
    data = _attribute(_INFO_SLAVE_DATA | _NESTED, _attribute(_BRPORT_ISOLATED, b"\1"))
    body = _link(0)
    body += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body += _attribute(_IFLA_LINKINFO | _NESTED, _attribute(_INFO_SLAVE_KIND, b"bridge\0") + data)
    return struct.pack("IHHII", 16 + len(body), _RTM_NEWLINK, _REQUEST | _ACK, 0, 0) + body


def neighbour(bridge: int, address: str, link_address: bytes) -> bytes:
    """The host need not ask who has an address, and nobody can tell it otherwise: arp(7)."""
    body = struct.pack("BxxxiHBB", socket.AF_INET, bridge, _NUD_PERMANENT, 0, 0)
    body += _attribute(_NDA_DST, bytes(map(int, address.split("."))))
    return _neighbour(body + _attribute(_NDA_LLADDR, link_address))


def place(port: int, link_address: bytes) -> bytes:
    """The bridge need not learn behind which port it is, and does not: bridge(8), ``fdb … static sticky``."""
    body = struct.pack("BxxxiHBB", _AF_BRIDGE, port, _NUD_NOARP, _NTF_MASTER | _NTF_STICKY, 0)
    return _neighbour(body + _attribute(_NDA_LLADDR, link_address))


def _neighbour(body: bytes) -> bytes:
    return struct.pack("IHHII", 16 + len(body), _RTM_NEWNEIGH, _REQUEST | _ACK | _CREATE | _REPLACE, 0, 0) + body


def _link(flags: int) -> bytes:
    """A ``struct ifinfomsg``."""
    return struct.pack("BxHiII", 0, 0, 0, flags, flags)


def _attribute(kind: int, data: bytes) -> bytes:
    size = 4 + len(data)
    return struct.pack("HH", size, kind) + data + bytes(-size % 4)
