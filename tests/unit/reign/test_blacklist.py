from __future__ import annotations

from imperator.reign.blacklist import Blacklist
from imperator.reign.names import Seconds, VassalName
from imperator.reign.policy import Policy

from .build import SHOP

POLICY = Policy(throttle=Seconds(1.0), max_throttle=Seconds(3.0))


def _levels(blacklist: Blacklist, deaths: int, lived: float = 0.1) -> list[float]:
    return [blacklist.add(SHOP, Seconds(lived), Seconds(10.0 * death)).level for death in range(deaths)]


def test_each_death_adds_the_throttle_and_at_the_most_it_is_halved() -> None:
    assert _levels(Blacklist(POLICY), 8) == [1.0, 2.0, 3.0, 1.5, 2.5, 3.0, 1.5, 2.5]


def test_an_item_knows_how_often_and_since_when() -> None:
    blacklist = Blacklist(POLICY)
    _levels(blacklist, 3)
    item = blacklist.get(SHOP)
    assert item is not None
    assert (item.attempts, item.first_attempt, item.last_attempt) == (2, 0.0, 20.0)


def test_who_lived_longer_than_the_longest_delay_starts_afresh() -> None:
    assert _levels(Blacklist(POLICY), 4, lived=3.0) == [1.0, 1.0, 1.0, 1.0]


def test_the_first_delay_is_never_longer_than_the_longest() -> None:
    assert _levels(Blacklist(Policy(throttle=Seconds(9.0), max_throttle=Seconds(3.0))), 1) == [3.0]


def test_without_a_throttle_nobody_waits() -> None:
    assert _levels(Blacklist(Policy(throttle=Seconds(0.0))), 3) == [0.0, 0.0, 0.0]


def test_forgiving_one_leaves_the_others() -> None:
    blacklist = Blacklist(POLICY)
    for name in ("a.ini", "b.ini"):
        blacklist.add(VassalName(name), Seconds(0.1), Seconds(0.0))
    assert blacklist.remove(VassalName("a.ini"))
    assert not blacklist.remove(VassalName("a.ini"))
    assert [item.name for item in blacklist] == ["b.ini"]
    blacklist.clear()
    assert len(blacklist) == 0
