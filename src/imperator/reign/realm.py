"""The moves: each changes one vassal's state and hands out the effects that go with it.

The rules, which say what move answers what event, are in :mod:`imperator.reign.emperor`.
"""

from __future__ import annotations

from collections import OrderedDict
from signal import SIGKILL, SIGTERM

from imperator.reign.blacklist import Blacklist
from imperator.reign.deadlines import Deadlines
from imperator.reign.effects import (
    Abandon,
    CloseSocket,
    Effect,
    HookPhase,
    Note,
    OpenSocket,
    RunHooks,
    Send,
    Severity,
    Signal,
    Spawn,
)
from imperator.reign.names import Seconds, Serial, VassalName, objection_to_name
from imperator.reign.policy import BURST, Policy
from imperator.reign.protocol import ToVassal
from imperator.reign.vassal import IDLE_PHASES, Afterwards, Instance, Phase, Vassal
from imperator.reign.wanted import Wanted


class Realm:
    """Every vassal there is, and what can be done to one."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.vassals: dict[VassalName, Vassal] = {}
        self.by_serial: dict[Serial, Vassal] = {}
        self.blacklist = Blacklist(policy)
        self.deadlines = Deadlines(self.vassals)
        self.effects: list[Effect] = []
        self.ending = False
        """A Ragnarok is under way: nothing is spawned any more."""
        self._queue: OrderedDict[VassalName, None] = OrderedDict()
        """Each name once, first come first. One that has changed its mind since keeps its place: its phase decides."""
        self._left: OrderedDict[VassalName, Seconds] = OrderedDict()
        """When those started last who were removed within a second of it."""
        self._spawning = 0
        self._last_serial = 0

    # -- saying what happened

    def note(self, severity: Severity, event: str, text: str, vassal: VassalName | None = None) -> None:
        self.effects.append(Note(severity, event, text, vassal))

    # -- towards a process

    def rest(self, vassal: Vassal, phase: Phase, why: str) -> None:
        """Put a vassal that has no process into a phase without one, with no deadline."""
        vassal.phase = phase
        vassal.why = why
        vassal.due = None

    def wait(self, vassal: Vassal, delay: Seconds, now: Seconds, why: str) -> None:
        """Start it after ``delay``."""
        self.rest(vassal, Phase.WAITING, why)
        self.deadlines.set(vassal, Seconds(now + delay))

    def objection(self, wanted: Wanted) -> str | None:
        """Why this configuration cannot be started at all; ``None``: it can."""
        if wanted.problem is not None:
            return wanted.problem
        if (problem := objection_to_name(wanted.name)) is not None:
            return problem
        if self.policy.tyrant and (wanted.uid == 0 or wanted.gid == 0):
            owner = f"uid {wanted.uid}, gid {wanted.gid}"
            return f"tyrant mode refuses a configuration that belongs to root ({owner}): chown it to its user"
        return None

    def call_up(self, vassal: Vassal, why: str) -> None:
        """Time to start it: on demand it goes to sleep, otherwise it queues. What cannot be started fails here."""
        problem = self.objection(vassal.wanted)
        if problem is not None:
            self.rest(vassal, Phase.FAILED, problem)
            self.note(Severity.ERROR, "refused", f"not started: {problem}", vassal.name)
            return
        address = vassal.wanted.socket
        if address is not None:
            self.rest(vassal, Phase.ASLEEP, f"waits for a connection on {address}")
            self.effects.append(OpenSocket(vassal.name, address, vassal.wanted.uid, vassal.wanted.gid))
            hooks = RunHooks(HookPhase.AS_ON_DEMAND_VASSAL, vassal.wanted)
            self.effects.append(hooks)
        else:
            self.enqueue(vassal, why)

    def enqueue(self, vassal: Vassal, why: str) -> None:
        self.rest(vassal, Phase.QUEUED, why)
        self._queue[vassal.name] = None

    def call_up_soon(self, vassal: Vassal, last: Seconds | None, now: Seconds, why: str) -> None:
        """Start it now, but not within a second of ``last``: an application that edits its own file must not spin."""
        last = self._left.get(vassal.name) if last is None else last
        if last is not None and now - last < BURST:
            self.wait(vassal, Seconds(last + BURST - now), now, why)
        else:
            self.call_up(vassal, why)

    def start_queued(self, now: Seconds) -> None:
        """Ask for processes, as many as may be under way at once."""
        while self._queue and self._spawning < self.policy.most_spawning and not self.ending:
            vassal = self.vassals.get(self._queue.popitem(last=False)[0])
            if vassal is not None and vassal.phase is Phase.QUEUED:
                self._spawn(vassal, now)

    def _spawn(self, vassal: Vassal, now: Seconds) -> None:
        self._last_serial += 1
        serial = Serial(self._last_serial)
        vassal.instance = Instance(serial, now)
        vassal.phase = Phase.SPAWNING
        vassal.why = ""
        vassal.last_run = now
        if vassal.first_run is None:
            vassal.first_run = now
        else:
            vassal.respawns += 1
        self.by_serial[serial] = vassal
        self._spawning += 1
        self.effects.append(Spawn(serial, vassal.wanted))

    def spawn_answered(self) -> None:
        self._spawning -= 1

    # -- at a process

    def stop(self, vassal: Vassal, instance: Instance, afterwards: Afterwards, now: Seconds, why: str) -> None:
        """Tell a running instance to stop, in the language it speaks, and be ready to kill it."""
        vassal.phase = Phase.STOPPING
        vassal.afterwards = afterwards
        vassal.why = why
        instance.cursed_at = now
        graceful = self.policy.graceful_shutdown
        self.effects.append(Send(instance.serial, ToVassal.STOP_GRACEFULLY if graceful else ToVassal.STOP))
        if not instance.speaks:
            self.effects.append(Signal(instance.serial, SIGTERM))
        patience = self.policy.mercy if self.ending else self.policy.curse_tolerance
        self.deadlines.set(vassal, Seconds(now + patience))
        self.note(Severity.INFO, "stop", f"stopping: {why}", vassal.name)

    def kill(self, vassal: Vassal, instance: Instance, now: Seconds, why: str) -> None:
        """SIGKILL, and again after the tolerance if even that does not end it (it hangs in the kernel)."""
        self.effects.append(Signal(instance.serial, SIGKILL))
        self.deadlines.set(vassal, Seconds(now + max(self.policy.curse_tolerance, Seconds(1.0))))
        self.note(Severity.WARNING, "kill", why, vassal.name)

    def reload(self, vassal: Vassal, instance: Instance, now: Seconds, why: str) -> None:
        """Reload a running instance in place if it speaks the protocol; restart it if not."""
        if not instance.speaks:
            self.stop(vassal, instance, Afterwards.RESTART, now, f"{why}; it does not speak the Emperor protocol")
            return
        instance.reloading = True
        instance.ready_at = instance.accepting_at = None
        if instance.heartbeat_at is not None and not instance.hung:
            # It may hang, and nobody knows yet: it has the time of one heartbeat to come back.
            instance.heartbeat_at = now
            self.deadlines.set(vassal, Seconds(now + self.policy.required_heartbeat))
        vassal.respawns += 1
        vassal.last_run = now
        self.effects.append(Send(instance.serial, ToVassal.RELOAD))
        self.note(Severity.INFO, "reload", f"reloading: {why}", vassal.name)

    def reload_if_usable(self, vassal: Vassal, instance: Instance, now: Seconds, why: str) -> None:
        """Reload it, unless that could only end it: while its configuration is broken, what runs is kept."""
        problem = self.objection(vassal.wanted)
        if problem is None:
            self.reload(vassal, instance, now, why)
        else:
            text = f"not reloaded ({why}): {problem}; the running instance is kept"
            self.note(Severity.ERROR, "refused", text, vassal.name)

    # -- away from a process

    def forget_instance(self, vassal: Vassal, instance: Instance) -> None:
        del self.by_serial[instance.serial]
        vassal.instance = None
        vassal.due = None

    def remove(self, vassal: Vassal, now: Seconds, why: str) -> None:
        """Forget a vassal that has no process."""
        assert vassal.instance is None
        if vassal.wanted.socket is not None:
            self.effects.append(CloseSocket(vassal.name))
        vassal.due = None
        self._queue.pop(vassal.name, None)
        self.blacklist.remove(vassal.name)
        self._remember_start(vassal, now)
        del self.vassals[vassal.name]
        self.note(Severity.INFO, "removed", f"removed: {why}", vassal.name)

    def _remember_start(self, vassal: Vassal, now: Seconds) -> None:
        """Whoever comes back under the same name at once has not become a newcomer by it."""
        if vassal.last_run is not None and now - vassal.last_run < BURST:
            self._left[vassal.name] = vassal.last_run
            self._left.move_to_end(vassal.name)
        while self._left and now - next(iter(self._left.values())) >= BURST:
            self._left.popitem(last=False)

    def dismiss(self, vassal: Vassal, now: Seconds, why: str) -> None:
        """A vassal is no longer wanted: stop what runs, then forget it."""
        if vassal.phase in IDLE_PHASES:
            self.remove(vassal, now, why)
        elif vassal.phase is Phase.RUNNING and vassal.instance is not None:
            self.stop(vassal, vassal.instance, Afterwards.REMOVE, now, why)
        else:
            vassal.afterwards = Afterwards.REMOVE
            vassal.why = why
            if vassal.phase is Phase.SPAWNING and vassal.instance is not None:
                self.effects.append(Abandon(vassal.instance.serial))

    def replace_wanted(self, vassal: Vassal, wanted: Wanted) -> None:
        """Take over a new configuration; an on-demand socket that is no longer asked for is closed."""
        old = vassal.wanted
        if old.socket is not None and old.socket != wanted.socket:
            self.effects.append(CloseSocket(vassal.name))
        vassal.wanted = wanted
