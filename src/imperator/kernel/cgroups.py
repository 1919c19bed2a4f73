"""The Emperor's part of the control groups: claimed at its start, given back at its end (cgroups(7), cgroup-v2).

In each hierarchy, below the group that was chosen (or the one that it is in), the Emperor has

    imperator-PID/            locked (flock(2)) as long as it lives: that is how the next one knows what is left over
    imperator-PID/emperor     version 2 only: itself and its helpers, for there a group has processes or groups in it
    imperator-PID/vassals/…   one for each process tree

Blocks, now and then for a few milliseconds: for the time before the Emperor's loop, and for other threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from imperator.kernel.cgroup import Place, clear, pids_in, prepare, remove, write
from imperator.kernel.cgroup_hierarchies import Hierarchy, offered
from imperator.kernel.cgroup_limits import Limits, changes_of, settings_of

CONTROLLERS: Final = ("memory", "cpu", "pids", "io")
_NAMES_IN_V1: Final = {"memory": "memory", "cpu": "cpu", "pids": "pids", "io": "blkio"}
_ONLY_WITHOUT_V2: Final = {"freezer", "cpuacct"}
"""What these are for, a group of version 2 does better, even one without controllers."""
_PREFIX: Final = "imperator-"
_ATTEMPTS: Final = 100
_PATIENCE: Final = 5.0
"""Seconds for those who were left behind to end."""
DELEGATION: Final = (
    "in a systemd unit say 'Delegate=yes'; otherwise start the Emperor as root, or in a control group that belongs to "
    "its user"
)


class Unavailable(Exception):
    """There are no control groups to be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The Emperor's part of one hierarchy."""

    hierarchy: Hierarchy
    parent: str
    """The group that it is in."""
    directory: str
    controllers: frozenset[str]
    """What can be limited here, by the names of version 2."""
    switched_on: tuple[str, ...] = ()
    """Controllers that the parent did not hand down before."""

    @property
    def vassals(self) -> str:
        return os.path.join(self.directory, "vassals")

    @property
    def leaf(self) -> str:
        """Where the Emperor itself is."""
        return os.path.join(self.directory, "emperor")


@dataclass(slots=True)
class Territory:
    """Everything that was claimed."""

    branches: list[Branch] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    """What former Emperors had left behind, and what became of it: lines for the log."""
    _locks: list[int] = field(default_factory=list)
    _moved: Branch | None = None

    @property
    def controllers(self) -> frozenset[str]:
        return frozenset().union(*(branch.controllers for branch in self.branches))

    @property
    def groups_of_all(self) -> list[str]:
        """The directories that all vassals are below."""
        return [branch.vassals for branch in self.branches]

    def directories(self, name: str) -> list[str]:
        """One group's. ``name`` is a file name."""
        return [os.path.join(branch.vassals, name) for branch in self.branches]

    def places(self, name: str, limits: Limits) -> list[Place]:
        """The same, and what is to be written there. Raises :class:`Unavailable` for a limit that cannot be kept."""
        self._check(limits)
        return [
            (os.path.join(branch.vassals, name), settings_of(limits, branch.hierarchy.version, branch.controllers))
            for branch in self.branches
        ]

    def changes(self, name: str, old: Limits, new: Limits) -> list[Place]:
        """One group's directories, and what is to be written there for other limits. Raises :class:`Unavailable`."""
        self._check(new)
        return [
            (os.path.join(branch.vassals, name), changes_of(old, new, branch.hierarchy.version, branch.controllers))
            for branch in self.branches
        ]

    def _check(self, limits: Limits) -> None:
        missing = limits.controllers() - self.controllers
        if missing:
            raise Unavailable(f"no control group here can limit {' and '.join(sorted(missing))}")

    def try_out(self, limits: Limits) -> None:
        """Make a group with these limits, and remove it. Raises :class:`Unavailable`."""
        try:
            prepare(self.places("probe", limits))
        except OSError as error:
            raise Unavailable(_said(error)) from error
        finally:
            remove(self.directories("probe"), _PATIENCE)

    def release(self) -> list[str]:
        """Give everything back; returns what could not be, in words. Nobody may be in it but ourselves."""
        complaints = []
        denied = []
        for branch in self.branches:
            try:
                self._release(branch)
            except FileNotFoundError:
                continue
            except PermissionError:
                denied.append(branch.directory)
            except OSError as error:
                complaints.append(f"a control group is left behind: {_said(error)}")
        if denied:
            what = f"control groups are left behind, empty, for uid {os.geteuid()} may not remove them"
            complaints.append(f"{what} (an Emperor that starts as root does): {', '.join(denied)}")
        while self._locks:
            os.close(self._locks.pop())
        return complaints

    def _release(self, branch: Branch) -> None:
        clear([branch.vassals], _PATIENCE)
        remove([branch.vassals], _PATIENCE)
        if self._moved is branch:
            for controller in branch.switched_on:
                write(branch.directory, "cgroup.subtree_control", f"-{controller}")
            for controller in branch.switched_on:
                write(branch.parent, "cgroup.subtree_control", f"-{controller}")
            write(branch.hierarchy.own, "cgroup.procs", str(os.getpid()))
        remove([branch.directory], _PATIENCE)


def group_name(vassal: str, serial: int) -> str:
    """A file name for the group of one process tree, that a person recognises."""
    return f"{re.sub('[^A-Za-z0-9._-]', '_', vassal)[-100:]}-{serial}"


def claim(
    hierarchies: Sequence[Hierarchy], parent: str | None, required: frozenset[str], owner: tuple[int, int] | None
) -> Territory:
    """Take what there is, and clear away what dead Emperors have left. Raises :class:`Unavailable`.

    ``required``: controllers without which it is no use. ``owner``: the uid and gid that will make the groups, where it
    is somebody else.
    """
    territory = Territory()
    chosen = _choose(hierarchies, parent, required)
    try:
        for hierarchy, _ in chosen:
            directory = hierarchy.within(parent)
            os.makedirs(directory, exist_ok=True)
            territory.left_over += sweep(directory)
        for hierarchy, controllers in chosen:
            _claim(territory, hierarchy, hierarchy.within(parent), controllers, required, owner)
    except OSError as error:
        territory.release()
        raise Unavailable(_said(error)) from error
    except Unavailable:
        territory.release()
        raise
    return territory


def _choose(
    hierarchies: Sequence[Hierarchy], parent: str | None, required: frozenset[str]
) -> list[tuple[Hierarchy, frozenset[str]]]:
    """Which hierarchies take part, and with which controllers."""
    chosen: list[tuple[Hierarchy, frozenset[str]]] = []
    has_v2 = any(hierarchy.version == 2 for hierarchy in hierarchies)
    for hierarchy in hierarchies:
        if hierarchy.version == 2:
            directory = hierarchy.within(parent)
            while not os.path.isdir(directory) and directory != hierarchy.mount:
                directory = os.path.dirname(directory)
            chosen.insert(0, (hierarchy, frozenset(CONTROLLERS) & offered(directory)))  # first: it kills in one step
        else:
            names = {name for name, v1 in _NAMES_IN_V1.items() if v1 in hierarchy.controllers}
            if names or (not has_v2 and _ONLY_WITHOUT_V2 & hierarchy.controllers):
                chosen.append((hierarchy, frozenset(names)))
    if not chosen:
        raise Unavailable("no control groups are mounted (cgroups(7)): mount -t cgroup2 none /sys/fs/cgroup")
    missing = required - frozenset().union(*(controllers for _, controllers in chosen))
    if missing:
        where = " and ".join(sorted(hierarchy.within(parent) for hierarchy, _ in chosen if hierarchy.version == 2))
        text = f"the controller {' and '.join(sorted(missing))} is not to be had in {where or 'any hierarchy'}"
        raise Unavailable(f"{text}: {DELEGATION}")
    return chosen


def _claim(
    territory: Territory,
    hierarchy: Hierarchy,
    parent: str,
    controllers: frozenset[str],
    required: frozenset[str],
    owner: tuple[int, int] | None,
) -> None:
    directory, lock = _new_directory(parent)
    branch = Branch(hierarchy, parent, directory, controllers)
    territory.branches.append(branch)
    territory._locks.append(lock)
    os.mkdir(branch.vassals, 0o755)
    if hierarchy.version == 2:
        has_both = os.path.exists(os.path.join(parent, "cgroup.type"))  # the root may: it has no such file
        if owner is not None or (controllers and has_both and parent == hierarchy.own):
            os.mkdir(branch.leaf, 0o755)
            write(branch.leaf, "cgroup.procs", str(os.getpid()))
            territory._moved = branch
        on = tuple(filter(None, (_hand_down(branch, controller, required) for controller in sorted(controllers))))
        handed_down = offered(directory) & frozenset(CONTROLLERS)
        for controller in sorted(handed_down):
            write(directory, "cgroup.subtree_control", f"+{controller}")
            write(branch.vassals, "cgroup.subtree_control", f"+{controller}")
        territory.branches[-1] = Branch(hierarchy, parent, directory, handed_down, on)
        if territory._moved is branch:
            territory._moved = territory.branches[-1]
    if owner is not None:
        for path in (directory, branch.vassals, os.path.join(directory, "cgroup.procs")):
            os.chown(path, *owner)


def _hand_down(branch: Branch, controller: str, required: frozenset[str]) -> str | None:
    """Let the parent give a controller to its groups; its name, if it did not do so before."""
    with open(os.path.join(branch.parent, "cgroup.subtree_control"), encoding="ascii") as file:
        if controller in file.read().split():
            return None
    try:
        write(branch.parent, "cgroup.subtree_control", f"+{controller}")
    except OSError as error:
        if controller not in required:
            return None  # its statistics will be missing
        if error.errno == errno.EBUSY:
            others = ", ".join(map(str, sorted(pids_in_one(branch.parent))))
            text = (
                f"{branch.parent} has other processes in it (pid {others}), and a group of version 2 has either "
                f"processes or limited groups in it: start the Emperor in a group of its own; {DELEGATION}"
            )
            raise Unavailable(text) from error
        raise
    return controller


def pids_in_one(directory: str) -> list[int]:
    """Who is in a group, without those in the groups below it."""
    with open(os.path.join(directory, "cgroup.procs"), "rb") as file:
        return list(map(int, file.read().split()))


def sweep(parent: str) -> list[str]:
    """Kill and remove what dead Emperors have left in a group; returns what was there and what became of it."""
    found = []
    for entry in sorted(os.listdir(parent)):
        directory = os.path.join(parent, entry)
        if not entry.startswith(_PREFIX) or not os.path.isdir(directory):
            continue
        lock = _lock(directory)
        if lock is None:
            continue  # that Emperor lives
        try:
            killed = len(pids_in([directory]))
            left = clear([directory], _PATIENCE)
            if left:
                raise Unavailable(f"{directory} is left over, and pid {', '.join(map(str, left))} in it does not die")
            remove([directory], _PATIENCE)
        except PermissionError as error:
            found.append(f"left over from an earlier Emperor, and cannot be removed ({error.strerror}): {directory}")
        else:
            what = f"removed, with {killed} processes in it" if killed else "removed"
            found.append(f"left over from an earlier Emperor, and {what}: {directory}")
        finally:
            os.close(lock)
    return found


def _new_directory(parent: str) -> tuple[str, int]:
    """The Emperor's directory, and the file descriptor that keeps it locked."""
    for attempt in range(_ATTEMPTS):
        # Another pid namespace may have a process of our number, and an Emperor in this group as well.
        suffix = f"-{attempt}" if attempt else ""
        directory = os.path.join(parent, f"{_PREFIX}{os.getpid()}{suffix}")
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            continue
        lock = _lock(directory)
        if lock is not None:
            return directory, lock
        # Another Emperor, which starts at this moment, took it for left over.
    raise Unavailable(f"too many groups in {parent} are called {_PREFIX}{os.getpid()}")


def _lock(directory: str) -> int | None:
    """A file descriptor that has the directory locked; ``None``: somebody else has, or it was removed."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(fd), os.stat(directory)):
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(fd)
    return None


def _said(error: OSError) -> str:
    text = str(error.strerror) + (f": {os.fsdecode(error.filename)}" if error.filename else "")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        text += f": {DELEGATION}"
    return text
