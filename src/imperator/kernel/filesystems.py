"""File systems on which the kernel cannot tell us what another machine does (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
from pathlib import Path

_REMOTE = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "glusterfs", "lustre", "gfs2", "ocfs2", "vboxsf"}
)


def hides_changes(path: str) -> bool:
    """Whether inotify misses changes to ``path``: it is on a network file system, or on FUSE."""
    try:
        device = os.stat(path).st_dev
        number = f"{os.major(device)}:{os.minor(device)}"
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return False
    for mount in mounts:
        before, _, after = mount.partition(" - ")
        if before.split(" ")[2:3] == [number]:
            kind = after.split(" ")[0]
            return kind in _REMOTE or kind.startswith("fuse")
    return False
