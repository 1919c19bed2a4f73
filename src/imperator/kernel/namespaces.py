"""Leaving the host's namespaces: unshare(2), user_namespaces(7), mount_namespaces(7), pid_namespaces(7), chroot(2).

Python 3.11 has no ``os.unshare``, so the C library is called. Every function changes the calling process, which must
have one thread only, and raises OSError with the reason for a person.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

NAMESPACES: Final = {
    "fs": 0x00020000,
    "mnt": 0x00020000,
    "mount": 0x00020000,
    "ns": 0x00020000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
    "files": 0,
    "io": 0,
    "parent": 0,
    "sysvsem": 0,
}
"""What people write, and its CLONE_… flag (sched.h); 0: a word of the original's that changes nothing here."""
MOUNTS: Final = NAMESPACES["fs"]
USERS: Final = NAMESPACES["user"]
PIDS: Final = NAMESPACES["pid"]
NETWORK: Final = NAMESPACES["net"]

_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "loongarch64": 41, "ppc64le": 203}
_PR_SET_PDEATHSIG: Final = 1
_PR_GET_PDEATHSIG: Final = 2

_libc = ctypes.CDLL(None, use_errno=True)


def flags_of(names: Iterable[str]) -> int:
    """The flags of namespaces given by name. Raises :class:`LookupError` that lists the names."""
    flags = 0
    for name in names:
        if name not in NAMESPACES:
            raise LookupError(f"there is no namespace {name!r}: it is one of {', '.join(NAMESPACES)}")
        flags |= NAMESPACES[name]
    return flags


def unshare(flags: int) -> None:
    """Leave the namespaces of ``flags``. A new pid namespace takes in only the children that come after.

    In a new user namespace root keeps every id as it is; anybody else becomes root there, and knows nobody else.
    """
    uid, gid = os.geteuid(), os.getegid()
    if flags & USERS and uid == 0:
        _unshare_as_root(flags)
    else:
        _check(_libc.unshare(ctypes.c_int(flags)), "unshare")
        if flags & USERS:
            Path("/proc/self/setgroups").write_text("deny")  # the kernel demands it before an unprivileged gid_map
            _write_maps("self", f"0 {uid} 1", f"0 {gid} 1")
    if flags & MOUNTS:
        # On most hosts every mount is shared: without this, what is mounted here would appear there too.
        _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "making the mounts private")


def _unshare_as_root(flags: int) -> None:
    """A map of more than one id is written by a process that stayed outside: user_namespaces(7)."""
    start, started = os.pipe()
    outside = os.fork()
    if outside == 0:
        os.close(started)
        try:
            if os.read(start, 1):
                _write_maps(str(os.getppid()), "0 0 4294967295", "0 0 4294967295")
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    os.close(start)
    with os.fdopen(started, "wb", buffering=0) as pipe:
        try:
            _check(_libc.unshare(ctypes.c_int(flags)), "unshare")
            pipe.write(b"!")
        finally:
            pipe.close()
            code = os.waitstatus_to_exitcode(os.waitpid(outside, 0)[1])
    if code != 0:
        raise OSError(code, f"mapping the ids of the new user namespace: {os.strerror(code)}")


def _write_maps(pid: str, uids: str, gids: str) -> None:
    Path(f"/proc/{pid}/uid_map").write_text(uids)
    Path(f"/proc/{pid}/gid_map").write_text(gids)


def change_root(path: str) -> bool:
    """Make ``path`` the root. A working directory outside of it becomes ``/``, which is said by True: chroot(2)."""
    os.chroot(path)
    if _is_reachable():
        return False
    os.chdir("/")
    return True


def pivot_root(new: str, put_old: str) -> None:
    """Make the mount ``new`` the root; the old one is found in ``put_old``, a directory below. pivot_root(2)."""
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "making the mounts private")
    os.chdir(new)
    number = _SYS_PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "not on this kind of machine")
    _check(_libc.syscall(number, b".", os.fsencode(put_old.lstrip("/"))), "pivot_root")
    os.chdir("/")


def _is_reachable() -> bool:
    try:
        return os.getcwd().startswith("/")  # the kernel says "(unreachable)/…" of one outside, glibc ENOENT
    except FileNotFoundError:
        return False


def parent_death_signal() -> int:
    """The signal that this process gets when its parent dies; 0: none. PR_GET_PDEATHSIG(2const)."""
    signal = ctypes.c_int()
    _check(_libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0), "prctl")
    return signal.value


def set_parent_death_signal(signal: int) -> None:
    """PR_SET_PDEATHSIG(2const). The kernel forgets it when the process changes its user."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal), 0, 0, 0), "prctl")


def _check(result: int, what: str) -> None:
    if result == 0:
        return
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}{_HINTS.get(number, '')}")


_HINTS: Final = {
    errno.EPERM: " (needs root or CAP_SYS_ADMIN, and a container may forbid it even to root)",
    errno.EINVAL: " (this kernel was built without it, or the process has threads)",
    errno.ENOSPC: " (the limit in /proc/sys/user/max_*_namespaces is reached)",
    errno.EUSERS: " (too many user namespaces within each other)",
}
