"""Programs in the background: found by a socket that they hold, ended, and what a person is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator

import pytest

from imperator.kernel.background import advice, command_of, end_holders


@pytest.fixture
def holder() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that holds a socket, and the socket's number."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(["sleep", "1000"], pass_fds=[theirs.fileno()], start_new_session=True)
        inode = os.fstat(theirs.fileno()).st_ino
    yield process, inode
    process.kill()
    process.wait()


def test_who_holds_it_is_ended_and_nobody_else(holder: tuple[subprocess.Popen[bytes], int]) -> None:
    process, inode = holder
    assert end_holders(inode) == [process.pid]
    assert process.wait(20) == -signal.SIGTERM


def test_nobody_holds_it(holder: tuple[subprocess.Popen[bytes], int]) -> None:
    process, _ = holder
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert end_holders(os.fstat(theirs.fileno()).st_ino) == []  # but we do, and are spared
    assert process.poll() is None


def test_a_process_that_has_ended_still_has_a_name() -> None:
    process = subprocess.Popen(["sleep", "0"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert command_of(process.pid) == "sleep"
    pid = process.pid
    process.wait()
    assert command_of(pid) == ""


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("nginx", 'say nginx -g "daemon off;"'),
        ("php-fpm8.2", "say php-fpm --nodaemonize"),
        ("stranger", "look for its option 'foreground' or 'no daemon'"),
        ("", "look for its option 'foreground' or 'no daemon'"),
    ],
)
def test_what_to_do(program: str, expected: str) -> None:
    assert advice(program) == expected
