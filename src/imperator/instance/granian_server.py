"""An application served by granian in this very process: :meth:`Server.serve` blocks until :meth:`Server.stop`.

The rules:

* WSGI: the calling thread waits, Rust has two threads *for each socket* (the network; its own waiting), and Python
  threads answer. At most ``threads`` requests are in the application at once: a gate sees to that where there are more
  threads, since each socket needs threads of its own, and :meth:`Server.give_up_on` spare ones. ASGI and RSGI: the
  calling thread is the event loop.
* An end loses no request that anybody has begun to send: :mod:`.draining` says how.
* ``REMOTE_ADDR`` (``client``) is the peer's address, never a forwarded one: ``X-Forwarded-For`` reaches the
  application as the header that it is. On a UNIX socket it is empty (``None``); ``SERVER_NAME`` is the host's name.
* A server is started only in a process that will not fork, and may be started in one that was forked.
* The sockets stay open and usable, whatever happens here: connections that were not accepted wait for a successor.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import sys
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imperator.instance.draining import draining
from imperator.instance.granian_worker import (
    Interface,
    Limits,
    Service,
    load,
    start,
    threads_now,
    wait_for_threads,
)

if TYPE_CHECKING:
    import asyncio

    from imperator.instance.lifespan import Lifespan


class Server:
    """Serves one application.

    ``threads`` counts for WSGI only. granian accepts connections while all threads are busy, and what waits inside is
    not given to another process: where several processes share a socket and requests may be slow, give
    ``Limits(connections=threads, keep_alive=False)``, which accepts only what can be answered at once, as uWSGI does.
    """

    def __init__(
        self,
        application: Any,
        interface: Interface,
        sockets: Sequence[socket.socket],
        *,
        threads: int = 1,
        multiprocess: bool = False,
        limits: Limits | None = None,
        spare_threads: bool = False,
    ) -> None:
        """Raises :class:`~imperator.instance.granian_worker.EngineUnusable`; ValueError for what cannot be served."""
        load()
        self._application = application
        self._interface: Interface = interface
        self._sockets = tuple(sockets)
        self._threads = threads
        self._multiprocess = multiprocess
        self._limits = limits or Limits()
        self._spare_threads = spare_threads
        self._admit_one_more: Callable[[], None] | None = None
        if threads < 1 or self._limits.connections < 1 or not self._sockets:
            raise ValueError("a server needs a socket, a thread and a connection at least")
        for one in self._sockets:
            if one.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or one.type != socket.SOCK_STREAM:
                raise ValueError(f"granian serves TCP and UNIX stream sockets only, not {one}")
            if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                raise ValueError(f"{one} does not listen")
        self._wake: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._deadline: float | None = None
        self._leaving = False
        self._services: list[Service] = []
        self._alive = 0
        self._counting = allocate_lock()

    def serve(self, on_accepting: Callable[[], None] | None = None) -> bool:
        """Serve until :meth:`stop`. ``on_accepting`` is called once, when requests are taken.

        Returns whether every request ended. ``False``: the mercy ran out, the application still runs in threads,
        and the process should leave by ``os._exit``: the interpreter's own end would wait or abort. Raises
        :class:`~imperator.instance.lifespan.LifespanFailed` where an ASGI application does not start or end well.
        """
        others = threads_now()
        ended = self._serve_wsgi(on_accepting) if self._interface == "wsgi" else self._serve_loop(on_accepting)
        if ended:
            wait_for_threads(others)
        return ended

    def stop(self, mercy: float | None = None) -> None:
        """Take no more connections, close the idle ones, and end when the others are answered.

        At the latest after ``mercy`` seconds (``None``: as long as it takes). May be called from a signal handler or
        any thread, before :meth:`serve` too, and again, which can only shorten the mercy.
        """
        deadline = None if mercy is None else time.monotonic() + mercy
        if deadline is not None and (self._deadline is None or deadline < self._deadline):
            self._deadline = deadline
        self._stopping = True
        if (wake := self._wake) is not None:
            wake()

    def give_up_on(self, requests: int) -> None:
        """WSGI: so many requests will not end. Let others have their turn; only with ``spare_threads``."""
        if (admit := self._admit_one_more) is not None:
            for _ in range(requests):
                admit()

    def pulse(self, answer: Callable[[], None]) -> None:
        """ASGI and RSGI: have ``answer`` called by the event loop, which shows that nothing blocks it.

        WSGI: it is called at once; there :meth:`~imperator.instance.loyalty.Count.stuck_since` sees a stuck worker.
        """
        if (loop := self._loop) is None:
            answer()
        else:
            loop.call_soon_threadsafe(answer)

    def _left(self) -> float | None:
        """Seconds of the mercy."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def _start(
        self, listener: socket.socket, call: Callable[[Any, Any], Any], loop: asyncio.AbstractEventLoop | None = None
    ) -> None:
        wake = self._wake
        assert wake is not None

        def ended() -> None:
            with self._counting:
                self._alive -= 1
            wake()

        threads = self._threads * (2 if self._spare_threads else 1) if loop is None else 1
        self._alive += 1
        self._services.append(
            start(self._interface, listener, call, threads=threads, limits=self._limits, ended=ended, loop=loop)
        )

    def _drain(self) -> Iterator[float]:
        """From the closed door to the end of the services; yields the seconds to wait between."""
        self._leaving = True
        try:
            for service in self._services:
                service.close_door()
        except OSError as error:
            print(f"the door stays open while requests end: {error}", file=sys.stderr, flush=True)
        yield from draining(self._sockets, lambda: self._deadline)
        for service in self._services:
            service.end()

    # -- WSGI

    def _serve_wsgi(self, on_accepting: Callable[[], None] | None) -> bool:
        with _News() as news:
            self._wake = news.tell
            if not self._stopping:
                self._start_wsgi()
                if on_accepting is not None:
                    on_accepting()
            while not self._stopping:
                news.wait(None)
            for seconds in self._drain():
                time.sleep(seconds)
            while self._alive:
                left = self._left()
                if left is not None and left <= 0:
                    return False
                news.wait(left)
            return True

    def _start_wsgi(self) -> None:
        from imperator.instance.granian_wsgi import FileWrapper, Gate, caller

        gate: Gate | None = None
        if len(self._sockets) > 1 or self._spare_threads:
            gate = Gate(self._threads)
            self._admit_one_more = gate.leave
        common = {
            "SCRIPT_NAME": "",
            "SERVER_SOFTWARE": "imperator",
            "wsgi.errors": sys.stderr,
            "wsgi.version": (1, 0),
            "wsgi.multithread": self._threads > 1,
            "wsgi.multiprocess": self._multiprocess,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            "wsgi.input_terminated": True,
        }
        on_unix = common | {"REMOTE_ADDR": "", "SERVER_NAME": socket.gethostname(), "SERVER_PORT": ""}
        for one in self._sockets:
            base = on_unix if one.family == socket.AF_UNIX else common
            self._start(one, caller(self._application, base, gate, lambda: self._leaving))

    # -- ASGI and RSGI

    def _serve_loop(self, on_accepting: Callable[[], None] | None) -> bool:
        import asyncio

        loop = self._loop = _new_loop()
        told = asyncio.Event()
        leaving: asyncio.Future[None] = loop.create_future()
        asyncio.set_event_loop(loop)
        serve = self._serve_asgi if self._interface == "asgi" else self._serve_rsgi
        ended = False
        with _News() as news:
            self._wake = news.tell

            def read() -> None:
                news.read()
                told.set()

            loop.add_reader(news.fileno(), read)
            try:
                ended = loop.run_until_complete(serve(loop, told, leaving, on_accepting))
            finally:
                self._loop = None
                loop.remove_reader(news.fileno())
                if ended:
                    loop.run_until_complete(loop.shutdown_asyncgens())
                    asyncio.set_event_loop(None)
                    loop.close()
        return ended

    async def _serve_asgi(
        self,
        loop: asyncio.AbstractEventLoop,
        news: asyncio.Event,
        leaving: asyncio.Future[None],
        on_accepting: Callable[[], None] | None,
    ) -> bool:
        import asyncio

        from imperator.instance.granian_async import asgi_call
        from imperator.instance.lifespan import Lifespan

        lifespan: Lifespan = Lifespan(self._application)
        await lifespan.startup()
        if (why := lifespan.unsupported) is not None:
            words = f"{type(why).__name__}: {why}".partition("\n")[0]
            print(f"this ASGI application has no lifespan ({words})", file=sys.stderr, flush=True)
        calls = {
            one: asgi_call(self._application, lifespan.state, one.family == socket.AF_UNIX, leaving)
            for one in self._sockets
        }
        if not await self._until_stopped(loop, news, leaving, calls, on_accepting):
            return False
        left = self._left()
        try:
            await asyncio.wait_for(lifespan.shutdown(), None if left is None else max(left, 0.1))
        except TimeoutError:
            print("the application's lifespan shutdown outlasted the mercy", file=sys.stderr, flush=True)
            return False
        return True

    async def _serve_rsgi(
        self,
        loop: asyncio.AbstractEventLoop,
        news: asyncio.Event,
        leaving: asyncio.Future[None],
        on_accepting: Callable[[], None] | None,
    ) -> bool:
        from imperator.instance.granian_async import rsgi_call

        application = self._application
        if hasattr(application, "__rsgi_init__"):
            application.__rsgi_init__(loop)
        call = rsgi_call(application, leaving)
        if not await self._until_stopped(loop, news, leaving, dict.fromkeys(self._sockets, call), on_accepting):
            return False
        if hasattr(application, "__rsgi_del__"):
            application.__rsgi_del__(loop)
        return True

    async def _until_stopped(
        self,
        loop: asyncio.AbstractEventLoop,
        news: asyncio.Event,
        leaving: asyncio.Future[None],
        calls: dict[socket.socket, Callable[[Any, Any], Any]],
        on_accepting: Callable[[], None] | None,
    ) -> bool:
        import asyncio

        if not self._stopping:
            for listener, call in calls.items():
                self._start(listener, call, loop)
            if on_accepting is not None:
                on_accepting()
        while not self._stopping:
            await news.wait()
            news.clear()
        leaving.set_result(None)
        for seconds in self._drain():
            await asyncio.sleep(seconds)
        while self._alive:
            left = self._left()
            if left is not None and left <= 0:
                return False
            try:
                await asyncio.wait_for(news.wait(), left)
            except TimeoutError:
                continue
            news.clear()
        return True


class _News:
    """Wakes the serving thread: from any thread, from a signal handler, and *for* one.

    A signal that comes just before the thread falls asleep does not wake it (signal(7): only what is already waiting is
    interrupted), and then Python's handler would not run. So the C part of Python's handling writes here as well. Where
    the process has such a wakeup descriptor already, that one stays: whoever reads it hears of the signal and stops us.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._read, select.POLLIN)
        self._ours = False

    def __enter__(self) -> _News:
        try:
            before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        except ValueError:
            return self  # not the main thread: no signal handler runs here
        self._ours = before == -1
        if not self._ours:
            signal.set_wakeup_fd(before, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.set_wakeup_fd(-1)
        # The pipe stays: a late stop(), or a worker that ends after the mercy, may still have news.

    def fileno(self) -> int:
        return self._read

    def tell(self) -> None:
        try:
            os.write(self._write, b".")
        except BlockingIOError:
            return  # much news is unread already

    def wait(self, seconds: float | None) -> None:
        """Until there is news, or a signal; all of it is read."""
        self._poll.poll(None if seconds is None else math.ceil(seconds * 1000))
        self.read()

    def read(self) -> None:
        try:
            while len(os.read(self._read, 4096)) == 4096:
                continue
        except BlockingIOError:
            return


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed."""
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        import asyncio

        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
