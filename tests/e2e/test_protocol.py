"""The conversation between the Emperor and a vassal, and what becomes of one that does not keep to it."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from .conftest import Reign
from .stage import PATIENCE, Stage


def test_ready_accepting_and_loyal_are_told_apart(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    assert {key: empire.vassal("a.ini")[key] for key in ("ready", "accepting", "loyal")} == {
        "ready": 0,
        "accepting": 0,
        "loyal": 0,
    }
    for byte, key in ((1, "ready"), (5, "accepting"), (17, "loyal")):
        puppet.say(byte)
        vassal = empire.expect_state("a.ini", **{key: 1})
        assert abs(vassal[f"last_{key}"] - time.time()) < 60


def test_hundreds_of_bytes_at_once(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(1, *([99] * 500), 5, 17)
    empire.expect_state("a.ini", loyal=1)


def test_a_reload_that_never_comes_to_life_again_is_killed_and_started_anew(
    reign: Reign, stage: Stage, vassals: Path
) -> None:
    """A vassal whose heart stops is reloaded first; one that does not even do that is killed."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-required-heartbeat", "1", "--emperor-curse-tolerance", "1")
    puppet = stage.next("a.ini")
    puppet.say(1, 5, 17, 26)
    empire.expect("a.ini .*heartbeat")
    assert puppet.expect_byte() == 1
    puppet.expect_gone()
    stage.next("a.ini")


def test_a_heart_that_beats_is_left_alone(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign("--emperor-required-heartbeat", "1")
    puppet = stage.next("a.ini")
    for _ in range(8):
        puppet.say(26)
        puppet.nothing_heard(0.3)


def test_one_that_stays_is_killed_with_its_children(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-curse-tolerance", "1")
    puppet = stage.next("a.ini")
    puppet.say(17)
    puppet.stay()
    child = puppet.fork()
    file.unlink()
    assert puppet.expect_byte() == 0
    told = time.monotonic()
    puppet.expect_gone()
    assert time.monotonic() - told > 0.8
    empire.expect("a.ini .*removed")
    deadline = time.monotonic() + PATIENCE
    while is_alive(child):
        assert time.monotonic() < deadline, "its child is still there"
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_graceful_shutdown_is_asked_for_where_it_is_wanted(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    reign("--emperor-graceful-shutdown")
    puppet = stage.next("a.ini")
    puppet.say(17)
    file.unlink()
    assert puppet.expect_byte() == 2


def test_a_vassal_may_ask_to_be_stopped(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Byte 22. Its file is still there, so it is started again."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign()
    puppet = stage.next("a.ini")
    puppet.say(5, 17)
    puppet.say(22)
    assert puppet.expect_byte() == 0
    puppet.expect_gone()
    stage.next("a.ini")


def test_exile(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Exit code 30: do not start me again. Until somebody edits the file."""
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign()
    stage.next("a.ini").exit(30)
    empire.expect_state("a.ini", state="failed")
    stage.nobody_appears(1.5)
    file.write_text("[uwsgi]\nfixed = true\n")
    stage.next("a.ini")


def test_one_that_keeps_dying_waits_longer_each_time_and_nobody_else(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "bad.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "600", "--emperor-max-throttle", "2400")
    pauses = []
    stage.next("bad.ini").exit(1)
    for number in range(4):
        died = time.monotonic()
        (vassals / f"new{number}.ini").write_text("[uwsgi]\n")
        stage.next(f"new{number}.ini")
        assert empire.vassal("bad.ini")["state"] == "waiting"
        puppet = stage.next("bad.ini")
        pauses.append(time.monotonic() - died)
        puppet.exit(1)
    assert all(0.5 < pause < 5 for pause in pauses), pauses
    assert pauses[-1] > pauses[0]
    waiting = empire.expect_state("bad.ini", state="waiting", pid=-1)
    assert 0 < waiting["next_try_in"] <= 2.4
    (item,) = empire.statistics()["blacklist"]
    assert item["id"] == "bad.ini"
    assert item["attempt"] == 4  # the first death is none, as with the original


def test_an_edit_ends_the_waiting(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "60000")
    stage.next("a.ini").exit(1)
    empire.expect_state("a.ini", state="waiting")
    file.write_text("[uwsgi]\nfixed = true\n")
    stage.next("a.ini", timeout=5).say(17)
    empire.expect_state("a.ini", loyal=1)
    assert empire.statistics()["blacklist"] == []


def test_one_that_hangs_up_is_not_forgotten(reign: Reign, stage: Stage, vassals: Path) -> None:
    """It closed its emperor fd and lives on: from now on it is managed with signals."""
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(5, 17)
    empire.expect_state("a.ini", loyal=1)
    puppet.hang_up()
    puppet.nothing_heard(1.0)
    puppet.catch(signal.SIGTERM)
    file.unlink()
    assert puppet.expect_signal() == signal.SIGTERM
    puppet.exit(0)
    empire.expect("a.ini .*removed")


def test_a_program_that_has_never_heard_of_emperors(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """Stopped with SIGTERM, restarted where another would be told to reload, respawned when it dies."""
    script = open_path / "daemon"
    script.write_text('#!/bin/sh\necho "here I am: $$"\nexec sleep 1000\n')
    script.chmod(0o755)
    file = vassals / "a.ini"
    file.write_text("whatever it understands\n")
    empire = reign(binary=script)
    first = int(empire.expect(r"a.ini.*here I am: (\d+)")[1])
    file.write_text("something else\n")
    second = int(empire.expect(r"a.ini.*here I am: (\d+)")[1])
    assert second != first
    assert not Path(f"/proc/{first}").exists()
    file.unlink()
    empire.expect("a.ini .*removed")
    assert not Path(f"/proc/{second}").exists()


def test_a_file_that_becomes_executable_is_started_by_magic(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("#!/bin/sh\necho '[uwsgi]'\n")
    empire = reign("--emperor-magic-exec")
    puppet = stage.next("a.ini")
    puppet.say(5, 17)
    empire.expect_state("a.ini", loyal=1)
    file.chmod(0o755)
    assert puppet.expect_byte() == 0
    stage.next("exec://a.ini")
