"""What a path leads through: every place whose change can change what the path means."""

from __future__ import annotations

import os
import stat

Step = tuple[str, str]
"""A directory, and a name in it."""

_MOST_LINKS = 40
"""As the kernel: more symlinks than this are a loop (path_resolution(7))."""


def route(path: str) -> list[Step]:
    """Each symlink on the way, and the end; or, where something is missing, the first name that is not there.

    Whoever watches the directories of these steps sees a switched ``current`` link, a replaced target, and a dangling
    link that becomes valid. ``path`` is absolute.
    """
    steps: list[Step] = []
    here = "/"
    ahead = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    links = 0
    while ahead:
        name = ahead.pop()
        if name == "..":
            here = os.path.dirname(here)
            continue
        full = os.path.join(here, name)
        try:
            mode = os.lstat(full).st_mode
        except OSError:
            steps.append((here, name))
            return steps
        if stat.S_ISLNK(mode):
            steps.append((here, name))
            links += 1
            if links > _MOST_LINKS:
                return steps
            target = os.readlink(full)
            if target.startswith("/"):
                here = "/"
            ahead += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        else:
            if not ahead:
                steps.append((here, name))
            here = full
    return steps
