"""How many packets the tuntap router passes on: from one device's stream to the host, and through it to another's.

Needs root. Everything happens in a network namespace of its own. The two ends are processes that do nothing but send
and count, so the figure is the router's.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from bench.emperors import as_installed
from bench.goals import Figures
from bench.jails import apart
from imperator.kernel.interfaces import configure
from imperator.kernel.tuntap import framed

SECONDS = 4.0
_SO_RCVBUFFORCE = 33
BATCH = 32
SIZE = 200
"""Bytes of each packet."""


def tuntap_router(root: Path) -> Figures:
    """Packets a second that arrive: at the host, and, passing the router twice, at another device."""
    path = root / "tuntap.socket"
    directory = root / "nobody"
    directory.mkdir(exist_ok=True)
    with apart(), open(root / "tuntap.log", "ab") as log:
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        command = [sys.executable, "-m", "imperator", "--emperor", str(directory), "--tuntap-router", f"bench0 {path}"]
        emperor = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=as_installed())
        try:
            first = _connect(path)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                configure(control, "bench0", "10.90.0.1", "255.255.255.0", None)
            to_host = _to_host(first)
            second = _connect(path)
            second.sendall(framed(_packet("10.90.0.3", "10.90.0.1")))
            return {"to the host/s": to_host, "device to device/s": _to_device(first, second)}
        finally:
            emperor.send_signal(signal.SIGTERM)
            emperor.wait()


def _connect(path: Path) -> socket.socket:
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            time.sleep(0.05)


def _packet(source: str, destination: str) -> bytes:
    udp = struct.pack("!HHHH", 7, 7, SIZE - 20, 0) + bytes(SIZE - 28)
    addresses = map(socket.inet_aton, (source, destination))
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, SIZE, 1, 0, 64, 17, 0, *addresses)
    total: int = sum(struct.unpack("!10H", head))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~total & 0xFFFF) + head[12:] + udp


def _sending(sock: socket.socket, destination: str) -> int:
    """A process that sends as fast as the router takes it."""
    child = os.fork()
    if child == 0:
        data = framed(_packet("10.90.0.2", destination)) * BATCH
        while True:
            sock.sendall(data)
    return child


def _to_host(device: socket.socket) -> float:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 24)
        sink.bind(("10.90.0.1", 7))
        child = _sending(device, "10.90.0.1")
        try:
            sink.recv(SIZE)
            started, count = time.monotonic(), 0
            while time.monotonic() < started + SECONDS:
                for _ in range(100):
                    sink.recv(SIZE)
                count += 100
            return count / (time.monotonic() - started)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _to_device(first: socket.socket, second: socket.socket) -> float:
    child = _sending(first, "10.90.0.3")
    try:
        second.recv(1)
        started, size = time.monotonic(), 0
        while time.monotonic() < started + SECONDS:
            size += len(second.recv(1 << 18))
        return size / (SIZE + 4) / (time.monotonic() - started)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
