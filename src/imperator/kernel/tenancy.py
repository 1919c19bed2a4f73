"""Whether a tenant's configuration is the tenant's: looked at by the vassal's own process, as the tenant.

The Emperor took the owner from the file's stat. Between that and the reading somebody may put another file in its
place, and would then have what is in it done with the rights of the first one's owner. So the file is opened once more
after the drop of rights, and what was *opened* has to belong to whom this process is; and where anybody else could swap
it even after that, the vassal is not started.

Loaded by the spawner by its path; only the standard library. path_resolution(7), symlink(7), inode(7).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

_MOST_LINKS = 40
"""As the kernel: path_resolution(7)."""


class NotTheirs(Exception):
    """The text says what is wrong and what to do."""


def check(path: bytes, *, nofollow: bool) -> None:
    """Raises :class:`NotTheirs`, and OSError where the tenant cannot read it.

    ``nofollow``: the owner of the link itself is meant (``emperor-tyrant-nofollow``), and whose file it leads to is
    that owner's own business.
    """
    uid, gid = os.getuid(), os.getgid()
    if nofollow:
        found = os.lstat(path)
    else:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NotTheirs("it is no regular file any more")
    if (found.st_uid, found.st_gid) != (uid, gid):
        raise NotTheirs(f"it belongs to uid {found.st_uid}, gid {found.st_gid} now: somebody changed it meanwhile")
    for place in _on_the_way(os.path.abspath(path), links=not nofollow):
        culprit = _who_could_swap(place, uid)
        if culprit is not None:
            raise NotTheirs(f"{culprit} could put another file in its place: see {os.fsdecode(place)}")


def _on_the_way(path: bytes, *, links: bool, budget: int = _MOST_LINKS) -> Iterator[bytes]:
    """Every entry of a directory that the path leads through, links and what they lead to."""
    place = b"/"
    for part in path.split(b"/"):
        if not part or part == b".":
            continue
        if part == b"..":
            place = os.path.dirname(place)
            continue
        place = os.path.join(place, part)
        yield place
        if budget and stat.S_ISLNK(os.lstat(place).st_mode) and (links or place != path):
            target = os.path.join(os.path.dirname(place), os.readlink(place))
            budget -= 1
            yield from _on_the_way(target, links=links, budget=budget)
            place = os.path.realpath(place)


def _who_could_swap(place: bytes, uid: int) -> str | None:
    """Who, besides root and the tenant, can replace this entry of its directory; ``None``: nobody.

    A group that may write there was given the directory by its owner, and is trusted as the owner is.
    """
    directory = os.stat(os.path.dirname(place) or b"/")
    entry = os.lstat(place)
    if directory.st_uid not in (0, uid):
        return f"uid {directory.st_uid}"
    if not directory.st_mode & stat.S_IWOTH:
        return None
    if not directory.st_mode & stat.S_ISVTX:
        return "anybody"
    return f"uid {entry.st_uid}" if entry.st_uid not in (0, uid) else None
