"""An application served by a worker of gunicorn's in this very process: the other way beside :mod:`.granian_server`.

Only gunicorn's worker classes are used, by the way that its manual has for workers of one's own. Its arbiter (a master
process with a fork for each worker) is not: processes, signals, the Emperor's orders, harakiri, daemons and the clock
are the instance's own business and are the same whichever engine serves. The rules:

* WSGI: a thread accepts, ``threads`` others answer; the calling thread waits. ASGI: the calling thread is the loop.
* One protocol on all sockets: ``http`` or ``uwsgi``.
* The sockets stay open: the worker gets duplicates, and closes those.
* A client that sends or takes nothing for ``head_timeout`` seconds is given up, so that it holds no thread for ever.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

from gunicorn import sock as gunicorn_sockets  # type: ignore[import-untyped, unused-ignore]
from gunicorn.config import Config  # type: ignore[import-untyped, unused-ignore]
from gunicorn.workers.gasgi import ASGIWorker  # type: ignore[import-untyped, unused-ignore]
from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped, unused-ignore]

from imperator.instance.granian_worker import Limits
from imperator.instance.lifespan import LifespanFailed

Say = Callable[[str], None]

_LONGEST_LINE: Final = 8190
"""gunicorn's own limit of a request line."""
_NEVER: Final = threading.TIMEOUT_MAX
_LONG: Final = 10**9
"""Seconds: as long as it takes."""


class GunicornServer:
    """Serves one application; the same methods as :class:`~imperator.instance.granian_server.Server`."""

    def __init__(
        self,
        application: Any,
        interface: Literal["wsgi", "asgi"],
        sockets: Sequence[socket.socket],
        say: Say,
        *,
        protocol: Literal["http", "uwsgi"] = "http",
        threads: int = 1,
        multiprocess: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._application = application
        self._interface = interface
        self._sockets = tuple(sockets)
        self._log = _Log(say)
        self._limits = limits or Limits()
        self._cfg = Config()
        for name, value in self._settings(protocol, threads, multiprocess).items():
            self._cfg.set(name, value)
        self._worker: _Wsgi | _Asgi | None = None
        self._stopping = False
        self._deadline: float | None = None
        self._news = threading.Event()

    def _settings(self, protocol: str, threads: int, multiprocess: bool) -> dict[str, Any]:
        """What gunicorn is told, in its own words."""
        limits = self._limits
        # Whoever speaks uwsgi waits for the end of the connection.
        keep_alive = limits.keep_alive and protocol == "http"
        return {
            "protocol": protocol,
            "uwsgi_allow_ips": "*",  # as in the original: who can connect may
            "workers": 2 if multiprocess else 1,  # it only tells the application whether there are several
            "threads": threads,
            "worker_connections": max(limits.connections, threads),
            "keepalive": math.ceil(limits.head_timeout) if keep_alive else 0,
            "backlog": limits.backlog,
            "timeout": 0,  # harakiri is watched over elsewhere
            "graceful_timeout": _LONG,
            "limit_request_line": _LONGEST_LINE,
            "limit_request_field_size": limits.head,
        }

    def serve(self, on_accepting: Callable[[], None] | None = None) -> bool:
        """Serve until :meth:`stop`. ``on_accepting`` is called once, when requests are taken.

        Returns whether every request ended. ``False``: the mercy ran out, the application still runs in threads,
        and the process should leave by ``os._exit``. Raises :class:`LifespanFailed`.
        """
        kind = _Asgi if self._interface == "asgi" else _Wsgi
        copies = [os.dup(one.fileno()) for one in self._sockets]
        listeners = gunicorn_sockets.create_sockets(self._cfg, self._log, copies)
        worker = kind(1, os.getppid(), listeners, _Loaded(self._application), 0, self._cfg, self._log)
        worker.on_accepting = lambda: self._accepting(on_accepting)
        worker.patience = self._limits.head_timeout
        self._worker = worker
        if self._stopping:
            return True
        return self._serve_asgi(worker) if isinstance(worker, _Asgi) else self._serve_wsgi(worker)

    def _accepting(self, tell: Callable[[], None] | None) -> None:
        for one in self._sockets:
            one.listen(self._limits.backlog)  # asyncio has put a number of its own in its place
        if tell is not None:
            tell()

    def _serve_asgi(self, worker: _Asgi) -> bool:
        try:
            worker.init_process()
        except SystemExit as error:  # gunicorn's way out, which has said why
            raise LifespanFailed("the application's lifespan startup failed") from error
        return bool(worker.nr_conns <= 0)

    def _serve_wsgi(self, worker: _Wsgi) -> bool:
        ends: list[BaseException | None] = []

        def run() -> None:
            try:
                worker.init_process()
                ends.append(None)
            except BaseException as error:  # noqa: BLE001 (it is raised again in the thread that waits)
                ends.append(error)
            self._news.set()

        threading.Thread(target=run, name="gunicorn", daemon=True).start()
        while not ends:
            left = _NEVER if self._deadline is None else self._deadline - time.monotonic()
            if left <= 0:
                return False
            self._news.wait(left)
            self._news.clear()
        if ends[0] is not None:
            raise ends[0]
        return bool(worker.nr_conns <= 0)

    def stop(self, mercy: float | None = None) -> None:
        """Take no more connections, and end when the requests are answered: after ``mercy`` seconds at the latest.

        From any thread, before :meth:`serve` too; and again, which can only shorten the mercy.
        """
        deadline = None if mercy is None else time.monotonic() + mercy
        if deadline is not None and (self._deadline is None or deadline < self._deadline):
            self._deadline = deadline
            self._cfg.set("graceful_timeout", math.ceil(mercy or 0))
        self._stopping = True
        self._news.set()
        if self._worker is not None:
            self._worker.end(mercy)

    def give_up_on(self, requests: int) -> None:
        """WSGI: so many requests will not end. Let those that wait behind them have their turn."""
        if isinstance(self._worker, _Wsgi):
            self._worker.admit_more(requests)

    def pulse(self, answer: Callable[[], None]) -> None:
        """ASGI: have ``answer`` called by the event loop, which shows that nothing blocks it. WSGI: it is called."""
        if isinstance(self._worker, _Asgi):
            self._worker.loop.call_soon_threadsafe(answer)
        else:
            answer()


class _Loaded:
    """What gunicorn takes an application from."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def wsgi(self) -> Any:
        return self._application


class _Ours:
    """What is different where a worker is no child of an arbiter."""

    on_accepting: Callable[[], None]
    accepting = False

    def init_signals(self) -> None:
        """The keeper has them."""

    @property
    def ppid(self) -> int:
        """gunicorn ends a worker whose parent has changed; who started this process may end."""
        return os.getppid()

    @ppid.setter
    def ppid(self, value: int) -> None:
        return

    def notify(self) -> None:
        """gunicorn calls this about every second in the loop that accepts, and first when it does."""
        if not self.accepting:
            self.accepting = True
            self.on_accepting()


class _Wsgi(_Ours, ThreadWorker):  # type: ignore[misc, unused-ignore]
    patience: float

    def enqueue_req(self, conn: Any) -> None:
        if not conn.initialized:
            seconds = struct.pack("ll", int(self.patience), int(self.patience % 1 * 1e6))
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, seconds)
            conn.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
        super().enqueue_req(conn)

    def admit_more(self, threads: int) -> None:
        """A pool starts a thread when it is given something to do, and has fewer than its limit."""
        self.tpool._max_workers += threads
        for _ in range(threads):
            self.tpool.submit(int)

    def end(self, mercy: float | None) -> None:
        self.alive = False
        if self.accepting:
            self.method_queue.defer(lambda: None)


class _Asgi(_Ours, ASGIWorker):  # type: ignore[misc, unused-ignore]
    patience: float
    _task: asyncio.Task[None] | None = None

    async def _serve(self) -> None:
        self._task = asyncio.current_task()
        await super()._serve()

    def end(self, mercy: float | None) -> None:
        if self.loop is not None:
            self.loop.call_soon_threadsafe(self._end, mercy)
        else:
            self.alive = False

    def _end(self, mercy: float | None) -> None:
        """Its main task sleeps a second at a time, and takes a cancellation for an end of that."""
        if self.alive and self.accepting and self._task is not None:
            self._task.cancel()
        self.alive = False
        if mercy is not None:
            self.loop.call_later(mercy, self._hurry)

    def _hurry(self) -> None:
        """gunicorn takes its own time for the end once; after this it waits no longer."""
        self._quick_shutdown = True


class _Log:
    """gunicorn's log: what goes wrong is said, what it is just doing is not."""

    access_log_enabled = False

    def __init__(self, say: Say) -> None:
        self._say = say

    def debug(self, text: str, *arguments: object, **_: object) -> None:
        return

    info = debug

    def warning(self, text: str, *arguments: object, **_: object) -> None:
        self._say(f"gunicorn: {text % arguments if arguments else text}")

    error = critical = warning

    def exception(self, text: str, *arguments: object, **_: object) -> None:
        self.warning(text, *arguments)
        error = sys.exception()
        if isinstance(error, BlockingIOError):
            self._say("gunicorn: the client was too slow (http-timeout, socket-timeout)")
        elif error is not None:
            self._say("".join(traceback.format_exception(error)).rstrip())

    def access(self, *_: object) -> None:
        return

    def close_on_exec(self) -> None:
        return

    def reopen_files(self) -> None:
        return
