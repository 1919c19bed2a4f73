"""What a control group uses and has used, and how much it had to wait: both versions' files, one answer (cgroups(7)).

Sizes are bytes, times are seconds. What a hierarchy does not tell is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

Usage = dict[str, dict[str, float | int | None]]

_UNLIMITED: Final = 1 << 62
"""Version 1 says "no limit" with a number near this."""
_PRESSURES: Final = ("cpu", "memory", "io")


def usage_of(directories: Sequence[str]) -> Usage:
    """Read a group. One that has been removed meanwhile is empty."""
    memory: dict[str, float | int | None] = {}
    cpu: dict[str, float | int | None] = {}
    pids: dict[str, float | int | None] = {}
    pressure: dict[str, float | int | None] = {}
    for directory in directories:
        _memory(directory, memory)
        _cpu(directory, cpu)
        _pids(directory, pids)
        for what in _PRESSURES:
            some = _words(directory, f"{what}.pressure")[:2]
            if some[:1] == ["some"]:
                pressure[what] = float(some[1].removeprefix("avg10="))
    found = {"memory": memory, "cpu": cpu, "pids": pids, "pressure": pressure}
    return {name: values for name, values in found.items() if values}


def oom_kills(directories: Sequence[str]) -> int:
    """How many processes of a group were killed because there was no memory."""
    for directory in directories:
        for file in ("memory.events", "memory.oom_control"):
            count = _table(directory, file).get("oom_kill")
            if count is not None:
                return count
    return 0


def _memory(directory: str, found: dict[str, float | int | None]) -> None:
    for key, names in {
        "current": ("memory.current", "memory.usage_in_bytes"),
        "peak": ("memory.peak", "memory.max_usage_in_bytes"),
        "max": ("memory.max", "memory.limit_in_bytes"),
    }.items():
        _take(directory, key, names, found)
    if found and "oom_kills" not in found:
        found["oom_kills"] = oom_kills([directory])


def _cpu(directory: str, found: dict[str, float | int | None]) -> None:
    table = _table(directory, "cpu.stat")
    if "usage_usec" in table:
        found["seconds"] = table["usage_usec"] / 1e6
    elif words := _words(directory, "cpuacct.usage"):
        found["seconds"] = int(words[0]) / 1e9
    if "nr_throttled" in table:
        found["throttled"] = table["nr_throttled"]
        nanoseconds = table.get("throttled_time", 1000 * table.get("throttled_usec", 0))
        found["throttled_seconds"] = nanoseconds / 1e9
    quota = _words(directory, "cpu.max")
    if not quota:
        quota = [*_words(directory, "cpu.cfs_quota_us"), *_words(directory, "cpu.cfs_period_us")]
    if len(quota) == 2:
        found["max"] = int(quota[0]) / int(quota[1]) if quota[0].isdecimal() else None


def _pids(directory: str, found: dict[str, float | int | None]) -> None:
    _take(directory, "current", ("pids.current",), found)
    _take(directory, "max", ("pids.max",), found)
    refused = _table(directory, "pids.events").get("max")
    if refused is not None:
        found["refused"] = refused


def _take(directory: str, key: str, names: Sequence[str], found: dict[str, float | int | None]) -> None:
    for name in names:
        if words := _words(directory, name):
            number = int(words[0]) if words[0].isdecimal() else None
            found[key] = None if number is not None and number >= _UNLIMITED else number
            return


def _table(directory: str, name: str) -> Mapping[str, int]:
    words = _words(directory, name)
    return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False) if value.isdecimal()}


def _words(directory: str, name: str) -> list[str]:
    try:
        return Path(os.path.join(directory, name)).read_text().split()
    except OSError:  # another version, another hierarchy, or the group is gone
        return []
