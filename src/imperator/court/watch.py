"""Tens of thousands of file descriptors in one epoll of our own, nested in the loop's (epoll(7)).

The loop would keep half a kilobyte of objects for each; here it is one dictionary entry, and the loop sees one fd.
"""

from __future__ import annotations

import asyncio
import select
from typing import Protocol

_MOST_AT_ONCE = 256
"""Events handled before the loop may do something else: many busy vassals must not starve a signal."""


class Reader(Protocol):
    """Somebody who owns file descriptors and is told when one can be read."""

    def readable(self, fd: int) -> None: ...


class Watch:
    """Calls ``reader.readable(fd)`` whenever ``fd`` has something to read, or has ended."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._readers: dict[int, Reader] = {}
        loop.add_reader(self._epoll.fileno(), self._ready)

    def add(self, fd: int, reader: Reader) -> None:
        self._epoll.register(fd, select.EPOLLIN)
        self._readers[fd] = reader

    def remove(self, fd: int) -> None:
        """Before closing ``fd``: a copy of it in another process would keep it in the epoll."""
        del self._readers[fd]
        self._epoll.unregister(fd)

    def __len__(self) -> int:
        return len(self._readers)

    def _ready(self) -> None:
        for fd, _ in self._epoll.poll(0, _MOST_AT_ONCE):
            reader = self._readers.get(fd)  # an earlier event of this batch may have removed it
            if reader is not None:
                reader.readable(fd)

    def close(self) -> None:
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
