"""What ``imperator check`` finds: each file of each place, what would be started, and what is wrong.

It looks the way an Emperor would and starts nothing. Every finding names its file, and its line where there is one.
"""

from __future__ import annotations

import errno
import glob
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from imperator.cli.access import Person, obstacle
from imperator.monitors.files import EXTENSIONS
from imperator.reign.arguments import Livery
from imperator.reign.names import LONGEST_NAME, SourceName, VassalName
from imperator.reign.wanted import Wanted

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong: with a file, or with a place (then ``path`` is the place as it was given)."""

    severity: Severity
    path: str
    text: str
    line: int | None = None


@dataclass(slots=True)
class Inspected:
    """One vassal's file."""

    name: str
    path: str
    place: str
    directory: str
    command: str = ""
    """What would be started: the program and its arguments, as one would type them."""
    user: str = ""
    """As whom, in tyrant mode."""
    findings: list[Finding] = field(default_factory=list)

    def blame(self, severity: Severity, text: str, line: int | None = None) -> None:
        self.findings.append(Finding(severity, self.path, text, line))

    @property
    def usable(self) -> bool:
        """It would be started (whether it then lives is another matter)."""
        return all(finding.severity != "error" for finding in self.findings)


@dataclass(slots=True)
class Report:
    """All that was found."""

    vassals: list[Inspected] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    """Files that no Emperor picks up, because of their endings."""
    general: list[Finding] = field(default_factory=list)
    """What concerns no single file."""

    def findings(self) -> Iterator[Finding]:
        yield from self.general
        for vassal in self.vassals:
            yield from vassal.findings

    def count(self, severity: Severity) -> int:
        return sum(1 for finding in self.findings() if finding.severity == severity)


@dataclass(frozen=True, slots=True)
class Place:
    """Where vassals are looked for: ``text`` as it was given. ``expected``: it must be there now."""

    text: str
    expected: bool = True

    @property
    def argument(self) -> str:
        """Without its scheme."""
        return self.text.removeprefix("dir://").removeprefix("glob://")

    @property
    def is_checkable(self) -> bool:
        return "://" not in self.argument


class Inspector:
    """Looks at places, one after the other; the same name in two of them is found, too."""

    def __init__(
        self,
        livery: Livery,
        report: Report,
        *,
        tyrant: bool,
        tyrant_nofollow: bool,
        tyrant_initgroups: bool,
        start_directory: str,
    ) -> None:
        self._livery = livery
        self._tyrant = tyrant
        self._tyrant_nofollow = tyrant_nofollow
        self._tyrant_initgroups = tyrant_initgroups
        self._start_directory = start_directory
        self._extensions = (*EXTENSIONS, *livery.extra_extensions)
        self._holders: dict[str, Inspected] = {}
        self.report = report

    def look_at(self, place: Place) -> None:
        """Take in everything that a place holds."""
        argument = place.argument
        if not place.is_checkable:
            text = "not looked into: only directories, patterns and files can be checked without starting anything"
            self.report.general.append(Finding("warning", place.text, text))
        elif os.path.isdir(argument) or place.text.startswith("dir://"):
            self._look_into_directory(place)
        elif place.expected and os.path.lexists(argument):
            parent, name = os.path.split(argument)
            self._look_at_file(name, argument, place, os.path.abspath(parent))
        else:
            self._look_for_pattern(place)

    def _look_into_directory(self, place: Place) -> None:
        directory = place.argument
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            waits = error.errno == errno.ENOENT and not place.expected
            text = f"{error.strerror}" + ("; the Emperor would wait for it" if waits else "")
            self.report.general.append(Finding("warning" if waits else "error", place.text, text))
            return
        for name in names:
            self._look_at_entry(name, os.path.join(directory, name), place, os.path.abspath(directory))

    def _look_for_pattern(self, place: Place) -> None:
        paths = sorted(glob.glob(place.argument))
        for path in paths:
            self._look_at_entry(path, path, place, self._start_directory)
        if paths:
            return
        if glob.has_magic(place.argument) or not place.expected:
            self.report.general.append(Finding("warning", place.text, "matches nothing at the moment"))
        else:
            self.report.general.append(Finding("error", place.text, "there is no such file or directory"))

    def _look_at_entry(self, name: str, path: str, place: Place, directory: str) -> None:
        if name.endswith(self._extensions):
            self._look_at_file(name, path, place, directory)
        else:
            self.report.ignored.append(path)

    # -- one file

    def _look_at_file(self, name: str, path: str, place: Place, directory: str) -> None:
        vassal = Inspected(name, path, place.text, directory)
        self.report.vassals.append(vassal)
        if not name.endswith(self._extensions):
            endings = " ".join(self._extensions)
            vassal.blame("warning", f"an Emperor would not pick it up: its name ends in none of {endings}")
        length = len(os.fsencode(name))
        if length > LONGEST_NAME:
            vassal.blame("error", f"the name is {length} bytes long; {LONGEST_NAME} is the most: rename it")
        self._compare_name(vassal)
        found = self._stat(vassal)
        if found is None:
            return
        executable = self._livery.magic_exec and bool(found.st_mode & 0o111)
        owner = self._owner(vassal, found)
        self._check_reading(vassal, found, owner)
        if owner is not None:
            self._check_way(vassal, owner)
        if vassal.usable and not executable:
            self._check_content(vassal)
        wanted = Wanted(VassalName(name), SourceName(place.text), (), 0.0, directory, executable=executable)
        vassal.command = shlex.join([self._livery.binaries(wanted)[0], *self._livery.arguments(wanted)])

    def _compare_name(self, vassal: Inspected) -> None:
        holder = self._holders.setdefault(vassal.name, vassal)
        if holder is vassal:
            return
        if os.path.abspath(holder.path) == os.path.abspath(vassal.path):
            vassal.blame("warning", f"named twice: by {holder.place} and by {vassal.place}")
        else:
            text = (
                f"{holder.path} has the same name and was first: this one would not be started; rename one of the two"
            )
            vassal.blame("error", text)

    @staticmethod
    def _stat(vassal: Inspected) -> os.stat_result | None:
        path = vassal.path
        try:
            found = os.stat(path)
        except OSError as error:
            if error.errno == errno.ENOENT and os.path.islink(path):
                vassal.blame("error", f"a symbolic link to {os.readlink(path)}, which does not exist")
            elif error.errno == errno.ELOOP:
                vassal.blame("error", "a symbolic link that leads to itself")
            else:
                vassal.blame("error", f"cannot be looked at: {error.strerror}")
            return None
        if not stat.S_ISREG(found.st_mode):
            kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
            vassal.blame("error", f"is {kind}: a vassal's configuration must be a regular file")
            return None
        if found.st_size == 0:
            vassal.blame("error", "is empty")
        return found

    def _owner(self, vassal: Inspected, found: os.stat_result) -> Person | None:
        """The user that the vassal would run as; ``None``: the Emperor's own."""
        if not self._tyrant:
            return None
        if self._tyrant_nofollow:
            found = os.lstat(vassal.path)
        if found.st_uid == 0 or found.st_gid == 0:
            owner = f"uid {found.st_uid}, gid {found.st_gid}"
            text = f"tyrant mode refuses a configuration that belongs to root ({owner}): chown it to its user"
            vassal.blame("error", text)
            return None
        person = Person(found.st_uid, found.st_gid, self._tyrant_initgroups)
        vassal.user = str(person)
        return person

    @staticmethod
    def _check_reading(vassal: Inspected, found: os.stat_result, owner: Person | None) -> None:
        if owner is not None and not owner.may(found, os.R_OK):
            vassal.blame("error", f"{owner} may not read it (mode {stat.S_IMODE(found.st_mode):04o})")
        elif not os.access(vassal.path, os.R_OK):
            vassal.blame("error", "you may not read it")

    def _check_way(self, vassal: Inspected, owner: Person) -> None:
        """Can the vassal's user get to its directory, and to the program?"""
        programs = [program for program in (self._livery.binary,) if os.path.isabs(program)]
        for target in dict.fromkeys((vassal.directory, os.path.dirname(os.path.abspath(vassal.path)), *programs)):
            stopped = obstacle(Path(target), owner)
            if stopped is not None:
                vassal.blame("error", stopped)

    @staticmethod
    def _check_content(vassal: Inspected) -> None:
        from imperator.config.vassal_file import examine

        if vassal.path.endswith(".toml"):
            vassal.blame("warning", "the uwsgi engine cannot read TOML yet: use ini, YAML, JSON or XML")
        for problem in examine(vassal.path):
            vassal.blame(problem.severity, problem.text, problem.line)
