"""How much memory and how many cores a process may use: its control groups' limits, of version 1 or 2 (cgroups(7)).

Every group up to the root counts, for the narrowest limit holds. Where there is none it is what the machine has.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")


def memory(proc: Path = PROC) -> int:
    """Bytes."""
    machine = re.search(r"^MemTotal:\s*(\d+) kB", (proc / "meminfo").read_text(), re.MULTILINE)
    limits = [int(machine[1]) * 1024] if machine is not None else []
    for group in _groups("memory", proc):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [int(word) for word in _words(group / name)[:1] if word.isdecimal()]
    return min(limits)


def cores(proc: Path = PROC, affinity: int | None = None) -> int:
    """Whole cores, rounded up: half a core of quota is one. ``affinity``: how many this process may run on."""
    least = float(affinity or len(os.sched_getaffinity(0)))
    for group in _groups("cpu", proc):
        quota = _words(group / "cpu.max")
        if not quota:
            quota = [*_words(group / "cpu.cfs_quota_us"), *_words(group / "cpu.cfs_period_us")]
        if len(quota) == 2 and quota[0].isdecimal():  # not "max", not -1
            least = min(least, int(quota[0]) / int(quota[1]))
    return max(1, -int(-least // 1))


def _groups(controller: str, proc: Path) -> Iterator[Path]:
    """The directories of our group for a controller and of all above it, innermost first."""
    paths = [line.split(":", 2) for line in (proc / "self/cgroup").read_text().splitlines()]
    for line in (proc / "self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        _, _, _, root, place, *_ = mount.split(" ")
        for number, controllers, path in paths:
            is_version_2 = kind == "cgroup2" and number == "0"
            is_version_1 = (
                kind == "cgroup" and controller in controllers.split(",") and controller in options.split(",")
            )
            if is_version_2 or is_version_1:
                yield from _upwards(Path(_unescaped(place)), path, _unescaped(root))


def _upwards(place: Path, path: str, root: str) -> Iterator[Path]:
    is_below = f"{path}/".startswith(f"{root.rstrip('/')}/")
    inner = path.removeprefix(root).strip("/") if is_below else path.strip("/")
    if ".." in inner.split("/"):  # outside of our cgroup namespace: only what is mounted can be seen
        inner = ""
    group = place / inner
    while True:
        yield group
        if group == place:
            return
        group = group.parent


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:  # the root has no limits, and other versions other files
        return []


def _unescaped(path: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), path)
