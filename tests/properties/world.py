"""A world for a reign: the processes that exist, the sockets that are open, and what the sources have said.

It carries out effects as the court would, and objects at once to any that cannot be carried out: two processes for
one vassal, a signal to a process that is gone, a start after Ragnarok. :meth:`World.check` looks at everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imperator.reign import effects as ef
from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.life import LONGEST_SPAWN_RETRY
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import BURST, Policy
from imperator.reign.vassal import IDLE_PHASES, Afterwards, Phase, Vassal
from imperator.reign.wanted import Wanted


@dataclass(slots=True)
class Process:
    """A process that exists, and what it has been told."""

    serial: Serial
    name: VassalName
    pid: int
    stopped: bool = False
    reloaded: bool = False
    killed: bool = False


class World:
    """One reign, and everything outside it."""

    def __init__(self, policy: Policy) -> None:
        self.reign = Reign(policy)
        self.now = Seconds(0.0)
        self.asked: dict[Serial, VassalName] = {}
        self.alive: dict[Serial, Process] = {}
        self.busy: dict[VassalName, Serial] = {}
        """The process of each vassal that has one or has asked for one."""
        self.sockets: dict[VassalName, str] = {}
        self.wants: dict[SourceName, dict[VassalName, Wanted]] = {}
        """What each source has said last: the reign cannot know better."""
        self.finished = 0
        self.by_hand: set[VassalName] = set()
        """Who may start at once, whatever was before: somebody ordered it, or connected."""
        self._last_starts: dict[VassalName, Seconds] = {}
        self._last_serial = 0
        self._last_pid = 1

    # -- events

    def happen(self, event: ev.Event) -> None:
        """Let it happen now, and carry out the effects."""
        match event:
            case ev.Ordered(_, name) | ev.Knocked(name):
                self.by_hand.add(name)
            case ev.ReloadOrdered() | ev.AmnestyOrdered():
                self.by_hand.update(self.reign.vassals)
        for effect in self.reign.step(event, self.now):
            self._carry_out(effect)

    def tick(self) -> None:
        self.happen(ev.Tick())
        due = self.reign.next_deadline()
        assert due is None or due > self.now, "what is due was not done"

    def pass_until(self, moment: float) -> None:
        """Time passes; every deadline on the way is kept."""
        while (due := self.reign.next_deadline()) is not None and due <= moment:
            self.now = max(self.now, due)
            self.tick()
        self.now = max(self.now, Seconds(moment))

    def say_wanted(self, wanted: Wanted) -> None:
        if not self.reign.ending:
            self.wants.setdefault(wanted.source, {})[wanted.name] = wanted
        self.happen(ev.VassalWanted(wanted))

    def say_unwanted(self, source: SourceName, name: VassalName) -> None:
        self.wants.get(source, {}).pop(name, None)
        self.happen(ev.VassalUnwanted(source, name))

    def list_source(self, source: SourceName, wanted: Iterable[Wanted]) -> None:
        listed = tuple(wanted)
        self.wants[source] = {one.name: one for one in listed}
        self.happen(ev.SourceListed(source, listed))

    def succeed(self, serial: Serial) -> None:
        """The process that was asked for comes to be."""
        self._last_pid += 1
        self.alive[serial] = Process(serial, self.asked.pop(serial), self._last_pid)
        self.happen(ev.Spawned(serial, self._last_pid))

    def fail(self, serial: Serial, reason: str = "Resource temporarily unavailable") -> None:
        del self.busy[self.asked.pop(serial)]
        self.happen(ev.SpawnFailed(serial, reason))

    def end(self, serial: Serial, code: int | None = None, signal: int | None = None) -> None:
        """A process ends."""
        del self.busy[self.alive.pop(serial).name]
        self.happen(ev.Exited(serial, code, signal))

    # -- effects

    def _carry_out(self, effect: ef.Effect) -> None:
        match effect:
            case ef.Spawn(serial, wanted):
                assert not self.reign.ending, "started after Ragnarok"
                assert wanted.name not in self.busy, f"a second process for {wanted.name}"
                assert serial > self._last_serial, "a serial was used twice"
                assert wanted.problem is None
                self._check_pace(wanted.name)
                self._last_serial = serial
                self.busy[wanted.name] = serial
                self.asked[serial] = wanted.name
                self.on_spawn(serial, wanted.name)
            case ef.Abandon(serial):
                assert serial in self.asked
            case ef.Send(serial, byte):
                process = self.alive[serial]
                if byte == 1:
                    process.reloaded = True
                else:
                    process.stopped = True
                self.on_told(process)
            case ef.Signal(serial, number):
                process = self.alive[serial]
                process.stopped = True
                process.killed |= number == 9
                self.on_told(process)
            case ef.SendConfig(serial, wanted):
                assert serial in self.alive or serial in self.asked
                assert wanted.config is not None
            case ef.OpenSocket(name, address):
                assert self.sockets.setdefault(name, address) == address, "the old socket was never closed"
            case ef.CloseSocket(name):
                self.sockets.pop(name, None)
            case ef.Finish():
                assert self.reign.ending and not self.busy and not self.sockets
                self.finished += 1
            case ef.Note() | ef.RunHooks():
                pass

    def _check_pace(self, name: VassalName) -> None:
        """Whatever a vassal does, and its configuration with it: one start a second, unless the throttle is less."""
        policy = self.reign.policy
        last = self._last_starts.get(name)
        if last is not None and name not in self.by_hand and min(policy.throttle, policy.max_throttle / 2) >= BURST:
            assert self.now - last >= BURST - 1e-6, f"{name} started twice within a second"
        self._last_starts[name] = self.now
        self.by_hand.discard(name)

    def on_spawn(self, serial: Serial, name: VassalName) -> None:
        """A process was asked for: for simulations."""

    def on_told(self, process: Process) -> None:
        """A process was told something: for simulations."""

    # -- what must be true at any moment

    def check(self) -> None:
        vassals = self.reign.vassals
        for vassal in vassals.values():
            self._check(vassal)
        for source, wanted in self.wants.items():
            for name in wanted:
                assert self.reign.ending or name in vassals, f"{name}, wanted by {source}, was forgotten"
        for name, serial in self.busy.items():
            owner = self.reign.by_serial(serial)
            assert owner is vassals[name], f"the process of {name} was lost"
        assert self.finished == (self.reign.ending and not vassals)
        self._check_memory()

    def _check(self, vassal: Vassal) -> None:
        policy = self.reign.policy
        instance = vassal.instance
        leaving = instance is not None and vassal.afterwards is Afterwards.REMOVE
        wanted = vassal.name in self.wants.get(vassal.wanted.source, {})
        assert leaving or wanted, f"{vassal.name} stays though nobody wants it"
        assert not (leaving and wanted) or self.reign.ending, f"{vassal.name} is to be removed though it is wanted"
        assert (instance is None) == (vassal.phase in IDLE_PHASES) == (vassal.name not in self.busy)
        match vassal.phase:
            case Phase.WAITING:
                assert vassal.due is not None and vassal.why
                assert vassal.due - self.now <= max(policy.max_throttle, LONGEST_SPAWN_RETRY, BURST) + 1e-6
            case Phase.QUEUED:
                assert len(self.asked) >= policy.most_spawning, "a place was free"
            case Phase.ASLEEP:
                assert self.sockets[vassal.name] == vassal.wanted.socket
                assert vassal.due is None
            case Phase.SUSPENDED | Phase.FAILED:
                assert vassal.why and vassal.due is None
            case Phase.SPAWNING:
                assert instance is not None and instance.serial in self.asked
            case Phase.STOPPING:
                assert instance is not None and self.alive[instance.serial].stopped
                assert vassal.due is not None, "nothing would ever kill it"
            case Phase.RUNNING:
                assert instance is not None and self.alive[instance.serial].pid == instance.pid
                watched = instance.hung or instance.heartbeat_at is not None
                assert not watched or vassal.due is not None, "its heart is watched, but nobody looks"

    def _check_memory(self) -> None:
        realm = self.reign._realm
        assert len(realm.by_serial) == len(self.busy)
        assert len(realm._queue) <= len(realm.vassals)
        assert len(realm.deadlines._heap) <= 4 * len(realm.vassals) + 65 + len(self.busy)
        assert len(realm.blacklist) <= len(realm.vassals)
        assert realm._spawning == len(self.asked)
