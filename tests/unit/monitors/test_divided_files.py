"""A directory with divided files, as its monitor tells of it: what is told, in which order, and nothing beyond."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

from imperator.monitors.api import Changed, Gone, Listing, MonitorOptions, News
from imperator.monitors.directory import DirectoryMonitor
from imperator.reign.names import VassalName

PATIENCE = 20.0
MANY = 1000


def section(number: int, threads: int = 1) -> str:
    return f"[app{number}]\nhttp-socket = 127.0.0.1:{20000 + number}\nthreads = {threads}\n"


class Watched:
    """A directory and what its monitor says."""

    def __init__(self, directory: Path, monitor: DirectoryMonitor, news: AsyncIterator[News]) -> None:
        self.file = directory / "x.ini"
        self._sentinel = directory / "sentinel.ini"
        self._monitor = monitor
        self._news = news
        self._turns = 0

    async def next(self) -> News:
        async with asyncio.timeout(PATIENCE):
            return await anext(self._news)

    async def listing(self) -> dict[str, object]:
        """A whole reading, asked for now: each vassal's stamp."""
        self._monitor.scan_soon()
        while not isinstance(news := await self.next(), Listing):
            raise AssertionError(f"before the listing there was {news}")
        return {wanted.name: wanted.stamp for wanted in news.wanted}

    async def names_up_to_now(self) -> list[str]:
        """Who is concerned by what has happened: ``name``, or ``-name`` for one that is gone."""
        # News that are due at the same moment have no order: what comes after the first sentinel is still among them.
        return [*await self._until_sentinel(), *await self._until_sentinel()]

    async def _until_sentinel(self) -> list[str]:
        self._turns += 1
        self._sentinel.write_text("[uwsgi]\n" * self._turns)
        names: list[str] = []
        while True:
            match await self.next():
                case Changed(wanted) if wanted.name == self._sentinel.name:
                    return names
                case Changed(wanted):
                    names.append(wanted.name)
                case Gone(name):
                    names.append(f"-{name}")
                case other:
                    raise AssertionError(f"unexpected: {other}")


def watching(directory: Path, play: Callable[[Watched], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        monitor = DirectoryMonitor(str(directory), MonitorOptions("/", sections=True))
        news = monitor.news()
        try:
            watched = Watched(directory, monitor, news)
            assert isinstance(await watched.next(), Listing)
            await play(watched)
        finally:
            await news.aclose()  # type: ignore[attr-defined]

    asyncio.run(main())


def test_one_edit_among_a_thousand_concerns_one(tmp_path: Path) -> None:
    whole = [section(number) for number in range(MANY)]
    (tmp_path / "x.ini").write_text("".join(whole))

    async def play(watched: Watched) -> None:
        assert len(await watched.listing()) == MANY
        for number in (7, 999):
            whole[number] = section(number, threads=2)
            watched.file.write_text("".join(whole))
            assert await watched.names_up_to_now() == [f"x.ini:app{number}"]
        del whole[500]
        watched.file.write_text("".join(whole))
        assert await watched.next() == Gone(VassalName("x.ini:app500"))
        watched.file.unlink()
        gone = [await watched.next() for _ in whole]
        assert {news.name for news in gone if isinstance(news, Gone)} == {
            f"x.ini:app{number}" for number in range(MANY) if number != 500
        }

    watching(tmp_path, play)


def test_a_file_that_is_half_written_stops_nobody(tmp_path: Path) -> None:
    """Neither a notice nor a whole reading takes what is not finished for what is wanted."""
    (tmp_path / "x.ini").write_text(section(1) + section(2) + section(3))

    async def play(watched: Watched) -> None:
        before = await watched.listing()
        with watched.file.open("w") as writer:
            writer.write(section(1))
            writer.flush()
            assert await watched.listing() == before
            writer.write(section(2, threads=2) + section(3))
        assert await watched.names_up_to_now() == ["x.ini:app2"]

    watching(tmp_path, play)


def test_a_file_that_is_put_in_its_place(tmp_path: Path) -> None:
    """As editors and deployments do it: nothing is seen in between."""
    (tmp_path / "x.ini").write_text(section(1) + section(2))

    async def play(watched: Watched) -> None:
        new = tmp_path / ".x.ini.new"
        new.write_text(section(1) + section(2, threads=2))
        new.rename(watched.file)
        assert await watched.names_up_to_now() == ["x.ini:app2"]
        new.write_text(section(2, threads=2) + section(1))
        new.rename(watched.file)
        assert await watched.names_up_to_now() == []  # in another order, and all is as it was

    watching(tmp_path, play)


def test_edits_as_fast_as_they_come(tmp_path: Path) -> None:
    """Each is read while the next one is being written, and nobody else is concerned by what is half there."""
    (tmp_path / "x.ini").write_text(section(1) + section(2))

    def write_again_and_again(file: Path) -> None:
        for threads in range(2, 300):
            with file.open("w") as writer:
                for part in (section(1), section(2, threads)):
                    writer.write(part)
                    writer.flush()

    async def play(watched: Watched) -> None:
        writing = asyncio.create_task(asyncio.to_thread(write_again_and_again, watched.file))
        concerned = set()
        while not writing.done():
            concerned |= set(await watched.names_up_to_now())
        concerned |= set(await watched.names_up_to_now())
        assert concerned == {"x.ini:app2"}

    watching(tmp_path, play)


def test_a_section_that_was_really_taken_out(tmp_path: Path) -> None:
    """It is gone a moment later."""
    (tmp_path / "x.ini").write_text(section(1) + section(2))

    async def play(watched: Watched) -> None:
        watched.file.write_text(section(1))
        assert await watched.next() == Gone(VassalName("x.ini:app2"))
        assert (await watched.listing()).keys() == {"x.ini:app1"}

    watching(tmp_path, play)
