"""``stats = ADDRESS``: connect, read one JSON document about the instance's workers, the connection closes.

The keys are the original's, so what reads uWSGI's statistics (``uwsgitop``) reads these. What there is no such thing as
here (locks, signals, offloading) is there and empty. A worker tells about itself when somebody asks; one that does not
answer within :data:`PATIENCE` seconds is ``busy``, with what its master knows of it. Times are microseconds in
``running_time`` and ``avg_rt``, seconds since 1970 elsewhere. ``rss`` and ``vsz`` are bytes (of the original only with
``memory-report``), ``tx`` are the bytes of the answers.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.keeper import Keeper
from imperator.instance.listening import Listening, name_of
from imperator.instance.loyalty import Progress
from imperator.kernel.sockets import open_socket, remove_socket_file

PATIENCE = 0.5
_READER = 5.0
"""Seconds for somebody to read the document."""
_HEAD = (
    b"HTTP/1.0 200 OK\r\nConnection: close\r\nCache-Control: no-store\r\n"
    b"Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n\r\n"
)

Report = dict[str, Any]
"""What a worker says of itself."""
Ask = Callable[[Callable[[Sequence[Report]], None]], None]
"""Has every worker asked, and its argument called with what they say, in the order of their numbers."""


class Stats:
    """Serves the document. Belongs to the keeper's thread."""

    def __init__(self, settings: InstanceSettings) -> None:
        """Bind, if it is asked for. Raises :class:`ConfigurationError`."""
        self._http = settings.stats_http
        self._address = settings.stats
        self._socket: socket.socket | None = None
        if self._address is None:
            return
        try:
            self._socket = open_socket(self._address, mode=0o660 if ":" not in self._address else None)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigurationError(f"stats = {self._address}", str(reason)) from error

    def serve(self, keeper: Keeper, listening: Sequence[Listening], ask: Ask) -> None:
        """Answer from now on."""
        door = self._socket
        if door is None:
            return

        def somebody_comes() -> None:
            try:
                reader, _ = door.accept()
            except OSError:  # gone again
                return
            ask(lambda reports: self._answer(reader, _document(listening, reports)))

        keeper.watch(door.fileno(), somebody_comes)

    def close(self) -> None:
        if self._socket is not None and self._address is not None:
            self._socket.close()
            self._socket = None
            remove_socket_file(self._address)

    def _answer(self, reader: socket.socket, document: Report) -> None:
        data = (_HEAD if self._http else b"") + json.dumps(document, indent="\t").encode()

        def send() -> None:
            with reader:
                reader.settimeout(_READER)
                try:
                    reader.sendall(data)
                    reader.shutdown(socket.SHUT_WR)
                    while reader.recv(4096):  # closing with its request unread would reset the connection: tcp(7)
                        continue
                except OSError:  # it has gone, or does not read
                    return

        threading.Thread(target=send, name="stats", daemon=True).start()


def report(
    number: int, progress: Progress, *, threads: int, interface: str, started: float, sent: int, idle: bool
) -> Report:
    """What a worker says of itself."""
    count = progress.count()
    running = progress.running()
    took = int(progress.took * 1e6)
    now = time.monotonic()
    cores = [_core(number) for number in range(max(threads, len(running)))]
    cores[0]["requests"] = count.ended
    for core, one in zip(cores, running, strict=False):
        method, _, uri = one.request.partition(" ")
        core["in_request"] = 1
        core["req_info"] = {
            "request_start": int(time.time() - (now - one.since)),
            "method": method,
            "uri": uri,
        }
    return {
        **_unknown(number, os.getpid(), started),
        "accepting": 1,
        "requests": count.ended,
        "delta_requests": count.ended,
        "exceptions": progress.exceptions,
        "status": "idle" if idle and not running else "busy",
        **_memory(),
        "running_time": took,
        "tx": sent,
        "avg_rt": took // count.ended if count.ended else 0,
        "apps": [
            {
                "id": 0,
                "modifier1": 0,
                "mountpoint": "",
                "startup_time": 0,
                "interface": interface,
                "requests": count.ended,
                "exceptions": progress.exceptions,
                "chdir": "",
            }
        ],
        "cores": cores,
    }


def unanswered(number: int, pid: int | None, started: float) -> Report:
    """What a master says of a worker that says nothing: ``cheap`` is one that does not run."""
    return {**_unknown(number, pid or 0, started), "status": "busy" if pid else "cheap"}


def _unknown(number: int, pid: int, started: float) -> Report:
    return {
        "id": number,
        "pid": pid,
        "accepting": 0,
        "requests": 0,
        "delta_requests": 0,
        "exceptions": 0,
        "harakiri_count": 0,
        "signals": 0,
        "signal_queue": 0,
        "status": "busy",
        "rss": 0,
        "vsz": 0,
        "running_time": 0,
        "last_spawn": int(started),
        "respawn_count": 1,
        "tx": 0,
        "avg_rt": 0,
        "apps": [],
        "cores": [],
    }


def _core(number: int) -> Report:
    return {
        "id": number,
        "requests": 0,
        "static_requests": 0,
        "routed_requests": 0,
        "offloaded_requests": 0,
        "write_errors": 0,
        "read_errors": 0,
        "in_request": 0,
        "vars": [],
        "req_info": {},
    }


def _memory() -> Report:
    with open("/proc/self/statm") as file:
        size, resident = file.read().split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    return {"rss": int(resident) * page, "vsz": int(size) * page}


def _document(listening: Sequence[Listening], reports: Sequence[Report]) -> Report:
    from imperator import __version__

    sockets = [_socket(one) for one in listening]
    return {
        "version": __version__,
        "listen_queue": sum(one["queue"] for one in sockets),
        "listen_queue_errors": 0,
        "signal_queue": 0,
        "load": sum(one["status"] == "busy" for one in reports),
        "pid": os.getpid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "cwd": os.getcwd(),
        "locks": [],
        "sockets": sockets,
        "workers": list(reports),
    }


def _socket(one: Listening) -> Report:
    queue, most = _queue(one.socket)
    return {
        "name": name_of(one.socket),
        "proto": one.asked.protocol,
        "queue": queue,
        "max_queue": most,
        "shared": 0,
        "can_offload": 0,
    }


def _queue(sock: socket.socket) -> tuple[int, int]:
    """How many connections wait, and how many may: for a listener ``tcpi_unacked`` and ``tcpi_sacked``, tcp(7)."""
    if sock.family == socket.AF_UNIX:
        return 0, 0
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int.from_bytes(info[24:28], "little"), int.from_bytes(info[28:32], "little")
