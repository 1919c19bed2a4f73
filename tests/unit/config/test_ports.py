"""A port for each vassal: always the same one, unless somebody else has it."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from imperator.config.ports import COUNT, FIRST, candidates, claim, is_taken, port_for

NAMES = [f"/etc/uwsgi/vassals/app{number}.ini" for number in range(1000)]


def settle(names: list[str]) -> dict[str, int]:
    """Each is started in turn, and listens."""
    taken: dict[int, str] = {}
    for name in names:
        taken[port_for(name, taken.__contains__)] = name
    return {name: port for port, name in taken.items()}


def test_a_thousand_vassals_have_a_thousand_ports() -> None:
    ports = settle(NAMES)
    assert len(ports) == 1000
    assert all(FIRST <= port < FIRST + COUNT for port in ports.values())
    at_first = [name for name, port in ports.items() if port == next(candidates(name))]
    assert 900 < len(at_first) < 1000, "some share their first choice: the later one takes its next"


def test_they_are_the_same_every_day() -> None:
    assert settle(NAMES) == settle(NAMES)
    shuffled = settle(NAMES[::-1])
    moved = [name for name, port in settle(NAMES).items() if shuffled[name] != port]
    assert len(moved) < 100, "in another order, only those change that share their first choice"


def test_one_that_restarts_alone_finds_its_port_again() -> None:
    ports = settle(NAMES)
    for name, port in ports.items():
        others = {other for other in ports.values() if other != port}
        again = port_for(name, others.__contains__)
        assert again == port or again == next(candidates(name)), "the port of before, or the first choice became free"


def test_every_port_of_the_range_is_tried() -> None:
    assert sorted(candidates("x")) == list(range(FIRST, FIRST + COUNT))
    last = list(candidates("x"))[-1]
    assert port_for("x", lambda port: port != last) == last
    with pytest.raises(LookupError):
        port_for("x", lambda port: True)


def listening(family: socket.AddressFamily, address: str) -> socket.socket:
    """Somebody who listens on a port of the range."""
    for port in itertools.chain(candidates(f"{address} {family}")):
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.bind((address, port))
        except OSError:
            sock.close()
            continue
        sock.listen()
        return sock
    raise AssertionError("no port is free here")


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_what_another_process_listens_on_is_taken(family: socket.AddressFamily, address: str) -> None:
    if family == socket.AF_INET6 and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("there is no IPv6 here")
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        with listening(family, address) as sock:
            there.send(str(sock.getsockname()[1]).encode())
            there.recv(1)
        os._exit(0)
    port = int(here.recv(10))
    try:
        assert is_taken(port)
    finally:
        here.send(b".")
        os.waitpid(child, 0)
        here.close()
        there.close()
    assert not is_taken(port)


def test_what_we_listen_on_ourselves_is_ours() -> None:
    """As after a reload in place, which keeps the socket."""
    with listening(socket.AF_INET, "127.0.0.1") as sock:
        assert not is_taken(sock.getsockname()[1])


def test_of_two_that_start_at_once_one_takes_its_next_choice(tmp_path: Path) -> None:
    """Neither listens yet, so nothing but their claims tells them apart."""
    program = (
        "import sys\n"
        "from imperator.config.ports import claim, is_taken, port_for\n"
        "print(port_for(sys.argv[1], lambda port: is_taken(port) or not claim(port)), flush=True)\n"
        "sys.stdin.read()\n"
    )
    name = f"{tmp_path}: four vassals with the same first choice"
    starting = [
        subprocess.Popen([sys.executable, "-c", program, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    ports = []
    for process in starting:
        assert process.stdout is not None
        ports.append(int(process.stdout.readline()))
    assert len(set(ports)) == 4
    assert sorted(ports, key=list(candidates(name)).index) == [
        port for port in itertools.islice(candidates(name), 12) if port in ports
    ], "none went further than it had to"
    for process in starting:
        process.communicate()
        assert process.returncode == 0


def test_a_claim_ends_with_its_process() -> None:
    port = 1_000_000 + os.getpid()  # no port at all: claims are known by the number, and this one is nobody else's
    program = f"from imperator.config.ports import claim; print(claim({port}), claim({port}))"
    for _ in range(2):
        assert subprocess.check_output([sys.executable, "-c", program], text=True) == "True True\n"
    assert claim(port)
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False False\n"
