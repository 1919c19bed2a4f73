from __future__ import annotations

import pytest

from imperator.reign import events as ev
from imperator.reign.effects import Note
from imperator.reign.emperor import Reign
from imperator.reign.life import describe_exit, describe_length
from imperator.reign.names import Seconds, Serial, SourceName
from imperator.reign.policy import Policy
from imperator.reign.protocol import FromVassal
from imperator.reign.vassal import Phase

from .build import SHOP, start, wanted


@pytest.mark.parametrize(
    ("code", "signal", "words"),
    [
        (0, None, "exited with code 0"),
        (30, None, "exited with code 30"),
        (None, 9, "was killed by SIGKILL"),
        (None, 11, "was killed by SIGSEGV"),
        (None, 35, "was killed by signal 35"),
    ],
)
def test_an_end_in_words(code: int | None, signal: int | None, words: str) -> None:
    assert describe_exit(code, signal) == words


@pytest.mark.parametrize(("time", "words"), [(0.0, "0 s"), (0.25, "0.25 s"), (12.345, "12.3 s"), (86400.4, "86400 s")])
def test_a_length_of_time_in_words(time: float, words: str) -> None:
    assert describe_length(Seconds(time)) == words


def test_the_last_end_is_remembered_with_its_reason() -> None:
    reign = Reign(Policy())
    serial = start(reign)
    reign.step(ev.ExecFailed(serial, "/opt/x: No such file or directory"), Seconds(0.5))
    reign.step(ev.Exited(serial, code=30), Seconds(0.75))
    last = reign.vassals[SHOP].last_exit
    assert last is not None
    assert (last.code, last.signal, last.at, last.lived) == (30, None, 0.75, 0.75)
    assert last.reason == "/opt/x: No such file or directory"
    assert reign.by_serial(serial) is None


def test_each_byte_leaves_its_time() -> None:
    reign = Reign(Policy())
    serial = start(reign)
    for moment, byte in enumerate((FromVassal.READY, FromVassal.ACCEPTING, FromVassal.LOYAL, FromVassal.HEARTBEAT), 1):
        reign.step(ev.Received(serial, byte), Seconds(moment))
    instance = reign.vassals[SHOP].instance
    assert instance is not None
    times = (instance.ready_at, instance.accepting_at, instance.loyal_at, instance.heartbeat_at)
    assert times == (1.0, 2.0, 3.0, 4.0)


def test_news_of_processes_that_never_were_is_nothing() -> None:
    reign = Reign(Policy())
    nobody = Serial(99)
    for event in (
        ev.Exited(nobody, code=0),
        ev.Received(nobody, 22),
        ev.FellSilent(nobody),
        ev.ExecFailed(nobody, "why"),
    ):
        assert reign.step(event, Seconds(0.0)) == []


def test_a_process_that_ended_before_it_was_announced_is_started_again_once() -> None:
    """The news of a start and of an end come by different ways, and one may overtake the other."""
    reign = Reign(Policy(most_spawning=1))
    reign.step(ev.VassalWanted(wanted()), Seconds(0.0))
    reign.step(ev.Exited(Serial(1), code=1), Seconds(0.0))
    reign.step(ev.Spawned(Serial(1), 4711), Seconds(0.0))
    assert reign.vassals[SHOP].phase is Phase.WAITING
    reign.step(ev.Tick(), Seconds(1.0))
    instance = reign.vassals[SHOP].instance
    assert instance is not None and instance.serial == 2


@pytest.mark.parametrize("order", [ev.VassalUnwanted(SourceName("dir"), SHOP), ev.Ordered(ev.Command.STOP, SHOP)])
def test_nor_is_it_started_again_if_it_was_to_stop(order: ev.Event) -> None:
    reign = Reign(Policy())
    for event in (ev.VassalWanted(wanted()), order, ev.Exited(Serial(1), code=1), ev.Spawned(Serial(1), 4711)):
        reign.step(event, Seconds(0.0))
    assert [vassal.phase for vassal in reign.vassals.values()] in ([], [Phase.SUSPENDED])
    assert reign.next_deadline() is None


@pytest.mark.parametrize("beat", [0.1 * n for n in range(1, 400)])
def test_looking_at_a_heart_exactly_in_time_never_loops(beat: float) -> None:
    """``now - beat < required`` and ``beat + required <= now`` may both be true of binary fractions."""
    reign = Reign(Policy(required_heartbeat=Seconds(0.3)))
    serial = start(reign)
    reign.step(ev.Received(serial, FromVassal.HEARTBEAT), Seconds(beat - 0.05))
    reign.step(ev.Received(serial, FromVassal.HEARTBEAT), Seconds(beat))
    for _ in range(2):
        due = reign.next_deadline()
        assert due is not None
        reign.step(ev.Tick(), due)
        assert (reign.next_deadline() or due) > due


def test_a_program_that_went_on_in_the_background_is_why_it_waits() -> None:
    reign = Reign(Policy())
    serial = start(reign)
    reign.step(ev.Exited(serial, code=0), Seconds(0.1))
    effects = reign.step(ev.WentOn(SHOP, "it went on"), Seconds(0.6))
    assert [effect.text for effect in effects if isinstance(effect, Note)] == ["it went on"]
    vassal = reign.vassals[SHOP]
    assert (vassal.phase, vassal.why) == (Phase.WAITING, "it went on")


def test_a_program_that_went_on_and_whose_vassal_is_gone() -> None:
    effects = Reign(Policy()).step(ev.WentOn(SHOP, "it went on"), Seconds(0.6))
    assert [effect.text for effect in effects if isinstance(effect, Note)] == ["it went on"]
