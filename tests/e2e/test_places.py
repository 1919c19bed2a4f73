"""Where an Emperor lives: under systemd, in a container, under another Emperor, in a terminal, as an ordinary user."""

from __future__ import annotations

import fcntl
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import IMPERATOR, Empire
from .stage import PATIENCE, Stage
from .test_contract import ORIGINAL


class Manager:
    """What a service manager hears."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0"))
        self._socket.settimeout(PATIENCE)
        self.heard: list[str] = []

    def expect(self, beginning: str) -> dict[str, str]:
        """The next message that has a line with this beginning, as its assignments."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert time.monotonic() < deadline, self.heard
            message = self._socket.recv(65536).decode()
            self.heard.append(message)
            if any(line.startswith(beginning) for line in message.splitlines()):
                return dict(line.split("=", 1) for line in message.splitlines())

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, open_path: Path) -> Iterator[tuple[Manager, str]]:
    address = str(open_path / "notify") if request.param == "path" else f"@imperator-notify-{os.getpid()}"
    manager = Manager(address)
    yield manager, address
    manager.close()


# -- systemd


def test_what_systemd_is_told(manager: tuple[Manager, str], reign: Reign, stage: Stage, vassals: Path) -> None:
    systemd, address = manager
    (vassals / "a.ini").write_text("[uwsgi]\n")
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "400000"}
    empire = reign(environment=environment)
    assert systemd.expect("READY=1")["STATUS"] == "The Emperor is governing 1 vassals"
    puppet = stage.next("a.ini")
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"} & puppet.environ.keys()
    (vassals / "b.ini").write_text("[uwsgi]\n")
    systemd.expect("STATUS=The Emperor is governing 2 vassals")
    for _ in range(3):
        systemd.expect("WATCHDOG=1")
    empire.send(signal.SIGHUP)
    reloading = systemd.expect("RELOADING=1")
    assert abs(int(reloading["MONOTONIC_USEC"]) / 1e6 - time.monotonic()) < PATIENCE
    systemd.expect("READY=1")
    empire.send(signal.SIGTERM)
    systemd.expect("STOPPING=1")


def test_sockets_from_systemd(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Descriptors from 3 on, with names; one that nobody asked for is closed, and told."""
    statistics, stranger = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    port = statistics.getsockname()[1]
    (vassals / "a.ini").write_text("[uwsgi]\n")
    # As systemd does it: the number of the process that is meant is known only after the fork.
    script = (
        f"import os, sys; os.dup2({statistics.fileno()}, 100); os.dup2({stranger.fileno()}, 101); "
        "os.dup2(100, 3); os.dup2(101, 4); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.executable, [sys.executable, '-m', 'imperator', *sys.argv[1:]])"
    )
    empire = reign(
        program=[sys.executable, "-c", script],
        environment={"LISTEN_FDS": "2", "LISTEN_FDNAMES": "stats:stranger"},
        pass_fds=[statistics.fileno(), stranger.fileno()],
    )
    empire.expect("stranger")
    puppet = stage.next("a.ini")
    assert set(puppet.fds) == {0, 1, 2, 3}
    assert not {"LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"} & puppet.environ.keys()
    statistics.close()
    stranger.close()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        assert b'"a.ini"' in b"".join(iter(lambda: connection.recv(65536), b""))


# -- a container


@pytest.fixture
def container() -> list[str]:
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], check=False, stderr=-3).returncode != 0:
        pytest.skip("no namespaces can be made here")
    return command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGPWR, signal.SIGRTMIN + 3])
def test_process_one(number: int, container: list[str], reign: Reign, stage: Stage, vassals: Path) -> None:
    """It reaps what its vassals leave behind, and takes what container managers send for an end."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign(program=[*container, *IMPERATOR])
    empire.expect(r"\(pid 1, uid ")
    puppet = stage.next("a.ini")
    puppet.say(5, 17)
    emperor = empire.children()[0]
    orphan = puppet.orphan()
    empire.expect_child_gone(emperor, orphan)
    os.kill(emperor, number)
    assert puppet.expect_byte() == 0
    assert empire.process.wait(PATIENCE) == 0


# -- another Emperor


@pytest.mark.parametrize("program", [IMPERATOR, ORIGINAL], ids=["ours", "the original"])
def test_under_another_emperor(
    program: tuple[str, ...], reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    """Started, ready, loyal, reloaded and stopped like any vassal; and nobody's vassals outlive it."""
    inner = open_path / "inner"
    inner.mkdir()
    (inner / "a.ini").write_text("[uwsgi]\n")
    wrapper = open_path / "imperator"
    wrapper.write_text(f'#!/bin/sh\nexec {" ".join(IMPERATOR)} --binary-path {stage.binary} "$@"\n')
    wrapper.chmod(0o755)
    file = vassals / "sub.ini"
    file.write_text(f"[uwsgi]\nemperor = {inner}\n")
    outer = reign(program=program, binary=wrapper)
    puppet = stage.next("a.ini")
    puppet.say(1, 5, 17)
    if program == IMPERATOR:
        outer.expect_state("sub.ini", ready=1, accepting=1, loyal=1)
    else:
        outer.expect("sub.ini is now loyal")
    os.utime(file, (time.time() + 10, time.time() + 10))  # the original looks at whole seconds, and for newer ones only
    assert puppet.expect_byte() == 1
    file.unlink()
    assert puppet.expect_byte() == 0
    puppet.expect_gone()


# -- a terminal, an ordinary user


def test_in_a_terminal(reign: Reign, stage: Stage, vassals: Path) -> None:
    """Ctrl-C is for the Emperor alone: its vassals are told by it."""
    (vassals / "a.ini").write_text("[uwsgi]\n")
    master, slave = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    empire = reign(stdin=slave, stdout=slave, stderr=slave, preexec_fn=own_terminal)
    os.close(slave)
    puppet = stage.next("a.ini")
    puppet.catch(signal.SIGINT)
    puppet.say(17)
    empire.expect_state("a.ini", loyal=1)
    os.write(master, b"\x03")
    assert puppet.expect_byte() == 0
    assert empire.process.wait(PATIENCE) == 0
    puppet.expect_gone()
    assert not puppet.heard("signal")
    os.close(master)


def test_an_ordinary_user(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire: Empire = reign(user=54321, group=54321, extra_groups=[])
    puppet = stage.next("a.ini")
    assert puppet.given["uids"] == [54321] * 3
    puppet.say(1, 5, 17)
    assert empire.expect_state("a.ini", loyal=1)["pid"] == puppet.pid
    file.write_text("[uwsgi]\nx = y\n")
    assert puppet.expect_byte() == 1
    file.unlink()
    assert puppet.expect_byte() == 0
    assert empire.stop() == 0


def test_an_ordinary_user_cannot_be_a_tyrant(as_root: None, reign: Reign, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 1234, 1234)
    empire = reign("--emperor-tyrant", user=54321, group=54321, extra_groups=[])
    empire.expect("a.ini .*cannot become uid 1234.*Operation not permitted .tyrant mode needs root")
