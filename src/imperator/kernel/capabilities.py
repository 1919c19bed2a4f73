"""Capabilities: the pieces that root's power is made of (capabilities(7), capget(2), prctl(2)).

Through ``ctypes`` and without libcap, so there is nothing to install. A *set* here is a ``frozenset`` of numbers.
Every function changes the calling thread only: call them while there is one.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable
from typing import Final

Capabilities = frozenset[int]

_WORDS: Final = """
chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service
net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct
sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap
mac_override mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore
"""
_NAMES: Final = tuple(_WORDS.split())
NUMBERS: Final = {name: number for number, name in enumerate(_NAMES)}
"""Each name, as the manual page spells it, in lower case and without ``CAP_``."""
NONE: Final[Capabilities] = frozenset()

_VERSION_3: Final = 0x20080522
_PR_SET_KEEPCAPS: Final = 8
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_CAP_AMBIENT: Final = 47
_AMBIENT_RAISE: Final = 2
_AMBIENT_CLEAR_ALL: Final = 4

_libc = ctypes.CDLL(None, use_errno=True)


def capabilities_of(names: Iterable[str]) -> Capabilities:
    """Capabilities given by name (``setuid``, ``CAP_SETUID``) or number. Raises :class:`LookupError`."""
    found = set()
    for name in names:
        plain = name.strip().lower().removeprefix("cap_")
        number = int(plain) if plain.isdecimal() else NUMBERS.get(plain)
        if number is None or number > 63:
            raise LookupError(f"there is no capability {name!r} (capabilities(7) lists them)")
        found.add(number)
    return frozenset(found)


def names_of(capabilities: Iterable[int]) -> list[str]:
    """What the manual page calls them, sorted by number."""
    return [_NAMES[number] if number < len(_NAMES) else str(number) for number in sorted(capabilities)]


def bounding_set() -> Capabilities:
    """What this process and its children can ever have."""
    known = range(_last_capability() + 1)
    return frozenset(number for number in known if _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1)


def permitted() -> Capabilities:
    """What this process may use now."""
    return _read()[1]


def bound_to(allowed: Capabilities) -> None:
    """Take everything but ``allowed`` out of the bounding set, for good, also for what is executed later.

    Raises OSError (EPERM without ``setpcap``). Nothing is missing then that was there before.
    """
    for number in sorted(bounding_set() - allowed):
        _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "taking a capability out of the bounding set")


def keep_over_change_of_user() -> None:
    """The next change of uid from 0 to another leaves the permitted set as it is. PR_SET_KEEPCAPS(2const)."""
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keeping capabilities")


def hold(wanted: Capabilities, *, hand_on: bool = False) -> None:
    """Have exactly these, of those that are permitted; ``hand_on``: so has every program executed from here on.

    Raises OSError (EPERM for one that is not permitted).
    """
    _check(_libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL, 0, 0, 0), "clearing the ambient capabilities")
    _write(wanted, wanted, wanted if hand_on else NONE)
    if hand_on:
        for number in wanted:
            _check(_libc.prctl(_PR_CAP_AMBIENT, _AMBIENT_RAISE, number, 0, 0), "handing on a capability")


# -- capget(2), capset(2)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32)]


def _read() -> tuple[Capabilities, Capabilities, Capabilities]:
    """The effective, permitted and inheritable set."""
    data = (_Data * 2)()
    _check(_libc.capget(ctypes.byref(_Header(_VERSION_3, 0)), data), "reading the capabilities")
    low, high = data
    return (
        _set_of(low.effective, high.effective),
        _set_of(low.permitted, high.permitted),
        _set_of(low.inheritable, high.inheritable),
    )


def _write(effective: Capabilities, allowed: Capabilities, inheritable: Capabilities) -> None:
    data = (_Data * 2)()
    for half in (0, 1):
        data[half] = _Data(_bits(effective, half), _bits(allowed, half), _bits(inheritable, half))
    _check(_libc.capset(ctypes.byref(_Header(_VERSION_3, 0)), data), "taking on capabilities")


def _set_of(low: int, high: int) -> Capabilities:
    bits = low | high << 32
    return frozenset(number for number in range(64) if bits >> number & 1)


def _bits(capabilities: Capabilities, half: int) -> int:
    return sum(1 << number for number in capabilities) >> 32 * half & 0xFFFFFFFF


def _last_capability() -> int:
    try:
        with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
            return int(file.read())
    except OSError:  # no /proc in this jail
        return len(_NAMES) - 1


def _check(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        hint = " (it is not among the capabilities of this process)" if number == errno.EPERM else ""
        raise OSError(number, f"{what}: {os.strerror(number)}{hint}")
