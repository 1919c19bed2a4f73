"""What an application has done: requests begun and ended, told to whoever asks and at the milestones.

The Emperor calls a vassal *loyal* once it has finished its first request (byte 17), and its heartbeat must come from
something that knows whether requests still move. Both need the same two numbers, so the application is wrapped once:
:func:`wsgi`, :func:`asgi` or :func:`rsgi` count, and :class:`Progress` keeps. The wrappers know no engine.

A request has ended when the application has nothing more to do for it: the list is returned, the iterable closed, the
coroutine done. It has ended also when the application failed. Every method may be called from any thread.
"""

from __future__ import annotations

from _thread import allocate_lock, get_ident
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from imperator.config.records import record

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

AsgiApplication = Callable[[Any, Any, Any], Awaitable[None]]
Describe = Callable[[Any], str]
"""Says in words what request an environ or a scope is; only called when somebody asks."""


@record
class Count:
    """How far an application was at one moment."""

    begun: int
    ended: int

    @property
    def running(self) -> int:
        return self.begun - self.ended

    def stuck_since(self, earlier: Count, threads: int) -> bool:
        """Every thread was busy then and now, and nothing ended in between: a blocking (WSGI) worker that is stuck."""
        return earlier.running >= threads and self.running >= threads and self.ended == earlier.ended


@record
class Running:
    """A request that is being answered (only known to a :class:`Progress` that watches)."""

    number: int
    """The how manieth it is of this worker's requests."""
    thread: int
    """``threading.get_ident()`` of the thread that began it: a key of ``sys._current_frames()``."""
    since: float
    """``time.monotonic()``."""
    request: str
    """``GET /path``."""


class Progress:
    """Counts requests; calls ``on_first`` after the first one ended, and ``on_limit`` after the ``limit``-th.

    Each is called once, from the thread that ended that request, before that thread takes another one: they must be
    quick and must not raise. ``watch`` keeps what is running too (for harakiri and statistics), and how long it took:
    about 0.3 µs more a request.
    """

    __slots__ = (
        "_begun",
        "_ended",
        "_limit",
        "_lock",
        "_milestone",
        "_on_first",
        "_on_limit",
        "_running",
        "exceptions",
        "took",
    )

    def __init__(
        self,
        on_first: Callable[[], None] | None = None,
        *,
        limit: int = 0,
        on_limit: Callable[[], None] | None = None,
        watch: bool = False,
    ) -> None:
        self._lock = allocate_lock()
        self._begun = 0
        self._ended = 0
        self._on_first = on_first
        self._on_limit = on_limit
        self._limit = limit if on_limit is not None else 0
        # The next number of ended requests at which something must be called: one comparison a request.
        self._milestone = 1 if on_first is not None else self._limit
        self._running: dict[int, tuple[int, float, Describe, Any]] | None = {} if watch else None
        self.took = 0.0
        """Seconds of all requests that ended (only known to one that watches)."""
        self.exceptions = 0
        """Requests that ended with one."""

    def begin(self, describe: Describe, scope: Any) -> int:
        """A request begins: its number, to be given to :meth:`end`."""
        running = self._running
        with self._lock:
            self._begun = number = self._begun + 1
            if running is not None:
                running[number] = (get_ident(), monotonic(), describe, scope)
        return number

    def fail(self, number: int) -> None:
        """It has ended with an exception."""
        with self._lock:
            self.exceptions += 1
        self.end(number)

    def end(self, number: int) -> None:
        running = self._running
        with self._lock:
            self._ended = ended = self._ended + 1
            if running is not None:
                self.took += monotonic() - running.pop(number)[1]
            if ended != self._milestone:
                return
            self._milestone = self._limit if self._limit > ended else 0
        if ended == 1 and self._on_first is not None:
            self._on_first()
        if ended == self._limit and self._on_limit is not None:
            self._on_limit()

    def count(self) -> Count:
        with self._lock:
            return Count(self._begun, self._ended)

    def running(self) -> tuple[Running, ...]:
        """The requests that are being answered, the oldest first. Empty for one that does not watch."""
        if self._running is None:
            return ()
        with self._lock:
            entries = list(self._running.items())
        return tuple(
            Running(number, thread, since, describe(scope)) for number, (thread, since, describe, scope) in entries
        )


def wsgi(application: WSGIApplication, progress: Progress) -> WSGIApplication:
    """The same WSGI application, counted."""
    begin, end, fail = progress.begin, progress.end, progress.fail

    def counted(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        number = begin(_environ_in_words, environ)
        try:
            result = application(environ, start_response)
        except BaseException:
            fail(number)
            raise
        if type(result) is list or type(result) is tuple:
            end(number)
            return result
        return _CountedBody(result, end, number)

    return counted


class _CountedBody:
    """An iterable whose close() ends the request. Chunks do not pass through it: its iterator is the inner one."""

    __slots__ = ("_end", "_inner", "_number")

    def __init__(self, inner: Iterable[bytes], end: Callable[[int], None], number: int) -> None:
        self._inner = inner
        self._end = end
        self._number = number

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._inner)

    def close(self) -> None:
        number, self._number = self._number, 0
        try:
            close = getattr(self._inner, "close", None)
            if close is not None:
                close()
        finally:
            if number:  # a server that closes twice ends it once
                self._end(number)


def asgi(application: AsgiApplication, progress: Progress) -> AsgiApplication:
    """The same ASGI application, counted. A WebSocket is one request, as long as it is open; the lifespan is none."""
    begin, end, fail = progress.begin, progress.end, progress.fail

    async def counted(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await application(scope, receive, send)
            return
        number = begin(_scope_in_words, scope)
        try:
            await application(scope, receive, send)
        except BaseException:
            fail(number)
            raise
        end(number)

    return counted


def rsgi(application: Any, progress: Progress) -> Any:
    """The same RSGI application (a function, or an object with ``__rsgi__``), counted."""
    return _CountedRsgi(application, progress)


class _CountedRsgi:
    def __init__(self, application: Any, progress: Progress) -> None:
        self._call = getattr(application, "__rsgi__", application)
        self._progress = progress
        # They are optional, and an engine looks for them with hasattr.
        for name in ("__rsgi_init__", "__rsgi_del__"):
            if hasattr(application, name):
                setattr(self, name, getattr(application, name))

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        number = self._progress.begin(_rsgi_in_words, scope)
        try:
            await self._call(scope, protocol)
        except BaseException:
            self._progress.fail(number)
            raise
        self._progress.end(number)


def _environ_in_words(environ: Mapping[str, Any]) -> str:
    return f"{environ.get('REQUEST_METHOD', '?')} {environ.get('SCRIPT_NAME', '')}{environ.get('PATH_INFO', '')}"


def _scope_in_words(scope: Mapping[str, Any]) -> str:
    return f"{scope.get('method', scope['type'])} {scope.get('path', '')}"


def _rsgi_in_words(scope: Any) -> str:
    return f"{getattr(scope, 'method', '?')} {getattr(scope, 'path', '')}"
