"""``imperator shell``: a look inside a vassal, as what the vassal is."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import IMPERATOR, Empire
from .stage import PATIENCE, Stage

pytestmark = pytest.mark.usefixtures("as_root")


def shell(empire: Empire, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*IMPERATOR, "shell", "--pid", str(empire.pid), *words]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )


def test_it_is_where_and_who_the_vassal_is(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "tenant.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 20001, 20001)
    empire = reign(
        "--emperor-tyrant", "--emperor-use-clone", "fs,net,ipc,pid,uts", environment={"COLOUR": "red"}
    ).ready()
    puppet = stage.next("tenant.ini")
    what = ["id -u", "id -g", "id -G", "pwd", "echo $COLOUR$UWSGI_EMPEROR_FD", "readlink /proc/self/ns/net"]
    script = "; ".join([*what, "ls -x /proc/self/fd", "cat /proc/self/status"])
    done = shell(empire, "tenant.ini", "sh", "-c", script)
    uid, gid, groups, directory, colour, net, fds, *status = done.stdout.splitlines()
    assert (uid, gid, groups, directory, colour) == ("20001", "20001", "20001", str(vassals), "red")
    assert net == puppet.given["namespaces"]["net"]
    assert fds.split() == ["0", "1", "2", "3"]  # 3 is ls's own
    assert "CapPrm:\t0000000000000000" in status
    assert done.returncode == 0


def test_the_exit_code_is_the_commands(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", "pid").ready()
    stage.next("a.ini")
    assert shell(empire, "a.ini", "sh", "-c", "exit 7").returncode == 7
    assert shell(empire, "a.ini", "sh", "-c", "kill -9 $$").returncode == 128 + signal.SIGKILL
    missing = shell(empire, "a.ini", "/no/such/program")
    assert (missing.returncode, missing.stderr) == (
        125,
        "imperator shell: /no/such/program: No such file or directory\n",
    )


def test_who_is_not_there(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-wait-for-command", "--emperor-command-socket", str(vassals.parent / "orders")).ready()
    assert "there is no vassal b.ini" in shell(empire, "b.ini").stderr
    down = shell(empire, "a.ini")
    assert down.returncode == 125
    assert "a.ini has no process at the moment: waits for the spawn command" in down.stderr


def test_another_user_cannot(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign().ready()
    stage.next("a.ini")
    command = ["/usr/bin/env", *IMPERATOR, "shell", "--pid", str(empire.pid), "a.ini"]
    done = subprocess.run(
        command, user=20001, group=20001, extra_groups=[], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0


@contextmanager
def terminal(empire: Empire, *words: str) -> Iterator[tuple[int, int]]:
    """A person at a terminal who types the command: its pid, and our end of the terminal."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execv(IMPERATOR[0], [*IMPERATOR, "shell", "--pid", str(empire.pid), *words])
    try:
        yield pid, fd
    finally:
        os.close(fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def shown(fd: int, pattern: str) -> str:
    """What the terminal shows up to the pattern."""
    text, deadline = "", time.monotonic() + PATIENCE
    while not re.search(pattern, text, re.DOTALL):
        assert select.select([fd], (), (), deadline - time.monotonic())[0], f"never seen {pattern!r}: {text!r}"
        text += os.read(fd, 4096).decode(errors="replace")
    return text


def resize(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


def test_at_a_terminal(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", "fs,pid,uts").ready()
    stage.next("a.ini")
    with terminal(empire, "a.ini", "sh") as (pid, fd):
        os.write(fd, b"echo rea''dy; tty\n")
        shown(fd, "ready\r\n/dev/pts/.*# $")
        resize(fd, 33, 111)
        os.kill(pid, signal.SIGWINCH)
        os.write(fd, b"until stty size | grep '33 111'; do :; done\n")
        shown(fd, "33 111\r\n.*# $")
        os.write(fd, b"sh -c \"echo beg''un; exec sleep 1000\"\n")  # its words, not the echo of ours: it is in front
        shown(fd, "\r\nbegun\r\n")
        os.write(fd, b"\x03")
        shown(fd, "# $")
        os.write(fd, b"exit 5\n")
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        assert ended.si_status == 5
