"""Users and groups: names to numbers, and the supplementary groups of a user (credentials(7))."""

from __future__ import annotations

import grp
import os
import pwd


def uid_of(user: str) -> int:
    """The uid of a user given by name or number. Raises :class:`LookupError`."""
    if user.isdecimal():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise LookupError(f"there is no user {user!r}") from None


def gid_of(group: str) -> int:
    """The gid of a group given by name or number. Raises :class:`LookupError`."""
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {group!r}") from None


def groups_of(uid: int, gid: int) -> list[int]:
    """What initgroups(3) would set for a user: the database's groups, and ``gid``."""
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return [gid]
    return os.getgrouplist(entry.pw_name, entry.pw_gid)


def drop(uid: int | None, gid: int | None) -> None:
    """Become another user for good: groups first, then gid, then uid. ``None`` leaves that part as it is."""
    if gid is not None:
        os.setgroups([] if uid is None else groups_of(uid, gid))
        os.setresgid(gid, gid, gid)
    if uid is not None:
        if gid is None:
            os.setgroups([])
        os.setresuid(uid, uid, uid)
