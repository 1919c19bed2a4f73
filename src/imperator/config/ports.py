"""A port for each vassal, without a list of them: it follows from the vassal's own name.

The name says which port of the range is the vassal's first choice, and which come after it where somebody else has it.
So it is the same after every start, on every day, as long as nobody takes it. Of two vassals with the same first choice
that start at the same moment one takes its next: until it listens, a vassal lays claim to its port (:func:`claim`).
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from collections.abc import Callable, Iterator
from typing import Final

FIRST: Final = 20_000
COUNT: Final = 12_000
"""20000 to 31999: no root is needed, and Linux takes none of them for outgoing connections of its own accord."""


def digest(identity: str) -> str:
    """What tells a vassal from all others, in 64 hexadecimal digits."""
    return hashlib.sha256(os.fsencode(identity)).hexdigest()


def candidates(identity: str) -> Iterator[int]:
    """Every port of the range once, the first choice first."""
    start = int(digest(identity)[:16], 16)
    return (FIRST + (start + number) % COUNT for number in range(COUNT))


def port_for(identity: str, is_taken: Callable[[int], bool]) -> int:
    """The first of its ports that nobody else has. Raises LookupError: all are taken."""
    for port in candidates(identity):
        if not is_taken(port):
            return port
    raise LookupError(f"no port from {FIRST} to {FIRST + COUNT - 1} is free")


def claim(port: int) -> bool:
    """Lay claim to a port until this process ends or becomes another program; ``False``: another process has.

    The claim is the abstract name of a UNIX socket (unix(7)), which only one can have, and which belongs to the network
    namespace as the ports do. It binds only those who ask for it; who listens already needs none.
    """
    if port in _claims:
        return True
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind(f"\0imperator/port/{port}")
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            return False
        if error.errno in (errno.EACCES, errno.EPERM):  # no claims in this sandbox: whoever binds first has it
            return True
        raise
    _claims[port] = sock
    return True


_claims: dict[int, socket.socket] = {}


def is_taken(port: int) -> bool:
    """Does another process have it? What this one listens on, as after a reload, is its own."""
    refused = any(_refuses(family, address, port) for family, address in _EVERYWHERE)
    return refused and not _listens_here(port)


_EVERYWHERE = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))


def _refuses(family: socket.AddressFamily, address: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before do not count: ip(7)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((address, port))
    except OSError as error:
        return error.errno in (errno.EADDRINUSE, errno.EACCES)  # whatever else: there is no IPv6 here
    return False


def _listens_here(port: int) -> bool:
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            if not stat.S_ISSOCK(os.fstat(fd).st_mode):
                continue
            with socket.socket(fileno=os.dup(fd)) as sock:
                if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.getsockname()[1] == port:
                    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
        except OSError:  # the one that lists them is closed again
            continue
    return False
