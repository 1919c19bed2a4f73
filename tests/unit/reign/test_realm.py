from __future__ import annotations

from imperator.reign import effects as ef
from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.vassal import Phase
from imperator.reign.wanted import Wanted

from .build import SHOP, spawns, start, wanted


def test_the_queue_is_served_in_order() -> None:
    reign = Reign(Policy(most_spawning=2))
    names = [f"v{number}.ini" for number in range(5)]
    listed = ev.SourceListed(SourceName("dir"), tuple(wanted(name) for name in names))
    effects = reign.step(listed, Seconds(0.0))
    started = []
    while serials := spawns(effects):
        effects = []
        for serial in serials:
            vassal = reign.by_serial(serial)
            assert vassal is not None
            started.append(vassal.name)
            effects += reign.step(ev.Spawned(serial, 1000 + serial), Seconds(0.0))
    assert started == names


def test_edits_of_a_queued_vassal_take_no_memory() -> None:
    reign = Reign(Policy(most_spawning=1))
    reign.step(ev.VassalWanted(wanted("first.ini")), Seconds(0.0))
    for stamp in range(1000):
        reign.step(ev.VassalWanted(wanted("second.ini", stamp=stamp)), Seconds(0.0))
        reign.step(ev.Ordered(ev.Command.STOP, VassalName("second.ini")), Seconds(0.0))
        reign.step(ev.Ordered(ev.Command.SPAWN, VassalName("second.ini")), Seconds(0.0))
    assert len(reign._realm._queue) == 1


def test_names_that_come_and_go_take_no_memory() -> None:
    """Neither in the queue, nor on the blacklist."""
    reign = Reign(Policy(most_spawning=1))
    for number in range(100):
        name = f"v{number}.ini"
        serial = start(reign, number, name)
        reign.step(ev.Exited(serial, code=1), Seconds(number))
        assert len(list(reign.blacklist)) == 1
        reign.step(ev.VassalUnwanted(SourceName("dir"), VassalName(name)), Seconds(number))
    assert list(reign.blacklist) == []

    reign.step(ev.VassalWanted(wanted("blocks.ini")), Seconds(200.0))
    for number in range(100):
        reign.step(ev.VassalWanted(wanted(f"v{number}.ini")), Seconds(200.0))
        reign.step(ev.VassalUnwanted(SourceName("dir"), VassalName(f"v{number}.ini")), Seconds(200.0))
    assert len(reign._realm._queue) == 0
    assert reign._realm.by_serial.keys() == {101}


def test_a_rival_that_gives_up_is_forgotten() -> None:
    reign = Reign(Policy())
    start(reign)
    rival = Wanted(SHOP, SourceName("db"), (1,), 0.0, "/db")
    reign.step(ev.VassalWanted(rival), Seconds(1.0))
    reign.step(ev.SourceListed(SourceName("db"), ()), Seconds(2.0))
    reign.step(ev.VassalUnwanted(SourceName("dir"), SHOP), Seconds(3.0))
    assert reign.vassals[SHOP].phase is Phase.STOPPING
    reign.step(ev.Exited(next(iter(reign._realm.by_serial)), signal=15), Seconds(4.0))
    assert not reign.vassals


def test_a_name_listed_twice_is_no_change() -> None:
    """Two rows of a database: the first counts, at every listing, and it is said."""
    reign = Reign(Policy())
    serial = start(reign)
    reign.step(ev.Received(serial, 1), Seconds(1.0))
    twice = ev.SourceListed(SourceName("dir"), (wanted(stamp=1), wanted(stamp=2)))
    for moment in (10.0, 20.0):
        [note] = reign.step(twice, Seconds(moment))
        assert isinstance(note, ef.Note) and note.event == "named-twice"


def test_starts_are_counted() -> None:
    reign = Reign(Policy())
    serial = start(reign, 1.0)
    reign.step(ev.Received(serial, 17), Seconds(2.0))
    reign.step(ev.ReloadOrdered(), Seconds(5.0))
    reign.step(ev.Exited(serial, code=0), Seconds(9.0))
    vassal = reign.vassals[SHOP]
    assert (vassal.first_run, vassal.last_run, vassal.respawns) == (1.0, 9.0, 2)


def test_the_original_had_its_numbers_and_these_are_they() -> None:
    policy = Policy()
    assert (policy.throttle, policy.max_throttle) == (1.0, 180.0)
    assert (policy.required_heartbeat, policy.curse_tolerance, policy.mercy) == (30.0, 30.0, 30.0)
