"""The life of a vassal, from its file's appearance to its file's end, as the vassal itself sees it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from .conftest import Reign
from .stage import Stage


def test_each_file_gets_a_process_and_each_new_one_too(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    (vassals / "b.yaml").write_text("uwsgi: {}\n")
    (vassals / "readme.txt").write_text("not a vassal\n")
    empire = reign().ready()
    stage.next_of("a.ini", "b.yaml")
    (vassals / "c.json").write_text('{"uwsgi": {}}\n')
    stage.next("c.json")
    assert {vassal["id"] for vassal in empire.statistics()["vassals"]} == {"a.ini", "b.yaml", "c.json"}


def test_a_removed_file_stops_its_vassal(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(17)
    file.unlink()
    assert puppet.expect_byte() == 0
    puppet.expect_gone()
    empire.expect("a.ini .*removed")
    assert empire.statistics()["vassals"] == []


def test_an_edited_file_reloads_its_vassal_without_a_new_process(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(1, 5, 17)
    empire.expect_state("a.ini", loyal=1, ready=1, accepting=1)
    file.write_text("[uwsgi]\nx = y\n")
    assert puppet.expect_byte() == 1
    puppet.say(5)
    empire.expect_state("a.ini", accepting=1, reloading=False)
    stage.nobody_appears(0.2)


def test_a_loyal_vassal_that_dies_is_back_at_once(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(5, 17)
    empire.expect_state("a.ini", loyal=1)
    puppet.nothing_heard(1.1)  # who dies within a second waits for the throttle
    puppet.kill(signal.SIGKILL)
    stage.next("a.ini", timeout=0.9)
    vassal = empire.vassal("a.ini")
    assert (vassal["last_exit"]["signal"], vassal["respawns"]) == (signal.SIGKILL, 1)


def test_the_end_of_the_emperor_is_the_end_of_all(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name in ("a.ini", "b.ini", "c.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    empire = reign()
    puppets = stage.next_of("a.ini", "b.ini", "c.ini")
    puppets[0].say(17)
    assert empire.stop() == 0
    for puppet in puppets:
        puppet.expect_gone()
    assert not os.path.exists(f"/proc/{empire.pid}")
