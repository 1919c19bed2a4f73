"""What ``imperator check`` looks at: each file of each place, and what all of them together are.

It looks the way an Emperor would and starts nothing. A file's content is looked at in a process of its own
(:mod:`imperator.cli.apart`): with its owner's rights where we are root, and within limits in any case.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shlex
import stat
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from imperator.cli import vassal_check
from imperator.cli.access import Person, obstacle, owner_if_stranger
from imperator.cli.addresses import Addresses, Claim
from imperator.cli.apart import Apart, GaveUp
from imperator.cli.findings import Finding, Inspected, Report
from imperator.config.formats import ROOT
from imperator.config.settings import EmperorSettings
from imperator.court.environment import for_vassals
from imperator.kernel.credentials import gid_of, uid_of
from imperator.monitors.files import EXTENSIONS
from imperator.monitors.sections import objection_to_section
from imperator.reign.arguments import Livery
from imperator.reign.names import SourceName, VassalName, objection_to_name
from imperator.reign.wanted import Wanted


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
        self, livery: Livery, report: Report, settings: EmperorSettings, start_directory: str, *, own_python: bool
    ) -> None:
        """``own_python``: the vassals' program is of this Python."""
        self._livery = livery
        self._tyrant = settings.emperor_tyrant
        self._tyrant_nofollow = settings.emperor_tyrant_nofollow
        self._tyrant_initgroups = settings.emperor_tyrant_initgroups
        self._sections = False if settings.emperor_tyrant else settings.emperor_sections
        self._emperor = _emperor(settings)
        self._on_demand = bool(
            settings.emperor_on_demand_extension
            or settings.emperor_on_demand_directory
            or settings.emperor_on_demand_exec
        )
        self._start_directory = start_directory
        self._own_python = own_python
        self._extensions = (*EXTENSIONS, *livery.extra_extensions)
        self._holders: dict[str, Inspected] = {}
        self._addresses = Addresses()
        self._templates: dict[str, Inspected] = {}
        """Vassals that look like templates, by their real paths."""
        self._includers: dict[str, str] = {}
        """By a file's real path, the first vassal that includes it."""
        self.report = report
        born = for_vassals(os.environb)
        environment = _decoded(born.common)
        vassal_check.warm_up(environment)
        self._apart = Apart(
            lambda question: vassal_check.answer(
                question, environment | _decoded(born.own(question["file"], question["directory"]))
            )
        )

    def look_at_all(self, places: Iterable[Place]) -> None:
        """Take in everything that these places hold."""
        try:
            for place in places:
                self._look_at(place)
        finally:
            self._apart.close()
        self._tell_templates()

    def _look_at(self, place: Place) -> None:
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
        objection = objection_to_name(VassalName(name))
        if objection is not None:
            vassal.blame("error", objection)
        is_first = self._compare_name(vassal)
        found = self._stat(vassal)
        if found is None:
            return
        executable = self._livery.magic_exec and bool(found.st_mode & 0o111)
        owner = self._owner(vassal, found)
        self._check_reading(vassal, found, owner)
        if owner is not None:
            self._check_way(vassal, owner)
        if vassal.usable and vassal.path.endswith(".toml"):
            vassal.blame("warning", "the uwsgi engine cannot read TOML yet: use ini, YAML, JSON or XML")
        self._look_inside(vassal, found, owner, is_first=is_first, executable=executable)

    def _compare_name(self, vassal: Inspected) -> bool:
        """Is it the first of its name? An Emperor starts no other."""
        holder = self._holders.setdefault(vassal.name, vassal)
        if holder is vassal:
            return True
        if os.path.abspath(holder.path) == os.path.abspath(vassal.path):
            vassal.blame("warning", f"named twice: by {holder.place} and by {vassal.place}")
        else:
            text = (
                f"{holder.path} has the same name and was first: this one would not be started; rename one of the two"
            )
            vassal.blame("error", text)
        return False

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

    # -- what is in it

    def _look_inside(
        self,
        vassal: Inspected,
        found: os.stat_result,
        owner: Person | None,
        *,
        is_first: bool,
        executable: bool,
        is_section: bool = False,
    ) -> None:
        wanted = Wanted(
            VassalName(vassal.name), SourceName(vassal.place), (), 0.0, vassal.directory, executable=executable
        )
        arguments = self._livery.arguments(wanted)
        vassal.command = shlex.join([self._livery.binaries(wanted)[0], *arguments])
        if executable or not vassal.usable:
            return
        starter = owner or self._emperor
        reader = owner if owner is not None and os.geteuid() == 0 else owner_if_stranger(vassal.path)
        may_be_divided = not is_section and vassal.name.endswith(EXTENSIONS)
        question = vassal_check.Question(
            path=vassal.path,
            file=vassal.name.removesuffix(f":{vassal.section}") if vassal.section else vassal.name,
            arguments=arguments,
            directory=vassal.directory,
            uid=starter.uid,
            gid=starter.gid,
            initgroups=starter.initgroups,
            is_stranger=reader is not None and owner is None,
            own_python=self._own_python,
            on_demand=self._on_demand,
            sections=self._sections if may_be_divided else False,
        )
        try:
            answer = vassal_check.understood(self._apart.ask(asdict(question), reader))
        except GaveUp as reason:
            vassal.blame("warning", f"not looked into: {reason}")
            return
        if answer.sections:
            self._divide(vassal, answer.sections, found, owner)
            return
        for severity, path, line, text in answer.findings:
            about = f"[{vassal.section}]: " if vassal.section and line is None else ""
            vassal.findings.append(Finding(severity, path, f"{about}{text}", line))
        vassal.uwsgi_only = tuple(answer.uwsgi_only)
        if is_first:
            self._compare(vassal, answer)

    def _divide(self, file: Inspected, sections: Iterable[str], found: os.stat_result, owner: Person | None) -> None:
        """In place of the file, each of its sections that is a vassal."""
        self.report.vassals.pop()  # the file itself, which was the last to be looked at
        for section in sections:
            name = file.name if section == ROOT else f"{file.name}:{section}"
            vassal = replace(file, name=name, section="" if section == ROOT else section, findings=list(file.findings))
            self.report.vassals.append(vassal)
            objection = objection_to_section(section) or objection_to_name(VassalName(name))
            if objection is not None:
                vassal.blame("error", f"[{section}]: {objection}")
            is_first = section == ROOT or self._compare_name(vassal)
            self._look_inside(vassal, found, owner, is_first=is_first, executable=False, is_section=True)

    def _compare(self, vassal: Inspected, answer: vassal_check.Answer) -> None:
        """With the vassals before it."""
        for claim in answer.claims:
            self._compare_address(vassal, claim)
        if answer.looks_like_template and vassal.section:
            vassal.blame("warning", _template(f"[{vassal.section}]", "a name that begins with a dot or _", ""))
        elif answer.looks_like_template:
            self._templates[os.path.realpath(vassal.path)] = vassal
        for path in answer.files:
            self._includers.setdefault(path, vassal.path)

    def _compare_address(self, vassal: Inspected, claim: Claim) -> None:
        rival = self._addresses.rival(vassal.label, claim)
        if rival is None:
            return
        other, theirs = rival
        place = theirs.path if theirs.line is None else f"{theirs.path}:{theirs.line}"
        has = place if other.startswith(theirs.path) else f"{other} (by {place})"
        also = "it" if theirs.said == claim.said else theirs.said
        text = f"{claim.said}: {has} has {also} too: only one of them can, give one another address"
        at = Finding("error", claim.path, text, claim.line)
        if claim.path != vassal.path:  # in a file that both include: it is this vassal that comes too late
            at = Finding("error", vassal.path, f"{text} (by {claim.path}, line {claim.line})")
        vassal.findings.append(at)
        vassal.findings.sort(key=lambda finding: (finding.path != vassal.path, finding.path, finding.line or 0))

    def _tell_templates(self) -> None:
        """Now that it is known who includes whom."""
        livery = self._livery
        named = (*livery.inherit, *livery.inherit_before, *livery.include, *livery.include_before)
        for name in named:
            self._includers.setdefault(os.path.realpath(name), "the Emperor, for all vassals")
        for path, vassal in self._templates.items():
            vassal.blame("warning", _template("", "an ending like .skel", self._includers.get(path, "")))


def _decoded(environment: Mapping[bytes, bytes]) -> dict[str, str]:
    return {os.fsdecode(key): os.fsdecode(value) for key, value in environment.items()}


def _template(what: str, remedy: str, includer: str) -> str:
    why = "it has no socket, no application and nothing else to run"
    why = f"{includer} includes it, and {why}" if includer else why
    return f"{what} looks like a template: {why}; with {remedy} it would be left alone".lstrip()


def _emperor(settings: EmperorSettings) -> Person:
    """As whom the Emperor would run, if it were started by whoever checks."""
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(LookupError):  # it would say so itself
            uid = uid_of(settings.uid or "0")
            gid = gid_of(settings.gid or "0")
    return Person(uid, gid, initgroups=True)
