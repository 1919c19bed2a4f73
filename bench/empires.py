"""What is measured of an Emperor over a directory of tiny vassals: one side after the other, each a run of its own."""

from __future__ import annotations

import os
import random
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

from bench.emperors import reigning
from bench.goals import Figures
from bench.reports import Reports

_SOURCE = Path(__file__).parent / "vassal.c"


def _fill(directory: Path, count: int) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for number in range(count):
        (directory / f"v{number}.ini").write_text("[uwsgi]\n")


def _spread(seconds: list[float]) -> Figures:
    seconds = sorted(seconds)
    p99 = seconds[min(len(seconds) - 1, int(len(seconds) * 0.99))]
    return {"p50 ms": statistics.median(seconds) * 1e3, "p99 ms": p99 * 1e3, "max ms": seconds[-1] * 1e3}


class Empires:
    """One run: a directory of vassals, the tiny vassal, and what is measured with them."""

    def __init__(self, root: Path, size: int) -> None:
        self.root = root
        self.size = size
        self.vassals = root / "vassals"
        self.vassal = root / "bench-vassal"
        subprocess.run(["gcc", "-O2", "-static", "-o", str(self.vassal), str(_SOURCE)], check=True)
        self.reports = Reports(root)

    def cold_start(self, name: str) -> Figures:
        _fill(self.vassals, self.size)
        with reigning(name, self.vassals, self.vassal, self.reports.path) as emperor:
            last = emperor.started
            for _ in range(self.size):
                last = self.reports.next("start", timeout=60).at
            took = last - emperor.started
        return {"vassals": self.size, "seconds": took, "vassals/s": self.size / took}

    def idle(self, name: str) -> Figures:
        _fill(self.vassals, self.size)
        seconds = 30.0 if name == "original" else 300.0  # long enough to hold our safety net
        with reigning(name, self.vassals, self.vassal, self.reports.path) as emperor:
            for _ in range(self.size):
                self.reports.next("start", timeout=60)
            time.sleep(10)
            before = emperor.cpu_seconds()
            time.sleep(seconds)
            share = (emperor.cpu_seconds() - before) / seconds * 100
            main, total = emperor.memory()
        return {"vassals": self.size, "CPU %": share, "MB main": main, "MB all": total}

    def new_file(self, name: str) -> Figures:
        _fill(self.vassals, 100)
        waits = []
        with reigning(name, self.vassals, self.vassal, self.reports.path):
            for _ in range(100):
                self.reports.next("start")
            time.sleep(4)
            for number in range(12 if name == "original" else 200):
                time.sleep(random.uniform(0.01, 0.05))
                file = self.vassals / f"new{number}.ini"
                file.write_text("[uwsgi]\n")
                written = time.monotonic()
                waits.append(self.reports.next("start", file.name).at - written)
        return _spread(waits)

    def touch_reload(self, name: str) -> Figures:
        _fill(self.vassals, 100)
        waits = []
        with reigning(name, self.vassals, self.vassal, self.reports.path):
            for _ in range(100):
                self.reports.next("start")
            time.sleep(4)
            for number in range(12 if name == "original" else 100):
                time.sleep(random.uniform(0.01, 0.05))
                file = self.vassals / f"v{number}.ini"
                os.utime(file)
                touched = time.monotonic()
                waits.append(self.reports.next("reload", file.name).at - touched)
        return _spread(waits)

    def kill_respawn(self, name: str) -> Figures:
        _fill(self.vassals, self.size)
        waits = []
        with reigning(name, self.vassals, self.vassal, self.reports.path):
            pids = {}
            for _ in range(self.size):
                report = self.reports.next("start", timeout=60)
                pids[report.name] = report.pid
            time.sleep(5)
            for vassal in random.sample(sorted(pids), min(self.size, 20 if name == "original" else 200)):
                time.sleep(0.02)
                killed = time.monotonic()
                os.kill(pids[vassal], signal.SIGKILL)
                waits.append(self.reports.next("start", vassal).at - killed)
        return {"vassals": self.size, **_spread(waits)}

    def fork_bomb(self, name: str) -> Figures:
        """As kill_respawn, beside one vassal that dies as soon as it is started, and no blacklist to hold it."""
        _fill(self.vassals, 1000)
        waits = []
        with reigning(name, self.vassals, self.vassal, self.reports.path, "--emperor-no-blacklist"):
            pids = {}
            for _ in range(1000):
                report = self.reports.next("start", timeout=60)
                pids[report.name] = report.pid
            time.sleep(5)
            (self.vassals / "bomb.ini").write_text("[uwsgi]\n")
            self.reports.next("start", "bomb.ini")
            time.sleep(5)
            for vassal in random.sample(sorted(pids), 5 if name == "original" else 100):
                time.sleep(0.05)
                killed = time.monotonic()
                os.kill(pids[vassal], signal.SIGKILL)
                # The original's throttle, which is everybody's, goes up to 180 s.
                waits.append(self.reports.next("start", vassal, timeout=400).at - killed)
        return _spread(waits)
