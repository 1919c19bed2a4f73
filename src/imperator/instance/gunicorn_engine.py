"""Serving through gunicorn, the engine in pure Python: its arbiter is this process, its workers are forked from it.

What is gunicorn's and what is ours:

* The listening sockets are ours: gunicorn works on copies, so they outlive it, and a reload or a hand-over refuses
  nobody. It never removes the file of a UNIX socket.
* A reload is not gunicorn's own (which keeps modules as they were, and does not see an edited file): the workers end
  gracefully, :func:`serve` returns, and the caller executes the instance anew on the same sockets.
* Orders of the Emperor reach the arbiter as signals: its end of the socket is told to raise SIGIO (fcntl(2), F_SETOWN
  and O_ASYNC). SIGTERM is a graceful stop, SIGQUIT one at once, SIGHUP a reload.
* ``harakiri`` is gunicorn's timeout where a worker has one thread. With threads, or ASGI, that timeout only sees the
  main thread or the loop, so requests are timed here as well.
* A worker that has ended must not return into the code of the instance that forked it, which has endings of its own.

Settings: processes, threads, listen, harakiri, max-requests (+ max-requests-delta × worker number, exactly),
max-worker-lifetime, reload-mercy, lazy-apps, heartbeat, buffer-size, procname, disable-logging.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped,unused-ignore]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped,unused-ignore]
from gunicorn.errors import AppImportError  # type: ignore[import-untyped,unused-ignore]
from gunicorn.util import load_class  # type: ignore[import-untyped,unused-ignore]

from imperator.config.instance_settings import InstanceSettings
from imperator.instance import loyalty
from imperator.instance.application import FAILED_APPLICATION, Application
from imperator.instance.blame import CannotLoad
from imperator.instance.link import Order
from imperator.instance.listening import Listening
from imperator.instance.loading import NoApplication
from imperator.instance.loyalty import Count, Progress

LAST_SECONDS: Final = 2
"""How long the workers of an instance that its Emperor has left may take to end."""
_LONGEST_LINE: Final = 8190
"""gunicorn's own limit of a request line."""


class Speaker(Protocol):
    """Who is told how the instance is, and gives orders: the Emperor's link."""

    fd: int | None

    def ready(self) -> None: ...
    def accepting(self) -> None: ...
    def loyal(self) -> None: ...
    def heartbeat(self) -> None: ...
    def orders(self) -> list[Order]: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """How gunicorn has ended."""

    code: int
    reload: bool = False
    """It was told to reload: the instance is to be executed anew."""


def serve(
    settings: InstanceSettings,
    load: Callable[[], Application],
    listening: Sequence[Listening],
    speaker: Speaker,
    say: Callable[[str], None],
    *,
    accepting: Callable[[], None] = lambda: None,
    each_second: Callable[[], None] = lambda: None,
) -> Ended:
    """Serve until the end. What ``load`` raises comes out of here, unless the workers load (``lazy-apps``).

    ``accepting`` is called in each worker before its first request, ``each_second`` about every second in this process.
    """
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):  # they are in ``listening`` already
        os.environ.pop(name, None)
    application = None if settings.lazy_apps else load()
    interface = application.interface if application is not None else settings.interface or "wsgi"
    here = os.getpid()
    server = _Server(_Plan(settings, load, application, interface, listening, speaker, say, accepting, each_second))
    arbiter = _Arbiter(server)
    try:
        arbiter.run()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if os.getpid() != here:
            _end_worker(code)
        return Ended(FAILED_APPLICATION if code == Arbiter.APP_LOAD_ERROR else code, arbiter.told_to_reload)
    return Ended(0, arbiter.told_to_reload)


def _end_worker(code: int) -> NoReturn:
    """The end of a forked process as the interpreter has it, without a way back through the frames of its parent."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon and code == 0:
            thread.join(LAST_SECONDS)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What :func:`serve` was given."""

    settings: InstanceSettings
    load: Callable[[], Application]
    application: Application | None
    """``None``: each worker loads it."""
    interface: str
    listening: Sequence[Listening]
    speaker: Speaker
    say: Callable[[str], None]
    accepting: Callable[[], None]
    each_second: Callable[[], None]

    @property
    def threads(self) -> int:
        return (self.settings.threads or 1) if self.interface == "wsgi" else sys.maxsize

    @property
    def worker_class(self) -> str:
        if self.interface == "asgi":
            return "gunicorn.workers.gasgi.ASGIWorker"
        return f"gunicorn.workers.{'gthread.ThreadWorker' if self.threads > 1 else 'sync.SyncWorker'}"

    def config(self) -> dict[str, Any]:
        """The settings in gunicorn's words."""
        settings = self.settings
        return {
            "bind": [f"fd://{os.dup(one.socket.fileno())}" for one in self.listening],
            "backlog": settings.listen,
            "workers": max(settings.processes, 1),
            "threads": settings.threads or 1,
            "worker_class": _worker_class(self),
            "timeout": settings.harakiri,
            "graceful_timeout": settings.reload_mercy,
            "max_requests": settings.max_requests,
            "limit_request_line": min(max(settings.buffer_size, 4094), _LONGEST_LINE),
            "limit_request_field_size": max(settings.buffer_size, 8190),
            "proc_name": settings.procname or "imperator",
            "accesslog": None if settings.disable_logging else "-",
            "errorlog": "-",
        }

    def config_of_newer(self) -> dict[str, Any]:
        """The same, as far as not every gunicorn has it: one that has not was not chosen where it matters."""
        uwsgi = any(one.asked.protocol == "uwsgi" for one in self.listening)
        return {
            "protocol": "uwsgi" if uwsgi else "http",
            "uwsgi_allow_ips": "*",  # as in the original: who may connect is what decides
            "control_socket_disable": True,
        }


class _Server(BaseApplication):  # type: ignore[misc,unused-ignore]
    """gunicorn's view of the instance."""

    def __init__(self, plan: _Plan) -> None:
        self.plan = plan
        settings = plan.settings
        watch = bool(settings.harakiri) and plan.threads > 1
        self.progress = Progress(plan.speaker.loyal, watch=watch)
        super().__init__()

    def load_config(self) -> None:
        for name, value in self.plan.config().items():
            self.cfg.set(name, value)
        for name, value in self.plan.config_of_newer().items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)
        self.cfg.set("pre_fork", _number)
        self.cfg.set("when_ready", lambda arbiter: self.plan.speaker.ready())
        self.cfg.set("post_worker_init", self._worker_is_up)

    def load(self) -> Any:
        plan = self.plan
        application = plan.application
        if application is None:
            try:
                application = plan.load()
            except (CannotLoad, NoApplication) as error:
                raise AppImportError(str(error)) from error
        if application.interface != plan.interface:
            raise AppImportError(
                f"{application.where}: the application is {application.interface}, which is not known before it is "
                f"loaded: say {application.interface} = …, or leave out lazy-apps"
            )
        wrap: Callable[[Any, Progress], Any] = loyalty.asgi if application.interface == "asgi" else loyalty.wsgi
        return wrap(application.callable, self.progress)

    def _worker_is_up(self, worker: Any) -> None:
        self.plan.accepting()
        self.plan.speaker.accepting()


class _Arbiter(Arbiter):  # type: ignore[misc,unused-ignore]
    """gunicorn's arbiter, which hears the Emperor too."""

    told_to_reload = False

    def start(self) -> None:
        super().start()
        self.systemd = True  # the sockets are somebody else's: it removes no file
        fd = self.app.plan.speaker.fd
        if fd is not None:
            signal.signal(signal.SIGIO, lambda *_: self._obey())
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
            self._obey()  # what came before

    def _obey(self) -> None:
        for order in self.app.plan.speaker.orders():
            match order:
                case Order.STOP | Order.STOP_GRACEFULLY:
                    number = signal.SIGTERM
                case Order.RELOAD:
                    number = signal.SIGHUP
                case Order.ABANDONED:
                    self.cfg.set("graceful_timeout", LAST_SECONDS)
                    number = signal.SIGQUIT
            os.kill(os.getpid(), number)

    def handle_hup(self) -> None:
        self.told_to_reload = True
        raise StopIteration

    def murder_workers(self) -> None:
        super().murder_workers()
        self._obey()
        self.app.plan.each_second()


def _number(arbiter: Any, worker: Any) -> None:
    """Give a worker the lowest free number from 1, and with it its own max-requests, before it is forked."""
    taken = {other.number for other in arbiter.WORKERS.values()}
    worker.number = next(number for number in range(1, len(taken) + 2) if number not in taken)
    settings = arbiter.app.plan.settings
    if settings.max_requests:
        worker.max_requests = settings.max_requests + settings.max_requests_delta * (worker.number - 1)


def _worker_class(plan: _Plan) -> type[Any]:
    base: Any = load_class(plan.worker_class)
    settings = plan.settings

    class Worker(base):  # type: ignore[misc,unused-ignore]
        """gunicorn's worker, which notices time: its loop calls notify() about every second while it is well."""

        def __init__(self, age: int, ppid: int, sockets: Any, app: Any, timeout: float, cfg: Any, log: Any) -> None:
            # How long it may sleep when there is nothing to do.
            super().__init__(age, ppid, sockets, app, min(timeout or 1, 1), cfg, log)
            self._born = time.monotonic()
            self._last_beat = 0.0
            self._seen = Count(0, 0)

        def notify(self) -> None:
            super().notify()
            now = time.monotonic()
            progress: Progress = self.app.progress
            if settings.heartbeat and now - self._last_beat >= settings.heartbeat:
                self._last_beat = now
                count = progress.count()
                if not count.stuck_since(self._seen, plan.threads):
                    plan.speaker.heartbeat()
                self._seen = count
            if settings.max_worker_lifetime and now - self._born >= settings.max_worker_lifetime:
                self.alive = False
            late = [one for one in progress.running() if now - one.since > settings.harakiri]
            for one in late:
                plan.say(f"harakiri: worker {self.number}: {one.request} has taken {now - one.since:.0f} s")
            if late:
                os.kill(os.getpid(), signal.SIGKILL)

    # gunicorn tells its log what it uses
    Worker.__name__, Worker.__qualname__ = base.__name__, base.__qualname__
    return Worker
