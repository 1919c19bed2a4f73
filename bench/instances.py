"""One instance, the original or ours, of one configuration: how soon it answers, and what memory it takes.

Both read the same file. ``original`` is the real ``uwsgi`` of this environment, ``imperator`` is our command.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.emperors import as_installed

_COMMANDS = Path(sys.executable).parent
COMMANDS = {"original": str(_COMMANDS / "uwsgi"), "imperator": str(_COMMANDS / "imperator")}
Address = tuple[str, int]
PATIENCE = 20.0
"""Seconds until an instance that does not answer counts as one that never will."""


class NoAnswer(Exception):
    """The instance has ended, or says nothing; the text has the end of its log."""


class Instance:
    """A running one. ``started`` is CLOCK_MONOTONIC in seconds, taken just before its exec."""

    def __init__(self, process: subprocess.Popen[bytes], started: float, log: Path) -> None:
        self.process = process
        self.started = started
        self._log = log

    def first_answer(self, address: Address) -> float:
        """Seconds from the exec to the end of the first answer with status 200, asked for again and again.

        Raises :class:`NoAnswer`.
        """
        problem = "it has ended"
        while time.monotonic() - self.started < PATIENCE and self.process.poll() is None:
            try:
                status = ask(address)
            except OSError as error:  # it does not listen yet
                problem = str(error)
            else:
                if status == 200:
                    return time.monotonic() - self.started
                problem = f"it answers with status {status}"
            time.sleep(0.001)
        raise NoAnswer(f"{address}: {problem}\n" + self._log.read_text()[-2000:])

    def pids(self) -> list[int]:
        """The process and all that come from it."""
        found = [self.process.pid]
        for pid in found:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        return found

    def cpu_seconds(self) -> float:
        """Processor time of all threads of all its processes. It is the same on a machine that others keep busy."""
        nanoseconds = 0
        for pid in self.pids():
            for task in Path(f"/proc/{pid}/task").iterdir():
                nanoseconds += int((task / "schedstat").read_text().split()[0])
        return nanoseconds / 1e9

    def memory(self) -> float:
        """PSS in MB of all its processes."""
        kilobytes = 0
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return kilobytes / 1024


def ask(address: Address) -> int:
    """The status of the answer to ``GET /``."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def free_port() -> int:
    """A TCP port of the loopback where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def living(name: str, file: Path) -> Iterator[Instance]:
    """One instance of the configuration in ``file``; it and all its processes are killed at the end."""
    option = ["--ini"] if name == "original" else []
    log = file.with_suffix(f".{name}.log")
    with open(log, "wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            [COMMANDS[name], *option, str(file)],
            cwd=file.parent,
            env=as_installed(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield Instance(process, started, log)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
