"""A worker: one process that serves the application, and what watches over it from inside.

The main thread serves. The keeper's thread sees whether requests still move: it sends heartbeats while they do, sees
which take too long (:mod:`.harakiri`), and notices when there was nothing to do for ``idle`` seconds.

A worker tells its superior (the Emperor itself, or the master that forked it) how it is, in the bytes of the Emperor
protocol, whichever of them it is.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings, Interface
from imperator.instance import loyalty
from imperator.instance.application import Application
from imperator.instance.granian_server import Server
from imperator.instance.granian_worker import Limits
from imperator.instance.harakiri import Harakiri
from imperator.instance.keeper import Keeper
from imperator.instance.link import Unlinked
from imperator.instance.listening import Listening
from imperator.instance.loyalty import Count, Progress

if TYPE_CHECKING:
    from imperator.instance.request_log import RequestLog

Say = Callable[[str], None]

_SMALLEST_HEAD = 65536
"""Bytes of a request's head that are always allowed: ``buffer-size`` can only allow more."""
LOOK = 1.0
"""Seconds between two looks at how the requests are."""
_COUNTED: dict[str, Callable[[Any, Progress], Any]] = {
    "wsgi": loyalty.wsgi,
    "asgi": loyalty.asgi,
    "rsgi": loyalty.rsgi,
}


class Serves(Protocol):
    """An engine in this process."""

    def serve(self, on_accepting: Callable[[], None] | None = None) -> bool:
        """Until it is stopped; says whether every request ended."""
        ...

    def stop(self, mercy: float | None = None) -> None: ...

    def pulse(self, answer: Callable[[], None]) -> None:
        """Have it called by whatever must not be blocked."""
        ...


class Worker:
    """Serves one application. ``number`` counts from 1."""

    def __init__(
        self,
        application: Application,
        settings: InstanceSettings,
        listening: Sequence[Listening],
        number: int,
        keeper: Keeper,
        superior: Unlinked,
        say: Say,
        engine: str = "granian",
    ) -> None:
        self.settings = settings
        self.number = number
        self._keeper = keeper
        self._superior = superior
        self._say = say
        self.on_limit: Callable[[], None] = lambda: None
        """It has managed its ``max-requests``, or reached its ``max-worker-lifetime``."""
        self.on_failure: Callable[[], None] = lambda: None
        """What comes with accepting requests has failed, and that was said: it has to end."""
        self.on_idle: Callable[[], None] = lambda: None
        self.on_harakiri: Callable[[], None] = lambda: None
        """A request takes too long: this process has to end, as soon as the others are answered."""
        limit = settings.max_requests
        if limit:
            limit += settings.max_requests_delta * (number - 1)
        self.progress = Progress(
            self._loyal,
            limit=limit,
            on_limit=lambda: keeper.soon(self.on_limit),
            watch=bool(settings.harakiri or settings.stats),
        )
        self._give_up_on: Callable[[int], None] = lambda count: None
        served = application.callable
        self._log: RequestLog | None = None
        if settings.stats or not settings.disable_logging:
            from imperator.instance.request_log import RequestLog

            self._log = RequestLog(settings, number)
            served = self._log.wrap(served, application.interface)
        self._interface = application.interface
        self._started = time.time()
        counted = _COUNTED[application.interface](served, self.progress)
        self.server = self._server(engine, counted, application.interface, listening)
        self._threads = (settings.threads or 1) if application.interface == "wsgi" else sys.maxsize
        self._idle_since = time.monotonic()
        self._seen = Count(0, 0)

    def _server(self, engine: str, callable: Any, interface: Interface, listening: Sequence[Listening]) -> Serves:
        settings, limits = self.settings, self._limits()
        sockets = [one.socket for one in listening]
        threads, several = settings.threads or 1, settings.processes > 1
        if engine == "gunicorn":
            from imperator.instance.gunicorn_server import GunicornServer

            assert interface != "rsgi"  # refused when it was loaded
            speaks_uwsgi = any(one.asked.protocol == "uwsgi" for one in listening)
            gunicorn = GunicornServer(
                callable,
                interface,
                sockets,
                self._say,
                protocol="uwsgi" if speaks_uwsgi else "http",
                threads=threads,
                multiprocess=several,
                limits=limits,
            )
            self._give_up_on = gunicorn.give_up_on
            return gunicorn
        server = Server(
            callable,
            interface,
            sockets,
            threads=threads,
            multiprocess=several,
            limits=limits,
            spare_threads=bool(settings.harakiri),
        )
        self._give_up_on = server.give_up_on
        return server

    def _limits(self) -> Limits:
        settings = self.settings
        timeout = settings.http_timeout or settings.socket_timeout or 30
        head = max(settings.buffer_size, _SMALLEST_HEAD)
        if settings.processes > 1:
            # What one process has accepted is lost to the others: accept only what can be answered at once.
            return Limits(
                backlog=settings.listen,
                head=head,
                head_timeout=timeout,
                connections=settings.threads or 1,
                keep_alive=False,
            )
        return Limits(backlog=settings.listen, head=head, head_timeout=timeout)

    def serve(self, on_accepting: Callable[[], None]) -> bool:
        """Serve until :meth:`stop`; says whether every request ended."""

        def accepting() -> None:
            try:
                on_accepting()
            except ConfigurationError as error:  # a hook: nobody is told that requests are welcome
                self._say(str(error))
                self._keeper.soon(self.on_failure)
                return
            self._superior.accepting()
            self._keeper.soon(self._watch)

        return self.server.serve(accepting)

    def stop(self, mercy: float) -> None:
        """End when the requests that are being answered have ended, or the mercy has."""
        self.server.stop(mercy)

    def report(self) -> dict[str, Any]:
        """What the statistics say of it."""
        from imperator.instance.stats import report

        running = self.progress.count().running
        return report(
            self.number,
            self.progress,
            threads=self.settings.threads or 1,
            interface=self._interface,
            started=self._started,
            sent=self._log.sent if self._log is not None else 0,
            idle=not running,
        )

    def _loyal(self) -> None:
        self._superior.loyal()

    # -- watching, in the keeper's thread

    def _watch(self) -> None:
        settings = self.settings
        if settings.heartbeat:
            self._superior.heartbeat()
            self._keeper.every(settings.heartbeat, self._beat)
        if settings.harakiri:
            self._watch_for_harakiri()
        if settings.idle:
            self._keeper.every(LOOK, self._look_for_idleness)
        if settings.max_worker_lifetime:
            self._keeper.after(settings.max_worker_lifetime, lambda: self.on_limit())

    def _beat(self) -> None:
        """A heartbeat, if requests move: for ASGI if the event loop does."""
        count = self.progress.count()
        stuck = count.stuck_since(self._seen, self._threads)
        self._seen = count
        if not stuck:
            self.server.pulse(self._superior.heartbeat)

    def _watch_for_harakiri(self) -> None:
        settings = self.settings

        def say(text: str) -> None:
            self._say(f"worker {self.number}: {text}" if settings.processes > 1 else text)

        harakiri = Harakiri(self.progress, settings.harakiri, self._keeper, say, verbose=settings.harakiri_verbose)
        harakiri.on_condemned = self._give_up_on
        harakiri.on_first = lambda: self.on_harakiri()
        harakiri.on_alone = lambda: self.server.stop(0)
        harakiri.watch()

    def _look_for_idleness(self) -> None:
        count = self.progress.count()
        if count != self._seen_for_idleness or count.running:
            self._seen_for_idleness = count
            self._idle_since = time.monotonic()
        elif time.monotonic() - self._idle_since >= self.settings.idle:
            self._idle_since = time.monotonic()
            self.on_idle()

    _seen_for_idleness = Count(0, 0)
