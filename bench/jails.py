"""What a jail costs: starting in all namespaces beside starting in none, and the network between two of them.

Needs root. Everything happens in a network namespace of its own: nothing of the host's network is touched.
"""

from __future__ import annotations

import ctypes
import os
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from bench.emperors import reigning
from bench.goals import Figures
from bench.reports import Reports
from imperator.kernel.bridge import link_address
from imperator.kernel.interfaces import configure, raise_interface

_NETWORK = 0x40000000
_SOURCE = Path(__file__).parent / "vassal.c"
_libc = ctypes.CDLL(None, use_errno=True)
ALL = "fs,ipc,pid,uts,user"
"""And ``net``, by ``vassal-net``."""
SECONDS = 3.0
CHUNK = 1 << 20


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{os.strerror(ctypes.get_errno())} (root is needed)")


@contextmanager
def apart() -> Iterator[None]:
    """This thread, and what it starts, in a new network namespace."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.unshare(_NETWORK))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        raise_interface(control, "lo")
    try:
        yield
    finally:
        _check(_libc.setns(before, _NETWORK))
        os.close(before)


def build_vassal(root: Path) -> Path:
    vassal = root / "bench-vassal"
    subprocess.run(["gcc", "-O2", "-static", "-o", str(vassal), str(_SOURCE)], check=True)
    return vassal


# -- starting


def jail_spawn(root: Path) -> Figures:
    """From a new file to the vassal's first instruction, without namespaces and with all; in turns, three times."""
    reports, vassal = Reports(root), build_vassal(root)
    waits: dict[str, list[float]] = {"plain": [], "jailed": []}
    with apart():
        for _ in range(3):
            waits["plain"] += _starts(root, vassal, reports)
            jailed = ("--emperor-use-clone", ALL, "--vassal-net", "bridge")
            waits["jailed"] += _starts(root, vassal, reports, *jailed)
    plain, jailed_ms = (statistics.median(waits[kind]) * 1e3 for kind in ("plain", "jailed"))
    return {"plain p50 ms": plain, "jailed p50 ms": jailed_ms, "times": jailed_ms / plain}


def _starts(root: Path, vassal: Path, reports: Reports, *options: str) -> list[float]:
    directory = root / "jails"
    directory.mkdir(exist_ok=True)
    waits = []
    reports.drain()
    with reigning("imperator", directory, vassal, reports.path, *options):
        (directory / "first.ini").write_text("[uwsgi]\n")
        reports.next("start")
        time.sleep(1)
        for number in range(60):
            time.sleep(0.03)
            file = directory / f"v{number}.ini"
            file.write_text("[uwsgi]\n")
            written = time.monotonic()
            waits.append(reports.next("start", file.name).at - written)
    for file in directory.iterdir():
        file.unlink()
    return waits


# -- throughput


def vassal_net(root: Path) -> Figures:
    """TCP from one jail to another: over the bridge of vassal-net, and over a veth pair and nothing else; in turns."""
    figures: dict[str, list[float]] = {"plain veth": [], "vassal-net": []}
    for _ in range(3):
        figures["plain veth"].append(_between_a_plain_pair())
        figures["vassal-net"].append(_between_two_vassals(root))
    plain, ours = (statistics.median(figures[kind]) for kind in ("plain veth", "vassal-net"))
    return {"plain Gbit/s": plain, "ours Gbit/s": ours, "share of plain": ours / plain}


def _between_two_vassals(root: Path) -> float:
    directory = root / "jails"
    directory.mkdir(exist_ok=True)
    for name in ("a.ini", "b.ini"):
        (directory / name).write_text("[uwsgi]\n")
    program = root / "jailed"
    program.write_text(
        "#!/bin/sh\n"
        f'echo "$$ $IMPERATOR_NET_ADDRESS" > "{root}/$$.new" && mv "{root}/$$.new" "{root}/$$.started"\n'
        "exec sleep 1000\n"
    )
    program.chmod(0o755)
    with apart(), reigning("imperator", directory, program, None, "--vassal-net", "bridge"):
        vassals: list[tuple[int, str]] = []
        while len(vassals) < 2:
            time.sleep(0.05)
            vassals = [(int(p), a) for p, a in (f.read_text().split() for f in root.glob("*.started"))]
        (first, _), (second, address) = vassals
        speed = _measure(f"/proc/{first}/ns/net", f"/proc/{second}/ns/net", address)
    for file in (*root.glob("*.started"), *directory.iterdir()):
        file.unlink()
    return speed


def _between_a_plain_pair() -> float:
    from pyroute2 import IPRoute

    address, other = IPv4Address("10.90.0.2"), IPv4Address("10.90.0.1")
    with apart():
        there = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            with apart():
                here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
                with IPRoute() as routes:
                    peer = {"ifname": "eth0", "net_ns_fd": there, "address": link_address(address).hex(":")}
                    routes.link("add", ifname="eth0", kind="veth", peer=peer)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
                    configure(own, "eth0", str(other), "255.255.0.0", None)
            configure(control, "eth0", str(address), "255.255.0.0", None)
        speed = _measure(f"/proc/self/fd/{here}", f"/proc/self/fd/{there}", str(address))
    os.close(here)
    os.close(there)
    return speed


def _measure(sender: str, receiver: str, address: str) -> float:
    """Gbit/s of TCP from one namespace to an address in another; each end is a process of its own."""
    listening = _socket_in(receiver)
    listening.bind((address, 0))
    listening.listen()
    client = _socket_in(sender)
    child = os.fork()
    if child == 0:
        connection, _ = listening.accept()
        listening.close()
        client.close()
        buffer = bytearray(CHUNK)
        while connection.recv_into(buffer):
            pass
        os._exit(0)
    client.connect(listening.getsockname())
    listening.close()
    data, sent = bytes(CHUNK), 0
    started = time.monotonic()
    while time.monotonic() < started + SECONDS:
        sent += client.send(data)
    client.close()
    os.waitpid(child, 0)
    return sent * 8 / 1e9 / (time.monotonic() - started)


def _socket_in(namespace: str) -> socket.socket:
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(fd, _NETWORK))
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        _check(_libc.setns(before, _NETWORK))
    finally:
        os.close(fd)
        os.close(before)
    return made
