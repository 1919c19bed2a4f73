"""A control group for each vassal: limits that hold for it and nobody else, and an end that is one."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imperator.kernel.cgroup_hierarchies import find_hierarchies

from .conftest import Reign
from .empire import Empire
from .stage import PATIENCE, Puppet, Stage

pytestmark = pytest.mark.usefixtures("as_root")

SOMEBODY = 20001
PYTHON = os.path.realpath(sys.executable)
MEMORY_BOMB = "held = []\nwhile True: held.append(bytearray(1 << 20))"
WORKER_WITH_A_BOMB = f"""
import os, time
if os.fork() == 0:
    time.sleep(0.1)
    exec({MEMORY_BOMB!r})
time.sleep(1000)
"""
FORK_BOMB = """
import os, time
while True:
    try:
        if os.fork() == 0: time.sleep(1000)
    except BlockingIOError:
        time.sleep(0.01)
"""
BUSY = "while True: pass"
AT_ONCE = 50


def groups_of(pid: int) -> list[Path]:
    """What an Emperor has among the control groups, of whatever hierarchy."""
    name = f"imperator-{pid}"
    return [Path(place, name) for place, directories, _ in os.walk("/sys/fs/cgroup") if name in directories]


def group_directories(empire: Empire) -> list[Path]:
    """The vassals' own groups."""
    return [group for top in groups_of(empire.pid) for group in top.glob("vassals/*") if group.is_dir()]


def await_that(condition: Callable[[], object], what: str) -> None:
    """Look again and again: the kernel tells nobody of these."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def expect_dead(pidfd: int) -> None:
    assert select.select([pidfd], (), (), PATIENCE)[0], "it still lives"
    os.close(pidfd)


def states(empire: Empire) -> list[str]:
    return [vassal["state"] for vassal in empire.statistics()["vassals"]]


def two(reign: Reign, stage: Stage, vassals: Path, *options: str) -> tuple[Empire, Puppet, Puppet]:
    """An Emperor with the vassals ``a.ini`` and ``b.ini``."""
    for name in ("a.ini", "b.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    empire = reign(*options).ready()
    a, b = stage.next_of("a.ini", "b.ini")
    return empire, a, b


# -- limits


@pytest.mark.parametrize("bomb", [MEMORY_BOMB, WORKER_WITH_A_BOMB], ids=["itself", "a worker of it"])
def test_a_memory_bomb_is_killed_and_named_and_its_neighbour_does_not_notice(
    bomb: str, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire, a, b = two(reign, stage, vassals, "--vassal-memory-max", "64M")
    a.run(PYTHON, "-c", bomb)
    empire.expect(r"a\.ini .*was killed by SIGKILL after .*: out of memory \(limit 64 MB\); blacklisted")
    end = empire.vassal("a.ini")["last_exit"]
    assert end["signal_name"] == "SIGKILL"
    assert end["reason"] == "out of memory (limit 64 MB)"
    assert empire.vassal("b.ini")["pid"] == b.pid
    assert empire.vassal("b.ini")["resources"]["memory"]["oom_kills"] == 0
    assert b.alive


def test_an_ordinary_kill_is_not_called_want_of_memory(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire, a, _ = two(reign, stage, vassals, "--vassal-memory-max", "64M")
    a.kill(signal.SIGKILL)
    empire.expect(r"a\.ini .*was killed by SIGKILL after [^:]*; blacklisted")


def test_a_fork_bomb_has_an_end_and_its_neighbour_can_fork(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire, a, b = two(reign, stage, vassals, "--vassal-pids-max", "20")
    a.run(PYTHON, "-c", FORK_BOMB)
    await_that(lambda: empire.vassal("a.ini")["resources"]["pids"]["refused"], "it was never refused a process")
    pids = empire.vassal("a.ini")["resources"]["pids"]
    assert (pids["current"], pids["max"]) == (20, 20)
    b.fork()
    (vassals / "a.ini").unlink()
    empire.expect(r"a\.ini .*removed")
    assert not [group for group in group_directories(empire) if group.name.startswith("a.ini")]


def test_processor_time_is_limited(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire, a, _ = two(reign, stage, vassals, "--vassal-cpu-max", "0.1")
    a.run(PYTHON, "-c", BUSY)
    await_that(lambda: empire.vassal("a.ini")["resources"]["cpu"]["throttled"] > 3, "it was never held back")
    cpu = empire.vassal("a.ini")["resources"]["cpu"]
    assert cpu["max"] == 0.1
    assert cpu["throttled_seconds"] > 0
    assert empire.vassal("b.ini")["resources"]["cpu"]["throttled"] <= 3  # its start, which is over


def test_a_vassals_own_limits(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[emperor]\nmemory-max = 48M\n[uwsgi]\n")
    (vassals / "b.ini").write_text("[emperor]\nmemory-max = max\npids-max = 30\n[uwsgi]\n")
    collect = ("--emperor-collect-attr", "memory-max", "--emperor-collect-attr", "pids-max")
    empire = reign("--vassal-memory-max", "64M", "--vassal-pids-max", "40", *collect).ready()
    stage.next_of("a.ini", "b.ini")
    limits = {}
    for name in ("a.ini", "b.ini"):
        used = empire.vassal(name)["resources"]
        limits[name] = (used["memory"]["max"], used["pids"]["max"])
    assert limits == {"a.ini": (48 << 20, 40), "b.ini": (None, 30)}


def test_limits_change_with_a_reload_in_the_same_process(reign: Reign, stage: Stage, vassals: Path) -> None:
    collect = [f"--emperor-collect-attr={name}" for name in ("memory-max", "cpu-max", "pids-max")]
    file = vassals / "a.ini"

    def rewrite(*lines: str) -> None:
        new = file.with_suffix(".new")
        new.write_text("\n".join(["[emperor]", *lines, "[uwsgi]", ""]))
        new.rename(file)

    def expect_limits(*expected: object) -> None:
        def limits() -> tuple[object, ...]:
            used = empire.vassal("a.ini")["resources"]
            return tuple(used[what]["max"] for what in ("memory", "cpu", "pids"))

        await_that(lambda: limits() == expected, f"its limits are never {expected}")

    rewrite("memory-max = 64M", "cpu-max = 0.5", "pids-max = 30")
    empire = reign("--vassal-pids-max", "40", *collect).ready()
    puppet = stage.next("a.ini")
    puppet.say(1)  # it speaks the protocol: it can be reloaded
    empire.expect_state("a.ini", ready=1)
    for lines, expected in (
        (["memory-max = 96M", "cpu-max = 0.25"], (96 << 20, 0.25, 40)),
        (["pids-max = max"], (None, None, None)),
        (["memory-max = 48M", "pids-max = 20"], (48 << 20, None, 20)),
    ):
        rewrite(*lines)
        assert puppet.expect_byte() == 1
        expect_limits(*expected)
    rewrite("memory-max = plenty")
    empire.expect("a.ini keeps its limits: its attribute memory-max = plenty: a size was expected")
    assert puppet.expect_byte() == 1


def test_a_limit_that_makes_no_sense_is_named_and_nothing_runs_without(
    reign: Reign, stage: Stage, vassals: Path
) -> None:
    (vassals / "a.ini").write_text("[emperor]\nmemory-max = plenty\n[uwsgi]\n")
    empire = reign("--emperor-collect-attr", "memory-max").ready()
    empire.expect(r"a\.ini .*no process could be made: its attribute memory-max = plenty: a size was expected")
    (vassals / "a.ini").write_text("[emperor]\nmemory-max = 48M\n[uwsgi]\n")
    stage.next("a.ini")


def test_a_tyrants_vassals_cannot_set_their_own_limits(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[emperor]\nmemory-max = max\n[uwsgi]\n")
    os.chown(file, SOMEBODY, SOMEBODY)
    options = ("--emperor-tyrant", "--emperor-collect-attr", "memory-max", "--vassal-memory-max", "64M")
    empire = reign(*options).ready()
    puppet = stage.next("a.ini")
    assert puppet.given["uids"] == [SOMEBODY] * 3
    assert empire.vassal("a.ini")["resources"]["memory"]["max"] == 64 << 20


def test_nothing_of_a_vassal_runs_outside_its_group(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """Not even what the Emperor runs in its process before it becomes its user."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    seen = open_path / "seen"
    empire = reign("--vassal-cgroup", "--hook-as-vassal-before-drop", f"exec:cat /proc/self/cgroup > {seen}").ready()
    puppet = stage.next("a.ini")
    assert f"imperator-{empire.pid}/vassals/a.ini-" in seen.read_text()
    assert seen.read_text() == Path(f"/proc/{puppet.pid}/cgroup").read_text()


def test_groups_and_namespaces_go_together(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    options = ("--emperor-use-clone", "fs,ipc,pid,uts,user", "--vassal-memory-max", "64M", "--emperor-tyrant")
    os.chown(vassals / "a.ini", SOMEBODY, SOMEBODY)
    empire = reign(*options).ready()
    stage.next("a.ini")
    pid = empire.vassal("a.ini")["pid"]
    assert f"imperator-{empire.pid}/vassals/a.ini-" in Path(f"/proc/{pid}/cgroup").read_text()


def test_what_each_vassal_uses_is_in_the_status(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire, _, _ = two(reign, stage, vassals, "--vassal-memory-max", "64M", "--vassal-pids-max", "20")
    status = subprocess.run(
        [sys.executable, "-m", "imperator", "status", "--pid", str(empire.pid)], capture_output=True, text=True
    ).stdout
    row = next(line for line in status.splitlines() if line.startswith("a.ini"))
    assert " of 64 MB" in row
    assert " of 20 pids" in row


# -- the end


@pytest.mark.parametrize("options", [(), ("--emperor-subreaper",)], ids=["", "of an Emperor that adopts it"])
def test_a_child_in_the_background_does_not_survive_a_vassal(
    options: tuple[str, ...], reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire, a, b = two(reign, stage, vassals, "--vassal-cgroup", *options)
    background, others = os.pidfd_open(a.daemon()), os.pidfd_open(b.daemon())
    (vassals / "a.ini").unlink()
    empire.expect(r"a\.ini .*removed")
    expect_dead(background)
    assert not select.select([others], (), (), 0)[0]
    os.close(others)


def test_a_new_instance_starts_only_when_the_old_one_is_gone_as_a_whole(
    reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire, a, _ = two(reign, stage, vassals, "--vassal-cgroup", "--emperor-no-blacklist")
    background = os.pidfd_open(a.daemon())
    a.kill(signal.SIGKILL)
    stage.next("a.ini")
    assert select.select([background], (), (), 0)[0]
    os.close(background)
    assert len({group.name for group in group_directories(empire)}) == 2


def test_the_end_of_an_emperor_leaves_nothing(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire, a, _ = two(reign, stage, vassals, "--vassal-memory-max", "64M")
    assert groups_of(empire.pid)
    background = os.pidfd_open(a.daemon())
    assert empire.stop() == 0
    expect_dead(background)
    assert not groups_of(empire.pid)
    assert not empire.log.find("left behind")


def test_nothing_outlives_a_killed_emperor(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Its guardian sees to it."""
    empire, a, b = two(reign, stage, vassals, "--vassal-cgroup")
    pidfds = [os.pidfd_open(pid) for pid in (a.daemon(), b.daemon(), a.pid, b.pid)]
    empire.process.kill()
    for pidfd in pidfds:
        expect_dead(pidfd)
    await_that(lambda: not [top for top in groups_of(empire.pid) if not (top / "emperor").is_dir()], "groups are left")


def test_the_next_emperor_clears_away_what_is_left_of_one_that_died_with_its_guardian(
    reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire, a, _ = two(reign, stage, vassals, "--vassal-cgroup")
    background = os.pidfd_open(a.daemon())
    guardian = empire.helper("guardian")
    empire.send(signal.SIGSTOP)
    os.kill(guardian, signal.SIGKILL)
    empire.process.kill()
    empire.process.wait()
    assert not select.select([background], (), (), 0)[0]
    assert groups_of(empire.pid)
    another = reign("--vassal-cgroup")
    another.expect(
        rf"left over from an earlier Emperor, and removed, with \d+ processes in it: .*imperator-{empire.pid}"
    )
    expect_dead(background)
    assert not groups_of(empire.pid)


def test_another_emperors_groups_are_left_alone(reign: Reign, stage: Stage, vassals: Path) -> None:
    _, a, b = two(reign, stage, vassals, "--vassal-cgroup")
    another = reign("--vassal-cgroup", emperor=vassals.parent / "nothing-*.ini").ready()
    assert not another.log.find("left over")
    assert a.alive
    assert b.alive


def test_two_hundred_lives_leave_no_group(reign: Reign, stage: Stage, vassals: Path) -> None:
    sleeper = stage.binary.with_name("sleeper")
    sleeper.write_text("#!/bin/sh\nsleep 1000 &\nexec sleep 1000\n")
    sleeper.chmod(0o755)
    empire = reign("--vassal-memory-max", "64M", binary=sleeper).ready()
    fds = empire.open_fds()
    for number in range(200 // AT_ONCE):
        names = [f"{number}-{count}.ini" for count in range(AT_ONCE)]
        for name in names:
            (vassals / name).write_text("[uwsgi]\n")
        await_that(lambda: states(empire).count("running") == AT_ONCE, "not all of them run")
        for name in names:
            (vassals / name).unlink()
        await_that(lambda: not empire.vassals_known(), "not all of them have ended")
        assert group_directories(empire) == []
    await_that(lambda: empire.open_fds() == fds, "it has other files open than before")


# -- the original's own options: one group for the Emperor and all vassals


@pytest.mark.parametrize("option", ["pids.max=77", "pids.max:77"])
def test_a_group_for_all_as_the_original_has_it(option: str, reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    hierarchy = max(find_hierarchies(), key=lambda each: ("pids" in each.controllers, each.version))
    group = Path(hierarchy.own, f"all-{os.getpid()}")
    empire = reign("--cgroup", group, "--cgroup-opt", option, "--cgroup-dir-mode", "750").ready()
    puppet = stage.next("a.ini")
    members = set(map(int, (group / "cgroup.procs").read_text().split()))
    assert members >= {empire.pid, puppet.pid}
    assert (group / "pids.max").read_text() == "77\n"
    assert group.stat().st_mode & 0o777 == 0o750
    empire.stop()
    await_that(lambda: not (group / "cgroup.procs").read_text(), "somebody is left in it")
    group.rmdir()


def test_an_option_of_no_group_is_named(reign: Reign) -> None:
    empire = reign("--cgroup-opt", "memory.max=1G")
    empire.expect("cgroup-opt = memory.max=1G: no group that cgroup names has such a file")
    assert empire.process.wait(PATIENCE) == 1


# -- an Emperor that is not root


@pytest.fixture
def given_group() -> Iterator[list[Path]]:
    """A control group that belongs to somebody, in each hierarchy."""
    groups = [
        Path(hierarchy.own, f"given-{os.getpid()}")
        for hierarchy in find_hierarchies()
        if hierarchy.version == 2 or hierarchy.controllers & {"memory", "cpu", "pids", "blkio"}
    ]
    for group in groups:
        group.mkdir()
        for name in (".", "cgroup.procs", "cgroup.subtree_control"):
            if (group / name).exists():
                os.chown(group / name, SOMEBODY, SOMEBODY)
    yield groups
    for group in groups:
        group.rmdir()


def test_an_ordinary_users_emperor_in_a_group_that_was_given_to_it(
    given_group: list[Path], reign: Reign, stage: Stage, vassals: Path
) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")

    def enter() -> None:
        for group in given_group:
            (group / "cgroup.procs").write_text("0")
        os.setgroups([])
        os.setgid(SOMEBODY)
        os.setuid(SOMEBODY)

    empire = reign("--vassal-cgroup", preexec_fn=enter)
    puppet = stage.next("a.ini")
    where = Path(f"/proc/{puppet.pid}/cgroup").read_text()
    assert f"/given-{os.getpid()}/imperator-{empire.pid}/vassals/a.ini-" in where
    background = os.pidfd_open(puppet.daemon())
    (vassals / "a.ini").unlink()
    empire.expect(r"a\.ini .*removed")
    expect_dead(background)
    assert empire.stop() == 0
    assert not empire.log.find("left behind")
    assert not groups_of(empire.pid)


def test_an_emperor_that_becomes_another_user(reign: Reign, stage: Stage, vassals: Path) -> None:
    """It makes its groups while it is root; what it cannot remove at last, the next one does."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--vassal-memory-max", "64M", "--uid", str(SOMEBODY), "--gid", str(SOMEBODY))
    puppet = stage.next("a.ini")
    assert puppet.given["uids"] == [SOMEBODY] * 3
    background = os.pidfd_open(puppet.daemon())
    assert empire.vassal("a.ini")["resources"]["memory"]["max"] == 64 << 20
    assert empire.stop() == 0
    expect_dead(background)
    empire.expect(f"control groups are left behind, empty, for uid {SOMEBODY} may not remove them")
    reign("--vassal-cgroup").ready()
    assert not groups_of(empire.pid)


# -- where it cannot be


def test_an_emperor_that_cannot_limit_does_not_start(reign: Reign, open_path: Path) -> None:
    empire = reign("--vassal-memory-max", "64M", "--cgroup-parent", "nobodys", user=SOMEBODY, group=SOMEBODY)
    empire.expect(r"ermission denied.*Delegate=yes")
    assert empire.process.wait(PATIENCE) == 1


def test_a_limit_that_is_no_amount_is_refused_with_its_place(reign: Reign, open_path: Path) -> None:
    file = open_path / "emperor.ini"
    file.write_text("[uwsgi]\nvassal-memory-max = plenty\n")
    empire = reign(file)
    empire.expect(r"emperor\.ini:2: vassal-memory-max = plenty: a size was expected, like 512M")
    assert empire.process.wait(PATIENCE) == 1
