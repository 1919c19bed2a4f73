from __future__ import annotations

from imperator.reign.deadlines import Deadlines
from imperator.reign.names import Seconds, VassalName
from imperator.reign.vassal import Vassal

from .build import wanted


def _some(*names: str) -> tuple[Deadlines, dict[VassalName, Vassal]]:
    vassals = {VassalName(name): Vassal(VassalName(name), wanted(name), 0.0) for name in names}
    return Deadlines(vassals), vassals


def test_without_any_there_is_no_next() -> None:
    deadlines, _ = _some("a")
    assert deadlines.next() is None
    assert list(deadlines.pop_due(Seconds(1e9))) == []


def test_the_earliest_comes_first_and_only_what_is_due() -> None:
    deadlines, vassals = _some("a", "b", "c")
    for vassal, due in zip(vassals.values(), (3.0, 1.0, 2.0), strict=True):
        deadlines.set(vassal, Seconds(due))
    assert deadlines.next() == 1.0
    assert [vassal.name for vassal in deadlines.pop_due(Seconds(2.0))] == ["b", "c"]
    assert deadlines.next() == 3.0


def test_one_that_was_taken_out_is_not_due_any_more() -> None:
    deadlines, vassals = _some("a")
    [vassal] = vassals.values()
    deadlines.set(vassal, Seconds(1.0))
    assert [one.due for one in deadlines.pop_due(Seconds(1.0))] == [None]
    assert deadlines.next() is None


def test_the_last_one_set_counts_earlier_or_later() -> None:
    deadlines, vassals = _some("a")
    [vassal] = vassals.values()
    for due in (5.0, 2.0, 7.0):
        deadlines.set(vassal, Seconds(due))
    assert list(deadlines.pop_due(Seconds(6.0))) == []
    assert deadlines.next() == 7.0


def test_one_taken_back_never_comes() -> None:
    deadlines, vassals = _some("a")
    [vassal] = vassals.values()
    deadlines.set(vassal, Seconds(1.0))
    vassal.due = None
    assert deadlines.next() is None


def test_one_taken_back_and_set_again_to_the_same_moment_comes_once() -> None:
    deadlines, vassals = _some("a")
    [vassal] = vassals.values()
    deadlines.set(vassal, Seconds(1.0))
    vassal.due = None
    deadlines.set(vassal, Seconds(1.0))
    assert len(list(deadlines.pop_due(Seconds(1.0)))) == 1


def test_the_deadline_of_a_vassal_that_is_gone_never_comes() -> None:
    deadlines, vassals = _some("a")
    deadlines.set(vassals[VassalName("a")], Seconds(1.0))
    del vassals[VassalName("a")]
    assert deadlines.next() is None


def test_one_set_again_while_it_is_being_dealt_with_may_be_due_at_once() -> None:
    deadlines, vassals = _some("a")
    [vassal] = vassals.values()
    deadlines.set(vassal, Seconds(1.0))
    seen = 0
    for one in deadlines.pop_due(Seconds(5.0)):
        seen += 1
        deadlines.set(one, Seconds(1.0 + 2.0 * seen))
    assert seen == 3
    assert deadlines.next() == 7.0


def test_moving_a_deadline_for_ever_takes_no_memory() -> None:
    deadlines, vassals = _some("a", "b")
    for moment in range(10_000):
        deadlines.set(vassals[VassalName("a")], Seconds(moment))
    assert len(deadlines._heap) < 100
    assert deadlines.next() == 9_999.0
