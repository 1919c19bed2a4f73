"""The statistics server: connect, read one document, the connection closes.

Rules: nobody who reads slowly, or not at all, holds the loop, another reader or the memory. On each socket
:data:`READERS` are served at once, the next ones wait in the backlog; one who does not take a piece of the document
within :data:`PATIENCE` seconds is let go.

The private socket has an abstract name, ``@imperator/UID/PID``, so that ``imperator status`` finds it without any
option. Abstract sockets have no mode: only the Emperor's own user and root get an answer (SO_PEERCRED, unix(7)).
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final

from imperator.bureau.statistics import EmperorFacts, document
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds

READERS: Final = 64
PATIENCE: Final = 10.0
"""Seconds for one piece of the document."""
_LONGEST: Final = 60.0
"""Seconds for the whole of it."""
_GOODBYE: Final = 1.0
"""Seconds that a reader has to close after the last byte, before we do."""
_BACKLOG: Final = 16
_HTTP_HEAD: Final = (
    b"HTTP/1.0 200 OK\r\n"
    b"Connection: close\r\n"
    b"Cache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\n"
    b"Content-Type: application/json\r\n\r\n"
)


def private_name(uid: int, pid: int) -> str:
    """The abstract address of an Emperor's private socket."""
    return f"\0imperator/{uid}/{pid}"


def peer_uid(sock: socket.socket) -> int:
    """Whose process is at the other end of a UNIX socket (SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return int(struct.unpack("3i", raw)[1])


async def _nothing_to_collect() -> None:
    return


class StatsServer:
    """Serves the document on any number of listening sockets. ``clock`` is the reign's (monotonic seconds)."""

    def __init__(
        self,
        reign: Reign,
        facts: Callable[[], EmperorFacts],
        clock: Callable[[], float],
        collect: Callable[[], Awaitable[None]] = _nothing_to_collect,
    ) -> None:
        """``collect``: awaited before a document, so that what ``facts`` returns is fresh."""
        self._reign = reign
        self._facts = facts
        self._clock = clock
        self._collect = collect
        self._tasks: set[asyncio.Task[None]] = set()
        self._private: socket.socket | None = None

    async def serve(self, sock: socket.socket, http: bool = False, private: bool = False) -> None:
        """Answer on a socket that is bound and listens; it stays the caller's to close. Returns at once.

        ``private``: only this process's user and root get an answer.
        """
        sock.setblocking(False)
        self._start(self._accept(sock, http, private))

    async def serve_private(self) -> str:
        """Open the private socket and answer on it; returns its address, with ``@`` for the first byte."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        name = private_name(os.geteuid(), os.getpid())
        try:
            try:
                sock.bind(name)
            except OSError:  # somebody sits on the name: any user may bind it
                name = f"{name}.{secrets.token_hex(8)}"
                sock.bind(name)
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            raise
        self._private = sock
        await self.serve(sock, private=True)
        return "@" + name[1:]

    async def close(self) -> None:
        """Stop answering; who is being served is cut off."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._private is not None:
            self._private.close()
            self._private = None

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, sock: socket.socket, http: bool, private: bool) -> None:
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(READERS)
        while True:
            await places.acquire()
            try:
                reader, _ = await loop.sock_accept(sock)
            except OSError:  # no fds left, or the reader has gone again: the loop must not spin
                places.release()
                if sock.fileno() < 0:
                    return
                await asyncio.sleep(0.5)
                continue
            self._start(self._answer(reader, http, private, places))

    async def _answer(self, reader: socket.socket, http: bool, private: bool, places: asyncio.Semaphore) -> None:
        try:
            with reader:
                reader.setblocking(False)
                if private and peer_uid(reader) not in (0, os.geteuid()):
                    return
                async with asyncio.timeout(_LONGEST):
                    await self._send(reader, http)
                await self._say_goodbye(reader)
        except (OSError, TimeoutError):
            return  # it left, or did not read
        finally:
            places.release()

    async def _send(self, reader: socket.socket, http: bool) -> None:
        loop = asyncio.get_running_loop()
        head = _HTTP_HEAD if http else b""
        await self._collect()
        for piece in document(self._reign, self._facts(), Seconds(self._clock())):
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(reader, head + piece.encode("ascii"))
            head = b""
            await asyncio.sleep(0)

    async def _say_goodbye(self, reader: socket.socket) -> None:
        """Let the reader close first: closing with its request unread would reset the connection (tcp(7))."""
        loop = asyncio.get_running_loop()
        reader.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_GOODBYE):
            while await loop.sock_recv(reader, 65536):
                pass
