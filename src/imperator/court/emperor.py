"""The Emperor at work: events in from the kernel, the sources and people; effects out through the kernel.

Everything that happens comes in through :meth:`Emperor.post` and is answered by the reign, one event after the other.
Nothing here decides what happens to a vassal, and nothing here waits.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from imperator.bureau.journal import Journal
from imperator.config.settings import EmperorSettings
from imperator.court.address_pool import PoolError
from imperator.court.binary import Binary
from imperator.court.cgroups import Groups, default_limits, refuse_limits
from imperator.court.children import Children
from imperator.court.confinement import Confinement
from imperator.court.environment import Environment
from imperator.court.errands import Errands
from imperator.court.guardian import Guardian
from imperator.court.hooks import HookRunner
from imperator.court.networks import Networks
from imperator.court.ondemand import DEFAULT_MODE, DEFAULT_MODE_OF_A_TYRANT, Doorbells, Means
from imperator.court.processes import Processes
from imperator.court.recruiter import Ends, Recruiter
from imperator.court.scribe import Scribe
from imperator.court.spawner import Spawner
from imperator.court.tuntap import RouterOutfit, TuntapRouter
from imperator.court.watch import Watch
from imperator.kernel.cgroup import Place
from imperator.kernel.cgroup_usage import Usage
from imperator.kernel.cgroups import Territory, Unavailable
from imperator.reign import effects as ef
from imperator.reign.arguments import Livery
from imperator.reign.effects import Severity
from imperator.reign.emperor import Reign
from imperator.reign.events import Event, ExecFailed, SpawnFailed, Tick
from imperator.reign.names import Seconds, Serial, VassalName
from imperator.reign.policy import Policy
from imperator.reign.protocol import ToVassal


class Emperor:
    """One reign and what it needs of the world: processes, sockets, hooks, a clock."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        journal: Journal,
        settings: EmperorSettings,
        policy: Policy,
        livery: Livery,
        binary: Binary,
        environment: Environment,
        limits: tuple[int, int],
        confinement: Confinement,
        territory: Territory | None,
        networks: Networks | None,
        tuntap_routers: Iterable[RouterOutfit] = (),
    ) -> None:
        self.loop = loop
        self.journal = journal
        self.reign = Reign(policy)
        self.finished = asyncio.Event()
        """Set when everything has ended after a Ragnarok."""
        self.changed: Callable[[], None] = lambda: None
        """Called after events were handled: something may be worth telling the service manager."""
        self._events: deque[Event] = deque()
        self._at_work = False
        self._timer: asyncio.TimerHandle | None = None
        self._watch = Watch(loop)
        self._spawner = Spawner(loop, self)
        territories = [] if territory is None else territory.groups_of_all
        self._guardian = Guardian(loop, self._everyone, self._complain, territories)
        self._groups = None
        if territory is not None:
            self._groups = Groups(loop, territory, default_limits(settings), self._complain)
        self._scribe = Scribe(loop, journal, self._complain)
        self._processes = Processes(
            loop, self._watch, self.post, self._spawner.hear_reports, self._guardian, self._complain, self._groups
        )
        self._engineer = None if networks is None else networks.engineer
        if self._engineer is not None:
            self._engineer.attach(loop, self._complain)
        self._tuntap = [TuntapRouter(loop, outfit, self._say_of_tuntap, self._complain) for outfit in tuntap_routers]
        self._recruiter = Recruiter(self._spawner, settings, livery, binary, environment, limits, confinement, networks)
        self._errands = Errands(loop, self._guardian, self._spawner)
        self._hooks = HookRunner(self._errands, self._recruiter, settings, self.say)
        self._children = Children(loop, self._claim, lambda: self._spawner.busy)
        mode = DEFAULT_MODE_OF_A_TYRANT if settings.emperor_tyrant else DEFAULT_MODE
        if settings.chmod_socket is not None:
            mode = settings.chmod_socket
        means = Means(self._recruiter, self._errands, settings.emperor_tyrant, settings.listen, mode)
        self._doorbells = Doorbells(self._watch, self.post, means, self._complain)

    # -- events

    def post(self, event: Event) -> None:
        """Something happened. It is dealt with before this returns, unless an earlier event is being dealt with."""
        self._events.append(event)
        if self._at_work:
            return
        self._at_work = True
        try:
            while self._events:
                for effect in self.reign.step(self._events.popleft(), Seconds(self.loop.time())):
                    self._carry_out(effect)
        finally:
            self._at_work = False
        self._set_timer()
        self.changed()

    def _set_timer(self) -> None:
        due = self.reign.next_deadline()
        if self._timer is not None:
            if due == self._timer.when():
                return
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = self.loop.call_at(due, self._time_has_come)

    def _time_has_come(self) -> None:
        self._timer = None
        self.post(Tick())

    def say(self, severity: Severity, event: str, text: str, vassal: VassalName | None = None) -> None:
        """A line for the log that is not the reign's."""
        self.journal.write(severity, event, text, vassal)

    # -- effects

    def _carry_out(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Note():
                self.journal.write(effect.severity, effect.event, effect.text, effect.vassal)
            case ef.Spawn():
                self._spawn(effect)
            case ef.Abandon():
                self._hooks.abandon(effect.serial)
            case ef.Send():
                process = self._processes.get(effect.serial)
                if process is not None:
                    if effect.byte == ToVassal.RELOAD and self._groups is not None:
                        self._groups.renew(effect.serial, self.reign.vassals[process.name].wanted)
                    process.send(effect.byte)
            case ef.SendConfig():
                process = self._processes.get(effect.serial)
                if process is not None and effect.wanted.config is not None:
                    process.send_config(effect.wanted.config)
            case ef.Signal():
                self._processes.signal(effect.serial, effect.signal)
            case ef.OpenSocket():
                self._doorbells.open(effect.name, effect.address, (effect.uid, effect.gid))
            case ef.CloseSocket():
                self._doorbells.close(effect.name)
            case ef.RunHooks():
                self._hooks.run(effect)
            case ef.Finish():
                self.finished.set()

    def _spawn(self, effect: ef.Spawn) -> None:
        def go(failure: str | None) -> None:
            if failure is not None:
                self.post(SpawnFailed(effect.serial, f"as-emperor-before-vassal: {failure}"))
            else:
                self._recruit(effect)

        if not self._hooks.before_vassal(effect.serial, effect.wanted, go):
            self._recruit(effect)

    def _recruit(self, effect: ef.Spawn) -> None:
        if effect.wanted.socket is None:
            self._recruit_now(effect)
        else:

            def go(failure: str | None) -> None:
                if failure is None:
                    self._recruit_now(effect)
                else:
                    self.post(SpawnFailed(effect.serial, failure))

            self._doorbells.once_open(effect.wanted.name, go)

    def _recruit_now(self, effect: ef.Spawn) -> None:
        serial, wanted = effect.serial, effect.wanted

        def expect(ends: Ends) -> None:
            process = self._processes.expect(serial, wanted.name, ends.emperor, ends.config, ends.inode, ends.network)
            if ends.output >= 0:
                self._scribe.listen(serial, wanted.name, ends.output)
            if wanted.config is not None:
                process.send_config(wanted.config)

        listening = self._doorbells.fd(wanted.name) if wanted.socket is not None else None
        places: list[Place] = []
        try:
            if self._groups is not None:
                places = self._groups.places(serial, wanted)
            else:
                refuse_limits(wanted)
            self._recruiter.recruit(serial, wanted, listening, expect, places)
        except PoolError as error:
            if self._groups is not None:
                self._groups.forget(serial)
            self.post(SpawnFailed(serial, str(error)))
        except (ValueError, Unavailable) as error:
            self.post(SpawnFailed(serial, str(error)))
        except OSError as error:  # EMFILE, ENFILE, ENOMEM
            if self._groups is not None:
                self._groups.forget(serial)
            self.post(SpawnFailed(serial, f"{error.strerror} (open files: see 'ulimit -n' of the Emperor)"))

    # -- what the spawner says (its Client)

    def spawn_succeeded(self, serial: int, pid: int) -> None:
        if serial < 0:
            self._errands.spawn_succeeded(serial, pid)
        else:
            self._processes.started(Serial(serial), pid)
        self._children.look_again()

    def spawn_failed(self, serial: int, reason: str) -> None:
        if serial < 0:
            self._errands.spawn_failed(serial, reason)
        else:
            self._processes.failed(Serial(serial))
            self.post(SpawnFailed(Serial(serial), reason))

    def child_reported(self, serial: int, reason: str) -> None:
        if serial < 0:
            self._errands.child_reported(serial, reason)
        else:
            self.post(ExecFailed(Serial(serial), reason))

    def spawner_replaced(self) -> None:
        self._complain("the spawner process died; there is a new one, no vassal was touched")

    # -- what others want to know

    def networks(self) -> dict[VassalName, str | None]:
        """The address of each running vassal that has a network of its own."""
        return self._processes.networks()

    # -- what the other helpers want to know and to say

    def _everyone(self) -> Iterable[int]:
        return [*self._processes.pids(), *self._errands.pids()]

    def _complain(self, text: str) -> None:
        self.say(Severity.ERROR, "helper", text)

    def _say_of_tuntap(self, text: str) -> None:
        self.say(Severity.NOTICE, "tuntap", text)

    # -- children

    def _claim(self, pid: int) -> bool:
        """A child has ended: if it is ours, deal with it now and say so."""
        process = self._processes.by_pid(pid)
        if process is not None:
            self._processes.ended(process)
            return True
        errand = self._errands.knows(pid)
        if errand is not None:
            self._errands.ended(errand)
            return True
        # A helper is reaped by whoever replaces it, when its socket closes: in a moment, if it has not been already.
        helpers = (self._spawner, self._guardian, self._scribe, self._engineer, *self._tuntap)
        return any(helper is not None and pid == helper.pid for helper in helpers)

    # -- figures

    async def read_usage(self) -> None:
        """Have fresh figures of what the vassals use, where they have control groups."""
        if self._groups is not None:
            await self._groups.read()

    @property
    def usage(self) -> Mapping[VassalName, Usage]:
        return {} if self._groups is None else self._groups.usage

    # -- the end

    async def aftermath(self, patience: Seconds) -> None:
        """Wait until the last vassals' stop hooks have run and their last words are logged, but not for ever."""
        self._doorbells.close_all()
        try:
            await asyncio.wait_for(self._errands.idle.wait(), patience)
        except TimeoutError:
            text = f"{len(self._errands)} hooks are still running after {patience:g} s: they are killed"
            self.say(Severity.WARNING, "hook-failed", text)
        await self._scribe.last_words(Seconds(1.0))

    def close(self) -> None:
        """Let go of everything: sockets and their files, timers, the helpers (the guardian ends whatever is left)."""
        if self._timer is not None:
            self._timer.cancel()
        self._doorbells.close_all()
        self._processes.close()
        self._spawner.close()
        self._guardian.close()
        self._scribe.close()
        if self._groups is not None:
            self._groups.close()
        if self._engineer is not None:
            self._engineer.close()
        for router in self._tuntap:
            router.close()
        self._children.close()
        self._watch.close()
