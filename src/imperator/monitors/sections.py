"""Several instances in one file: each section of it is a vassal of its own, called ``FILE:SECTION``.

Which files are divided (``emperor-sections``): all that hold a section beside ``[uwsgi]`` if it is true, none if it is
false. If it is not said, those without ``[uwsgi]`` in which some section holds an option that makes an instance: a
file that merely happens to have sections stays what it was, one vassal.

Which sections are vassals: all but

* ``[uwsgi]``, which is the vassal called as the file;
* ``[emperor]`` (attributes) and ``[zerg]`` (reinforcements);
* templates: those whose name begins with ``.`` or ``_``, and those that another section takes in (``ini = :common``).

What counts as a change: a section's own keys and those of the sections that it takes in. So an edit concerns whoever it
changes; a file that is written anew as it was (touch) concerns all. What cannot be read stops nobody, nor does what was
written only this moment and lacks something: it may be half of what is to come.

The Emperor reads these files with its own rights, so none of it happens in tyrant mode.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from imperator.config.errors import ConfigurationError
from imperator.config.formats import FORMATS, ROOT, Document, Entry, format_of, parse
from imperator.monitors.files import EXTENSIONS, LARGEST_READ, Rules, stamp_of
from imperator.reign.names import VassalName
from imperator.reign.wanted import Stamp, Wanted

OFF_FOR_TYRANTS: Final = (
    "emperor-sections is without effect in tyrant mode, where the Emperor reads nobody's file: each file is one vassal"
)

SETTLED: Final = 0.1
"""Seconds that a file must be left alone before it is believed that a section of it has gone."""

_NO_VASSALS: Final = frozenset({"", ROOT, "emperor", "zerg"})
_TEMPLATE: Final = (".", "_")
_TAKES_IN: Final = frozenset({*FORMATS, "config", "include", "inherit"})
_THIS_FILE: Final = frozenset({"", "%o", "%O", "%p", "%P", "%s", "%S"})
_MAKES_AN_INSTANCE: Final = frozenset(
    {
        *("socket", "http-socket", "http11-socket", "uwsgi-socket", "module", "wsgi", "wsgi-file", "asgi", "rsgi"),
        *("mount", "attach-daemon", "smart-attach-daemon", "master", "processes", "workers", "threads", "chdir"),
        *("virtualenv", "uid", "plugin", "plugins"),
    }
)
_ROOT_AT_A_GLANCE: Final = {
    "ini": re.compile(rb"^[ \t]*\[uwsgi\][ \t\r]*$", re.MULTILINE),
    "toml": re.compile(rb"^[ \t]*\[uwsgi\]", re.MULTILINE),
    "yaml": re.compile(rb"^uwsgi[ \t]*:", re.MULTILINE),
    "xml": re.compile(rb"<uwsgi[\s/>]"),
    "json": re.compile(rb'"uwsgi"\s*:'),
}
"""Most files have a root section, and most Emperors have thousands of files."""

_XML_ROOT = "a <uwsgi> without an id would be all that have one, at once: give it an id, or take the others elsewhere"


def contents(document: Document) -> dict[str, int]:
    """The sections that are vassals, each with a number for what it says. Only ``[uwsgi]``, or nothing: no division."""
    sections = document.sections
    form = format_of(document.where)
    uses = {name: set(_taken_in(document.where, entries)) - {name} for name, entries in sections.items()}
    templates = set().union(*uses.values())
    found = [name for name in sections if name not in _NO_VASSALS | templates and not name.startswith(_TEMPLATE)]
    if form != "ini":  # there a plain value, or the element around all others, looks like a section without keys
        found = [name for name in found if sections[name]]
    if ROOT in sections and (form != "xml" or _has_root_of_its_own(sections)):
        found.insert(0, ROOT)
    return {name: hash(tuple(_said(name, sections, uses))) for name in found}


def _taken_in(where: str, entries: list[Entry]) -> Iterator[str]:
    """The sections of this file that a section takes in: ``ini = :common``, ``ini = %p:common``."""
    for entry in entries:
        file, colon, section = entry.value.rpartition(":")
        if colon and entry.key in _TAKES_IN and (file in _THIS_FILE or file == os.path.basename(where)):
            yield section


def _said(name: str, sections: Mapping[str, list[Entry]], uses: Mapping[str, set[str]]) -> Iterator[tuple[str, str]]:
    """Every key and value of a section, and of those that it takes in, directly or not."""
    seen, ahead = set(), [name]
    while ahead:
        section = ahead.pop()
        if section not in seen:
            seen.add(section)
            yield "", section if section != name else ""
            yield from ((entry.key, entry.value) for entry in sections.get(section, ()))
            ahead += sorted(uses.get(section, ()))


def _has_root_of_its_own(sections: Mapping[str, list[Entry]]) -> bool:
    """XML: a ``<uwsgi id="a">`` counts as ``a`` and as ``uwsgi``; is there one without an id?"""
    named = {entry for name, entries in sections.items() if name != ROOT for entry in entries}
    return not named.issuperset(sections[ROOT])


def is_plainly_for_instances(document: Document, found: Collection[str]) -> bool:
    """Whether a file that nobody said anything about is meant to be divided."""
    if ROOT in document.sections or not found:
        return False
    if len(found) == 1 and _is_slip_of_the_pen(next(iter(found))):
        return False
    return any(entry.key in _MAKES_AN_INSTANCE for name in found for entry in document.sections[name])


def _is_slip_of_the_pen(name: str) -> bool:
    """``[uwsg]``: whoever mistypes the only section of a file did not mean to rename a vassal."""
    import difflib

    return name.isalpha() and difflib.SequenceMatcher(None, name.lower(), ROOT).ratio() >= 0.75


def vassals_in(document: Document, wish: bool | None) -> list[str] | None:
    """The sections that are vassals, for ``emperor-sections`` as in ``wish``; ``None``: the file is one vassal."""
    found = contents(document)
    if wish is False or not found.keys() - {ROOT} or (wish is None and not is_plainly_for_instances(document, found)):
        return None
    return list(found)


def objection_to_section(section: str) -> str | None:
    """Why no program can be told to read this section; ``None``: it can."""
    if bad := [sign for sign in ":/%" if sign in section]:
        return f"the name of a section that is a vassal cannot hold {bad[0]!r}: rename it (or begin it with a dot)"
    if section.endswith(EXTENSIONS):
        return "the name of a section that is a vassal cannot end as a file's does: rename it"
    return None


class Unfinished(Exception):
    """Somebody may be writing the file at this moment: look again after :data:`SETTLED` seconds."""


@dataclass(frozen=True, slots=True)
class _Share:
    """One section that is a vassal, as it was when it changed last (or was touched)."""

    content: int
    file: Stamp
    modified: float
    problem: str | None


@dataclass(slots=True)
class _File:
    """A divided file, as it was read last."""

    whole: int | None = None
    """A number for all that is in it."""
    stamp: Stamp = ()
    """Of what was read."""
    shares: dict[str, _Share] = field(default_factory=dict)
    trouble: str | None = None
    """Why it cannot be divided at the moment; the shares are those of before."""


class Sections:
    """The divided files of one source."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._options = rules.options
        self._files: dict[str, _File] = {}

    def forget(self, name: str) -> None:
        self._files.pop(name, None)

    def keep_only(self, names: Collection[str]) -> None:
        """Forget every file but these."""
        for name in self._files.keys() - names:
            del self._files[name]

    def divide(
        self, name: str, path: str, wanted: Wanted, before: Wanted | None, told: Mapping[VassalName, Wanted]
    ) -> list[Wanted] | None:
        """The vassals in a file; ``None``: it is one vassal, as ``wanted`` says. Raises :class:`Unfinished`.

        ``before`` is what was wanted of the file when it was looked at last, ``told`` the vassals that came of it.
        """
        if not self._may_be_divided(name, wanted):
            self.forget(name)
            return None
        file = self._files.get(name)
        if before is not None and _looks_the_same(wanted, before):
            if file is None:
                return None
            return list(told.values()) if file.trouble else self._vassals(name, path, wanted, file)
        if wanted.problem is not None:
            return None if file is None else self._hold(name, wanted, told, wanted.problem)
        return self._read(name, path, wanted, told)

    def _may_be_divided(self, name: str, wanted: Wanted) -> bool:
        options = self._options
        runs = options.magic_exec and wanted.executable
        return options.sections is not False and not options.tyrant and not runs and name.endswith(EXTENSIONS)

    def _read(self, name: str, path: str, wanted: Wanted, told: Mapping[VassalName, Wanted]) -> list[Wanted] | None:
        file = self._files.get(name)
        unsaid = self._options.sections is None and file is None
        try:
            with open(path, "rb") as source:
                data = source.read(LARGEST_READ + 1)
                after = os.fstat(source.fileno())
        except OSError as error:
            return self._hold(name, wanted, told, f"{path} cannot be read: {error.strerror}")
        if len(data) > LARGEST_READ:
            text = f"{path} is larger than {LARGEST_READ} bytes, so it is not looked through for sections"
            return self._hold(name, wanted, told, text)
        whole = hash(data)
        form = format_of(path) or ""
        if unsaid and form in _ROOT_AT_A_GLANCE and _ROOT_AT_A_GLANCE[form].search(data):
            return None
        document, trouble = _parsed(data, path)
        found = {} if document is None else contents(document)
        if abs(time.time() - after.st_mtime) < SETTLED and file is not None and file.shares.keys() - found.keys():
            raise Unfinished
        if not data.strip():
            if file is not None and file.shares:
                text = f"{path} is empty now: remove it if nothing of it is wanted"
                return self._hold(name, wanted, told, text, whole)
            self.forget(name)
            return None
        if document is None:
            return self._hold(name, wanted, told, trouble, whole)
        if not self._is_divided(document, found, unsaid):
            self.forget(name)
            return None
        file = self._files.setdefault(name, _File())
        # As it is after the reading: what was read may be newer than the notice, and is no news when its own comes.
        stamp = stamp_of(after)
        is_touched = (whole == file.whole and stamp != file.stamp) or (self._options.nofollow and os.path.islink(path))
        file.shares = {
            section: self._share(section, content, wanted, None if is_touched else file.shares.get(section), form)
            for section, content in found.items()
        }
        file.whole, file.stamp, file.trouble = whole, stamp, None
        return self._vassals(name, path, wanted, file)

    def _is_divided(self, document: Document, found: Mapping[str, int], unsaid: bool) -> bool:
        if not found.keys() - {ROOT}:
            return False
        if unsaid:
            return is_plainly_for_instances(document, found)
        return self._options.sections is True or ROOT not in document.sections

    @staticmethod
    def _share(section: str, content: int, wanted: Wanted, old: _Share | None, form: str) -> _Share:
        if old is not None and old.content == content:
            return old
        problem = _XML_ROOT if form == "xml" and section == ROOT else objection_to_section(section)
        return _Share(content, wanted.stamp, wanted.modified, problem)

    def _vassals(self, name: str, path: str, wanted: Wanted, file: _File) -> list[Wanted]:
        stem = os.path.splitext(os.path.basename(name))[0]
        vassals = []
        for section, share in file.shares.items():
            stamp = (share.content, *share.file)
            each = replace(wanted, stamp=stamp, modified=share.modified, problem=share.problem)
            if section != ROOT:
                each = replace(each, name=VassalName(f"{name}:{section}"), socket=None)
                each = self._rules.with_socket(each, f"{path}:{section}", f"{stem}.{section}")
            vassals.append(each)
        return vassals

    def _hold(
        self, name: str, wanted: Wanted, told: Mapping[VassalName, Wanted], trouble: str, whole: int | None = None
    ) -> list[Wanted] | None:
        """The file is of no use at the moment. Its vassals stay; the one that is called as the file says why."""
        file = self._files.get(name)
        if file is None:
            if self._options.sections is None:
                return None  # whoever starts with it will say so
            file = self._files[name] = _File()
        file.whole, file.trouble = whole, trouble
        others = [each for each in told.values() if each.name != name]
        spokesman = told.get(VassalName(name))
        if spokesman is None or (spokesman.problem is not None and ROOT not in file.shares):
            spokesman = wanted
        text = f"{trouble}; its other vassals go on as they are" if others else trouble
        return [*others, replace(spokesman, problem=text)]


def _parsed(data: bytes, path: str) -> tuple[Document | None, str]:
    """What a file holds, or why that cannot be said."""
    try:
        return parse(data.decode(errors="surrogateescape"), path), ""
    except ConfigurationError as error:
        return None, str(error)
    except (ValueError, RecursionError) as error:  # what the formats' own libraries choke on
        return None, f"{path}: {error}"


def _looks_the_same(wanted: Wanted, before: Wanted) -> bool:
    return (wanted.stamp, wanted.problem, wanted.executable) == (before.stamp, before.problem, before.executable)
