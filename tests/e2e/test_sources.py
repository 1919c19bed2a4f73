"""Where vassals come from: whatever people and programs do to files, the right vassals run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import Empire
from .stage import Puppet, Stage

PROMPTLY = 5.0
"""Seconds in which a change has to be noticed, on a machine under load."""


def loyal(empire: Empire, stage: Stage, name: str) -> Puppet:
    puppet = stage.next(name)
    puppet.say(1, 5, 17)
    empire.expect_state(name, loyal=1)
    return puppet


def expect_reload(puppet: Puppet) -> None:
    assert puppet.expect_byte(PROMPTLY) == 1
    puppet.say(5)


# -- which sources there are


def test_several_sources_of_every_kind(reign: Reign, stage: Stage, open_path: Path) -> None:
    one, two, three = (open_path / name for name in ("one", "two", "three"))
    for directory in (one, two, three):
        directory.mkdir()
    (one / "a.ini").write_text("[uwsgi]\n")
    (two / "b.ini").write_text("[uwsgi]\n")
    (three / "c.ini").write_text("[uwsgi]\n")
    reign("--emperor", f"dir://{one}", "--emperor", f"{two}/*.ini", "--emperor", f"glob://{three}/?.ini", emperor=None)
    stage.next_of("a.ini", f"{two}/b.ini", f"{three}/c.ini")
    (three / "d.ini").write_text("[uwsgi]\n")
    stage.next(f"{three}/d.ini", timeout=PROMPTLY)


def test_a_pattern_over_directories_that_come_and_go(reign: Reign, stage: Stage, open_path: Path) -> None:
    home = open_path / "home"
    home.mkdir()
    empire = reign(emperor=f"{home}/*/apps/*.ini").ready()
    apps = home / "alice" / "apps"
    apps.mkdir(parents=True)
    (apps / "shop.ini").write_text("[uwsgi]\n")
    puppet = stage.next(f"{apps}/shop.ini", timeout=PROMPTLY + 1)
    puppet.say(17)
    shutil.rmtree(home / "alice")
    assert puppet.expect_byte(PROMPTLY + 1) == 0
    empire.expect("shop.ini .*removed")


def test_a_directory_that_is_not_there_yet(reign: Reign, stage: Stage, open_path: Path) -> None:
    later = open_path / "not" / "yet"
    empire = reign(emperor=later)
    empire.expect(f"{later} is not there \\(yet\\)")
    later.mkdir(parents=True)
    (later / "a.ini").write_text("[uwsgi]\n")
    stage.next("a.ini", timeout=3)


def test_a_directory_that_is_moved_away_and_back(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Its vassals go on meanwhile: somebody is at work there, and nobody has said that they should end."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = loyal(empire, stage, "a.ini")
    away = vassals.with_name("away")
    vassals.rename(away)
    empire.expect("is not there")
    (away / "b.ini").write_text("[uwsgi]\n")
    away.rename(vassals)
    stage.next("b.ini", timeout=3)
    puppet.nothing_heard(0.3)
    (vassals / "a.ini").write_text("[uwsgi]\nx = y\n")
    expect_reload(puppet)


# -- what is done to a file


def test_the_ways_of_changing_a_file(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign()
    puppet = loyal(empire, stage, "a.ini")

    file.write_text("[uwsgi]\nedited = in place\n")
    expect_reload(puppet)

    new = vassals / ".a.ini.swp~"
    new.write_text("[uwsgi]\nrenamed = over\n")
    new.rename(file)
    expect_reload(puppet)

    os.utime(file)  # touch
    expect_reload(puppet)

    os.utime(file, (1_000_000_000, 1_000_000_000))  # a restore from a backup: older than before
    expect_reload(puppet)

    backup = vassals.parent / "backup.ini"
    backup.write_text("[uwsgi]\nrestored = yes\n")
    os.utime(backup, (900_000_000, 900_000_000))
    subprocess.run(["cp", "-p", backup, file], check=True)
    expect_reload(puppet)

    file.unlink()  # an editor that removes before it writes
    file.write_text("[uwsgi]\nback = again\n")
    expect_reload(puppet)
    assert empire.vassal("a.ini")["pid"] == puppet.pid
    puppet.nothing_heard(0.3)


def test_a_half_written_file_is_not_started(reign: Reign, stage: Stage, vassals: Path) -> None:
    reign().ready()
    with open(vassals / "slow.ini", "w") as file:
        file.write("[uwsgi]\nsocket = ")
        file.flush()
        stage.nobody_appears(0.5)
        file.write("/tmp/x\n")
    stage.next("slow.ini", timeout=PROMPTLY)


def test_one_that_is_written_without_end_is_taken_as_it_is(reign: Reign, stage: Stage, vassals: Path) -> None:
    reign().ready()
    with open(vassals / "open.ini", "w") as file:
        file.write("[uwsgi]\n")
        file.flush()
        stage.next("open.ini", timeout=3)


def test_a_rename_is_a_new_vassal(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "old.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = loyal(empire, stage, "old.ini")
    (vassals / "old.ini").rename(vassals / "new.ini")
    stage.next("new.ini", timeout=PROMPTLY)
    assert puppet.expect_byte(PROMPTLY) == 0
    (vassals / "new.ini").rename(vassals / "new.ini.disabled")
    empire.expect("new.ini .*removed")


# -- symlinks


def test_a_symlink_and_the_file_behind_it(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    target = open_path / "shared.ini"
    target.write_text("[uwsgi]\n")
    link = vassals / "a.ini"
    link.symlink_to(target)
    empire = reign()
    puppet = loyal(empire, stage, "a.ini")

    target.write_text("[uwsgi]\nx = y\n")
    expect_reload(puppet)

    other = open_path / "other.ini"
    other.write_text("[uwsgi]\n")
    new = vassals / "new-link"
    new.symlink_to(other)
    new.rename(link)
    expect_reload(puppet)

    other.write_text("[uwsgi]\nz = 1\n")
    expect_reload(puppet)

    os.utime(link, follow_symlinks=False)  # touch --no-dereference is for emperor-nofollow
    puppet.nothing_heard(0.5)


def test_a_release_that_is_switched(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """``current -> releases/2``: the link in the middle of the way changes, and nothing else."""
    for number in ("1", "2"):
        (open_path / "releases" / number).mkdir(parents=True)
        (open_path / "releases" / number / "app.ini").write_text(f"[uwsgi]\nrelease = {number}\n")
    current = open_path / "current"
    current.symlink_to("releases/1")
    (vassals / "app.ini").symlink_to(current / "app.ini")
    empire = reign()
    puppet = loyal(empire, stage, "app.ini")
    new = open_path / "current.new"
    new.symlink_to("releases/2")
    new.rename(current)
    expect_reload(puppet)


def test_nofollow(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    target = open_path / "shared.ini"
    target.write_text("[uwsgi]\n")
    link = vassals / "a.ini"
    link.symlink_to(target)
    empire = reign("--emperor-nofollow")
    puppet = loyal(empire, stage, "a.ini")
    target.write_text("[uwsgi]\nx = y\n")
    puppet.nothing_heard(0.5)
    subprocess.run(["touch", "--no-dereference", link], check=True)
    expect_reload(puppet)


# -- names


NAMES = [
    "with space.ini",
    "späte Grüße.ini",
    "名前.ini",
    "-rf.ini",
    "a'b\"c.ini",
    "$(touch x).ini",
    "%(x).ini",
    "a:b.ini",
]


def test_names_as_people_choose_them(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name in NAMES:
        (vassals / name).write_text("[uwsgi]\n")
    odd = os.fsencode(vassals) + b"/\xff\xfe.ini"  # no UTF-8
    with open(odd, "w") as file:
        file.write("[uwsgi]\n")
    empire = reign()
    assert [puppet.name for puppet in stage.next_of(*NAMES)] == NAMES
    assert {vassal["id"] for vassal in empire.statistics()["vassals"]} == {*NAMES, "\udcff\udcfe.ini"}


def test_a_name_with_a_newline_cannot_forge_a_line_of_the_log(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a\n2026-01-01 00:00:00 forged.ini").write_text("[uwsgi]\n")
    empire = reign().ready()
    stage.next()
    empire.expect("started")
    assert not empire.log.find("^2026-01-01")


def test_a_name_that_is_too_long_is_named_and_harms_nobody(reign: Reign, stage: Stage, vassals: Path) -> None:
    long = "x" * 251 + ".ini"
    (vassals / long).write_text("[uwsgi]\n")
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    stage.next("a.ini")
    empire.expect("the name is 255 bytes long; 254 is the most: rename it")
    assert empire.vassal(long)["state"] == "failed"


# -- many, and lost notifications


def test_hundreds_of_changes_while_nobody_listens(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    """The Emperor is stopped until the kernel's queue of notices overflows; then it has to look for itself."""
    queue = Path("/proc/sys/fs/inotify/max_queued_events")
    old = queue.read_text()
    try:
        queue.write_text("64")
    except OSError as error:
        pytest.skip(f"the queue cannot be made small here: {error.strerror}")
    try:
        (vassals / "gone.ini").write_text("[uwsgi]\n")
        (vassals / "edited.ini").write_text("[uwsgi]\n")
        empire = reign()
        gone, edited = loyal(empire, stage, "gone.ini"), loyal(empire, stage, "edited.ini")
        empire.send(signal.SIGSTOP)
        for number in range(500):
            (vassals / f"noise{number}.txt").write_text("noise")
        (vassals / "gone.ini").unlink()
        (vassals / "edited.ini").write_text("[uwsgi]\nx = y\n")
        (vassals / "new.ini").write_text("[uwsgi]\n")
        empire.send(signal.SIGCONT)
        stage.next("new.ini", timeout=3)
        assert gone.expect_byte(3) == 0
        assert edited.expect_byte(3) == 1
    finally:
        queue.write_text(old)


@pytest.mark.parametrize("kind", ["max_user_instances", "max_user_watches"])
def test_no_watches_are_left(kind: str, as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    """Without notices there is the interval; it says so."""
    limit = Path("/proc/sys/fs/inotify", kind)
    old = limit.read_text()
    try:
        limit.write_text("0")
    except OSError as error:
        pytest.skip(f"the limit cannot be set here: {error.strerror}")
    try:
        empire = reign("--emperor-freq", "1")
        empire.expect(rf"raise fs\.inotify\.{kind}.* looking every 1 s instead")
    finally:
        limit.write_text(old)
    (vassals / "a.ini").write_text("[uwsgi]\n")
    stage.next("a.ini", timeout=5)
    (source,) = empire.statistics()["sources"]
    assert kind in source["trouble"]


def test_the_safety_net(reign: Reign, stage: Stage, vassals: Path) -> None:
    """SIGWINCH: look now. It finds nothing new, and harms nobody."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-freq", "1")
    puppet = loyal(empire, stage, "a.ini")
    empire.send(signal.SIGWINCH)
    puppet.nothing_heard(2.5)


def test_ten_thousand_files(reign: Reign, stage: Stage, vassals: Path) -> None:
    """All but one are refused (a name too long costs no process): the one in the middle is up, edited and removed."""
    for number in range(10_000):
        (vassals / f"{number:05}{'x' * 246}.ini").write_text("[uwsgi]\n")
    file = vassals / "05000.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--log-format", "json")
    puppet = loyal(empire, stage, "05000.ini")
    empire.expect("every source was read; vassals: 10001", timeout=60)
    file.write_text("[uwsgi]\nx = y\n")
    expect_reload(puppet)
    began = time.monotonic()
    file.unlink()
    assert puppet.expect_byte(PROMPTLY) == 0
    assert time.monotonic() - began < PROMPTLY
