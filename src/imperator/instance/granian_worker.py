"""granian's private interface, the only file that touches it: one Rust worker on one listening socket, in this process.

granian has no public way to serve from the calling process, so its Rust extension (``granian._granian``) is driven
here as granian's own server does it. What is relied on is compared with what is there before anything starts
(:func:`difference`): a granian that changed is an :class:`EngineUnusable` that names its version, never a crash.

The rules:

* granian's Python package is not imported, only its extension: no asyncio for WSGI, no command line (50 ms, 9 MB).
* The worker gets a duplicate of the socket and closes it when it stops listening: the socket itself stays open and is
  never shut down. It becomes non-blocking, and that is shared with every process that has it.
* A worker that is told to end closes connections on which no request has come yet, and goes on accepting until it has
  noticed. So its door is closed first (:meth:`Service.close_door`), and it ends when nobody is inside who waits.
* Rust's panics abort the process: whatever could cause one must have been refused before it comes here.
* Nothing of granian runs before :func:`start`, so a process that has only called :func:`load` may fork.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from imperator.config.records import keyword_record, record

if TYPE_CHECKING:
    import asyncio

KNOWN = "2.8.1 to 2.8.7"
"""The granians that this file was read against and tested with."""
REQUIREMENT = "granian>=2.8.1,<2.9"

_WORKER = (
    "worker_id sock ipc threads blocking_threads py_threads py_threads_idle_timeout backpressure http_mode http1_opts "
    "http2_opts {}static_files ssl_enabled ssl_cert ssl_key ssl_key_password ssl_protocol_min ssl_ca ssl_crl "
    "ssl_client_verify metrics"
)
_SERVE = "$self callback event_loop signal"
RELIED_ON = {
    "WSGIWorker": _WORKER.format(""),
    "WSGIWorker.serve_str": _SERVE,
    "WSGIWorker.serve_str_uds": _SERVE,
    "ASGIWorker": _WORKER.format("websockets_enabled "),
    "ASGIWorker.serve_str": _SERVE,
    "ASGIWorker.serve_str_uds": _SERVE,
    "RSGIWorker": _WORKER.format("websockets_enabled "),
    "RSGIWorker.serve_str": _SERVE,
    "RSGIWorker.serve_str_uds": _SERVE,
    "SocketHolder": "fd uds backlog",
    "WorkerSignal": "",
    "WorkerSignal.add_cb": "$self cb",
    "WorkerSignal.set": "$self",
    "CallbackScheduler": "event_loop cb aio_task aio_tenter aio_texit",
    "CallbackScheduler._ctx": None,
    "CallbackScheduler._schedule_fn": None,
}
"""Each name in the extension that is used, with the parameters that it is used with (``None``: an attribute)."""

Interface = Literal["wsgi", "asgi", "rsgi"]
_WORKERS: dict[Interface, str] = {"wsgi": "WSGIWorker", "asgi": "ASGIWorker", "rsgi": "RSGIWorker"}
SMALLEST_HEAD = 8192
"""Bytes. The HTTP library refuses (by a panic) a smaller limit of a request's head."""
_SO_ATTACH_FILTER = 26
IDLE_THREAD = 24 * 3600
"""Seconds until a Python thread with nothing to do ends; long, because what it keeps (a connection to the database) is
of use to the next request."""


class EngineUnusable(Exception):
    """There is no granian, or none that this version of Imperator can drive."""


@keyword_record
class Limits:
    """What a server grants to its clients, for each socket. Times are seconds, sizes bytes."""

    backlog: int = 100
    head: int = 65536
    """The largest head (larger ones get 431) and piece of a body that is read at once. Never below 8192."""
    head_timeout: float = 30.0
    """A connection on which no whole head comes for so long is closed: also the longest idle keep-alive."""
    keep_alive: bool = True
    connections: int = 512
    """Open connections at once; more wait in the backlog."""


@record
class _Http1:
    """The four attributes that Rust reads of its ``http1_opts``."""

    header_read_timeout: int
    keep_alive: bool
    max_buffer_size: int
    pipeline_flush: bool = False


class _NoLoop:
    """WSGI has no event loop; granian's constructor looks for this one method and does not call it."""

    def call_soon(self, *_: object) -> None:
        raise AssertionError("there is no event loop for WSGI")


def load() -> ModuleType:
    """granian's extension, without its package. Raises :class:`EngineUnusable`."""
    if (loaded := sys.modules.get("granian._granian")) is not None:
        return _checked(loaded)
    import importlib
    import importlib.util

    spec = importlib.util.find_spec("granian")
    if spec is None or spec.submodule_search_locations is None:
        raise EngineUnusable(f"granian is not installed for {sys.executable}: pip install '{REQUIREMENT}'")
    # An empty package of the same name for as long as the import takes: the extension's name stays the real one, so
    # that an application which imports granian afterwards gets the real package around this same extension.
    empty = ModuleType("granian")
    empty.__path__ = list(spec.submodule_search_locations)
    package = sys.modules.setdefault("granian", empty)
    try:
        extension = importlib.import_module("granian._granian")
    except ImportError as error:
        raise EngineUnusable(
            f"granian is there but cannot be loaded ({error}): pip install --force-reinstall '{REQUIREMENT}'"
        ) from error
    finally:
        if package is empty:
            del sys.modules["granian"]
    return _checked(extension)


def _checked(extension: ModuleType) -> ModuleType:
    if (found := difference(extension)) is None:
        return extension
    raise EngineUnusable(
        f"granian {getattr(extension, '__version__', 'of no version')} cannot be driven: {found}. Known to work is "
        f"granian {KNOWN}: pip install '{REQUIREMENT}', or take another engine (engine = uwsgi, engine = gunicorn)"
    )


def difference(extension: object) -> str | None:
    """The first thing that is not, or not in the form, that this file relies on. ``None``: all is as expected."""
    for name, expected in RELIED_ON.items():
        thing = extension
        for part in name.split("."):
            thing = getattr(thing, part, None)
        if thing is None:
            return f"it has no {name}"
        if expected is None:
            continue
        signature = getattr(thing, "__text_signature__", None)
        if signature is None:
            return f"{name} does not say its parameters"
        parameters = [one.partition("=")[0].strip() for one in signature.strip("()").split(",")]
        if (found := " ".join(filter(None, parameters))) != expected:
            return f"{name} takes ({found}), not ({expected})"
    return None


def start(
    interface: Interface,
    listener: socket.socket,
    call: Callable[[Any, Any], Any],
    *,
    threads: int,
    limits: Limits,
    ended: Callable[[], None],
    loop: asyncio.AbstractEventLoop | None = None,
) -> Service:
    """Take connections on a listening stream socket from now on.

    ``call`` gets ``(protocol, environ)`` in one of ``threads`` threads for WSGI, and ``(scope, protocol)`` for ASGI and
    RSGI, where it makes a coroutine for the ``loop``. ``ended`` is called in a thread of granian's when the last
    connection is closed.
    """
    granian = load()
    scheduler = granian.CallbackScheduler(loop or _NoLoop(), call, None, None, None)
    if loop is not None:
        scheduler._schedule_fn = _schedule(loop, call, scheduler._ctx)
    unix = listener.family == socket.AF_UNIX
    duplicate = os.dup(listener.fileno())
    holder = granian.SocketHolder(duplicate, unix, limits.backlog)
    http1 = _Http1(int(limits.head_timeout * 1000), limits.keep_alive, max(limits.head, SMALLEST_HEAD))
    # One thread of Rust for the network (it owns the duplicate: a second one would own it too), one for its files.
    settings: list[Any] = [1, 1, threads, IDLE_THREAD, limits.connections, "1", http1, None]
    if interface != "wsgi":
        settings.append(True)  # WebSockets
    worker = getattr(granian, _WORKERS[interface])(1, (None, holder), None, *settings)
    signal = granian.WorkerSignal()
    signal.add_cb(ended)
    serve = worker.serve_str_uds if unix else worker.serve_str
    serve(scheduler, loop or _NoLoop(), signal)
    return Service(duplicate, signal.set)


class Service:
    """One worker on one socket, at work."""

    def __init__(self, listener: int, end: Callable[[], None]) -> None:
        self._listener = listener
        self._end = end
        self._ended = False

    def close_door(self) -> None:
        """Accept no more: who connects from now on waits in the socket's backlog. Raises OSError.

        Under the descriptor from which Rust accepts there is from now on another socket, at which nobody ever arrives:
        dup2(2), which is atomic.
        """
        if not self._ended:
            with _deaf_socket() as deaf:
                os.dup2(deaf.fileno(), self._listener, inheritable=False)

    def end(self) -> None:
        """Close the idle connections, and the others when they are answered."""
        if not self._ended:
            self._ended = True
            self._end()


def _deaf_socket() -> socket.socket:
    """A listening socket that hears nothing: its filter drops whatever knocks. socket(7), SO_ATTACH_FILTER.

    Some kernels keep filters to root. Without one a stranger who finds the port waits there in vain, for Rust goes on
    waiting for the socket that was there before; so that is no reason to leave the door open.
    """
    import array
    import contextlib
    import struct

    drop = array.array("B", struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF_RET | BPF_K: let 0 bytes through
    deaf = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with contextlib.suppress(PermissionError):
            deaf.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", 1, drop.buffer_info()[0]))
        deaf.listen(1)
    except OSError:
        deaf.close()
        raise
    return deaf


def threads_now() -> frozenset[int]:
    """The threads of this process, as the kernel numbers them. proc(5), ``/proc/self/task``."""
    return frozenset(map(int, os.listdir("/proc/self/task")))


def wait_for_threads(others: frozenset[int], longest: float = 0.5) -> None:
    """Wait until granian's threads are gone, after every worker has ended. ``others`` were there before the first one.

    ``ended`` is called by a thread that still has its last steps to do, and others are on their way out too. One that
    needs the GIL when the interpreter has begun to end is killed by it (before Python 3.14), and Rust makes an abort
    of that. A thread of the application's that Python does not know looks like granian's: hence ``longest`` (seconds).
    """
    import threading

    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        # What is no threading.Thread but has asked who it is has a dummy among them: it does not count as Python's.
        known = {one.native_id for one in threading.enumerate() if not one.name.startswith("Dummy-")}
        if not threads_now() - others - known:
            return
        time.sleep(0.001)


def _schedule(
    loop: asyncio.AbstractEventLoop, call: Callable[[Any, Any], Coroutine[Any, Any, None]], context: Any
) -> Callable[[Any], None]:
    """What Rust hands a request to, from its own thread: the coroutine becomes a task of the loop."""

    async def answer(watcher: Any) -> None:
        try:
            await call(watcher.scope, watcher.proto)
        except BaseException as error:  # noqa: BLE001 (given to granian, which answers 500 and logs it)
            watcher.err(error)
        else:
            watcher.done()

    def begin(watcher: Any) -> None:
        watcher.taskref(loop.create_task(answer(watcher)))

    def schedule(watcher: Any) -> None:
        loop.call_soon_threadsafe(begin, watcher, context=context)

    return schedule
