"""What a process does before its exec, each step by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import imperator.kernel.preparation

ENTER = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("preparation", sys.argv[1])
preparation = importlib.util.module_from_spec(spec)
spec.loader.exec_module(preparation)
preparation.enter_namespaces(int(sys.argv[2]), sys.argv[3:])
for name in ("uts", "ipc", "net"):
    print(os.readlink(f"/proc/self/ns/{name}"))
"""


@pytest.fixture
def apart() -> Iterator[int]:
    """A process in namespaces of its own."""
    if os.getuid() != 0:
        pytest.skip("only root can do this")
    process = subprocess.Popen(
        ["unshare", "--uts", "--ipc", "sh", "-c", "echo; exec sleep 1000"], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    yield process.pid
    process.kill()
    process.communicate()


def namespaces_of(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in ("uts", "ipc", "net")}


def entered(pid: int, *names: str) -> subprocess.CompletedProcess[str]:
    script = str(Path(imperator.kernel.preparation.__file__))
    command = [sys.executable, "-c", ENTER, script, str(pid), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_namespaces_that_are_named_are_entered(apart: int) -> None:
    ours, theirs = namespaces_of("self"), namespaces_of(apart)
    assert entered(apart, "uts").stdout.split() == [theirs["uts"], ours["ipc"], ours["net"]]


def test_without_a_name_all_that_differ(apart: int) -> None:
    ours, theirs = namespaces_of("self"), namespaces_of(apart)
    assert theirs["uts"] != ours["uts"]
    assert theirs["ipc"] != ours["ipc"]
    assert entered(apart).stdout.split() == [theirs["uts"], theirs["ipc"], ours["net"]]


def test_one_that_does_not_exist(apart: int) -> None:
    assert "there is no namespace 'nut'" in entered(apart, "nut").stderr
