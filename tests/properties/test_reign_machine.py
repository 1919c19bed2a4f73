"""Anything may happen, in any order: the reign keeps its promises, and once the faults end everyone runs."""

from __future__ import annotations

import os
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from imperator.reign import events as ev
from imperator.reign.life import LONGEST_SPAWN_RETRY
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.vassal import Afterwards, Phase
from imperator.reign.wanted import Wanted

from .world import World

NAMES = st.sampled_from([VassalName(name) for name in ("a.ini", "b.ini", "c.ini", "d.ini")])
SOURCES = st.sampled_from([SourceName("dir"), SourceName("db")])
SEVERAL = st.integers(0, 99)
"""Chooses one of those that there are just now."""
POLICIES = st.builds(
    Policy,
    throttle=st.sampled_from([Seconds(0.0), Seconds(1.0), Seconds(7.3)]),
    max_throttle=st.sampled_from([Seconds(0.0), Seconds(2.0), Seconds(180.0)]),
    blacklist=st.booleans(),
    curse_tolerance=st.sampled_from([Seconds(0.0), Seconds(30.0)]),
    mercy=st.sampled_from([Seconds(0.0), Seconds(20.0)]),
    required_heartbeat=st.sampled_from([Seconds(0.3), Seconds(30.0)]),
    graceful_shutdown=st.booleans(),
    wait_for_command=st.booleans(),
    wait_for_command_ignore=st.just(frozenset({"a.ini"})),
    tyrant=st.booleans(),
    most_spawning=st.integers(1, 3),
)


class AnythingHappens(RuleBasedStateMachine):
    """A few vassals, two sources, and every event there is."""

    world: World
    last_stamp = 0

    @initialize(policy=POLICIES)
    def begin(self, policy: Policy) -> None:
        self.world = World(policy)

    # -- the sources

    def describe(self, source: SourceName, name: VassalName) -> Wanted:
        self.last_stamp += 1
        return Wanted(name, source, (self.last_stamp,), 0.0, f"/{source}", uid=1, gid=1)

    @rule(
        source=SOURCES,
        name=NAMES,
        uid=st.sampled_from([1, 1, 1, 2, 0]),
        socket=st.sampled_from([None, None, "/run/one.sock", "/run/two.sock"]),
        config=st.sampled_from([None, b"[uwsgi]"]),
        problem=st.sampled_from([None, None, None, "line 1: what?"]),
    )
    def edit(
        self,
        source: SourceName,
        name: VassalName,
        uid: int,
        socket: str | None,
        config: bytes | None,
        problem: str | None,
    ) -> None:
        wanted = self.describe(source, name)
        self.world.say_wanted(replace(wanted, uid=uid, socket=socket, config=config, problem=problem))

    @rule(source=SOURCES, name=NAMES)
    def touch(self, source: SourceName, name: VassalName) -> None:
        old = self.world.wants.get(source, {}).get(name)
        if old is not None:
            self.world.say_wanted(replace(old, stamp=self.describe(source, name).stamp))

    @rule(source=SOURCES, name=NAMES)
    def remove(self, source: SourceName, name: VassalName) -> None:
        self.world.say_unwanted(source, name)

    @rule(source=SOURCES, names=st.sets(NAMES))
    def list_some(self, source: SourceName, names: set[VassalName]) -> None:
        known = self.world.wants.get(source, {})
        self.world.list_source(source, [known.get(name) or self.describe(source, name) for name in sorted(names)])

    # -- processes

    def one_of(self, serials: dict[Serial, object], which: int) -> Serial:
        return list(serials)[which % len(serials)]

    @precondition(lambda self: self.world.asked)
    @rule(which=SEVERAL)
    def process_comes(self, which: int) -> None:
        self.world.succeed(self.one_of({**self.world.asked}, which))

    @precondition(lambda self: self.world.asked)
    @rule(which=SEVERAL)
    def process_fails(self, which: int) -> None:
        self.world.fail(self.one_of({**self.world.asked}, which))

    @precondition(lambda self: self.world.alive)
    @rule(which=SEVERAL, code=st.sampled_from([0, 1, 30, None]))
    def process_ends(self, which: int, code: int | None) -> None:
        self.world.end(self.one_of({**self.world.alive}, which), code, 11 if code is None else None)

    @precondition(lambda self: any(process.stopped for process in self.world.alive.values()))
    @rule(which=SEVERAL)
    def process_obeys(self, which: int) -> None:
        told = {serial: None for serial, process in self.world.alive.items() if process.stopped}
        self.world.end(self.one_of({**told}, which), 0)

    @rule(
        serial=st.integers(1, 60),
        newest=st.booleans(),
        bytes_=st.lists(st.sampled_from([1, 2, 5, 17, 22, 26, 26, 30, 99])),
    )
    def process_speaks(self, serial: int, newest: bool, bytes_: list[int]) -> None:
        living = [*self.world.busy.values()]
        who = living[serial % len(living)] if newest and living else Serial(serial)
        for byte in bytes_:
            self.world.happen(ev.Received(who, byte))

    @rule(serial=st.integers(1, 60), newest=st.booleans())
    def process_falls_silent(self, serial: int, newest: bool) -> None:
        living = [*self.world.busy.values()]
        self.world.happen(ev.FellSilent(living[serial % len(living)] if newest and living else Serial(serial)))

    @rule(serial=st.integers(1, 60))
    def nothing_to_execute(self, serial: int) -> None:
        self.world.happen(ev.ExecFailed(Serial(serial), "No such file or directory"))

    # -- sockets, people, time

    @rule(name=NAMES)
    def knock(self, name: VassalName) -> None:
        self.world.happen(ev.Knocked(name))

    @rule(name=NAMES)
    def socket_fails(self, name: VassalName) -> None:
        vassal = self.world.reign.vassals.get(name)
        if vassal is not None and vassal.phase is Phase.ASLEEP:
            self.world.sockets.pop(name, None)
            self.world.happen(ev.SocketFailed(name, "Address already in use"))

    @rule(command=st.sampled_from(ev.Command), name=NAMES)
    def order(self, command: ev.Command, name: VassalName) -> None:
        self.world.happen(ev.Ordered(command, name))

    @rule(event=st.sampled_from([ev.ReloadOrdered(), ev.AmnestyOrdered()]))
    def order_all(self, event: ev.ReloadOrdered | ev.AmnestyOrdered) -> None:
        self.world.happen(event)

    @precondition(lambda self: self.last_stamp % 7 == 6)
    @rule()
    def ragnarok(self) -> None:
        self.world.happen(ev.RagnarokOrdered("SIGTERM"))

    @rule(seconds=st.floats(0.0, 100.0), kept=st.booleans())
    def time_passes(self, seconds: float, kept: bool) -> None:
        if kept:
            self.world.pass_until(self.world.now + seconds)
        else:
            self.world.now = Seconds(self.world.now + seconds)
            self.world.tick()

    @invariant()
    def promises_are_kept(self) -> None:
        if hasattr(self, "world"):
            self.world.check()

    # -- and then the faults end

    def obey(self) -> None:
        """Every process that should come comes, serves, and does what it is told, until nothing is left to do."""
        world = self.world
        for serial in list(world.asked):
            world.succeed(serial)
        for process in list(world.alive.values()):
            if process.stopped:
                world.end(process.serial, 0)
            else:
                process.reloaded = False
                for byte in (1, 5, 17, 26):
                    world.happen(ev.Received(process.serial, byte))
        world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        if not world.reign.ending:
            self.everyone_runs()
            world.happen(ev.RagnarokOrdered("SIGTERM"))
        self.everything_ends()

    def everyone_runs(self) -> None:
        world = self.world
        for source, known in list(world.wants.items()):
            world.list_source(source, [self.describe(source, name) for name in known])
        for vassal in list(world.reign.vassals.values()):
            if vassal.phase is Phase.SUSPENDED or vassal.afterwards is Afterwards.SUSPEND:
                world.happen(ev.Ordered(ev.Command.SPAWN, vassal.name))
        wanted = {name for known in world.wants.values() for name in known}
        patience = world.now + LONGEST_SPAWN_RETRY + 10.0
        while not self.all_run(wanted):
            assert world.now < patience, {name: vassal.phase for name, vassal in world.reign.vassals.items()}
            self.obey()
            world.pass_until(world.now + 0.25)

    def all_run(self, wanted: set[VassalName]) -> bool:
        vassals = self.world.reign.vassals
        return vassals.keys() == wanted and all(
            vassal.phase is Phase.RUNNING and not self.world.alive[self.world.busy[name]].reloaded
            for name, vassal in vassals.items()
        )

    def everything_ends(self) -> None:
        """No process hears anything but SIGKILL."""
        world = self.world
        for serial in list(world.asked):
            world.succeed(serial)
        world.pass_until(world.now + max(world.reign.policy.mercy, world.reign.policy.curse_tolerance) + 1.0)
        for process in list(world.alive.values()):
            assert process.killed, f"{process.name} would live for ever"
            world.end(process.serial, signal=9)
        world.check()
        assert world.finished == 1


TestAnythingHappens = AnythingHappens.TestCase
TestAnythingHappens.settings = settings(
    max_examples=int(os.environ.get("IMPERATOR_EXAMPLES", "150")), stateful_step_count=60, deadline=None
)
