"""What another user may do with a file, by its owner, group and mode (path_resolution(7)).

Access control lists and security modules are not looked at: what is refused here may be allowed by them, or the
other way round.
"""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imperator.kernel.credentials import groups_of

_NOGROUP: Final = 65534


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a group, as tyrant mode makes them: without supplementary groups."""

    uid: int
    gid: int
    initgroups: bool = False
    """``emperor-tyrant-initgroups``: with the user's supplementary groups."""

    def __str__(self) -> str:
        try:
            return f"user {pwd.getpwuid(self.uid).pw_name}"
        except KeyError:
            return f"uid {self.uid}"

    def may(self, found: os.stat_result, wish: int) -> bool:
        """``wish``: os.R_OK, os.X_OK, as in access(2)."""
        if self.uid == 0:
            return True
        groups = groups_of(self.uid, self.gid) if self.initgroups else [self.gid]
        if found.st_uid == self.uid:
            bits = found.st_mode >> 6
        elif found.st_gid in groups or found.st_gid == self.gid:
            bits = found.st_mode >> 3
        else:
            bits = found.st_mode
        return bits & wish == wish


def obstacle(path: Path, person: Person) -> str | None:
    """What keeps ``person`` from entering a directory, or executing a file: the first that stops them, in words."""
    real = Path(os.path.realpath(path))
    for step in (*reversed(real.parents), real):
        try:
            found = step.stat()
        except OSError as error:
            return f"{step}: {error.strerror}"
        if not person.may(found, os.X_OK):
            mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
            if not stat.S_ISDIR(found.st_mode):
                return f"{person} may not execute {step} ({mode})"
            behind = "" if step == real else f", on the way to {path}"
            return f"{person} may not enter {step} ({mode}){behind}: chmod o+x it, or move things elsewhere"
    return None


def owner_if_stranger(path: str) -> Person | None:
    """With whose rights a file is read, if not with ours: root reads nobody else's file as root. Raises OSError."""
    if os.geteuid() != 0:
        return None
    owner = next((found.st_uid for found in (os.stat(path), os.lstat(path)) if found.st_uid != 0), None)
    if owner is None:
        return None
    try:
        gid = pwd.getpwuid(owner).pw_gid
    except KeyError:
        gid = _NOGROUP  # the file's own group may be one with more rights: that of a set-group-ID directory
    return Person(owner, gid, initgroups=True)
