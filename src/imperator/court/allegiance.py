"""An Emperor that is itself a vassal: it speaks the Emperor protocol upwards.

It is ready, accepting and loyal as soon as it reigns; told to reload, it reloads its vassals; told to stop, or when its
own Emperor is gone, it ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, MutableMapping

from imperator.reign.events import Event, RagnarokOrdered, ReloadOrdered
from imperator.reign.protocol import FromVassal, ToVassal


class Allegiance:
    """The conversation with the Emperor above us."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, post: Callable[[Event], None]) -> None:
        self._loop = loop
        self._fd = fd
        self._post = post
        os.set_blocking(fd, False)
        os.set_inheritable(fd, False)
        loop.add_reader(fd, self._readable)
        self._say(FromVassal.READY)

    @classmethod
    def sworn(
        cls, loop: asyncio.AbstractEventLoop, environment: MutableMapping[str, str], post: Callable[[Event], None]
    ) -> Allegiance | None:
        """``None`` where nobody is above us. The fd's number is taken out of the environment."""
        value = environment.pop("UWSGI_EMPEROR_FD", None)
        environment.pop("UWSGI_EMPEROR_FD_CONFIG", None)
        return cls(loop, int(value), post) if value is not None and value.isdecimal() else None

    def reigning(self) -> None:
        """Every source was read once."""
        self._say(FromVassal.ACCEPTING)
        self._say(FromVassal.LOYAL)

    def _say(self, message: FromVassal) -> None:
        try:
            os.write(self._fd, bytes((message,)))
        except (BrokenPipeError, ConnectionResetError):
            self._post(RagnarokOrdered("our own Emperor is gone"))

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, 256)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            self._loop.remove_reader(self._fd)
            self._post(RagnarokOrdered("our own Emperor is gone"))
        for byte in data:
            if byte == ToVassal.RELOAD:
                self._post(ReloadOrdered())
            elif byte in (ToVassal.STOP, ToVassal.STOP_GRACEFULLY):
                self._post(RagnarokOrdered("our own Emperor says so"))

    def close(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
