"""The Emperor is killed, or one of its helpers: nothing outlives the one, nobody notices the other."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import Empire, expect_nobody
from .stage import Stage

AT_ONCE = 1.0
"""Seconds in which every vassal has to be gone."""

HELPERS = ("spawner", "guardian", "scribe")


def files(vassals: Path, count: int) -> list[str]:
    names = [f"app{number}.ini" for number in range(count)]
    for name in names:
        (vassals / name).write_text("[uwsgi]\n")
    return names


def kill_and_expect_nobody(empire: Empire, stage: Stage) -> None:
    empire.process.kill()
    killed = time.monotonic()
    empire.process.wait()
    expect_nobody(stage.address, timeout=AT_ONCE - (time.monotonic() - killed))


def test_every_vassal_dies_with_the_emperor(reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 20)
    empire = reign().ready()
    for puppet in stage.next_of(*names):
        puppet.stay()
        puppet.ignore(signal.SIGTERM)
    kill_and_expect_nobody(empire, stage)


def test_the_vassals_own_children_die_too(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "workers.ini").write_text("[uwsgi]\n")
    empire = reign().ready()
    puppet = stage.next("workers.ini")
    puppet.stay()
    for _ in range(3):
        puppet.fork()
    kill_and_expect_nobody(empire, stage)


def test_a_vassal_that_another_user_runs_dies_too(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "tenant.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 1234, 1234)
    empire = reign("--emperor-tyrant").ready()
    puppet = stage.next("tenant.ini")
    assert puppet.given["uids"] == [1234, 1234, 1234]
    puppet.stay()
    puppet.fork()
    kill_and_expect_nobody(empire, stage)


def test_a_vassal_that_has_changed_its_user_itself_dies_too(
    as_root: None, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    """The kernel forgets the parent-death signal at a change of credentials, prctl(2)."""
    (vassals / "setuid.ini").write_text("[uwsgi]\n")
    empire = reign().ready()
    puppet = stage.next("setuid.ini")
    puppet.become(1234)
    puppet.stay()
    kill_and_expect_nobody(empire, stage)


def test_whoever_is_starting_dies_too(reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 300)
    empire = reign()
    stage.next()  # the first is there, most are not
    kill_and_expect_nobody(empire, stage)
    assert len(names) == 300


@pytest.mark.parametrize("helper", HELPERS)
def test_a_helper_is_replaced_and_no_vassal_is_touched(helper: str, reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 5)
    empire = reign().ready()
    puppets = stage.next_of(*names)
    old = empire.helper(helper)
    os.kill(old, signal.SIGKILL)
    empire.expect(f"the {helper} process died")
    assert empire.helper(helper, but=old)
    (vassals / "late.ini").write_text("[uwsgi]\n")
    late = stage.next("late.ini")
    late.print("late but there\n")
    empire.expect("late.ini.*late but there")
    for puppet in puppets:
        assert puppet.alive
        puppet.stay()
    kill_and_expect_nobody(empire, stage)


def test_all_helpers_are_killed_at_once(reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 5)
    empire = reign().ready()
    puppets = stage.next_of(*names)
    for helper in HELPERS:
        os.kill(empire.helper(helper), signal.SIGKILL)
    for _ in HELPERS:
        empire.expect("process died")
    (vassals / "late.ini").write_text("[uwsgi]\n")
    stage.next("late.ini")
    assert all(puppet.alive for puppet in puppets)
    assert len([line for line in empire.log.lines if "process died" in line]) == len(HELPERS)


def test_the_spawner_is_killed_while_it_has_work(reign: Reign, stage: Stage, vassals: Path) -> None:
    """What was asked of it is asked of the next one: each file has its vassal at last, and exactly one."""
    names = files(vassals, 100)
    empire = reign("--emperor-throttle", "10")
    stage.next()
    os.kill(empire.helper("spawner"), signal.SIGKILL)
    empire.expect("the spawner process died")
    for name in names:
        empire.expect_state(name, state="running")
    pids = [vassal["pid"] for vassal in empire.statistics()["vassals"]]
    helpers = {empire.helper(helper) for helper in HELPERS}
    deadline = time.monotonic() + 10
    while set(empire.children()) - helpers != set(pids):
        assert time.monotonic() < deadline, "a process that is nobody's vassal"
        time.sleep(0.01)


def test_the_emperor_dies_with_its_spawner(reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 5)
    empire = reign().ready()
    for puppet in stage.next_of(*names):
        puppet.stay()
    os.kill(empire.helper("spawner"), signal.SIGKILL)
    kill_and_expect_nobody(empire, stage)


def test_the_emperor_dies_with_its_guardian(reign: Reign, stage: Stage, vassals: Path) -> None:
    """The kernel's parent-death signal is the second line."""
    names = files(vassals, 5)
    empire = reign().ready()
    for puppet in stage.next_of(*names):
        puppet.stay()
    os.kill(empire.helper("guardian"), signal.SIGKILL)
    kill_and_expect_nobody(empire, stage)
