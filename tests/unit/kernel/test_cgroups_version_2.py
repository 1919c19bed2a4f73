"""An Emperor in a group of version 2: it moves out of the way, hands controllers down, and puts everything back.

With whatever controller version 2 has on this machine: where the others are in version 1 that may be hugetlb alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imperator.kernel.cgroup_hierarchies import find_hierarchies

EMPEROR = """
import json, os, signal, sys
from imperator.kernel import cgroup, cgroups
from imperator.kernel.cgroup_hierarchies import find_hierarchies
from imperator.kernel.cgroup_limits import Limits

group, controller = sys.argv[1:]
cgroup.write(group, "cgroup.procs", "0")
cgroups.CONTROLLERS = (controller,)
hierarchies = [hierarchy for hierarchy in find_hierarchies() if hierarchy.version == 2]
try:
    territory = cgroups.claim(hierarchies, None, frozenset({controller}), None)
except cgroups.Unavailable as error:
    print(json.dumps({"refused": str(error), "left": [e for e in os.listdir(group) if e.startswith("imperator-")]}))
    sys.exit()
(branch,) = territory.branches

def words(*path):
    with open(os.path.join(*path)) as file:
        return file.read().split()

def where():
    return next(line[3:] for line in words("/proc/self/cgroup") if line.startswith("0::"))

found = {"moved to": where(), "handed down": words(group, "cgroup.subtree_control")}
cgroup.prepare(territory.places("vassal", Limits()))
(directory,) = territory.directories("vassal")
found["limits"] = sorted(name.split(".")[0] for name in os.listdir(directory))
child = os.fork()
if child == 0:
    cgroup.enter(territory.places("vassal", Limits()))
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.pause()
os.waitpid(child, 0)
found["survivors"] = len(cgroup.pids_in([directory]))
found["busy"] = not cgroup.remove_if_empty([directory])
found["left alive"] = list(cgroup.clear([directory], 10.0))
cgroup.remove([directory], 10.0)
found["complaints"] = territory.release()
found["back in"] = where()
found["left"] = [entry for entry in os.listdir(group) if entry.startswith("imperator-")]
found["handed down at last"] = words(group, "cgroup.subtree_control")
print(json.dumps(found))
"""


@pytest.fixture
def root() -> Path:
    """Where version 2 is mounted."""
    if os.getuid() != 0:
        pytest.skip("only root can do this")
    return next(Path(hierarchy.mount) for hierarchy in find_hierarchies() if hierarchy.version == 2)


@pytest.fixture
def controller(root: Path) -> Iterator[str]:
    """A controller that groups below the root have."""
    (name, *_) = (root / "cgroup.controllers").read_text().split()
    switched_on = name not in (root / "cgroup.subtree_control").read_text().split()
    if switched_on:
        (root / "cgroup.subtree_control").write_text(f"+{name}")
    yield name
    if switched_on:
        (root / "cgroup.subtree_control").write_text(f"-{name}")


@pytest.fixture
def group(root: Path, controller: str) -> Iterator[Path]:
    """A group as a service has it: nobody else is in it."""
    group = root / f"service-{os.getpid()}"
    group.mkdir()
    yield group
    group.rmdir()


def reign(group: Path, controller: str) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-c", EMPEROR, group, controller], stdout=subprocess.PIPE, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_reign_in_a_group_of_its_own(group: Path, controller: str) -> None:
    found = reign(group, controller)
    assert found["moved to"].startswith(f"/{group.name}/imperator-")
    assert found["moved to"].endswith("/emperor")
    assert found["handed down"] == [controller]
    assert controller in found["limits"]
    assert found["survivors"] == 1
    assert found["busy"]
    assert found["left alive"] == []
    assert found["complaints"] == []
    assert found["back in"] == f"/{group.name}"
    assert found["left"] == []
    assert found["handed down at last"] == []


def test_a_group_with_others_in_it_is_refused_and_left_as_it_was(group: Path, controller: str) -> None:
    other = subprocess.Popen(["sleep", "1000"])
    try:
        (group / "cgroup.procs").write_text(str(other.pid))
        found = reign(group, controller)
        assert f"{group} has other processes in it (pid {other.pid})" in found["refused"]
        assert "Delegate=yes" in found["refused"]
        assert found["left"] == []
        assert (group / "cgroup.subtree_control").read_text().split() == []
    finally:
        other.kill()
        other.wait()
