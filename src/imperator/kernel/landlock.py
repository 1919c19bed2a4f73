"""Landlock: a process gives up writing to files, but for some places, without any right to do so (landlock(7)).

Loaded by the spawner by its path.
"""

from __future__ import annotations

import ctypes
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION = 1
_RULE_PATH_BENEATH = 1

_WRITE_FILE = 1 << 1
_CHANGE_DIRECTORIES = sum(1 << bit for bit in range(4, 13))
"""Removing files and directories, and making each kind of them."""
_REFER = 1 << 13
_TRUNCATE = 1 << 14

_libc = ctypes.PyDLL(None, use_errno=True)


def version() -> int:
    """The kernel's version of Landlock; 0: it has none, or it is switched off."""
    return max(int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)), 0)


def write_only_below(paths: Iterable[str]) -> None:
    """From here on nothing can be written, made or removed elsewhere. Raises OSError; needs no_new_privs before it."""
    rights = _WRITE_FILE | _CHANGE_DIRECTORIES
    if (abi := version()) >= 2:
        rights |= _REFER
    if abi >= 3:
        rights |= _TRUNCATE
    attribute = struct.pack("=Q", rights)
    ruleset = _check(_libc.syscall(_CREATE_RULESET, attribute, ctypes.c_size_t(len(attribute)), 0), "")
    try:
        for path in paths:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            try:
                allowed = rights if os.path.isdir(path) else rights & (_WRITE_FILE | _TRUNCATE)
                rule = struct.pack("=Qi", allowed, fd)
                _check(_libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0), path)
            finally:
                os.close(fd)
        _check(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "")
    finally:
        os.close(ruleset)


def _check(result: int, path: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"vassal-read-only (Landlock): {os.strerror(code)}", path or None)
    return result
