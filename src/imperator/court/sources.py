"""Reads what the monitors say and passes it on to the reign, one task a source."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from imperator.monitors.api import Changed, Gone, Listing, Monitor, News, Trouble
from imperator.reign.effects import Severity
from imperator.reign.events import Event, SourceListed, VassalUnwanted, VassalWanted
from imperator.reign.names import SourceName, VassalName

_RESTART_AFTER = 3.0
"""Seconds until a monitor that failed with a bug of its own is started again."""
_LISTED_AT_ONCE = 100
"""Vassals of a first listing that are taken in before the loop may do something else."""

Say = Callable[[Severity, str, str, VassalName | None], None]


@dataclass(slots=True)
class Source:
    """One monitor and what is known of it."""

    monitor: Monitor
    trouble: str | None = None
    """Why it cannot be read at the moment."""
    handicap: str | None = None
    """Why it cannot be read as it should be."""
    read_once: bool = False
    """It has said something: a listing or a trouble."""

    @property
    def name(self) -> SourceName:
        return self.monitor.name


class Sources:
    """All sources; ``first_reading`` is set when each has said something."""

    def __init__(self, monitors: list[Monitor], post: Callable[[Event], None], say: Say) -> None:
        self.all = [Source(monitor) for monitor in monitors]
        self.first_reading = asyncio.Event()
        self._post = post
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._read(source)) for source in self.all]

    def scan_soon(self) -> None:
        for source in self.all:
            source.monitor.scan_soon()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, source: Source) -> None:
        while True:
            try:
                news = source.monitor.news()
                async for piece in news:
                    await self._pass_on(source, piece)
            except Exception as error:  # noqa: BLE001 (a monitor may be a third party's: its bug must not end the reign)
                where = traceback.extract_tb(error.__traceback__)[-1]
                text = f"the monitor failed: {type(error).__name__}: {error} ({where.filename}:{where.lineno})"
                await self._pass_on(source, Trouble(f"{text}; it is started again in {_RESTART_AFTER:g} s"))
            await asyncio.sleep(_RESTART_AFTER)

    async def _pass_on(self, source: Source, news: News) -> None:
        match news:
            case Listing():
                if source.trouble is not None:
                    source.trouble = None
                    self._say(Severity.NOTICE, "source", f"{source.name}: can be read again", None)
                await self._list(source, news)
            case Changed():
                self._post(VassalWanted(news.wanted))
            case Gone():
                self._post(VassalUnwanted(source.name, news.name))
            case Trouble(lasting=True):
                source.handicap = news.text
                self._say(Severity.WARNING, "source", f"{source.name}: {news.text}", None)
                return
            case Trouble():
                if news.text != source.trouble:
                    source.trouble = news.text
                    self._say(Severity.ERROR, "source", f"{source.name}: {news.text}", None)
        if not source.read_once:
            source.read_once = True
            if all(other.read_once for other in self.all):
                self.first_reading.set()

    async def _list(self, source: Source, listing: Listing) -> None:
        if not source.read_once:
            # Thousands at once: take them in by and by, so that the first are up before the last are known.
            for start in range(0, len(listing.wanted), _LISTED_AT_ONCE):
                for wanted in listing.wanted[start : start + _LISTED_AT_ONCE]:
                    self._post(VassalWanted(wanted))
                await asyncio.sleep(0)
        self._post(SourceListed(source.name, listing.wanted))
