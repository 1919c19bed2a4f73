"""Becoming what another process is: its namespaces, root, directory, user, bounds (setns(2), pidfd_open(2), proc(5)).

For a look inside a vassal. Everything that is needed is opened or read while we are still outside, by a pidfd that was
checked to be the vassal's; then it is entered, once, by a process with a single thread. There is no way back.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from typing import Final

from imperator.kernel.capabilities import Capabilities, bound_to, hold

_FLAGS: Final = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "net": 0x40000000,
    "pid": 0x20000000,
    "cgroup": 0x02000000,
}
_PR_SET_NO_NEW_PRIVS: Final = 38
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Insides:
    """What a process is, as far as it can be taken on. The descriptors are ours to close."""

    pidfd: int
    root: int
    directory: int
    namespaces: int
    """Flags of those that are not ours."""
    uid: int
    gid: int
    groups: tuple[int, ...]
    bounding: Capabilities
    no_new_privileges: bool
    environment: dict[bytes, bytes]

    @property
    def has_own_pids(self) -> bool:
        """Whoever enters has to fork to be in it: pid_namespaces(7)."""
        return bool(self.namespaces & _FLAGS["pid"])


def insides_of(pid: int) -> Insides:
    """Look at a process. Raises OSError: it has ended, or we may not look."""
    pidfd = os.pidfd_open(pid)
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        status = dict(line.split(":", 1) for line in file)
    with open(f"/proc/{pid}/environ", "rb") as environ:
        pairs = [entry.partition(b"=") for entry in environ.read().split(b"\0")]
    bits = int(status["CapBnd"], 16)
    return Insides(
        pidfd=pidfd,
        root=os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
        directory=os.open(f"/proc/{pid}/cwd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
        namespaces=_namespaces_of(pid),
        uid=int(status["Uid"].split()[1]),
        gid=int(status["Gid"].split()[1]),
        groups=tuple(map(int, status["Groups"].split())),
        bounding=frozenset(number for number in range(64) if bits >> number & 1),
        no_new_privileges=status.get("NoNewPrivs", "0").strip() == "1",
        environment={name: value for name, separator, value in pairs if separator},
    )


def _namespaces_of(pid: int) -> int:
    flags = 0
    for kind, flag in _FLAGS.items():
        theirs, ours = os.stat(f"/proc/{pid}/ns/{kind}"), os.stat(f"/proc/self/ns/{kind}")
        if (theirs.st_dev, theirs.st_ino) != (ours.st_dev, ours.st_ino):
            flags |= flag
    return flags


def enter_namespaces(insides: Insides) -> None:
    """All of them at once. A pid namespace takes in only the children that come after. Raises OSError."""
    if insides.namespaces and _libc.setns(insides.pidfd, insides.namespaces) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"its namespaces cannot be entered: {os.strerror(code)}")


def become(insides: Insides) -> None:
    """Its root and directory, its user and groups, and no right that it could not have. Raises OSError."""
    os.fchdir(insides.root)
    os.chroot(".")
    os.fchdir(insides.directory)
    bound_to(insides.bounding)
    os.setgroups(insides.groups)
    os.setresgid(insides.gid, insides.gid, insides.gid)
    os.setresuid(insides.uid, insides.uid, insides.uid)
    if insides.uid != 0:
        hold(frozenset())
    if insides.no_new_privileges and _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs cannot be set")
