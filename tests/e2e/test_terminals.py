"""The forkpty router: a person's client on one side, a shell on the other, in both protocols."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imperator.instance.terminals import Packets

from .terminal_client import Client

PATIENCE = 20.0


def packet(kind: int, value: bytes | int) -> bytes:
    size = value if isinstance(value, int) else len(value)
    return struct.pack("<BHB", 0, size, kind) + (b"" if isinstance(value, int) else value)


@given(
    st.lists(
        st.one_of(st.tuples(st.just(0), st.binary(max_size=50)), st.tuples(st.integers(1, 255), st.integers(0, 65535)))
    ),
    st.integers(1, 20),
)
def test_packets_come_whole_however_they_are_cut(wanted: list[tuple[int, bytes | int]], piece: int) -> None:
    data = b"".join(packet(kind, value) for kind, value in wanted)
    packets = Packets()
    got = [one for start in range(0, len(data), piece) for one in packets.feed(data[start : start + piece])]
    assert [(kind, text if kind == 0 else value) for kind, value, text in got] == wanted


@contextmanager
def router(tmp_path: Path, *options: str) -> Iterator[tuple[Path, Path, subprocess.Popen[str]]]:
    raw, uwsgi = tmp_path / "raw", tmp_path / "uwsgi"
    command = [sys.executable, "-m", "imperator.instance.terminals", "--raw", str(raw), "--uwsgi", str(uwsgi), *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        for path in (raw, uwsgi):
            Client(path).socket.close()
        yield raw, uwsgi, process
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        assert not raw.exists()
        assert not uwsgi.exists()
    finally:
        process.kill()
        process.communicate()


def test_raw(tmp_path: Path) -> None:
    with router(tmp_path, "--rows", "31", "--columns", "97") as (raw, _, _):
        client = Client(raw)
        client.shown("[$#] $")
        client.socket.sendall(b"stty size; tty\n")
        client.shown("31 97\r\n/dev/pts/.*[$#] $")
        client.socket.sendall(b"exit\n")
        client.closed()


def test_uwsgi_with_a_window_and_signals(tmp_path: Path) -> None:
    with router(tmp_path) as (_, uwsgi, _):
        client = Client(uwsgi)
        client.shown("[$#] $")
        client.socket.sendall(packet(100, 40) + packet(101, 120) + packet(0, b"stty size\n"))
        client.shown("40 120\r\n.*[$#] $")
        client.socket.sendall(packet(0, b"trap 'echo caught' USR1; echo rea''dy\n"))
        client.shown("ready\r\n.*[$#] $")
        client.socket.sendall(packet(signal.SIGUSR1, 0) + packet(0, b"\n"))
        client.shown("caught")
        client.socket.close()


def test_many_at_once_and_each_its_own(tmp_path: Path) -> None:
    with router(tmp_path) as (raw, _, _):
        clients = [Client(raw) for _ in range(10)]
        for number, client in enumerate(clients):
            client.socket.sendall(f"x={number}; echo is$x\n".encode())
        for number, client in enumerate(clients):
            client.shown(f"is{number}\r\n")


def test_who_hangs_up_ends_the_command(tmp_path: Path) -> None:
    with router(tmp_path) as (raw, _, _):
        client = Client(raw)
        client.socket.sendall(b"echo my$$\n")
        pid = int(re.sub(r"\D", "", client.shown(r"my\d+\r\n").rsplit("my")[-1]))
        client.socket.close()
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{pid}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)


def test_one_that_does_not_read_holds_up_nobody_and_loses_nothing(tmp_path: Path) -> None:
    with router(tmp_path, "--command", "seq 1 300000") as (raw, _, _):
        lazy, other = Client(raw), Client(raw)
        assert other.closed().split() == [str(number) for number in range(1, 300001)]
        assert lazy.closed().split() == [str(number) for number in range(1, 300001)]


@pytest.mark.parametrize("command", ["/no/such/program", "'unfinished"])
def test_a_command_that_is_not_there_is_named(tmp_path: Path, command: str) -> None:
    with router(tmp_path, "--command", command) as (raw, _, _):
        assert command in Client(raw).closed()


def test_a_socket_that_cannot_be_had(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "imperator.instance.terminals", "--raw", str(tmp_path / "no" / "such")]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"forkpty-router: cannot open {tmp_path}/no/such: No such file or directory\n"


def test_the_socket_is_the_users_alone(tmp_path: Path) -> None:
    with router(tmp_path) as (raw, uwsgi, _):
        Client(uwsgi)
        assert [path.stat().st_mode & 0o777 for path in (raw, uwsgi)] == [0o600, 0o600]
