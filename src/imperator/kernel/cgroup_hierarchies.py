"""The control group hierarchies of this machine, and where in them this process is (cgroups(7)).

Version 2 is one hierarchy with all controllers. Version 1 is one for each controller, or for a few together. A machine
may have both at a time ("hybrid"): then each controller is in one of them only, and version 2 may have none at all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """One mounted hierarchy."""

    version: Literal[1, 2]
    mount: str
    """Where it is mounted."""
    own: str
    """The directory of the group that this process is in."""
    controllers: frozenset[str]
    """Version 1: those of the hierarchy. Version 2: none here, for each group has its own, see :func:`offered`."""

    def within(self, parent: str | None) -> str:
        """The directory of a group that is given as a path below the mount (or as the directory itself)."""
        if parent is None:
            return self.own
        path = os.path.normpath("/" + parent.lstrip("/"))
        if path == self.mount or path.startswith(self.mount + "/"):
            return path
        return os.path.join(self.mount, path.lstrip("/")).rstrip("/")


def find_hierarchies(proc: Path = PROC) -> list[Hierarchy]:
    """Every hierarchy that is mounted. None: this kernel, or this container, has no control groups to see."""
    own = list(_memberships(proc))
    found: dict[tuple[int, frozenset[str]], Hierarchy] = {}
    for line in (proc / "self/mountinfo").read_text().splitlines():
        mount, _, source = line.partition(" - ")
        kind, _, options = source.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        _, _, _, root, place, *_ = map(_unescaped, mount.split(" "))
        for controllers, path in own:
            if kind == "cgroup2" and not controllers:
                found.setdefault((2, controllers), Hierarchy(2, place, _inside(place, root, path), controllers))
            elif kind == "cgroup" and controllers and controllers <= frozenset(options.split(",")):
                found.setdefault((1, controllers), Hierarchy(1, place, _inside(place, root, path), controllers))
    return list(found.values())


def offered(directory: str) -> frozenset[str]:
    """The controllers that a group of version 2 may hand down to the groups in it."""
    try:
        return frozenset(Path(directory, "cgroup.controllers").read_text().split())
    except FileNotFoundError:
        return frozenset()


def _memberships(proc: Path) -> Iterator[tuple[frozenset[str], str]]:
    """``(controllers, path)`` for each hierarchy; no controllers: version 2."""
    for line in (proc / "self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" or (controllers and not controllers.startswith("name=")):
            yield frozenset(filter(None, controllers.split(","))), path


def _inside(mount: str, root: str, path: str) -> str:
    """Where a group is seen, when what is mounted is the group ``root``. One that is outside is seen as the mount."""
    inner = path.removeprefix(root).strip("/") if path.startswith(root) else path.strip("/")
    if not inner or ".." in inner.split("/"):
        return mount
    return os.path.join(mount, inner)


def _unescaped(path: str) -> str:
    return re.sub(r"\\(\d{3})", lambda match: chr(int(match[1], 8)), path)
