"""The rules for configuration files: which are vassals, and what a file says about one."""

from __future__ import annotations

import asyncio
import os
import shlex
import stat
import subprocess
from dataclasses import dataclass, replace

from imperator.monitors.api import MonitorOptions
from imperator.reign.names import SourceName, VassalName
from imperator.reign.wanted import NO_ATTRIBUTES, Stamp, Wanted

EXTENSIONS = (".ini", ".xml", ".yml", ".yaml", ".js", ".json", ".toml")
LARGEST_READ = 1 << 20
"""Bytes of a file that are looked through for attributes."""
_PATIENCE = 10.0
"""Seconds that ``emperor-on-demand-exec`` may take."""


def is_vassal_name(name: str, options: MonitorOptions) -> bool:
    """Whether the ending says that the file is a vassal's."""
    return name.endswith(EXTENSIONS) or (bool(options.extra_extensions) and name.endswith(options.extra_extensions))


def file_of(name: str, options: MonitorOptions) -> str:
    """The file that a vassal is in: the name itself, or what is before the colon of ``FILE:SECTION``."""
    head = name.rpartition(":")[0]
    return head if not is_vassal_name(name, options) and is_vassal_name(head, options) else name


def stamp_of(found: os.stat_result) -> Stamp:
    """Whatever of a file changes when its content does (or when somebody touches it)."""
    return (found.st_mtime_ns, found.st_ino, found.st_size, found.st_dev)


@dataclass(frozen=True, slots=True)
class Rules:
    """How one source looks at its files."""

    source: SourceName
    options: MonitorOptions

    def examine(self, name: str, path: str, directory: str) -> Wanted | None:
        """What the file at ``path`` wants; ``None``: it is no vassal, or it is not there."""
        options = self.options
        try:
            found = os.lstat(path) if options.nofollow else os.stat(path)
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode) and not (options.nofollow and stat.S_ISLNK(found.st_mode)):
            return None
        owner = found
        if options.tyrant and options.tyrant_nofollow and not options.nofollow:
            try:
                owner = os.lstat(path)
            except OSError:
                return None
        wanted = Wanted(
            name=VassalName(name),
            source=self.source,
            stamp=stamp_of(found),
            modified=found.st_mtime,
            directory=directory,
            uid=owner.st_uid,
            gid=owner.st_gid,
            executable=bool(found.st_mode & 0o111),
        )
        if not options.tyrant and not os.access(path, os.R_OK, effective_ids=True):
            text = f"the Emperor (uid {os.geteuid()}) may not read it: chmod or chown it"
            return replace(wanted, problem=text)
        wanted = self.with_socket(wanted, path, os.path.splitext(os.path.basename(name))[0])
        if options.collect_attributes and not options.tyrant:
            wanted = self._with_attributes(wanted, path)
        return wanted

    def with_socket(self, wanted: Wanted, path: str, stem: str) -> Wanted:
        """The on-demand socket of the vassal at ``path``; ``stem`` is its name without directory and ending."""
        if self.options.on_demand_extension is not None:
            return self._with_socket_file(wanted, path + self.options.on_demand_extension, self.options.tyrant)
        if self.options.on_demand_directory is not None:
            return replace(wanted, socket=os.path.join(self.options.on_demand_directory, stem + ".socket"))
        return wanted

    @staticmethod
    def _with_socket_file(wanted: Wanted, path: str, tyrant: bool) -> Wanted:
        """``emperor-on-demand-extension``: a file beside it holds the socket's address.

        A tyrant reads with root's rights what a tenant has put there: only a file of the tenant's own, or an only copy
        of root's, and never through a link, for the address appears in logs and statistics.
        """
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if tyrant else 0))
        except OSError:
            return wanted
        with open(fd, "rb") as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                return wanted
            if tyrant and found.st_uid != wanted.uid and (found.st_uid != 0 or found.st_nlink != 1):
                problem = f"{path} belongs to uid {found.st_uid}: it must be uid {wanted.uid}'s, or root's"
                return replace(wanted, problem=problem)
            try:
                return replace(wanted, socket=first_word(file.read(4096)))
            except OSError:
                return wanted

    def _with_attributes(self, wanted: Wanted, path: str) -> Wanted:
        from imperator.config.attributes import collect_attributes
        from imperator.config.errors import ConfigurationError

        try:
            with open(path, "rb") as file:
                data = file.read(LARGEST_READ)
            attributes = collect_attributes(data, wanted.name, self.options.collect_attributes)
        except (OSError, ConfigurationError, ValueError, RecursionError):
            return wanted  # the vassal itself will say what is wrong with its file
        return replace(wanted, attributes=attributes or NO_ATTRIBUTES)

    async def complete(self, wanted: Wanted) -> Wanted:
        """Add what takes a while to find out: ``emperor-on-demand-exec``."""
        options = self.options
        if options.on_demand_exec is None or options.on_demand_extension or options.on_demand_directory:
            return wanted
        command = [*shlex.split(options.on_demand_exec), wanted.name]
        try:
            done = await asyncio.to_thread(
                subprocess.run, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_PATIENCE, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            return replace(wanted, problem=f"emperor-on-demand-exec: {error}")
        return replace(wanted, socket=first_word(done.stdout))


def first_word(data: bytes) -> str | None:
    """An address as a file or a command gives it: everything up to the first control character."""
    for index, byte in enumerate(data):
        if byte < 32:
            data = data[:index]
            break
    return os.fsdecode(data) or None
