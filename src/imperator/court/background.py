"""Vassals that have put themselves into the background, against the first rule for a vassal.

The process that the Emperor started ended with 0, but left somebody behind who holds its end of the emperor fd. Nobody
could stop or reload that program any more, and the vassal's next process would find its addresses taken: so it is
ended, and the person is told what to do.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

from imperator.kernel.background import advice, end_holders
from imperator.reign.events import Event, WentOn
from imperator.reign.names import VassalName

_GRACE = 0.5
"""Seconds in which whoever was killed with the first process may disappear."""
_MERCY = 2.0
"""Seconds between SIGTERM and SIGKILL."""


class Background:
    """Looks after what vassals have left behind."""

    def __init__(self, loop: asyncio.AbstractEventLoop, post: Callable[[Event], None]) -> None:
        self._loop = loop
        self._post = post
        self._tasks: dict[asyncio.Task[None], int] = {}

    def left(self, vassal: VassalName, program: str, fd: int, inode: int) -> None:
        """A vassal's process has ended and left somebody behind, who may be dying or go on.

        ``fd`` is our end of the emperor fd, and belongs to us from now on; ``inode`` is that of the other end.
        """
        task = self._loop.create_task(self._deal(vassal, program, fd, inode))
        self._tasks[task] = inode
        task.add_done_callback(self._tasks.pop)

    async def _deal(self, vassal: VassalName, program: str, fd: int, inode: int) -> None:
        try:
            if await self._closed(fd, _GRACE):
                self._post(WentOn(vassal, in_words(program, "and was ended")))
                return
            told = await self._loop.run_in_executor(None, end_holders, inode)
            pids = " ".join(map(str, told))
            what = f"and was ended there (pid {pids})" if told else "where it may not be looked for, and goes on"
            self._post(WentOn(vassal, in_words(program, what)))
            if told and not await self._closed(fd, _MERCY):
                await self._loop.run_in_executor(None, end_holders, inode, signal.SIGKILL)
        finally:
            os.close(fd)

    async def _closed(self, fd: int, seconds: float) -> bool:
        """Whether nobody holds the other end any more, after so many seconds at the latest."""
        closed = asyncio.Event()

        def look() -> None:
            try:
                data = os.read(fd, 4096)
            except BlockingIOError:
                return
            except OSError:  # ECONNRESET
                data = b""
            if not data:
                self._loop.remove_reader(fd)
                closed.set()

        self._loop.add_reader(fd, look)
        try:
            await asyncio.wait_for(closed.wait(), seconds)
        except TimeoutError:
            return False
        finally:
            self._loop.remove_reader(fd)
        return True

    def close(self) -> None:
        """The Emperor ends: nobody is left behind."""
        for task, inode in list(self._tasks.items()):
            task.cancel()
            end_holders(inode, signal.SIGKILL)


def in_words(program: str, what: str) -> str:
    """What has happened, and what to do about it."""
    return f"it has put itself into the background, {what}: a vassal has to stay in the foreground; {advice(program)}"
