"""A day in the life of an Emperor, simulated: events in a heap, everything by chance, nothing by accident.

Every vassal has its own source of chance, made from the seed and its name, and so has the world. So the same seed is
the same day, and what one vassal does cannot change the luck of another.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random

from imperator.reign import events as ev
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.vassal import Phase
from imperator.reign.wanted import Wanted

from .world import Process, World

HOUR = 3600.0
DAY = 24 * HOUR
SAFETY_NET = 600.0
"""Seconds between two listings, which repair what a lost notification left wrong."""
DIRECTORY = SourceName("dir")


@dataclass(slots=True)
class Character:
    """What one vassal is like, and what has become of it."""

    name: VassalName
    chance: Random
    healthy: bool
    """It does nothing worse than crash now and then, long after its first request."""
    speaks: bool
    beats: bool
    obedient: bool
    wanted: Wanted
    there: bool = True
    down_since: float | None = 0.0
    downs: list[tuple[float, float]] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)


class Simulator(World):
    """Vassals with characters, and a world with bad days."""

    def __init__(self, seed: int, names: list[str], bombs: int = 0, policy: Policy | None = None) -> None:
        super().__init__(policy or Policy())
        self.chance = Random(f"{seed}:world")
        self.truth: dict[VassalName, Character] = {}
        self.faults: list[tuple[float, float]] = []
        """When no process can be made, or the Emperor stands still."""
        self.faulty = True
        """As long as this is so, new misfortunes happen."""
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._no_forks_until = 0.0
        self._ordinary = [VassalName(name) for name in names]
        for name in self._ordinary:
            self._add(seed, name)
        for number in range(bombs):
            self._add_bomb(Random(f"{seed}:bomb{number}"), VassalName(f"zz-bomb{number}.ini"))
        self._list()
        if self.truth:
            self._every(self.chance, 2 * HOUR, self._no_forks)
            self._every(self.chance, 1.5 * HOUR, self._stall)
            self._every(self.chance, 60.0, self._order_one)
            self.at(6 * HOUR, lambda: self.happen(ev.ReloadOrdered()))
            self.at(9 * HOUR, lambda: self.happen(ev.AmnestyOrdered()))

    # -- the heap

    def at(self, moment: float, do: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._heap, (moment, self._order, do))

    def later(self, delay: float, do: Callable[[], None]) -> None:
        self.at(self.now + delay, do)

    def _every(self, chance: Random, mean: float, do: Callable[[], None]) -> None:
        """Do it again and again, as long as there are faults, after ``mean`` seconds on average."""

        def again() -> None:
            if self.faulty:
                do()
                self.later(chance.expovariate(1 / mean), again)

        self.later(chance.expovariate(1 / mean), again)

    def run(self, until: float) -> None:
        """Let happen what happens until then; what has happened comes before what is due, as in an event loop."""
        while True:
            moment = self._heap[0][0] if self._heap else until
            due = self.reign.next_deadline()
            if due is not None and max(due, self.now) < moment and due <= until:
                self.now = max(due, self.now)
                self.tick()
            elif self._heap and moment <= until:
                self.now = max(Seconds(moment), self.now)
                heapq.heappop(self._heap)[2]()
            else:
                break
        self.now = max(Seconds(until), self.now)

    # -- who lives here

    def _add(self, seed: int, name: VassalName) -> None:
        chance = Random(f"{seed}:{name}")
        healthy = chance.random() < 0.4
        character = self.truth[name] = Character(
            name,
            chance,
            healthy=healthy,
            speaks=chance.random() < 0.8,
            beats=chance.random() < 0.03,
            obedient=healthy or chance.random() < 0.95,
            wanted=Wanted(name, DIRECTORY, (1,), 0.0, "/vassals"),
        )
        character.speaks |= character.beats
        self._every(chance, 5 * HOUR, lambda: self._edit(character))
        if not healthy and chance.random() < 0.2:
            self._every(chance, 4 * HOUR, lambda: self._remove(character))

    def _add_bomb(self, chance: Random, name: VassalName) -> None:
        """It dies at once, edits itself all the time, and babbles."""
        bomb = Character(name, chance, False, False, False, True, Wanted(name, DIRECTORY, (1,), 0.0, "/vassals"))
        self.truth[name] = bomb

        def babble() -> None:
            for byte in chance.choices((1, 2, 5, 17, 22, 26, 30, 99), k=20):
                self.happen(ev.Received(self.busy.get(name, Serial(0)), byte))
            self._edit(bomb)

        self._every(chance, 2.0, babble)

    def _edit(self, character: Character) -> None:
        wanted = character.wanted
        character.wanted = replace(wanted, stamp=(wanted.stamp[0] + 1,))
        if character.there and character.chance.random() < 0.9:  # the others are lost: a listing will find them
            self.say_wanted(character.wanted)

    def _remove(self, character: Character) -> None:
        character.there = False
        if character.chance.random() < 0.9:
            self.say_unwanted(DIRECTORY, character.name)

        def put_back() -> None:
            character.there = True
            self._edit(character)

        self.later(character.chance.choice((0.05, 1.0, 700.0)), put_back)

    def _list(self) -> None:
        self.list_source(DIRECTORY, [one.wanted for one in self.truth.values() if one.there])
        self.later(SAFETY_NET, self._list)

    # -- bad days

    def _no_forks(self) -> None:
        length = self.chance.uniform(5.0, 120.0)
        self._no_forks_until = self.now + length
        self.faults.append((self.now, self.now + length))

    def _stall(self) -> None:
        """The machine stands still: time jumps, and everything that waits is late."""
        length = self.chance.uniform(1.0, 300.0)
        self.faults.append((self.now, self.now + length))
        self.now = Seconds(self.now + length)

    def _order_one(self) -> None:
        name = self.chance.choice(self._ordinary)
        if self.truth[name].healthy:
            self.happen(ev.Ordered(ev.Command.RESPAWN, name))
            return
        self.happen(ev.Ordered(self.chance.choice(list(ev.Command)), name))
        self.later(self.chance.uniform(0.0, 900.0), lambda: self.happen(ev.Ordered(ev.Command.SPAWN, name)))

    # -- a process and its life

    def on_spawn(self, serial: Serial, name: VassalName) -> None:
        character = self.truth[name]
        self.later(character.chance.uniform(0.005, 0.2), lambda: self._answer(serial, character))

    def _answer(self, serial: Serial, character: Character) -> None:
        if self.now < self._no_forks_until:
            self.fail(serial)
            return
        chance = character.chance
        self.succeed(serial)
        character.starts.append(self.now)
        if character.down_since is not None:
            character.downs.append((character.down_since, self.now))
            character.down_since = None
        if character.name.startswith("zz-bomb"):
            self.later(0.01, lambda: self._end(serial, code=1))
        elif self.faulty and not character.healthy and chance.random() < 0.2:
            self.later(chance.uniform(0.0, 3.0), lambda: self._end(serial, code=chance.choice((0, 1, 1, 30))))
        else:
            self._serve(serial, character)

    def _serve(self, serial: Serial, character: Character) -> None:
        chance = character.chance
        if character.speaks:
            said = [1, 5, 17]
            if not character.healthy and chance.random() < 0.1:
                said += chance.choices(said, k=3)
                chance.shuffle(said)
            for byte in said:
                self.later(chance.uniform(0.0, 0.5), partial(self.happen, ev.Received(serial, byte)))
        if character.beats:
            self.later(1.0, lambda: self._beat(serial, character))
        if self.faulty:
            life = 2.0 + chance.expovariate(1 / (6 * HOUR))
            self.later(life, lambda: self._crash(serial, chance))

    def _crash(self, serial: Serial, chance: Random) -> None:
        if self.faulty:
            self._end(serial, signal=chance.choice((6, 9, 11)))

    def _beat(self, serial: Serial, character: Character) -> None:
        process = self.alive.get(serial)
        if process is None or (self.faulty and not character.healthy and character.chance.random() < 0.001):
            return  # it hangs, from now on
        self.happen(ev.Received(serial, 26))
        self.later(20.0, lambda: self._beat(serial, character))

    def _end(self, serial: Serial, code: int | None = None, signal: int | None = None) -> None:
        process = self.alive.get(serial)
        if process is not None:
            self.truth[process.name].down_since = self.now
            self.end(serial, code, signal)

    def on_told(self, process: Process) -> None:
        character = self.truth[process.name]
        chance = character.chance
        serial = process.serial
        if process.killed:
            self.later(0.01, lambda: self._end(serial, signal=9))
        elif process.stopped:
            if character.obedient:
                self.later(chance.uniform(0.01, 1.0), lambda: self._end(serial, code=0))
        elif character.obedient and chance.random() < 0.9:
            self.later(chance.uniform(0.1, 2.0), lambda: self.happen(ev.Received(serial, 5)))
        else:
            self.later(chance.uniform(0.1, 2.0), lambda: self._end(serial, code=0))

    # -- the end of the faults

    def heal(self) -> None:
        """No more misfortunes; everybody who was sent away or ordered down is wanted again."""
        self.faulty = False
        self._no_forks_until = 0.0
        for character in self.truth.values():
            character.there = True
            self._edit(character)
        self._list()
        for name in self.truth:
            self.happen(ev.Ordered(ev.Command.SPAWN, name))

    def not_running(self) -> Iterator[str]:
        for name in self.truth:
            vassal = self.reign.vassals.get(name)
            if vassal is None or vassal.phase is not Phase.RUNNING:
                yield f"{name}: {'forgotten' if vassal is None else (vassal.phase.value, vassal.why)}"
