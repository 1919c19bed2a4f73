"""One control group: go into it, kill all that is in it, remove it (cgroups(7)).

A group here is a list of directories, one in each hierarchy that takes part: version 1 has one hierarchy for each
controller, version 2 has one for all. Loaded by the spawner and the guardian by its path, so it imports next to
nothing.

A pid that a group lists may have ended by the time it is used: it is only signalled through a pidfd, and only if it is
still listed once the pidfd is there.
"""

from __future__ import annotations

import errno
import os
import signal
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Setting = tuple[str, str, bool]
"""A file of the group (``a|b``: the first that exists), what to write, and whether it has to be there."""
Place = tuple[str, list[Setting]]
"""A directory, and what is to be written in it before anybody is."""

_SOON = 0.002
_LATER = 0.05
"""Seconds between two looks whether a group is empty: at first, and at last."""


def enter(places: Sequence[Place]) -> None:
    """Make a group, limit it, and go into it. Raises OSError, naming the file."""
    prepare(places)
    for directory, _ in places:
        write(directory, "cgroup.procs", "0")


def prepare(places: Sequence[Place]) -> None:
    """Make a group and limit it. Raises OSError, naming the file."""
    for directory, settings in places:
        if not os.path.isdir(directory):
            os.mkdir(directory, 0o755)
        for name, value, required in settings:
            files = [file for file in name.split("|") if os.path.exists(os.path.join(directory, file))]
            if files:
                write(directory, files[0], value)
            elif required:
                raise FileNotFoundError(errno.ENOENT, "the kernel has no such limit", os.path.join(directory, name))


def write(directory: str, file: str, value: str) -> None:
    """Write one value. The kernel says what it thinks of it in write(2), so the name of the file is added here."""
    path = os.path.join(directory, file)
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} (writing {value!r})", path) from None
    finally:
        os.close(fd)


def subtree(directory: str) -> list[str]:
    """The directory and all below it, the innermost first; empty if it is not there."""
    found: list[str] = []
    for path, _, _ in os.walk(directory, topdown=False):
        found.append(path)
    return found


def pids_in(directories: Iterable[str]) -> set[int]:
    """Who is in these groups, and in the groups below them. (0 is somebody whom this pid namespace does not show.)"""
    pids: set[int] = set()
    for directory in directories:
        for group in subtree(directory):
            try:
                with open(os.path.join(group, "cgroup.procs"), "rb") as file:
                    pids.update(map(int, file.read().split()))
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):  # removed meanwhile; threaded
                    raise
    return pids


def kill(directories: Sequence[str]) -> None:
    """SIGKILL everybody in a group, those that are being forked too. Raises PermissionError where that is refused.

    Version 2 (Linux 5.14): in one step. Otherwise frozen meanwhile, where there is a freezer, so that nobody forks.
    """
    for directory in directories:
        if os.path.exists(os.path.join(directory, "cgroup.kill")):
            try:
                write(directory, "cgroup.kill", "1")
                return
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
    frozen = [group for directory in directories for group in subtree(directory) if _freeze(group, True)]
    try:
        _kill_listed(directories)
    finally:
        for group in frozen:
            _freeze(group, False)


def _freeze(group: str, on: bool) -> bool:
    """Whether the group could be frozen (or thawed)."""
    for file, values in (("cgroup.freeze", ("0", "1")), ("freezer.state", ("THAWED", "FROZEN"))):
        if os.path.exists(os.path.join(group, file)):
            try:
                write(group, file, values[on])
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
                return False
            return True
    return False


def _kill_listed(directories: Sequence[str]) -> None:
    for pid in pids_in(directories) - {0}:
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in pids_in(directories):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except ProcessLookupError:
            continue
        finally:
            os.close(pidfd)


def clear(directories: Sequence[str], patience: float) -> set[int]:
    """Kill until nobody is left, for at most ``patience`` seconds; who is left then. Blocks."""
    until = time.monotonic() + patience
    pause = _SOON
    while left := pids_in(directories):
        kill(directories)
        if time.monotonic() > until:
            return left
        time.sleep(pause)
        pause = min(2 * pause, _LATER)
    return set()


def remove_if_empty(directories: Sequence[str]) -> bool:
    """Whether nobody was in a group, so that it could be removed at once: the usual end, and the quickest."""
    for directory in directories:
        try:
            os.rmdir(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise
    return True


def remove(directories: Sequence[str], patience: float) -> None:
    """Remove an empty group and those below it. Blocks up to ``patience`` seconds, then raises OSError (EBUSY).

    The kernel may still be busy with one that has ended a moment ago.
    """
    until = time.monotonic() + patience
    for directory in directories:
        while True:
            try:
                for group in subtree(directory):
                    os.rmdir(group)
                break
            except FileNotFoundError:
                continue
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > until:
                    raise
                time.sleep(_SOON)
