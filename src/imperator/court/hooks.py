"""Hooks that run beside the loop, each phase in a process of its own.

``as-emperor-before-vassal`` has to succeed before a vassal is spawned, and within a limit, for a start that is under
way takes the place of another; of the others only the failure is told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from imperator.config.hook import Hook
from imperator.config.records import changed
from imperator.config.settings import EmperorSettings
from imperator.court.errands import Done, Errand, Errands
from imperator.court.recruiter import Recruiter
from imperator.reign.effects import HookPhase, RunHooks, Severity
from imperator.reign.names import Serial, VassalName
from imperator.reign.wanted import Wanted

LONGEST_BEFORE_VASSAL = 120.0
"""Seconds that the hooks before a vassal may take: more than the ``wait_for_…`` actions allow themselves."""

Say = Callable[[Severity, str, str, VassalName | None], None]


class HookRunner:
    """Knows which hooks there are, and has them run."""

    def __init__(self, errands: Errands, recruiter: Recruiter, settings: EmperorSettings, say: Say) -> None:
        self._errands = errands
        self._recruiter = recruiter
        self._settings = settings
        self._say = say
        self._before: dict[Serial, Errand] = {}
        """What has to succeed before an instance is made."""
        self._hooks = {
            HookPhase.AS_EMPEROR: settings.hook_as_emperor,
            HookPhase.AS_ON_DEMAND_VASSAL: settings.hook_as_on_demand_vassal,
            HookPhase.AS_ON_CONFIG_VASSAL: settings.hook_as_on_config_vassal,
            HookPhase.VASSALS_STOP: (),
        }

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

        def over(failure: str | None) -> None:
            self._before.pop(instance, None)
            done(failure)

        phase = "as-emperor-before-vassal"
        self._before[instance] = self._start(wanted, hooks, phase, over, None, None, longest=LONGEST_BEFORE_VASSAL)
        return True

    def abandon(self, instance: Serial) -> None:
        """Whatever has to come before this instance need not any more."""
        errand = self._before.get(instance)
        if errand is not None:
            errand.end("abandoned: its vassal is not wanted any more")

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
        longest: float | None = None,
    ) -> Errand:
        return self._errands.send(
            lambda serial: self._recruiter.hooks_order(
                serial, wanted, hooks, phase, pid=pid, command=command, namespaces=namespaces
            ),
            done,
            longest,
        )


def _namespaces(hook: Hook) -> tuple[str, ...]:
    """``hook-as-emperor-setns = NAMESPACE,… ACTION:ARGUMENT``; empty where none is named."""
    return tuple(filter(None, hook.action.rpartition(" ")[0].replace(" ", ",").split(",")))
