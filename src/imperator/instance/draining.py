"""The end of serving at which no request is lost: when the open connections may be closed.

The rules of an end, in their order (:mod:`.granian_server` goes through them):

1. The door is closed: nobody is accepted any more. Whoever connects from now on waits in the backlog of the listening
   socket, for a successor or for another process that has the socket.
2. Every answer says ``Connection: close``, so a client that keeps its connection sends its next request elsewhere.
3. A client that is about to send is waited for: each connection until nothing has come on it for :data:`IDLE` seconds,
   all together :data:`LONGEST` seconds at most. Most end earlier, by their last answer.
4. Then the idle connections are closed, and the rest as soon as they are answered.

What remains is what HTTP cannot exclude: a client that has been silent for a while and sends at the very moment at
which its idle connection is closed (RFC 9112, 9.5) has to send again.
"""

from __future__ import annotations

import array
import fcntl
import math
import os
import socket
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence

IDLE = 1.0
LONGEST = 5.0
_LAST_DATA_RECV = 52
"""Where ``tcpi_last_data_recv`` (milliseconds) is in the ``struct tcp_info`` of <linux/tcp.h>."""
_LOOK = 0.002
"""Seconds between two looks."""


def draining(listeners: Sequence[socket.socket], deadline: Callable[[], float | None]) -> Iterator[float]:
    """Yields how many seconds to wait before the next look, and ends when the idle connections may be closed.

    ``deadline`` (monotonic) ends the waiting too, and may change in between.
    """
    begun = time.monotonic()
    was_awaited = True
    while True:
        now = time.monotonic()
        until = deadline()
        if now - begun >= LONGEST or (until is not None and now >= until):
            return
        is_awaited = any(_silent_for(fd, now - begun) < IDLE for fd in connections(listeners))
        if not is_awaited and not was_awaited:  # twice: one may just have been in the hands of accept(2)
            return
        was_awaited = is_awaited
        yield _LOOK


def connections(listeners: Sequence[socket.socket]) -> list[int]:
    """The descriptors of the connections that were accepted from these listening sockets and are still open.

    Their owner may close them at any time: they are good for a look only.
    """
    names = {_key(listener) for listener in listeners}
    found = []
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        try:
            sock = socket.socket(fileno=fd)
        except OSError:  # no socket, or closed by now
            continue
        try:
            if _key(sock) in names and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.append(fd)
        except OSError:
            continue
        finally:
            sock.detach()
    return found


def _key(sock: socket.socket) -> object:
    """What a connection's socket has in common with the one that it was accepted from: its path, or its port."""
    name = sock.getsockname()
    return name[1] if isinstance(name, tuple) else name


def _silent_for(fd: int, since_begun: float) -> float:
    """Seconds in which nothing has come. On a UNIX socket nobody knows: at least as long as is being looked."""
    unread = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, unread)  # tcp(7) and unix(7), SIOCINQ
        if unread[0]:
            return 0.0
        sock = socket.socket(fileno=fd)
    except OSError:  # closed by now
        return math.inf
    try:
        if sock.family == socket.AF_UNIX:
            return since_begun
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV + 4)
        return int.from_bytes(info[_LAST_DATA_RECV:], sys.byteorder) / 1000
    except OSError:
        return math.inf
    finally:
        sock.detach()
