"""What a control group uses and has used, and how much it had to wait: both versions' files, one answer (cgroups(7)).

Sizes are bytes, times are seconds. What a hierarchy does not tell is left out.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

Figures = dict[str, float | int | None]
Usage = dict[str, Figures]

_UNLIMITED: Final = 1 << 62
"""Version 1 says "no limit" with a number near this."""
_PRESSURES: Final = ("cpu", "memory", "io")


def files_in(directories: Sequence[str]) -> list[frozenset[str]]:
    """Which files each hierarchy has: the same in all groups beside this one, so it need be asked only once."""
    return [frozenset(os.listdir(directory)) for directory in directories]


def usage_of(directories: Sequence[str], files: Sequence[frozenset[str]]) -> Usage:
    """Read a group; ``files``: see :func:`files_in`. One that has been removed meanwhile is empty."""
    memory: Figures = {}
    cpu: Figures = {}
    pids: Figures = {}
    pressure: Figures = {}
    for directory, names in zip(directories, files, strict=True):
        group = _Group(directory, names)
        _memory(group, memory)
        _cpu(group, cpu)
        _pids(group, pids)
        for what in _PRESSURES:
            some = group.words(f"{what}.pressure")[:2]
            if some[:1] == ["some"]:
                pressure[what] = float(some[1].removeprefix("avg10="))
    found = {"memory": memory, "cpu": cpu, "pids": pids, "pressure": pressure}
    return {name: values for name, values in found.items() if values}


def oom_kills(directories: Sequence[str]) -> int:
    """How many processes of a group were killed because there was no memory."""
    for directory in directories:
        count = _oom_kills(_Group(directory))
        if count is not None:
            return count
    return 0


@dataclass(frozen=True, slots=True)
class _Group:
    """One directory, and the files that it has (all that one asks for, if nobody has looked)."""

    directory: str
    files: Container[str] | None = None

    def words(self, name: str) -> list[str]:
        """What is in a file; nothing, if it is not there (another version, another hierarchy, or the group is gone)."""
        if self.files is not None and name not in self.files:
            return []
        try:
            fd = os.open(os.path.join(self.directory, name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return []
        try:
            return os.read(fd, 4096).decode("ascii").split()
        except OSError:
            return []
        finally:
            os.close(fd)

    def table(self, name: str) -> Mapping[str, int]:
        words = self.words(name)
        return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False) if value.isdecimal()}


def _memory(group: _Group, found: Figures) -> None:
    for key, names in {
        "current": ("memory.current", "memory.usage_in_bytes"),
        "peak": ("memory.peak", "memory.max_usage_in_bytes"),
        "max": ("memory.max", "memory.limit_in_bytes"),
    }.items():
        _take(group, key, names, found)
    if (killed := _oom_kills(group)) is not None:
        found["oom_kills"] = killed


def _oom_kills(group: _Group) -> int | None:
    for file in ("memory.events", "memory.oom_control"):
        count = group.table(file).get("oom_kill")
        if count is not None:
            return count
    return None


def _cpu(group: _Group, found: Figures) -> None:
    table = group.table("cpu.stat")
    if "usage_usec" in table:
        found["seconds"] = table["usage_usec"] / 1e6
    elif words := group.words("cpuacct.usage"):
        found["seconds"] = int(words[0]) / 1e9
    if "nr_throttled" in table:
        found["throttled"] = table["nr_throttled"]
        nanoseconds = table.get("throttled_time", 1000 * table.get("throttled_usec", 0))
        found["throttled_seconds"] = nanoseconds / 1e9
    quota = group.words("cpu.max")
    if not quota:
        quota = [*group.words("cpu.cfs_quota_us"), *group.words("cpu.cfs_period_us")]
    if len(quota) == 2:
        found["max"] = int(quota[0]) / int(quota[1]) if quota[0].isdecimal() else None


def _pids(group: _Group, found: Figures) -> None:
    _take(group, "current", ("pids.current",), found)
    _take(group, "max", ("pids.max",), found)
    refused = group.table("pids.events").get("max")
    if refused is not None:
        found["refused"] = refused


def _take(group: _Group, key: str, names: Sequence[str], found: Figures) -> None:
    for name in names:
        if words := group.words(name):
            number = int(words[0]) if words[0].isdecimal() else None
            found[key] = None if number is not None and number >= _UNLIMITED else number
            return
