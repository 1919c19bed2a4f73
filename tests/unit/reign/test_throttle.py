from __future__ import annotations

from imperator.reign.names import Seconds
from imperator.reign.policy import Policy
from imperator.reign.throttle import Throttle

POLICY = Policy(throttle=Seconds(1.0), max_throttle=Seconds(10.0))


def test_the_first_start_is_never_delayed() -> None:
    assert Throttle().delay(None, Seconds(5.0), POLICY) == 0.0


def test_a_start_after_a_second_is_not_delayed() -> None:
    assert Throttle().delay(Seconds(5.0), Seconds(6.0), POLICY) == 0.0


def test_bursts_double_the_delay_up_to_the_most() -> None:
    throttle = Throttle()
    delays = [throttle.delay(Seconds(5.0), Seconds(5.9), POLICY) for _ in range(5)]
    assert delays == [2.0, 4.0, 8.0, 10.0, 10.0]


def test_any_other_start_halves_the_level_until_it_is_below_the_throttle() -> None:
    throttle = Throttle(Seconds(4.0))
    levels = []
    for _ in range(3):
        throttle.delay(Seconds(0.0), Seconds(100.0), POLICY)
        levels.append(throttle.level)
    assert levels == [2.0, 1.0, 0.0]


def test_the_most_holds_even_where_it_is_less_than_the_throttle() -> None:
    policy = Policy(throttle=Seconds(5.0), max_throttle=Seconds(3.0))
    assert Throttle().delay(Seconds(0.0), Seconds(0.0), policy) == 3.0


def test_without_a_throttle_there_is_no_delay() -> None:
    policy = Policy(throttle=Seconds(0.0))
    assert Throttle().delay(Seconds(0.0), Seconds(0.0), policy) == 0.0
