"""Killing a process group by its number, for kernels without PIDFD_SIGNAL_PROCESS_GROUP."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from imperator.kernel.guardian import kill_group_by_number

PARENT_AND_CHILD = "import os, time; pid = os.fork(); pid and print(pid, flush=True); time.sleep(100)"


@pytest.fixture
def leader() -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """A process that leads a group, its child, and its pidfd."""
    command = [sys.executable, "-c", PARENT_AND_CHILD]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    child = os.pidfd_open(int(process.stdout.readline()))
    pidfd = os.pidfd_open(process.pid)
    yield process, child, pidfd
    process.stdout.close()
    for fd in (pidfd, child):
        try:
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)
    process.wait()


def has_ended(pidfd: int) -> bool:
    import select

    return bool(select.select([pidfd], (), (), 5.0)[0])


def test_a_living_leader_and_its_child(leader: tuple[subprocess.Popen[str], int, int]) -> None:
    process, child, pidfd = leader
    kill_group_by_number(pidfd, process.pid)
    assert process.wait(5) == -signal.SIGKILL
    assert has_ended(child)


@pytest.mark.parametrize("reaped", [False, True])
def test_a_dead_leaders_child(leader: tuple[subprocess.Popen[str], int, int], reaped: bool) -> None:
    process, child, pidfd = leader
    process.kill()
    assert has_ended(pidfd)
    if reaped:
        process.wait()
    kill_group_by_number(pidfd, process.pid)
    assert has_ended(child)


def test_a_number_that_somebody_else_has(leader: tuple[subprocess.Popen[str], int, int]) -> None:
    """Ours is dead and reaped, and the number belongs to a living stranger: he is left alone."""
    process, child, _ = leader
    ours = subprocess.Popen(["true"])
    pidfd = os.pidfd_open(ours.pid)
    ours.wait()
    kill_group_by_number(pidfd, process.pid)
    os.close(pidfd)
    assert process.poll() is None
    signal.pidfd_send_signal(child, 0)
