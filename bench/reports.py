"""Hears what the vassals report: a datagram socket, read by a thread of its own so that nobody has to wait for us."""

from __future__ import annotations

import queue
import socket
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Report:
    """``what`` is ``start`` or ``reload``; ``at`` is CLOCK_MONOTONIC in seconds."""

    what: str
    pid: int
    at: float
    name: str


class Reports:
    """All reports, in the order in which they came."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "reports.socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self._socket.bind(str(self.path))
        self._queue: queue.SimpleQueue[Report] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            what, pid, at, name = self._socket.recv(1024).decode().split(" ", 3)
            self._queue.put(Report(what, int(pid), int(at) / 1e9, name))

    def next(self, what: str, name: str | None = None, timeout: float = 30.0) -> Report:
        """The next report of a kind, of any vassal or of one. Raises queue.Empty."""
        while True:
            report = self._queue.get(timeout=timeout)
            if report.what == what and name in (None, report.name):
                return report

    def drain(self) -> None:
        while not self._queue.empty():
            self._queue.get()
