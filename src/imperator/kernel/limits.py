"""The limit on open files (getrlimit(2), RLIMIT_NOFILE)."""

from __future__ import annotations

import resource
from pathlib import Path

Limits = tuple[int, int]
"""Soft and hard."""

FDS_PER_VASSAL = 1
"""In the Emperor: the emperor fd. (The guardian has a pidfd, and the scribe the pipe of its output.)"""


def open_files() -> Limits:
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_open_files() -> Limits:
    """Raise the soft limit to the hard one, and both to fs.nr_open where we may; returns what they are then."""
    _, hard = open_files()
    try:
        ceiling = int(Path("/proc/sys/fs/nr_open").read_text())
        resource.setrlimit(resource.RLIMIT_NOFILE, (ceiling, ceiling))
    except (OSError, ValueError):  # not privileged (CAP_SYS_RESOURCE), or no /proc
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return open_files()
