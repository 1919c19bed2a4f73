"""Who listens on an address: proc_pid_net(5), proc_pid_fd(5), SO_PEERCRED in unix(7). For messages to a person.

What may not be read is passed over: a process of another user is then not named.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LISTEN: Final = "0A"
"""TCP_LISTEN in the ``st`` column."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that holds an address."""

    pid: int
    command: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.command})" if self.command else f"pid {self.pid}"


def holder_of_port(port: int) -> Holder | None:
    """The process that listens on a TCP port of this network namespace, on any address."""
    inodes = {f"socket:[{inode}]" for table in ("tcp", "tcp6") for inode in _listening_inodes(table, port)}
    if not inodes:
        return None
    for directory in Path("/proc").iterdir():
        if directory.name.isdecimal() and not inodes.isdisjoint(_descriptors(directory)):
            return _holder(int(directory.name))
    return None


def holder_of_unix(where: str) -> Holder | None:
    """The process that listens on a UNIX socket (the address that socket.connect takes)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(where)
        except OSError:
            return None
        pid, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return _holder(pid) if pid else None


def _listening_inodes(table: str, port: int) -> Iterator[str]:
    try:
        lines = Path("/proc/self/net", table).read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state, *rest = line.split()
        if state == _LISTEN and int(local.rpartition(":")[2], 16) == port:
            yield rest[5]


def _descriptors(process: Path) -> Iterator[str]:
    try:
        names = os.listdir(process / "fd")
    except OSError:  # another user's, or gone
        return
    for name in names:
        try:
            yield os.readlink(process / "fd" / name)
        except OSError:
            continue


def _holder(pid: int) -> Holder:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        command = b" ".join(words).decode(errors="backslashreplace").strip()
    except OSError:
        command = ""
    return Holder(pid, command if len(command) <= 120 else command[:119] + "…")
