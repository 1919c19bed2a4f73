"""What a running process could reach, as the kernel tells it (proc(5)): rights, namespaces, sockets, what it may write.

Looked at from outside, by whoever may. What it may write is tried out by a process that has become like it
(:mod:`.entering`), with access(2): nothing is opened or changed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from imperator.kernel.capabilities import names_of
from imperator.kernel.entering import become, enter_namespaces, insides_of

_KINDS: Final = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")
_TCP_LISTENS: Final = "0A"
_UNIX_LISTENS: Final = 0x10000


@dataclass(frozen=True, slots=True)
class Exposure:
    """One process."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: tuple[str, ...]
    no_new_privileges: bool
    filtered: bool
    """A seccomp filter is on it."""
    namespaces: tuple[str, ...]
    """The kinds of which it has its own, seen from us."""
    sockets: tuple[str, ...]
    """The addresses at which it listens."""
    writable: tuple[str, ...]
    """Those of the paths asked about that it may write to."""


def exposure_of(pid: int, paths: Iterable[str]) -> Exposure:
    """Raises OSError: it has ended, or we may not look."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    bits = int(status["CapPrm"], 16)
    return Exposure(
        uid=int(status["Uid"].split()[1]),
        gid=int(status["Gid"].split()[1]),
        groups=tuple(map(int, status["Groups"].split())),
        capabilities=tuple(names_of(number for number in range(64) if bits >> number & 1)),
        no_new_privileges=status.get("NoNewPrivs") == "1",
        filtered=status.get("Seccomp") == "2",
        namespaces=tuple(kind for kind in _KINDS if _is_own(pid, kind)),
        sockets=tuple(sorted(_listening(pid))),
        writable=_writable(pid, tuple(paths)),
    )


def _is_own(pid: int, kind: str) -> bool:
    return os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")


def _listening(pid: int) -> set[str]:
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:  # closed meanwhile
            continue
        if match is not None:
            inodes.add(match[1])
    return {address for address, inode in _addresses(pid) if inode in inodes}


def _addresses(pid: int) -> Iterable[tuple[str, str]]:
    """Whatever listens in its network namespace, and the inode of each: proc_net(5)."""
    for name in ("tcp", "tcp6"):
        for fields in _rows(f"/proc/{pid}/net/{name}"):
            if fields[3] == _TCP_LISTENS:
                yield _host_and_port(fields[1]), fields[9]
    for fields in _rows(f"/proc/{pid}/net/unix"):
        if int(fields[3], 16) & _UNIX_LISTENS and len(fields) > 7:
            yield fields[7], fields[6]


def _rows(path: str) -> list[list[str]]:
    try:
        with open(path, encoding="ascii", errors="surrogateescape") as file:
            return [line.split() for line in file][1:]
    except FileNotFoundError:  # a kernel without IPv6
        return []


def _host_and_port(text: str) -> str:
    import socket

    host, _, port = text.partition(":")
    words = [bytes.fromhex(host[start : start + 8])[::-1] for start in range(0, len(host), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    shown = socket.inet_ntop(family, b"".join(words))
    return f"{shown}:{int(port, 16)}" if family == socket.AF_INET else f"[{shown}]:{int(port, 16)}"


def _writable(pid: int, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Asked in a process that has become like it. Raises OSError."""
    insides = insides_of(pid)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"!"
        try:
            os.close(reading)
            enter_namespaces(insides)
            become(insides)
            answer = b"".join(b"1" if os.access(path, os.W_OK) else b"0" for path in paths)
        except OSError as error:
            answer = b"!" + str(error.strerror).encode()
        finally:
            os.write(writing, answer or b"-")
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    for fd in (insides.pidfd, insides.root, insides.directory):
        os.close(fd)
    if answer.startswith(b"!"):
        raise OSError(0, answer[1:].decode() or "it cannot be entered")
    return tuple(path for path, digit in zip(paths, answer, strict=False) if digit == ord("1"))
