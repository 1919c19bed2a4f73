"""Which control groups there are, as /proc tells it: the three ways in which machines have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from imperator.kernel.cgroup_hierarchies import Hierarchy, find_hierarchies, offered
from imperator.kernel.cgroup_limits import DeviceLimit, Limits, changes_of, settings_of
from imperator.kernel.cgroups import Unavailable, claim, group_name, sweep

NONE: frozenset[str] = frozenset()


def proc(directory: Path, memberships: str, mounts: str) -> Path:
    (directory / "self").mkdir()
    (directory / "self/cgroup").write_text(memberships)
    (directory / "self/mountinfo").write_text(mounts)
    return directory


def test_version_2(tmp_path: Path) -> None:
    mount = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    found = find_hierarchies(proc(tmp_path, "0::/system.slice/imperator.service\n", mount))
    assert found == [Hierarchy(2, "/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/imperator.service", NONE)]


def test_version_1(tmp_path: Path) -> None:
    memberships = "5:name=systemd:/\n4:memory:/user\n3:cpu,cpuacct:/\n"
    mounts = (
        "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    )
    assert find_hierarchies(proc(tmp_path, memberships, mounts)) == [
        Hierarchy(1, "/sys/fs/cgroup/cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct", frozenset({"cpu", "cpuacct"})),
        Hierarchy(1, "/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/user", frozenset({"memory"})),
    ]


def test_both_at_a_time(tmp_path: Path) -> None:
    mounts = (
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    )
    found = find_hierarchies(proc(tmp_path, "4:memory:/\n0::/a\n", mounts))
    assert {(hierarchy.version, hierarchy.own) for hierarchy in found} == {
        (1, "/sys/fs/cgroup/memory"),
        (2, "/sys/fs/cgroup/unified/a"),
    }


def test_a_container_sees_its_own_group_as_the_mount(tmp_path: Path) -> None:
    mounts = "35 31 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    (found,) = find_hierarchies(proc(tmp_path, "4:memory:/docker/0123/inner\n", mounts))
    assert found.own == "/sys/fs/cgroup/memory/inner"


def test_a_group_outside_of_the_namespace_is_seen_as_the_mount(tmp_path: Path) -> None:
    mounts = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
    (found,) = find_hierarchies(proc(tmp_path, "0::/../elsewhere\n", mounts))
    assert found.own == "/sys/fs/cgroup"


def test_a_mount_with_a_blank_in_its_name(tmp_path: Path) -> None:
    mounts = r"30 23 0:26 / /my\040groups rw - cgroup2 cgroup2 rw" + "\n"
    (found,) = find_hierarchies(proc(tmp_path, "0::/\n", mounts))
    assert found.mount == "/my groups"


def test_a_parent_is_a_path_below_the_mount_or_the_directory_itself() -> None:
    hierarchy = Hierarchy(2, "/sys/fs/cgroup", "/sys/fs/cgroup/own", NONE)
    expected = {
        None: "/sys/fs/cgroup/own",
        "site.slice": "/sys/fs/cgroup/site.slice",
        "/site.slice/": "/sys/fs/cgroup/site.slice",
        "/sys/fs/cgroup/site.slice": "/sys/fs/cgroup/site.slice",
        "../../etc": "/sys/fs/cgroup/etc",
        "/": "/sys/fs/cgroup",
    }
    assert {parent: hierarchy.within(parent) for parent in expected} == expected


# -- limits, as each version wants them

ALL = ("memory", "cpu", "pids", "io")
SOME = Limits(64 << 20, 1.5, 100, 200, (DeviceLimit("8:0", (("rbps", 1000), ("wiops", 5))),))


def test_limits_in_version_2() -> None:
    assert [(file, value) for file, value, _ in settings_of(SOME, 2, ALL)] == [
        ("memory.oom.group", "1"),
        ("memory.max", str(64 << 20)),
        ("memory.swap.max", "0"),
        ("cpu.max", "150000 100000"),
        ("pids.max", "100"),
        ("io.weight|io.bfq.weight", "200"),
        ("io.max", "8:0 rbps=1000 wiops=5"),
    ]


def test_a_group_of_version_2_is_killed_as_a_whole_without_a_limit_too() -> None:
    assert settings_of(Limits(), 2, ALL) == [("memory.oom.group", "1", False)]


def test_limits_in_version_1() -> None:
    assert [(file, value) for file, value, _ in settings_of(SOME, 1, ALL)] == [
        ("memory.limit_in_bytes", str(64 << 20)),
        ("memory.memsw.limit_in_bytes", str(64 << 20)),
        ("cpu.cfs_period_us", "100000"),
        ("cpu.cfs_quota_us", "150000"),
        ("pids.max", "100"),
        ("blkio.bfq.weight|blkio.weight", "200"),
        ("blkio.throttle.read_bps_device", "8:0 1000"),
        ("blkio.throttle.write_iops_device", "8:0 5"),
    ]


def test_limits_that_are_lifted() -> None:
    assert [(file, value) for file, value, _ in changes_of(SOME, Limits(), 2, ALL)] == [
        ("memory.oom.group", "1"),
        ("memory.max", "max"),
        ("memory.swap.max", "max"),
        ("cpu.max", "max 100000"),
        ("pids.max", "max"),
        ("io.weight|io.bfq.weight", "100"),
        ("io.max", "8:0 rbps=max wiops=max"),
    ]
    assert [(file, value) for file, value, _ in changes_of(SOME, Limits(), 1, ALL)] == [
        ("memory.memsw.limit_in_bytes", "-1"),
        ("memory.limit_in_bytes", "-1"),
        ("cpu.cfs_quota_us", "-1"),
        ("pids.max", "max"),
        ("blkio.bfq.weight|blkio.weight", "100"),
        ("blkio.throttle.read_bps_device", "8:0 0"),
        ("blkio.throttle.write_iops_device", "8:0 0"),
    ]


def test_each_hierarchy_gets_only_what_it_has() -> None:
    assert settings_of(SOME, 1, ["pids"]) == [("pids.max", "100", True)]
    assert SOME.controllers() == set(ALL)
    assert Limits(pids_max=1).controllers() == {"pids"}


# -- where they cannot be had


def test_a_controller_that_was_not_handed_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu pids\n")
    assert offered(str(tmp_path)) == {"cpu", "pids"}
    hierarchy = Hierarchy(2, str(tmp_path), str(tmp_path), NONE)
    with pytest.raises(Unavailable, match=rf"controller memory is not to be had in {tmp_path}: .*Delegate=yes"):
        claim([hierarchy], None, frozenset({"memory", "pids"}), None)
    assert [path.name for path in tmp_path.iterdir()] == ["cgroup.controllers"]


def test_a_machine_without_control_groups() -> None:
    with pytest.raises(Unavailable, match="no control groups are mounted"):
        claim([], None, NONE, None)


# -- names


@pytest.mark.parametrize(
    ("vassal", "name"),
    [
        ("blog.ini", "blog.ini-7"),
        ("../../etc/x.ini", ".._.._etc_x.ini-7"),
        ("a\nb\x1b[1m.ini", "a_b__1m.ini-7"),
        ("é.ini", "_.ini-7"),
        ("x" * 250 + ".ini", "x" * 96 + ".ini-7"),
    ],
)
def test_a_groups_name_is_a_plain_file_name(vassal: str, name: str) -> None:
    assert group_name(vassal, 7) == name


def test_only_what_is_called_like_an_emperors_is_ever_cleared_away(tmp_path: Path) -> None:
    for name in ("imperator-1", "imperatorial", "user.slice"):
        (tmp_path / name).mkdir()
    (tmp_path / "imperator-file").touch()
    assert sweep(str(tmp_path)) == [f"left over from an earlier Emperor, and removed: {tmp_path}/imperator-1"]
    assert {path.name for path in tmp_path.iterdir()} == {"imperatorial", "user.slice", "imperator-file"}
