"""What a group uses: the same answer from the files of either version."""

from __future__ import annotations

from pathlib import Path

import pytest

from imperator.kernel.cgroup_usage import files_in, oom_kills, usage_of

VERSION_2 = {
    "memory.current": "4096\n",
    "memory.peak": "8192\n",
    "memory.max": "67108864\n",
    "memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 1\n",
    "cpu.stat": "usage_usec 1500000\nuser_usec 1\nnr_periods 5\nnr_throttled 3\nthrottled_usec 250000\n",
    "cpu.max": "50000 100000\n",
    "pids.current": "7\n",
    "pids.max": "20\n",
    "pids.events": "max 4\n",
}
VERSION_1 = {
    "memory/memory.usage_in_bytes": "4096\n",
    "memory/memory.max_usage_in_bytes": "8192\n",
    "memory/memory.limit_in_bytes": "67108864\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n",
    "cpu/cpu.stat": "nr_periods 5\nnr_throttled 3\nthrottled_time 250000000\n",
    "cpu/cpu.cfs_quota_us": "50000\n",
    "cpu/cpu.cfs_period_us": "100000\n",
    "cpuacct/cpuacct.usage": "1500000000\n",
    "pids/pids.current": "7\n",
    "pids/pids.max": "20\n",
    "pids/pids.events": "max 4\n",
}


def group(directory: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    return sorted({str((directory / name).parent) for name in files})


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_usage(files: dict[str, str], tmp_path: Path) -> None:
    directories = group(tmp_path, files)
    assert usage_of(directories, files_in(directories)) == {
        "memory": {"current": 4096, "peak": 8192, "max": 64 << 20, "oom_kills": 1},
        "cpu": {"seconds": 1.5, "throttled": 3, "throttled_seconds": 0.25, "max": 0.5},
        "pids": {"current": 7, "max": 20, "refused": 4},
    }
    assert oom_kills(directories) == 1


def test_pressure(tmp_path: Path) -> None:
    text = "some avg10=12.50 avg60=1.00 avg300=0.10 total=1\nfull avg10=1.00 avg60=0.00 avg300=0.00 total=1\n"
    directories = group(tmp_path, {"memory.pressure": text})
    assert usage_of(directories, files_in(directories)) == {"pressure": {"memory": 12.5}}


@pytest.mark.parametrize(
    "files",
    [
        {"memory.max": "max\n", "pids.max": "max\n"},
        {"memory.limit_in_bytes": "9223372036854771712\n", "pids.max": "max\n"},
    ],
)
def test_no_limit_is_none(files: dict[str, str], tmp_path: Path) -> None:
    directories = group(tmp_path, files)
    used = usage_of(directories, files_in(directories))
    assert used["memory"]["max"] is None
    assert used["pids"]["max"] is None


def test_a_group_that_is_gone_uses_nothing(tmp_path: Path) -> None:
    assert usage_of([f"{tmp_path}/gone"], [frozenset({"memory.max", "cpu.stat"})]) == {}
    assert oom_kills([f"{tmp_path}/gone"]) == 0
