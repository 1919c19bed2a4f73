"""A thousand vassals, a simulated day of misfortunes, and what must hold all through it.

``IMPERATOR_SEEDS=100`` simulates a hundred days. A failure names its seed, and the same seed is the same day again.
"""

from __future__ import annotations

import os

import pytest

from imperator.reign import events as ev
from imperator.reign.life import LONGEST_SPAWN_RETRY
from imperator.reign.names import VassalName
from imperator.reign.policy import Policy

from .simulator import DAY, HOUR, Character, Simulator

SEEDS = range(1, 1 + int(os.environ.get("IMPERATOR_SEEDS", "3")))
NAMES = [f"v{number:03}.ini" for number in range(1000)]
LONGEST_DOWN = 5.0
"""Seconds that a healthy vassal may be down for one crash, where nothing stands in the way of a new process."""


def _excuse(character: Character, faults: list[tuple[float, float]], since: float, until: float) -> float:
    """Until when the world, and not the Emperor, kept it down."""
    excuse = since
    for begin, end in sorted(faults):
        if begin <= excuse + LONGEST_SPAWN_RETRY + LONGEST_DOWN and end > since and begin < until:
            excuse = max(excuse, end + LONGEST_SPAWN_RETRY)
    return excuse


@pytest.mark.parametrize("seed", SEEDS)
def test_a_day(seed: int) -> None:
    print(f"seed {seed}")
    day = Simulator(seed, NAMES, bombs=1)
    for hour in range(1, 24):
        day.run(hour * HOUR)
        day.check()

    day.heal()
    day.run(DAY)
    day.check()
    stragglers = [line for line in day.not_running() if not line.startswith("zz-bomb")]
    assert stragglers == []

    starts = 0
    for character in day.truth.values():
        starts += len(character.starts)
        for since, until in character.downs if character.healthy else ():
            excuse = _excuse(character, day.faults, since, until)
            assert until - excuse <= LONGEST_DOWN, f"{character.name} was down from {since:.1f} to {until:.1f}"
    assert starts > 2 * len(NAMES), "a day on which nothing happens proves nothing"
    assert len(day.truth[VassalName("zz-bomb0.ini")].starts) < DAY, "not more than once a second"

    day.happen(ev.RagnarokOrdered("SIGTERM"))
    day.run(day.now + 120.0)
    day.check()
    assert day.finished == 1


def _deeds(day: Simulator) -> dict[str, tuple[list[float], list[tuple[float, float]]]]:
    return {name: (one.starts, one.downs) for name, one in day.truth.items() if not name.startswith("zz-bomb")}


@pytest.mark.parametrize("seed", SEEDS)
def test_fork_bombs_change_nothing_for_the_others(seed: int) -> None:
    """The same day with and without them is the same day, to the microsecond."""
    patient = Policy(most_spawning=2000)
    quiet = Simulator(seed, NAMES[:300], policy=patient)
    quiet.run(6 * HOUR)
    bombed = Simulator(seed, NAMES[:300], bombs=3, policy=patient)
    bombed.run(6 * HOUR)
    assert sum(len(one.starts) for name, one in bombed.truth.items() if name.startswith("zz-bomb")) > 1000
    assert _deeds(bombed) == _deeds(quiet)


def test_the_same_seed_is_the_same_day() -> None:
    days = [Simulator(7, NAMES[:100], bombs=1) for _ in range(2)]
    for day in days:
        day.run(2 * HOUR)
    assert _deeds(days[0]) == _deeds(days[1])
