"""Starts one Emperor, the original or ours, over a directory, and measures what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES = ("original", "imperator")
_TICKS = os.sysconf("SC_CLK_TCK")


def as_installed() -> dict[str, str]:
    """The environment, where Python keeps its compiled files: an installed package has them from the beginning."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Emperor:
    """A running Emperor: its main process and, with ours, the helper processes."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], started: float) -> None:
        self.name = name
        self.process = process
        self.started = started

    def pids(self) -> list[int]:
        """The main process, and whichever of its children run one of our helper scripts."""
        pids = [self.process.pid]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children[:10]:
            if b"/kernel/" in Path(f"/proc/{pid}/cmdline").read_bytes():
                pids.append(int(pid))
        return pids

    def cpu_seconds(self) -> float:
        total = 0.0
        for pid in self.pids():
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += (int(fields[11]) + int(fields[12])) / _TICKS
        return total

    def memory(self) -> tuple[float, float]:
        """PSS in MB: the main process, and all of them."""
        sizes = []
        for pid in self.pids():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    sizes.append(int(line.split()[1]) / 1024)
        return sizes[0], sum(sizes)


@contextmanager
def reigning(name: str, directory: Path, vassal: Path, report: Path | None, *options: str) -> Iterator[Emperor]:
    """One Emperor over ``directory``; killed at the end, and its vassals with it."""
    if name == "original":
        command = [str(Path(sys.executable).parent / "uwsgi")]
    else:
        command = [sys.executable, "-m", "imperator"]
    command += ["--emperor", str(directory), "--binary-path", str(vassal), *options]
    environment = as_installed()
    if report is not None:
        environment["BENCH_REPORT"] = str(report)
    with open(directory.parent / f"{name}.log", "ab") as log:
        started = time.monotonic()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        try:
            yield Emperor(name, process, started)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
            subprocess.run(["pkill", "-KILL", "-f", str(vassal)], check=False)
            while subprocess.run(["pgrep", "-f", str(vassal)], check=False, stdout=subprocess.DEVNULL).returncode == 0:
                time.sleep(0.1)
