"""A control group for each process tree: what it is limited to, and that nothing of it outlives it.

The process makes its group and goes into it itself, between clone and exec (:mod:`imperator.kernel.cgroup`). Everything
else that is to be done with files of the kernel is done here, in threads: the loop never waits for it.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from signal import SIGKILL
from typing import Any, Final, TypeVar

from imperator.config import quantities
from imperator.config.settings import EmperorSettings
from imperator.kernel.cgroup import Place, clear, kill, prepare, remove, remove_if_empty, write
from imperator.kernel.cgroup_hierarchies import find_hierarchies
from imperator.kernel.cgroup_limits import DeviceLimit, Limits
from imperator.kernel.cgroup_usage import Usage, files_in, oom_kills, usage_of
from imperator.kernel.cgroups import Territory, Unavailable, claim, group_name
from imperator.reign.names import Serial, VassalName
from imperator.reign.wanted import Wanted

T = TypeVar("T")
Then = Callable[[str | None], None]

_ATTEMPT: Final = 0.5
"""Seconds for which a thread waits until the processes of a group have ended: then others get the thread."""
_PAUSE: Final = 0.2
_MOST_ATTEMPTS: Final = 40
"""After so many the group is left as it is, and the next start clears it away: a process hangs in the kernel."""
_FRESH: Final = 1.0
"""Seconds for which figures are good enough for the next who asks."""
_OOM_WATCH: Final = 1.0
"""Seconds between two looks for a process that was killed for want of memory, where the kernel does not kill all."""

_ATTRIBUTES: Final[Mapping[str, Callable[[str], Any]]] = {
    "memory-max": quantities.size,
    "cpu-max": quantities.cores,
    "pids-max": quantities.count,
    "io-weight": quantities.weight,
    "io-max": lambda text: _devices(quantities.device_amounts(part) for part in text.split(",")),
}


def _devices(amounts: Any) -> tuple[DeviceLimit, ...] | None:
    return tuple(DeviceLimit(device, most) for device, most in amounts) or None


def default_limits(settings: EmperorSettings) -> Limits:
    """What holds for each vassal that has no attributes of its own."""
    return Limits(
        memory_max=settings.vassal_memory_max,
        cpu_max=settings.vassal_cpu_max,
        pids_max=settings.vassal_pids_max,
        io_weight=settings.vassal_io_weight,
        io_max=_devices(settings.vassal_io_max),
    )


def limits_of(wanted: Wanted, defaults: Limits) -> Limits:
    """A vassal's limits. Raises ValueError for an attribute that makes no sense."""
    given: dict[str, Any] = {}
    for attribute, read in _ATTRIBUTES.items():
        text = wanted.attributes.get(attribute)
        if text is not None:
            try:
                given[attribute.replace("-", "_")] = read(text)
            except ValueError as error:
                raise ValueError(f"its attribute {attribute} = {text}: {error}") from None
    if not given:
        return defaults
    values = {name: getattr(defaults, name) for name in Limits.__slots__}
    return Limits(**{**values, **given})


def enter_own(settings: EmperorSettings) -> None:
    """Go where ``cgroup`` says. Raises OSError, and ValueError for an option of none of these groups."""
    options = []
    for text in settings.cgroup_opt:
        parts = re.fullmatch("([^=:/]+)[=:](.+)", text)
        if parts is None:
            raise ValueError(f"cgroup-opt = {text}: FILE=VALUE was expected, like pids.max=500")
        options.append((parts[1], parts[2]))
    for directory in settings.cgroup:
        if not os.path.isdir(directory):
            os.mkdir(directory, settings.cgroup_dir_mode)
    for file, value in options:
        having = [directory for directory in settings.cgroup if os.path.exists(os.path.join(directory, file))]
        if not having:
            raise ValueError(f"cgroup-opt = {file}={value}: no group that cgroup names has such a file")
        for directory in having:
            write(directory, file, value)
    for directory in settings.cgroup:
        write(directory, "cgroup.procs", str(os.getpid()))


def claim_territory(settings: EmperorSettings, owner: tuple[int, int] | None) -> Territory | None:
    """What the settings ask for; ``None``: nothing. Raises :class:`Unavailable`: then the Emperor must not start."""
    defaults = default_limits(settings)
    asked = defaults.controllers()
    collected = not _ATTRIBUTES.keys().isdisjoint(settings.emperor_collect_attr)
    if not (asked or collected or settings.vassal_cgroup or settings.cgroup_parent is not None):
        return None
    territory = claim(find_hierarchies(), settings.cgroup_parent, asked, owner)
    try:
        territory.try_out(defaults)
    except (OSError, Unavailable) as error:
        territory.release()
        raise Unavailable(f"the limits for vassals cannot be set: {error}") from error
    return territory


def refuse_limits(wanted: Wanted) -> None:
    """Where there are no groups: raises :class:`Unavailable` if the vassal has limits."""
    asked = [attribute for attribute in _ATTRIBUTES if attribute in wanted.attributes]
    if asked:
        text = f"its attribute {asked[0]} asks for a control group: start the Emperor with vassal-cgroup = true"
        raise Unavailable(text)


@dataclass(frozen=True, slots=True)
class Group:
    """One process tree's."""

    name: VassalName
    directories: list[str]
    limits: Limits


class Groups:
    """All of them, by the serial of the instance."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        territory: Territory,
        defaults: Limits,
        complain: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._territory = territory
        self._defaults = defaults
        self._complain = complain
        self._groups: dict[Serial, Group] = {}
        self._threads = ThreadPoolExecutor(4, "cgroups")
        self._usage: dict[VassalName, Usage] = {}
        self._files: list[frozenset[str]] | None = None
        """The files of each hierarchy, once they were looked at."""
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._closed = False
        memory = [branch for branch in territory.branches if "memory" in branch.controllers]
        self._kills_whole = all(branch.hierarchy.version == 2 for branch in memory)

    # -- a process tree's way

    def places(self, serial: Serial, wanted: Wanted) -> list[Place]:
        """Where a new process belongs. Raises ValueError or :class:`Unavailable` for a limit that cannot be."""
        limits = limits_of(wanted, self._defaults)
        name = group_name(os.path.basename(wanted.name), serial)
        places = self._territory.places(name, limits)
        self._groups[serial] = Group(wanted.name, [directory for directory, _ in places], limits)
        if not self._kills_whole and limits.memory_max is not None and self._watch is None:
            self._watch = self._loop.call_later(_OOM_WATCH, self._look_for_victims)
        return places

    def forget(self, serial: Serial) -> None:
        """The process was never made."""
        self._groups.pop(serial, None)

    def renew(self, serial: Serial, wanted: Wanted) -> None:
        """It is told to reload, in the same process: its limits may be others by now."""
        group = self._groups.get(serial)
        if group is None:
            return
        name = os.path.basename(group.directories[0])
        try:
            limits = limits_of(wanted, self._defaults)
            if limits == group.limits:
                return
            changes = self._territory.changes(name, group.limits, limits)
        except (ValueError, Unavailable) as error:
            self._complain(f"{group.name} keeps its limits: {error}")
            return
        self._groups[serial] = replace(group, limits=limits)
        self._do(partial(prepare, changes), lambda _: None)

    def kill(self, serial: Serial) -> None:
        """SIGKILL everybody in its group."""
        group = self._groups.get(serial)
        if group is not None:
            self._do(partial(kill, group.directories), lambda _: None)

    def clear_out(self, serial: Serial, signal: int | None, then: Then) -> None:
        """Its first process was reaped: kill the rest, remove the group, and only then go on.

        ``then`` is told why it was killed, if the kernel did that.
        """
        group = self._groups.get(serial)
        if group is None:
            then(None)
        else:
            self._clear(serial, group, partial(_why_killed, group, signal), then, 1)

    def _clear(self, serial: Serial, group: Group, why: Callable[[], str | None], then: Then, attempt: int) -> None:
        def work() -> tuple[set[int], str | None]:
            reason = why()
            if remove_if_empty(group.directories):
                return set(), reason
            left = clear(group.directories, _ATTEMPT)
            if not left:
                remove(group.directories, _ATTEMPT)
            return left, reason

        def done(result: tuple[set[int], str | None] | None) -> None:
            left, reason = (set(), None) if result is None else result
            if left and attempt < _MOST_ATTEMPTS and not self._closed:
                self._loop.call_later(_PAUSE, self._clear, serial, group, lambda: reason, then, attempt + 1)
                return
            if left:
                self._complain(f"{group.name}: pid {', '.join(map(str, sorted(left)))} of it cannot be killed")
            self._groups.pop(serial, None)
            then(reason)

        self._do(work, done)

    # -- version 1 kills one process, not the group

    def _look_for_victims(self) -> None:
        self._watch = None
        groups = [group for group in self._groups.values() if group.limits.memory_max is not None]
        if groups:
            self._do(partial(_avenge, groups), lambda _: self._look_again())

    def _look_again(self) -> None:
        if not self._closed and self._watch is None:
            self._watch = self._loop.call_later(_OOM_WATCH, self._look_for_victims)

    # -- figures

    @property
    def usage(self) -> Mapping[VassalName, Usage]:
        """What each vassal used at the last reading."""
        return self._usage

    async def read(self) -> None:
        """Have figures that are not older than a second."""
        if self._loop.time() - self._read_at < _FRESH:
            return
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._was_read)
        await asyncio.shield(self._reading)

    def _was_read(self, _: asyncio.Task[None]) -> None:
        self._reading = None

    async def _read(self) -> None:
        work = self._threads.submit(self._usage_of_all, list(self._groups.values()))
        self._usage = await asyncio.wrap_future(work)
        self._read_at = self._loop.time()

    def _usage_of_all(self, groups: list[Group]) -> dict[VassalName, Usage]:
        found: dict[VassalName, Usage] = {}
        for group in groups:
            if self._files is None:
                try:
                    self._files = files_in(group.directories)
                except FileNotFoundError:  # it is just being made, or removed
                    continue
            found[group.name] = usage_of(group.directories, self._files)
        return found

    # -- threads

    def _do(self, work: Callable[[], T], done: Callable[[T | None], None]) -> None:
        """Work in a thread, then ``done`` in the loop, with ``None`` where it failed (which is said)."""

        def finished(future: Future[T]) -> None:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(told, future)

        def told(future: Future[T]) -> None:
            error = future.exception()
            if error is not None:
                self._complain(f"control groups: {error}")
            done(future.result() if error is None else None)

        self._threads.submit(work).add_done_callback(finished)

    def close(self) -> None:
        self._closed = True
        if self._watch is not None:
            self._watch.cancel()
        if self._reading is not None:
            self._reading.cancel()
        self._threads.shutdown(wait=True)


def _why_killed(group: Group, signal: int | None) -> str | None:
    if signal != SIGKILL or not oom_kills(group.directories):
        return None
    if group.limits.memory_max is None:
        return "out of memory (that of the machine, or of a limit that holds for others too)"
    return f"out of memory (limit {quantities.words_of_size(group.limits.memory_max)})"


def _avenge(groups: list[Group]) -> None:
    """Kill the rest of each group of which the kernel has killed a process."""
    for group in groups:
        if oom_kills(group.directories):
            kill(group.directories)
