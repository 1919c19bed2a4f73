"""What the monitors of files have in common: one inotify instance, one desk, and the safety net.

A subclass says where its files are (:meth:`FileMonitor.entries`), what to watch for new ones
(:meth:`FileMonitor.territory`), and whose news it is (:meth:`FileMonitor.name_of`).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator

from imperator.kernel.filesystems import hides_changes
from imperator.monitors.api import Changed, Gone, Listing, MonitorOptions, Trouble
from imperator.monitors.api import News as MonitorNews
from imperator.monitors.desk import UNFINISHED, Desk, is_fresh
from imperator.monitors.files import Rules
from imperator.monitors.interests import Interests, News
from imperator.monitors.routes import Step, route
from imperator.monitors.sections import OFF_FOR_TYRANTS, SETTLED, Sections, Unfinished
from imperator.reign.names import Seconds, SourceName, VassalName
from imperator.reign.wanted import Wanted

SAFETY_NET = 60.0
"""Seconds between two whole readings, where notifications can be trusted."""
LONGEST_SAFETY_NET = 600.0
"""Seconds between two whole readings of a source that is so large that reading it costs something."""
SAFETY_NET_SHARE = 0.001
"""The share of a core that whole readings may take."""
POLLING = 3.0
"""The same where they cannot: a network file system, or no inotify to be had. The original's interval."""
MISSING = 2.0
"""Seconds between two looks for a directory that is not there (its appearance is noticed earlier)."""
UNTIRED = 0.25
"""Processor seconds that a monitor works in one go: thousands of files that are put in place at once take less."""
REST = 4.0
"""How many times as long as it has worked it rests then, where somebody makes more happen than it can follow."""
LONGEST_REST = 0.5
"""Seconds."""
_CHUNK = 100
"""Files looked at before the loop may do something else."""

TERRITORY = "/"
"""The key of what a source watches for itself; a vassal's own begin with ``=``."""


class Unreadable(Exception):
    """The source cannot be read at the moment; the text says why."""


class FileMonitor:
    """One source of files."""

    def __init__(self, name: SourceName, options: MonitorOptions) -> None:
        self.name = name
        self.options = options
        self.rules = Rules(name, options)
        self._sections = Sections(self.rules)
        self._divided: dict[str, dict[VassalName, Wanted]] = {}
        """What was told last of the files whose sections are vassals."""
        self._desk = Desk()
        self._interests: Interests | None = None
        self._worked = 0.0
        """Processor seconds since there was last a moment with nothing to do."""
        self._rest = 0.0
        """Seconds to do nothing before the next notices are read."""
        self._wake = asyncio.Event()
        self._scan_wanted = False
        self._reading_cost = 0.0
        """Processor seconds that the last whole reading took."""
        self._blind: str | None = None
        """Why not everything can be watched, so that only looking helps."""
        self._linked: set[str] = set()
        """Names that are symlinks whose route is watched."""

    # -- what a subclass says

    def territory(self) -> list[Step]:
        """The directories to watch for new files, and the routes to them. Raises :class:`Unreadable`."""
        raise NotImplementedError

    def entries(self) -> Iterator[tuple[str, str]]:
        """Every candidate as (vassal's name, absolute path). Raises :class:`Unreadable`."""
        raise NotImplementedError

    def name_of(self, news: News) -> str | None:
        """Which file a notice of the territory is about; ``None``: all of them may be concerned."""
        raise NotImplementedError

    def path_of(self, name: str) -> str:
        """The absolute path of a vassal's file."""
        raise NotImplementedError

    def directory_of(self, name: str) -> str:
        """The working directory of a vassal."""
        raise NotImplementedError

    def places(self) -> list[str]:
        """The directories that the files are in, to see on what file system they are."""
        raise NotImplementedError

    # -- the contract

    def scan_soon(self) -> None:
        self._scan_wanted = True
        self._wake.set()

    async def news(self) -> AsyncIterator[MonitorNews]:
        loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        try:
            self._interests = Interests()
        except OSError as error:
            self._blind = error.strerror
        else:
            loop.add_reader(self._interests, self._wake.set)
        try:
            if self.options.sections and self.options.tyrant:
                yield Trouble(OFF_FOR_TYRANTS, lasting=True)
            first = True
            told = None
            while True:
                self._scan_wanted = False
                try:
                    listing = await self._scan(first, loop)
                except Unreadable as error:
                    yield Trouble(str(error))
                    await self._wait(loop.time() + MISSING, loop)
                    if self._interests is not None:
                        self._interests.read()
                    continue
                first = False
                if self._blind not in (None, told):
                    told = self._blind
                    yield Trouble(f"{told}; looking every {self._interval():g} s instead", lasting=True)
                yield listing
                async for piece in self._follow(loop):
                    yield piece
        finally:
            if self._interests is not None:
                loop.remove_reader(self._interests)
                self._interests.close()
                self._interests = None
            self._linked.clear()
            self._desk.clear()
            self._desk.known.clear()
            self._sections.keep_only(())
            self._divided.clear()

    async def _follow(self, loop: asyncio.AbstractEventLoop) -> AsyncIterator[MonitorNews]:
        """Single news until it is time for a whole reading."""
        next_scan = loop.time() + self._interval()
        while not self._scan_wanted:
            held = self._desk.next_look()
            await self._wait(next_scan if held is None else min(next_scan, held), loop)
            now = loop.time()
            if now >= next_scan or not self._take_notices(now):
                return
            for name in self._desk.take_due(now):
                for piece in await self._look(name, now):
                    yield piece

    async def _wait(self, until: float, loop: asyncio.AbstractEventLoop) -> None:
        """Until something happens, or until a moment."""
        if self._worked:
            await asyncio.sleep(0)  # whatever else there is to do, in between
        if self._rest and self._interests is not None:
            rest, self._rest = self._rest, 0.0
            loop.remove_reader(self._interests)  # it would call without end
            await asyncio.sleep(rest)
            loop.add_reader(self._interests, self._wake.set)
        self._wake.clear()
        if self._scan_wanted:
            return
        try:
            async with asyncio.timeout_at(until):
                await self._wake.wait()
        except TimeoutError:
            return

    def _interval(self) -> Seconds | float:
        if self.options.interval is not None:
            return self.options.interval
        if self._blind is not None or any(hides_changes(place) for place in self.places()):
            return POLLING
        return min(max(SAFETY_NET, self._reading_cost / SAFETY_NET_SHARE), LONGEST_SAFETY_NET)

    # -- notices

    def _take_notices(self, now: float) -> bool:
        """Put what happened on the desk; ``False``: only a whole reading will do."""
        if self._interests is None:
            return True
        cost = -time.thread_time()
        notices = self._interests.read()
        if notices is None:
            self._rest_after(self._reading_cost)
            return False
        for news in notices:
            if news.key != TERRITORY:
                self._desk.look(news.key[1:])
                continue
            name = self.name_of(news)
            if name is None:
                return False
            if name:
                self._desk.happened(name, self.path_of(name), news.mask, now)
        if self._interests.has_more:
            self._rest_after(cost + time.thread_time())
        else:
            self._worked = 0.0
        return True

    def _rest_after(self, cost: float) -> None:
        """There is more to do already. If that goes on, it could take all the time there is: it may have a fifth."""
        self._worked += cost
        if self._worked > UNTIRED:
            self._rest = min(REST * cost, LONGEST_REST)

    async def _look(self, name: str, now: float) -> list[MonitorNews]:
        """Look at one file; what is to be told of it, if anything."""
        desk = self._desk
        known = desk.known.get(name)
        wanted = self._examine(name)
        if wanted is None:
            if known is None or not desk.is_gone(name, now):
                return []
            gone = self._told_of(name)
            del desk.known[name]
            self._divided.pop(name, None)
            self._sections.forget(name)
            self._unlink(name)
            return [Gone(vassal) for vassal in gone]
        desk.is_there(name)
        before = self._told_of(name)
        try:
            await self._take_in(name, wanted, desk.known, self._divided)
        except Unfinished:
            desk.look_later(name, now + SETTLED)
            return []
        after = self._told_of(name)
        news: list[MonitorNews] = [Gone(vassal) for vassal in before if vassal not in after]
        news += [Changed(each) for vassal, each in after.items() if before.get(vassal) != each]
        return news

    def _told_of(self, name: str) -> dict[VassalName, Wanted]:
        """The vassals that a file was last said to want."""
        divided = self._divided.get(name)
        if divided is not None:
            return divided
        known = self._desk.known.get(name)
        return {} if known is None else {known.name: known}

    async def _take_in(
        self, name: str, wanted: Wanted, found: dict[str, Wanted], divided: dict[str, dict[VassalName, Wanted]]
    ) -> None:
        """Put down what a file wants: as one vassal, or as its sections."""
        known = self._desk.known.get(name)
        parts = self._sections.divide(name, self.path_of(name), wanted, known, self._told_of(name))
        if parts is not None:
            found[name] = wanted
            divided[name] = {part.name: await self.rules.complete(part) for part in parts}
            return
        divided.pop(name, None)
        found[name] = wanted if known == wanted else await self.rules.complete(wanted)

    def _examine(self, name: str) -> Wanted | None:
        path = self.path_of(name)
        wanted = self.rules.examine(name, path, self.directory_of(name))
        if self._interests is not None and not self.options.nofollow:
            self._watch_link(name, path)
        return wanted

    def _watch_link(self, name: str, path: str) -> None:
        """A symlink's file, and whatever lies on the way to it, changes elsewhere."""
        if os.path.islink(path):
            self._watch("=" + name, route(path)[1:])
            self._linked.add(name)
        elif name in self._linked:
            self._unlink(name)

    def _watch(self, key: str, steps: list[Step]) -> None:
        assert self._interests is not None
        try:
            self._interests.replace(key, steps)
        except OSError as error:  # no watches left
            self._blind = error.strerror

    def _unlink_all(self, names: set[str]) -> None:
        for name in names:
            if not os.path.islink(self.path_of(name)):  # a dangling link may become valid: it stays watched
                self._unlink(name)

    def _unlink(self, name: str) -> None:
        if name in self._linked and self._interests is not None:
            self._linked.discard(name)
            self._interests.forget("=" + name)

    # -- whole readings

    async def _scan(self, first: bool, loop: asyncio.AbstractEventLoop) -> Listing:
        desk = self._desk
        desk.clear()
        if self._interests is not None:
            self._blind = None
            self._watch(TERRITORY, self.territory())
            self._interests.read()  # what has happened up to now, the reading sees
        found: dict[str, Wanted] = {}
        divided: dict[str, dict[VassalName, Wanted]] = {}
        cost = -time.thread_time()
        for count, (name, _) in enumerate(self.entries(), 1):
            wanted = self._examine(name)
            if wanted is not None:
                known = desk.known.get(name)
                try:
                    if not first and is_fresh(wanted, known):
                        raise Unfinished
                    await self._take_in(name, wanted, found, divided)
                except Unfinished:
                    # Somebody may be writing it at this moment, and no notice will say when that ends.
                    desk.look_later(name, loop.time() + UNFINISHED)
                    if known is not None:
                        found[name] = known
                        if name in self._divided:
                            divided[name] = self._divided[name]
            if count % _CHUNK == 0:
                cost += time.thread_time()
                await asyncio.sleep(0)
                cost -= time.thread_time()
        self._reading_cost = cost + time.thread_time()
        self._unlink_all(self._linked - found.keys())
        desk.known = found
        self._divided = divided
        self._sections.keep_only(found)
        if not divided:
            return Listing(tuple(found.values()))
        return Listing(tuple(vassal for name in found for vassal in self._told_of(name).values()))
