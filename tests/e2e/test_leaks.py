"""Thousands of lives later the Emperor is what it was: no file descriptor, process or page more."""

from __future__ import annotations

import os
import time
from pathlib import Path

from .conftest import Reign
from .empire import Empire
from .stage import PATIENCE, Stage

HELPERS = ("spawner", "guardian", "scribe")
AT_ONCE = 200
ROUNDS = 50


def open_fds(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def memory(pid: int) -> int:
    """Kilobytes of its own."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
    raise AssertionError("no Anonymous: line")


def calm(pids: list[int]) -> list[int]:
    """How many file descriptors each has open, without those of the dead, whom the guardian remembers for a moment."""
    deadline = time.monotonic() + PATIENCE
    while max(fds := [open_fds(pid) for pid in pids]) > 25:
        assert time.monotonic() < deadline, fds
        time.sleep(0.1)
    return fds


def wait_until_running(empire: Empire, count: int) -> None:
    deadline = time.monotonic() + 60
    while [v["state"] for v in empire.statistics()["vassals"]].count("running") != count or (
        len(empire.children()) != count + len(HELPERS)
    ):
        assert time.monotonic() < deadline, empire.log.lines[-10:]
        time.sleep(0.02)


def test_ten_thousand_lives_leave_nothing_behind(reign: Reign, stage: Stage, vassals: Path) -> None:
    sleeper = stage.binary.with_name("sleeper")
    sleeper.write_text("#!/bin/sh\nexec sleep 1000\n")
    sleeper.chmod(0o755)
    empire = reign(binary=sleeper).ready()
    pids = [empire.pid, *(empire.helper(helper) for helper in HELPERS)]
    fds: list[int] = []
    memories: list[int] = []
    for number in range(ROUNDS):
        for count in range(AT_ONCE):
            (vassals / f"{number}-{count}.ini").write_text("[uwsgi]\n")
        wait_until_running(empire, AT_ONCE)
        for count in range(AT_ONCE):
            (vassals / f"{number}-{count}.ini").unlink()
        wait_until_running(empire, 0)
        if number == 4:  # by now every cache and arena has its size
            fds = calm(pids)
            memories = [memory(pid) for pid in pids]
    deadline = time.monotonic() + PATIENCE
    while any(now > before for now, before in zip(calm(pids), fds, strict=True)):
        assert time.monotonic() < deadline, f"{calm(pids)} descriptors, and {fds} before"
        time.sleep(0.1)
    grown = [memory(pid) - before for pid, before in zip(pids, memories, strict=True)]
    assert max(grown) < 1500, f"kilobytes more: {grown}"
