"""What a control group may use at most, and how each version of control groups is told (cgroups(7), cgroup-v2).

Sizes are bytes, processor time is cores. ``None`` is: no limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from imperator.kernel.cgroup import Setting

_PERIOD: Final = 100_000
"""Microseconds over which processor time is shared out: the kernel's own default."""
_MOST: Final = (1 << 63) - 1
_IO_V1: Final = {
    "rbps": "blkio.throttle.read_bps_device",
    "wbps": "blkio.throttle.write_bps_device",
    "riops": "blkio.throttle.read_iops_device",
    "wiops": "blkio.throttle.write_iops_device",
}

CONTROLLERS: Final = {
    "memory_max": "memory",
    "cpu_max": "cpu",
    "pids_max": "pids",
    "io_weight": "io",
    "io_max": "io",
}
"""Which controller a limit needs, as version 2 calls it. (``io`` is ``blkio`` in version 1.)"""


@dataclass(frozen=True, slots=True)
class DeviceLimit:
    """What one device (``major:minor``) may be used. ``most``: ``rbps``, ``wbps`` (bytes/s), ``riops``, ``wiops``."""

    device: str
    most: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one group."""

    memory_max: int | None = None
    """Bytes of memory, swap included."""
    cpu_max: float | None = None
    """Cores."""
    pids_max: int | None = None
    io_weight: int | None = None
    """1 to 10000; a group without has 100."""
    io_max: tuple[DeviceLimit, ...] | None = None

    def controllers(self) -> frozenset[str]:
        """The controllers that have to be there."""
        return frozenset(CONTROLLERS[field.name] for field in fields(self) if getattr(self, field.name) is not None)


def settings_of(limits: Limits, version: Literal[1, 2], controllers: Iterable[str]) -> list[Setting]:
    """What to write where, in a hierarchy with these controllers (by the names of version 2)."""
    here = frozenset(controllers)
    settings: list[Setting] = []
    if "memory" in here:
        settings += _memory(limits.memory_max, version)
    if "cpu" in here and limits.cpu_max is not None:
        quota = str(round(limits.cpu_max * _PERIOD))
        if version == 2:
            settings.append(("cpu.max", f"{quota} {_PERIOD}", True))
        else:
            settings += [("cpu.cfs_period_us", str(_PERIOD), True), ("cpu.cfs_quota_us", quota, True)]
    if "pids" in here and limits.pids_max is not None:
        settings.append(("pids.max", str(limits.pids_max), True))
    if "io" in here:
        settings += _io(limits, version)
    return settings


def changes_of(old: Limits, new: Limits, version: Literal[1, 2], controllers: Iterable[str]) -> list[Setting]:
    """What to write to a group that has the old limits, so that it has the new ones."""
    here = frozenset(controllers)
    settings: list[Setting] = []
    if "memory" in here and old.memory_max != new.memory_max:
        if version == 1:  # memory and swap together may never be less than memory, not for a moment
            settings.append(("memory.memsw.limit_in_bytes", "-1", False))
        settings += _memory(new.memory_max, version)
        if new.memory_max is None:
            lifted = {1: [("memory.limit_in_bytes", "-1")], 2: [("memory.max", "max"), ("memory.swap.max", "max")]}
            settings += [(file, value, False) for file, value in lifted[version]]
    if "cpu" in here and old.cpu_max is not None and new.cpu_max is None:
        settings.append(("cpu.max", f"max {_PERIOD}", True) if version == 2 else ("cpu.cfs_quota_us", "-1", True))
    if "pids" in here and old.pids_max is not None and new.pids_max is None:
        settings.append(("pids.max", "max", True))
    if "io" in here:
        settings += _io(_lifted_io(old, new, version), version)
    others = Limits(None, new.cpu_max, new.pids_max, new.io_weight, new.io_max)
    return settings + settings_of(others, version, here - {"memory"})


def _lifted_io(old: Limits, new: Limits, version: Literal[1, 2]) -> Limits:
    """What takes away the limits of disks that are not among the new ones. (0 is: none, in version 1.)"""
    kept = {(device.device, key) for device in new.io_max or () for key, _ in device.most}
    none = 0 if version == 1 else _MOST + 1
    lifted = [
        DeviceLimit(device.device, tuple((key, none) for key, _ in device.most if (device.device, key) not in kept))
        for device in old.io_max or ()
    ]
    weight = 100 if old.io_weight is not None and new.io_weight is None else None
    return Limits(io_weight=weight, io_max=tuple(device for device in lifted if device.most))


def _memory(most: int | None, version: Literal[1, 2]) -> list[Setting]:
    if version == 2:
        whole: list[Setting] = [("memory.oom.group", "1", False)]  # Linux 4.19
        if most is None:
            return whole
        # Without the second a bomb is not killed before it has filled the swap, and the machine crawls until then.
        return [*whole, ("memory.max", str(most), True), ("memory.swap.max", "0", False)]
    if most is None:
        return []
    # In this order: memory and swap together may not be less than memory.
    return [("memory.limit_in_bytes", str(most), True), ("memory.memsw.limit_in_bytes", str(most), False)]


def _io(limits: Limits, version: Literal[1, 2]) -> list[Setting]:
    settings: list[Setting] = []
    if limits.io_weight is not None:
        if version == 2:
            settings.append(("io.weight|io.bfq.weight", str(limits.io_weight), True))
        else:
            settings.append(("blkio.bfq.weight|blkio.weight", str(max(10, min(limits.io_weight, 1000))), True))
    for device in limits.io_max or ():
        if version == 2:
            words = " ".join(f"{key}={'max' if value > _MOST else value}" for key, value in device.most)
            settings.append(("io.max", f"{device.device} {words}", True))
        else:
            settings += [(_IO_V1[key], f"{device.device} {value}", True) for key, value in device.most]
    return settings
