"""An Emperor under test: started as a person would, its log awaited line by line, its statistics asked for."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .stage import PATIENCE

MARK = "PUPPET_STAGE"
"""The environment variable by which every process of a test can be found."""
IMPERATOR = (sys.executable, "-m", "imperator")


class Log:
    """The lines that an Emperor writes, as they come."""

    def __init__(self, stream: Any) -> None:
        self.lines: list[str] = []
        self._seen = 0
        self._stream = stream
        self._changed = threading.Condition()
        self._ended = False
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._stream:
            with self._changed:
                self.lines.append(line.decode(errors="surrogateescape").rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def expect(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        """The next line (after the last one expected) in which the pattern is found."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                while self._seen < len(self.lines):
                    self._seen += 1
                    if match := re.search(pattern, self.lines[self._seen - 1]):
                        return match
                if self._ended or not self._changed.wait(deadline - time.monotonic()):
                    text = "\n  ".join(self.lines[-40:])
                    raise AssertionError(f"no line of the log has {pattern!r}:\n  {text}")

    def find(self, pattern: str) -> list[str]:
        """All lines so far in which the pattern is found."""
        return [line for line in list(self.lines) if re.search(pattern, line)]

    def wait_for_end(self, timeout: float = PATIENCE) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended, timeout), (
                "somebody still holds the Emperor's output open"
            )


class Empire:
    """A running Emperor."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        program: Sequence[str] = IMPERATOR,
        directory: Path | None = None,
        **popen: Any,
    ) -> None:
        self.process = subprocess.Popen(
            [*program, *map(str, arguments)],
            env={**os.environ, **environment},
            cwd=directory,
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **popen},
        )
        self.log = Log(self.process.stdout or ())

    @property
    def pid(self) -> int:
        return self.process.pid

    def ready(self) -> Empire:
        """Wait until every source was read."""
        self.log.expect(r"every source was read")
        return self

    def expect(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        """Wait for a line of the log."""
        return self.log.expect(pattern, timeout)

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """End it as a person would; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def statistics(self) -> dict[str, Any]:
        """The statistics, from the private socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(f"\0imperator/{os.stat(f'/proc/{self.pid}').st_uid}/{self.pid}")
            data = b"".join(iter(lambda: connection.recv(65536), b""))
        document: dict[str, Any] = json.loads(data)
        return document

    def vassal(self, name: str) -> dict[str, Any]:
        """What the statistics say of one vassal."""
        for vassal in self.statistics()["vassals"]:
            if vassal["id"] == name:
                found: dict[str, Any] = vassal
                return found
        raise AssertionError(f"no vassal {name} in the statistics")

    def vassals_known(self) -> set[str]:
        return {vassal["id"] for vassal in self.statistics()["vassals"]}

    def expect_state(self, name: str, **values: Any) -> dict[str, Any]:
        """Wait until the statistics say this of a vassal. They are asked for again and again: nobody sends them."""
        deadline = time.monotonic() + PATIENCE
        while True:
            vassal = self.vassal(name)
            if all(vassal[key] == value for key, value in values.items()):
                return vassal
            assert time.monotonic() < deadline, f"{name} is never {values}: {vassal}"
            time.sleep(0.01)

    def children(self) -> list[int]:
        """Its children, helpers included."""
        return list(map(int, Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()))

    def expect_child_gone(self, emperor: int, pid: int) -> None:
        """Wait until a process in the namespace of ``emperor`` (whose /proc we see) was reaped."""
        deadline = time.monotonic() + PATIENCE
        while os.path.exists(f"/proc/{emperor}/root/proc/{pid}"):
            assert time.monotonic() < deadline, f"{pid} was never reaped"
            time.sleep(0.01)

    def open_fds(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def helper(self, name: str, but: int = 0) -> int:
        """The pid of its spawner, guardian or scribe; of one that is not ``but``. Waits: it may be starting."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for pid in self.children():
                if pid != but and f"/kernel/{name}.py".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
            assert time.monotonic() < deadline, f"no {name}"
            time.sleep(0.01)


def processes_with(address: str) -> list[int]:
    """Every process, of whatever parent, that has this stage in its environment."""
    found = []
    mark = f"{MARK}={address}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # it ended just now
                continue
            if mark in environment.split(b"\0"):
                found.append(int(entry))
    return found


def expect_nobody(address: str, timeout: float = 5.0) -> None:
    """Wait until none of the stage's processes lives."""
    deadline = time.monotonic() + timeout
    while left := processes_with(address):
        if time.monotonic() > deadline:
            shown = [(pid, Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")) for pid in left]
            raise AssertionError(f"left behind: {shown}")
        time.sleep(0.01)
