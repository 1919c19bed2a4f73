"""Changes to what a process sees of the file system, in a mount namespace of its own (mount_namespaces(7)).

Loaded by the spawner by its path. Everything raises OSError, with the path.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8

# The same numbers on every machine.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_OPEN_TREE_CLOEXEC = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_RDONLY = 1

_libc = ctypes.PyDLL(None, use_errno=True)


def private_tmp() -> None:
    """An empty directory in memory for each of the two, that anybody may write to."""
    for path in ("/tmp", "/var/tmp"):
        if os.path.isdir(path) and not os.path.islink(path):
            _mount("tmpfs", path, _MS_NOSUID | _MS_NODEV, "mode=1777", "vassal-private-tmp")


def hidden_proc() -> None:
    """A /proc that shows a process only to its own user, and to who may ptrace it (proc(5), ``hidepid``)."""
    try:
        _mount("proc", "/proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "hidepid=2", "vassal-hidden-proc")
    except PermissionError as error:
        text = f"{error.strerror} (in a user namespace it takes a pid namespace as well: emperor-use-clone = pid,user)"
        raise PermissionError(error.errno, text, error.filename) from None


def read_only(exceptions: Iterable[str]) -> None:
    """Every mount is read-only; ``exceptions`` are as they were before (a directory that cannot be written to too).

    Each of those is copied, and the copy put over what has become read-only: no mount ever gains a right by that.
    """
    copies = []
    for path in exceptions:
        flags = _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE
        copies.append((path, _check(_libc.syscall(_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), path)))
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    _check(_libc.syscall(_MOUNT_SETATTR, _AT_FDCWD, b"/", _AT_RECURSIVE, attributes, size), "/")
    for path, copy in copies:
        target = os.fsencode(path)
        _check(_libc.syscall(_MOVE_MOUNT, copy, b"", _AT_FDCWD, target, _MOVE_MOUNT_F_EMPTY_PATH), path)
        os.close(copy)


def _mount(kind: str, path: str, flags: int, data: str, option: str) -> None:
    names = (kind.encode(), os.fsencode(path), kind.encode())
    if _libc.mount(*names, ctypes.c_ulong(flags), data.encode()) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{option}: {os.strerror(code)}", path)


def _check(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"vassal-read-only: {os.strerror(code)}", path)
    return result
