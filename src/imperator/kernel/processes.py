"""Our own children: wait for them, signal them, and never mistake one for another.

The number of a child that has not been reaped is given to nobody else, nor is the number of the process group that it
leads. So the parent, and only the parent, may use pids; everybody else needs a pidfd (pidfd_open(2)).
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_SYS_SETRESUID = {"x86_64": 117, "aarch64": 147, "riscv64": 147, "loongarch64": 147, "ppc64le": 164}

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: exactly one of ``code`` and ``signal`` is set."""

    code: int | None
    signal: int | None


def ending_of(result: os.waitid_result) -> Ending:
    """Read what waitid(2) says."""
    if result.si_code == os.CLD_EXITED:
        return Ending(result.si_status, None)
    return Ending(None, result.si_status)


def reap(pid: int) -> Ending | None:
    """Take the status of a child that has ended; ``None``: it still runs, or somebody else took it. waitid(2)."""
    try:
        result = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return None
    return None if result is None else ending_of(result)


def children() -> list[int]:
    """The pids of our children, unreaped ones too, from the stat of every process (proc_pid_stat(5)): slow."""
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    parent = file.read().rpartition(b")")[2].split()[1]
            except OSError:  # it has ended meanwhile
                continue
            if int(parent) == own:
                found.append(int(name))
    return found


def holds_one_of(pid: int, inodes: Container[int]) -> int | None:
    """Which of these sockets a process has open; ``None``: none of them, or it has ended, or may not be looked at."""
    try:
        with os.scandir(f"/proc/{pid}/fd") as fds:
            for fd in fds:
                what = os.readlink(fd)
                if what.startswith("socket:[") and (inode := int(what[8:-1])) in inodes:
                    return inode
    except OSError:
        return None
    return None


def has_ended(pid: int) -> bool:
    """Whether a child has ended and is not reaped."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def next_ended_child() -> int | None:
    """The pid of a child that has ended and is not reaped, and which stays so; ``None``: there is none."""
    try:
        result = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if result is None else result.si_pid


def send_signal(pid: int, number: int) -> None:
    """kill(2) a child that has not been reaped; one that has ended already does not mind.

    Raises PermissionError where it has become another user, and we may neither signal it nor become that user.
    """
    _allowed(pid, lambda: os.kill(pid, number))


def ignores_as_init(pid: int, number: int) -> bool:
    """Whether the kernel keeps this signal from a process because it is process 1 of its pid namespace.

    Such a one gets only what it has a handler for, though anybody else would end of it: pid_namespaces(7).
    """
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            status = dict(line.split(b":", 1) for line in file)
    except OSError:
        return False
    numbers = status.get(b"NSpid", b"").split()
    if len(numbers) < 2 or numbers[-1] != b"1":
        return False
    return not int(status[b"SigCgt"], 16) >> (number - 1) & 1


def kill_group(pid: int) -> None:
    """SIGKILL the whole process group that the child ``pid``, not reaped, leads. Raises as :func:`send_signal`."""
    try:
        _allowed(pid, lambda: os.killpg(pid, signal.SIGKILL))
    except ProcessLookupError:  # it leads none: it has not come as far as setsid(2)
        _allowed(pid, lambda: os.kill(pid, signal.SIGKILL))


def _allowed(pid: int, send: Callable[[], None]) -> None:
    """Send a signal; where that is refused, as the user whom the process belongs to.

    Root may signal everybody. A tyrant that has kept CAP_SETUID and nothing else may not, but it may be anybody.
    """
    try:
        send()
    except PermissionError:
        with _as_user_of(pid):
            send()


@contextmanager
def _as_user_of(pid: int) -> Iterator[None]:
    """This thread, and no other, is that user for the moment: setresuid(2) as the kernel has it, credentials(7)."""
    own = os.geteuid()
    with open(f"/proc/{pid}/status", "rb") as status:
        uid = next(int(line.split()[1]) for line in status if line.startswith(b"Uid:"))
    _set_effective_user(uid)
    try:
        yield
    finally:
        _set_effective_user(own)


def _set_effective_user(uid: int) -> None:
    number = _SYS_SETRESUID.get(os.uname().machine)
    if number is None or _libc.syscall(number, -1, uid, -1) != 0:
        raise PermissionError(errno.EPERM, f"it belongs to uid {uid}: cap = kill, or setuid, is needed to signal it")


def become_subreaper() -> None:
    """Orphans among our descendants become our children (prctl(2), PR_SET_CHILD_SUBREAPER)."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"PR_SET_CHILD_SUBREAPER: {os.strerror(code)}")


def set_process_name(name: str) -> None:
    """What ps and top show as the command: 15 bytes for the kernel's short name (prctl(2), PR_SET_NAME)."""
    _libc.prctl(_PR_SET_NAME, name.encode(errors="surrogateescape")[:15], 0, 0, 0)
