"""A filter of system calls: those that no web application needs, and that attacks on a kernel begin with (seccomp(2)).

It is a list of what is refused, not of what is allowed, so that a program of tomorrow runs too. A refused call fails
with EPERM, and nobody is killed for it. Another calling convention than the machine's own (32 bits, x32) has other
numbers, and is refused as a whole.

:func:`program` makes the filter (in the Emperor), :func:`install` puts it in force for the process and all that come
of it (in a vassal, before its exec). Loaded by the spawner by its path.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# name: (x86_64, aarch64); None: there is none
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # file systems
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    # the kernel and the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "create_module": (174, None),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "reboot": (169, 142),
    "acct": (163, 89),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "syslog": (103, 116),
    "uselib": (134, None),
    "_sysctl": (156, None),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "setns": (308, 268),
    # large parts of the kernel that anybody may call, with a long history of holes
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
}
NO_USER_NAMESPACES: Final = {"unshare": (272, 97), "clone": (56, 220)}
"""Refused if their first argument, the flags, has CLONE_NEWUSER."""
CLONE3: Final = 435
"""Its flags are in memory, where a filter cannot look. "No such call" makes the C library use clone instead."""

_CLONE_NEWUSER: Final = 0x10000000
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
"""The column above, and AUDIT_ARCH_… of linux/audit.h."""
_X32: Final = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

_libc = ctypes.PyDLL(None, use_errno=True)


def program(machine: str) -> bytes:
    """The filter for a machine (as ``uname -m`` has it), as the kernel takes it. Raises LookupError for another."""
    if machine not in _MACHINES:
        raise LookupError(f"vassal-seccomp = default: there is no list of system calls for {machine}")
    column, architecture = _MACHINES[machine]
    refused = sorted(number for numbers in REFUSED.values() if (number := numbers[column]) is not None)
    by_flags = sorted(numbers[column] for numbers in NO_USER_NAMESPACES.values())
    # The end is first: jumps are counted from the end of the instruction, and cannot be longer than 255.
    end = [_step(_LOAD, _FIRST_ARGUMENT), _step(_HAS_BITS, _CLONE_NEWUSER, 1, 0), _step(_RETURN, _ALLOW)]
    end += [_step(_RETURN, _FAIL | errno.EPERM), _step(_RETURN, _FAIL | errno.ENOSYS)]
    flags, allow, fail, missing = 0, 2, 3, 4
    tests = [(_EQUAL, number, fail) for number in refused]
    tests += [(_EQUAL, number, flags) for number in by_flags]
    tests.append((_EQUAL, CLONE3, missing))
    if machine == "x86_64":
        tests.insert(0, (_AT_LEAST, _X32, fail))
    steps = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, architecture, 1, 0), _step(_RETURN, _FAIL | errno.EPERM)]
    steps.append(_step(_LOAD, _NUMBER))
    for index, (test, number, target) in enumerate(tests):
        left = len(tests) - index - 1
        steps.append(_step(test, number, left + 1 + target, 0))  # 1: over the instruction after the last test
    steps.append(_step(0x05, allow))  # a jump
    return b"".join(steps + end)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """``struct sock_filter`` of linux/filter.h."""
    return struct.pack("=HBBI", code, if_true, if_false, value)


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def no_new_privileges() -> None:
    """Whatever is executed from here on gains nothing by it. PR_SET_NO_NEW_PRIVS(2const). Raises OSError."""
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"vassal-no-new-privs: {os.strerror(code)}")


def install(filter: bytes) -> None:
    """For good, and for every program executed. Needs :func:`no_new_privileges` before it. Raises OSError."""
    what = _Program(len(filter) // 8, filter)
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(what), 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"vassal-seccomp: {os.strerror(code)}")
