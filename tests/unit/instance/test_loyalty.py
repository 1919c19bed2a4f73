"""Counting requests: what loyal, heartbeat, max-requests and harakiri are made of. No engine is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.types import WSGIApplication

import pytest

from imperator.instance.loyalty import Count, Progress, asgi, rsgi, wsgi

GET: dict[str, Any] = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "/shop", "PATH_INFO": "/cart"}


def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
    return bytes


def hello(environ: dict[str, Any], start: Any) -> list[bytes]:
    start("200 OK", [])
    return [b"hello"]


class Chunks:
    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return iter([b"one", b"two"])

    def close(self) -> None:
        self.closed += 1


def test_a_list_ends_the_request_and_is_passed_on_as_it_is() -> None:
    progress = Progress()
    assert wsgi(hello, progress)(GET, start) == [b"hello"]
    assert progress.count() == Count(begun=1, ended=1)


def test_an_iterable_ends_the_request_when_it_is_closed() -> None:
    progress = Progress()
    chunks = Chunks()
    result: Any = wsgi(lambda environ, start: chunks, progress)(GET, start)
    assert list(result) == [b"one", b"two"]
    assert progress.count() == Count(begun=1, ended=0)
    result.close()
    result.close()
    assert progress.count() == Count(begun=1, ended=1)
    assert chunks.closed == 2


def test_a_generator_without_close_of_its_own_ends_too() -> None:
    progress = Progress()
    result: Any = wsgi(lambda environ, start: iter([b"x"]), progress)(GET, start)
    result.close()
    assert progress.count().running == 0


def raises(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    raise LookupError


def test_a_request_that_failed_has_ended() -> None:
    progress = Progress()
    with pytest.raises(LookupError):
        wsgi(raises, progress)(GET, start)
    assert progress.count() == Count(begun=1, ended=1)


def test_a_close_that_fails_ends_the_request() -> None:
    class Broken(Chunks):
        def close(self) -> None:
            raise LookupError

    progress = Progress()
    result: Any = wsgi(lambda environ, start: Broken(), progress)(GET, start)
    with pytest.raises(LookupError):
        result.close()
    assert progress.count().running == 0


def test_the_first_request_that_ends_is_told_once_and_after_it_ended() -> None:
    told: list[Count] = []
    progress = Progress(lambda: told.append(progress.count()))
    application = wsgi(hello, progress)
    for _ in range(3):
        application(GET, start)
    assert told == [Count(1, 1)]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_limit_is_told_once_when_it_is_reached(first: bool, limit: int) -> None:
    told: list[str] = []
    progress = Progress(
        (lambda: told.append("first")) if first else None,
        limit=limit,
        on_limit=lambda: told.append(f"limit at {progress.count().ended}"),
    )
    application = wsgi(hello, progress)
    for _ in range(8):
        application(GET, start)
    assert told == ["first"] * first + [f"limit at {limit}"]


def test_nothing_is_lost_between_threads_and_the_milestones_are_told_once() -> None:
    told: list[str] = []
    progress = Progress(lambda: told.append("first"), limit=1000, on_limit=lambda: told.append("limit"))
    application = wsgi(hello, progress)
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait()
        for _ in range(1000):
            application(GET, start)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert progress.count() == Count(4000, 4000)
    assert sorted(told) == ["first", "limit"]


@pytest.mark.parametrize(
    ("earlier", "now", "stuck"),
    [
        (Count(0, 0), Count(0, 0), False),  # nothing to do
        (Count(2, 0), Count(2, 0), True),  # both threads in the same requests
        (Count(1, 0), Count(1, 0), False),  # one thread is free
        (Count(2, 0), Count(3, 1), False),  # busy, and one ended
        (Count(1, 0), Count(2, 0), False),  # the second came just now
    ],
)
def test_stuck_is_all_threads_busy_and_nothing_ended(earlier: Count, now: Count, stuck: bool) -> None:
    assert now.stuck_since(earlier, threads=2) is stuck


def test_who_watches_sees_what_is_running_the_oldest_first() -> None:
    progress = Progress(watch=True)

    def sees(environ: dict[str, Any], start: Any) -> list[bytes]:
        [mine] = progress.running()
        assert mine.thread == threading.get_ident()
        assert mine.request == "GET /shop/cart"
        return [b""]

    application: WSGIApplication = wsgi(sees, progress)
    application(GET, start)
    assert progress.running() == ()
    streams: list[Any] = [wsgi(lambda environ, start: Chunks(), progress)(GET, start) for _ in range(2)]
    first, second = progress.running()
    assert first.since <= second.since
    streams[0].close()
    assert progress.running() == (second,)


def test_asgi_counts_requests_and_not_the_lifespan() -> None:
    progress = Progress(watch=True)
    seen: list[str] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(one.request for one in progress.running())
        if scope["type"] == "websocket":
            raise LookupError

    async def story() -> None:
        counted = asgi(application, progress)
        await counted({"type": "lifespan"}, None, None)
        assert progress.count() == Count(0, 0)
        await counted({"type": "http", "method": "GET", "path": "/"}, None, None)
        with pytest.raises(LookupError):
            await counted({"type": "websocket", "path": "/talk"}, None, None)

    asyncio.run(story())
    assert progress.count() == Count(2, 2)
    assert seen == ["GET /", "websocket /talk"]


def test_rsgi_keeps_the_hooks_that_the_application_has_and_makes_up_none() -> None:
    class Application:
        def __rsgi_init__(self, loop: object) -> str:
            return "init"

        async def __rsgi__(self, scope: object, protocol: object) -> None:
            pass

    progress = Progress()
    counted = rsgi(Application(), progress)
    assert counted.__rsgi_init__(None) == "init"
    assert not hasattr(counted, "__rsgi_del__")
    asyncio.run(counted.__rsgi__(None, None))
    assert progress.count() == Count(1, 1)
