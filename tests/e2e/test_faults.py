"""What goes wrong on a machine at night, and who notices: the one vassal concerned, and the log."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import Empire
from .stage import PATIENCE, Stage

NOBODY_ELSES = 54321
"""A uid that no process of this machine has."""


def files(vassals: Path, count: int) -> list[str]:
    names = [f"app{number:03}.ini" for number in range(count)]
    for name in names:
        (vassals / name).write_text("[uwsgi]\n")
    return names


# -- a program that cannot be executed


@pytest.mark.parametrize("case", ["missing", "not executable", "no interpreter", "a directory"])
def test_a_binary_that_cannot_be_executed_is_named_with_the_reason(
    case: str, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    program = open_path / "program"
    reason = {
        "missing": f"{program} is not there",
        "not executable": f"may not execute {program}|{program}: Permission denied",
        "no interpreter": "/no/such/python is not there",
        "a directory": "Permission denied",
    }[case]
    match case:
        case "not executable":
            program.write_text("#!/bin/sh\n")
        case "no interpreter":
            program.write_text("#!/no/such/python\n")
            program.chmod(0o755)
        case "a directory":
            program.mkdir()
    (vassals / "bad.ini").write_text("[emperor]\nprogram = " + str(program) + "\n")
    (vassals / "good.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-wrapper-attr", "program", "--emperor-collect-attr", "program")
    good = stage.next("good.ini")
    empire.expect(f"bad.ini .*({reason})")
    assert good.alive
    bad = empire.expect_state("bad.ini", state="failed")
    assert str(program) in bad["last_exit"]["reason"]


def test_a_directory_that_stops_a_tenant_is_named(
    as_root: None, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "uwsgi"
    program.symlink_to(stage.binary)
    file = vassals / "tenant.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 1234, 1234)
    empire = reign("--emperor-tyrant", binary=program)
    empire.expect(f"tenant.ini .*uid 1234 may not enter {closed}")


def test_a_file_that_the_emperor_may_not_read(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "good.ini").write_text("[uwsgi]\n")
    secret = vassals / "secret.ini"
    secret.write_text("[uwsgi]\n")
    secret.chmod(0o600)
    empire = reign(user=NOBODY_ELSES, group=NOBODY_ELSES, extra_groups=[])
    stage.next("good.ini")
    empire.expect("secret.ini .*may not read it: chmod or chown it")
    secret.chmod(0o644)
    stage.next("secret.ini")


# -- no resources left


def test_no_file_descriptors_are_left(reign: Reign, stage: Stage, vassals: Path) -> None:
    """The limit is named; those who have a process keep it; the others get theirs when there is room."""
    names = files(vassals, 60)

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    empire = reign("--emperor-throttle", "100", preexec_fn=few)
    empire.expect("60 vassals need about .* open files and the limit is 64: raise it")
    empire.expect("Too many open files .*ulimit -n")
    first = stage.next()
    running = [vassal["id"] for vassal in statistics_when_calm(empire) if vassal["state"] == "running"]
    assert first.alive
    assert 10 < len(running) < 60
    waiting = [name for name in names if name not in running]
    for name in running[:20]:
        (vassals / name).unlink()
    for name in waiting[:10]:
        empire.expect_state(name, state="running")


def statistics_when_calm(empire: Empire) -> list[dict[str, str]]:
    """The vassals, once nobody is queued or being spawned."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            vassals: list[dict[str, str]] = empire.statistics()["vassals"]
        except ValueError:  # no file descriptor was left for this either
            vassals = []
        if vassals and not any(vassal["state"] in ("queued", "spawning") for vassal in vassals):
            return vassals
        assert time.monotonic() < deadline, vassals
        time.sleep(0.05)


def test_no_processes_are_left(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    names = files(vassals, 40)

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (25, 25))

    # The limit is set before the change of user: a test's own user has other processes.
    empire = reign("--emperor-throttle", "100", "--uid", str(NOBODY_ELSES), "--gid", str(NOBODY_ELSES), preexec_fn=few)
    empire.expect("Resource temporarily unavailable")
    running = [vassal["id"] for vassal in statistics_when_calm(empire) if vassal["state"] == "running"]
    assert 5 < len(running) < 40
    waiting = [name for name in names if name not in running]
    for name in running[:10]:
        (vassals / name).unlink()
    for name in waiting[:5]:
        empire.expect_state(name, state="running")


def test_the_disk_of_the_log_is_full(as_root: None, reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """The Emperor goes on, and when there is room again the log has what was said meanwhile."""
    disk = open_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        log, ballast = disk / "emperor.log", disk / "ballast"
        empire = reign("--logto", log)
        (vassals / "a.ini").write_text("[uwsgi]\n")
        puppet = stage.next("a.ini")
        with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(b"x" * 1024)
        puppet.print("while the disk was full " + "x" * 5000 + "\n")
        (vassals / "b.ini").write_text("[uwsgi]\n")
        stage.next("b.ini")
        assert puppet.alive
        ballast.unlink()
        deadline = time.monotonic() + PATIENCE
        while "b.ini  started" not in (text := log.read_text()) or "while the disk was full" not in text:
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        assert empire.stop() == 0
    finally:
        subprocess.run(["umount", disk], check=True)


def test_the_limit_is_raised_and_the_vassals_get_the_old_one(reign: Reign, stage: Stage, vassals: Path) -> None:
    def soft() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, 2048))

    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign(preexec_fn=soft)
    empire.expect("open files: 2048")
    puppet = stage.next("a.ini")
    assert resource.prlimit(puppet.pid, resource.RLIMIT_NOFILE) == (512, 2048)
    assert resource.prlimit(empire.pid, resource.RLIMIT_NOFILE) == (2048, 2048)


# -- vassals that do not listen


def stop_process(pid: int) -> None:
    """SIGSTOP, and wait until it has: of two signals that are both pending, the kernel takes SIGTERM first."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert time.monotonic() < deadline, "it does not stop"
        time.sleep(0.001)


def test_a_stopped_vassal_does_not_hold_up_the_end(reign: Reign, stage: Stage, vassals: Path) -> None:
    files(vassals, 3)
    empire = reign("--reload-mercy", "1").ready()
    stopped, *_ = stage.next_of("app000.ini", "app001.ini", "app002.ini")
    stop_process(stopped.pid)
    began = time.monotonic()
    assert empire.stop() == 0
    assert 0.9 < time.monotonic() - began < 5
    stopped.expect_gone()


def test_a_stopped_vassal_whose_file_is_removed_is_killed(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-curse-tolerance", "1")
    puppet = stage.next("a.ini")
    child = puppet.fork()
    stop_process(puppet.pid)
    stop_process(child)
    file.unlink()
    empire.expect("a.ini .*kill")
    puppet.expect_gone()
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{child}/cmdline").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "its child is still there"
        time.sleep(0.01)


def test_a_vassal_that_reads_nothing_and_says_everything(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Bytes without end from one vassal, and thousands of edits that it does not read: the neighbour sees nothing."""
    loud = vassals / "loud.ini"
    loud.write_text("[uwsgi]\n")
    (vassals / "quiet.ini").write_text("[uwsgi]\n")
    empire = reign()
    one, other = stage.next_of("loud.ini", "quiet.ini")
    one.flood(3)
    other.say(1, 5, 17)
    empire.expect_state("quiet.ini", loyal=1)
    for number in range(200):
        loud.write_text(f"[uwsgi]\nx = {number}\n")
    (vassals / "quiet.ini").write_text("[uwsgi]\ny = z\n")
    assert other.expect_byte(2.0) == 1


def test_a_vassal_that_floods_the_log_slows_down_nobody(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "loud.ini").write_text("[uwsgi]\n")
    (vassals / "quiet.ini").write_text("[uwsgi]\n")
    empire = reign()
    loud, quiet = stage.next_of("loud.ini", "quiet.ini")
    loud.flood(1)
    quiet.say(5, 17)
    quiet.print("I am heard\n")
    empire.expect("quiet.ini.*I am heard", timeout=5)
    (vassals / "new.ini").write_text("[uwsgi]\n")
    stage.next("new.ini", timeout=2)


# -- numbers that mean something else


def test_a_reused_pid_is_never_signalled(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    """A vassal dies, a stranger gets its number, and then the vassal's file is edited and removed."""
    last_pid = Path("/proc/sys/kernel/ns_last_pid")
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "60000")
    for _ in range(50):
        puppet = stage.next("a.ini")
        puppet.say(5, 17)
        empire.expect_state("a.ini", loyal=1)
        puppet.kill(signal.SIGKILL)
        empire.expect("a.ini .*SIGKILL")
        try:
            last_pid.write_text(str(puppet.pid - 1))
        except OSError as error:
            pytest.skip(f"pids cannot be chosen here: {error.strerror}")
        stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
        if stranger.pid == puppet.pid:
            break
        stranger.kill()
        stranger.wait()
        file.write_text("[uwsgi]\nagain = true\n")  # what waits is tried at once
    try:
        assert stranger.pid == puppet.pid
        file.write_text("[uwsgi]\nx = y\n")
        empire.expect("a.ini .*started")
        file.unlink()
        empire.expect("a.ini .*removed")
        assert empire.stop() == 0
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
