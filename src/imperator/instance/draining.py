"""The end of serving at which no request is lost: when the open connections may be closed.

The rules of an end, in their order (:mod:`.granian_server` goes through them):

1. The door is closed: nobody is accepted any more. Whoever connects from now on waits in the backlog of the listening
   socket, for a successor or for another process that has the socket.
2. Every answer says ``Connection: close``, so a client that keeps its connection sends its next request elsewhere.
3. A client whose request is on its way already is waited for: until :data:`QUIET` seconds have passed in which nothing
   came and nothing was answered, at the longest :data:`LONGEST` seconds.
4. Then the idle connections are closed, and the rest as soon as they are answered.

What remains is what HTTP cannot exclude: a client that has been silent for a while and sends at the very moment at
which its idle connection is closed (RFC 9112, 9.5) has to send again.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import termios
import time
from collections.abc import Callable, Iterator, Sequence

QUIET = 0.05
LONGEST = 1.0
_LOOK = 0.002
"""Seconds between two looks."""


def draining(
    listeners: Sequence[socket.socket], activity: Callable[[], object], deadline: Callable[[], float | None]
) -> Iterator[float]:
    """Yields how many seconds to wait before the next look, and ends when the idle connections may be closed.

    ``activity`` returns something that changes whenever a request begins or ends. ``deadline`` (monotonic) ends the
    waiting too, and may change in between.
    """
    begun = quiet_since = time.monotonic()
    seen = activity()
    was_open = True
    while True:
        now = time.monotonic()
        until = deadline()
        if now - begun >= LONGEST or (until is not None and now >= until):
            return
        open_ones = connections(listeners)
        if not open_ones and not was_open:  # twice: one may just have been in the hands of accept(2)
            return
        was_open = bool(open_ones)
        found = activity()
        if found != seen or any(map(_has_unread, open_ones)):
            seen, quiet_since = found, now
        elif now - quiet_since >= QUIET:
            return
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


def _has_unread(fd: int) -> bool:
    """tcp(7) and unix(7), SIOCINQ."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(fd, termios.FIONREAD, count)
    except OSError:
        return False
    return count[0] > 0
