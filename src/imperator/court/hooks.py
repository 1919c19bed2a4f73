"""Hooks that run beside the loop, each in a process of its own that the spawner makes.

``as-emperor-before-vassal`` has to succeed before a vassal is spawned, and within a limit, for a start that is under
way takes the place of another; of the others only the failure is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from imperator.config.hook import Hook
from imperator.config.records import changed
from imperator.config.settings import EmperorSettings
from imperator.court.guardian import Guardian
from imperator.court.recruiter import Recruiter
from imperator.court.spawner import Spawner
from imperator.kernel.processes import kill_group, reap
from imperator.reign.effects import HookPhase, RunHooks, Severity
from imperator.reign.names import Serial, VassalName
from imperator.reign.wanted import Wanted

LONGEST_BEFORE_VASSAL = 120.0
"""Seconds that the hooks before a vassal may take: more than the ``wait_for_…`` actions allow themselves."""

Say = Callable[[Severity, str, str, VassalName | None], None]
Done = Callable[[str | None], None]
"""Called with the reason of the failure, or ``None``."""


@dataclass(slots=True, eq=False)
class HookProcess:
    """One process that runs the hooks of one phase for one vassal."""

    serial: int
    phase: str
    vassal: VassalName
    done: Done
    pid: int = -1
    failure: str | None = None
    before: Serial | None = None
    """The instance that is made when these have succeeded."""
    limit: asyncio.TimerHandle | None = None


class HookRunner:
    """Starts hook processes and hears how they end. Their serials are negative: instances have the positive ones."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        guardian: Guardian,
        spawner: Spawner,
        recruiter: Recruiter,
        settings: EmperorSettings,
        say: Say,
    ) -> None:
        self._loop = loop
        self._guardian = guardian
        self._spawner = spawner
        self._recruiter = recruiter
        self._settings = settings
        self._say = say
        self._running: dict[int, HookProcess] = {}
        self.idle = asyncio.Event()
        """Set while no hook runs."""
        self.idle.set()
        self._last = 0
        self._hooks = {
            HookPhase.AS_EMPEROR: settings.hook_as_emperor,
            HookPhase.AS_ON_DEMAND_VASSAL: settings.hook_as_on_demand_vassal,
            HookPhase.AS_ON_CONFIG_VASSAL: settings.hook_as_on_config_vassal,
            HookPhase.VASSALS_STOP: (),
        }

    def __len__(self) -> int:
        return len(self._running)

    def run(self, effect: RunHooks) -> None:
        """Run a phase's hooks for a vassal; nothing where there are none."""
        phase, wanted = effect.phase, effect.wanted
        command = self._settings.vassals_stop_hook if phase is HookPhase.VASSALS_STOP else None
        hooks = self._hooks[phase]
        if hooks or command is not None:
            self._start(wanted, hooks, phase.value, self._only_say(wanted.name, phase.value), effect.pid, command)
        if phase is HookPhase.AS_EMPEROR and self._settings.hook_as_emperor_setns:
            name = "as-emperor-setns"
            for hook in self._settings.hook_as_emperor_setns:  # each may enter other namespaces
                one = (changed(hook, action=hook.action.rpartition(" ")[2]),)
                say = self._only_say(wanted.name, name)
                self._start(wanted, one, name, say, effect.pid, None, namespaces=_namespaces(hook))

    def before_vassal(self, instance: Serial, wanted: Wanted, done: Done) -> bool:
        """Run the hooks that come before a vassal is spawned; ``False``: there are none, and ``done`` is not called."""
        hooks = self._settings.hook_as_emperor_before_vassal
        if not hooks:
            return False
        process = self._start(wanted, hooks, "as-emperor-before-vassal", done, None, None)
        process.before = instance
        text = f"still running after {LONGEST_BEFORE_VASSAL:g} s: killed"
        process.limit = self._loop.call_later(LONGEST_BEFORE_VASSAL, self._end, process, text)
        return True

    def abandon(self, instance: Serial) -> None:
        """Whatever has to come before this instance need not any more."""
        for process in self._running.values():
            if process.before == instance:
                self._end(process, "abandoned: its vassal is not wanted any more")

    @staticmethod
    def _end(process: HookProcess, why: str) -> None:
        process.failure = why
        if process.pid > 0:
            kill_group(process.pid)

    def _only_say(self, vassal: VassalName, phase: str) -> Done:
        def say(failure: str | None) -> None:
            if failure is not None:
                self._say(Severity.ERROR, "hook-failed", f"{phase}: {failure}", vassal)

        return say

    def _start(
        self,
        wanted: Wanted,
        hooks: tuple[Hook, ...],
        phase: str,
        done: Done,
        pid: int | None,
        command: str | None,
        namespaces: Sequence[str] | None = None,
    ) -> HookProcess:
        self._last -= 1
        self.idle.clear()
        serial = self._last
        process = self._running[serial] = HookProcess(serial, phase, wanted.name, done)
        order = self._recruiter.hooks_order(
            serial, wanted, hooks, phase, pid=pid, command=command, namespaces=namespaces
        )
        self._spawner.spawn(order)
        return process

    # -- what the spawner and the kernel say

    def spawn_succeeded(self, serial: int, pid: int) -> None:
        process = self._running[serial]
        process.pid = pid
        self._guardian.guard(pid)
        if process.failure is not None:  # its end was wanted before it began
            kill_group(pid)

    def spawn_failed(self, serial: int, reason: str) -> None:
        process = self._running[serial]
        self._forget(process)
        process.done(f"no process could be made: {reason}")

    def child_reported(self, serial: int, reason: str) -> None:
        process = self._running.get(serial)
        if process is not None:
            process.failure = reason

    def ended(self, process: HookProcess) -> None:
        ending = reap(process.pid)
        if ending is None:
            return
        self._spawner.hear_reports()
        self._guardian.forget(process.pid)
        self._forget(process)
        if ending.code == 0:
            process.done(process.failure)
        else:
            process.done(process.failure or f"ended with {ending.code if ending.signal is None else ending.signal}")

    def _forget(self, process: HookProcess) -> None:
        del self._running[process.serial]
        if process.limit is not None:
            process.limit.cancel()
        if not self._running:
            self.idle.set()

    def knows(self, pid: int) -> HookProcess | None:
        return next((process for process in self._running.values() if process.pid == pid), None)

    def pids(self) -> Iterable[int]:
        return [process.pid for process in self._running.values() if process.pid > 0]


def _namespaces(hook: Hook) -> tuple[str, ...]:
    """``hook-as-emperor-setns = NAMESPACE,… ACTION:ARGUMENT``; empty where none is named."""
    return tuple(filter(None, hook.action.rpartition(" ")[0].replace(" ", ",").split(",")))
