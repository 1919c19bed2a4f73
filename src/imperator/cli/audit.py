"""``imperator audit``: for every vassal, what it could reach, and what a person who trusts nobody would change."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from imperator.cli.reading import NoAnswer, choose_emperor, fetch
from imperator.kernel.exposure import Exposure, exposure_of

ALL_WELL: Final = 0
WARNED: Final = 1
CANNOT_TELL: Final = 2

_SYSTEM: Final = ("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/root", "/run", "/sbin", "/srv", "/usr", "/var")
"""Nobody's but root's."""
_SHARED: Final = ("/tmp", "/var/tmp", "/dev/shm")
"""Everybody's: fine where they are its own."""

_EPILOG: Final = """\
What is looked at is the running processes, not their files: what is true, whatever was meant. Only root can look into
other users' vassals. exit code: 0, nothing to warn of; 1, warnings; 2, there is no answer.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One vassal."""

    name: str
    pid: int
    exposure: Exposure | None
    """``None``: it could not be looked at."""
    warnings: tuple[str, ...]


def main(argv: Sequence[str]) -> int:
    """Run the sub-command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="imperator audit",
        description="Shows what every running vassal could reach, with warnings.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--pid", type=int, metavar="PID", help="the Emperor with this process number, of several")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these vassals")
    try:
        options = parser.parse_args(argv)
    except SystemExit as end:  # --help, or a usage error, already printed
        return end.code if isinstance(end.code, int) else CANNOT_TELL
    try:
        emperor = choose_emperor(options.pid)
        findings = audit(fetch(emperor.address, emperor.uid), options.names)
    except NoAnswer as error:
        print(f"imperator audit: {error}", file=sys.stderr)
        return CANNOT_TELL
    if options.json:
        print(json.dumps([asdict(one) for one in findings], indent=2))
    else:
        print("\n".join(_told(findings)))
    return WARNED if any(one.warnings for one in findings) else ALL_WELL


def audit(document: dict[str, Any], names: Sequence[str] = ()) -> list[Finding]:
    """Every vassal that runs. Raises NoAnswer for a name that there is not."""
    vassals = {one["id"]: one for one in document["vassals"]}
    if missing := [name for name in names if name not in vassals]:
        raise NoAnswer(f"there is no vassal {', '.join(missing)}; 'imperator status' lists them")
    running = [one for one in vassals.values() if one["pid"] > 0]
    emperors = _of_the_emperor(document)
    directories = {name: _directory(one["pid"]) for name, one in vassals.items() if one["pid"] > 0}
    findings = []
    for one in running:
        name, pid = one["id"], one["pid"]
        if names and name not in names:
            continue
        others = {path for other, path in directories.items() if other != name and path != directories[name]}
        paths = dict.fromkeys([*_SYSTEM, *_SHARED, *emperors, *sorted(filter(None, others))])
        try:
            exposure = exposure_of(pid, paths)
        except OSError as error:
            hint = "; run it as root" if isinstance(error, PermissionError) else ""
            findings.append(Finding(name, pid, None, (f"it cannot be looked at: {error.strerror}{hint}",)))
            continue
        findings.append(Finding(name, pid, exposure, tuple(_warnings(exposure, emperors, others))))
    return _with_shared_users(findings)


def _of_the_emperor(document: dict[str, Any]) -> list[str]:
    """Where its sources and its own interpreter are: whoever can write there decides what runs."""
    places = [sys.prefix]
    for source in document.get("emperor", ()):
        path = os.path.join(document.get("cwd", "/"), source.partition("://")[2] or source)
        places.append(os.path.dirname(path) if "*" in path else path)
    return [place for place in dict.fromkeys(places) if os.path.isdir(place)]


def _directory(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return None


def _warnings(exposure: Exposure, emperors: Sequence[str], others: set[str | None]) -> Iterator[str]:
    if exposure.uid == 0:
        yield "it runs as root: give it a user (uid = USER), or use tyrant mode"
    elif exposure.capabilities:
        yield f"it has capabilities: {', '.join(exposure.capabilities)}"
    if exposure.uid != 0 and 0 in (exposure.gid, *exposure.groups):
        yield "it is in root's group"
    if exposure.uid == 0 and "user" not in exposure.namespaces:
        return  # whoever is root may write anywhere: said once
    for path in exposure.writable:
        if path in emperors:
            yield f"it may write to {path}, and so decide what the Emperor runs"
        elif path in others:
            yield f"it may write to {path}, where another vassal lives"
        elif path in _SYSTEM and not (path in ("/", "/dev", "/run") and "mnt" in exposure.namespaces):
            yield f"it may write to {path}"


def _with_shared_users(findings: list[Finding]) -> list[Finding]:
    """Vassals of one user may read, signal and trace each other, unless they cannot see each other."""
    shared = Counter(
        one.exposure.uid for one in findings if one.exposure is not None and "pid" not in one.exposure.namespaces
    )
    result = []
    for one in findings:
        exposure = one.exposure
        count = 0 if exposure is None or "pid" in exposure.namespaces else shared[exposure.uid] - 1
        if exposure is not None and exposure.uid != 0 and count:
            text = f"it shares its user with others ({count}): they can read and signal each other"
            one = Finding(one.name, one.pid, exposure, (*one.warnings, text))
        result.append(one)
    return result


def _told(findings: Sequence[Finding]) -> Iterator[str]:
    if not findings:
        yield "no vassal is running"
    for one in findings:
        yield f"{one.name} (pid {one.pid})"
        exposure = one.exposure
        if exposure is not None:
            groups = " ".join(map(str, exposure.groups)) or "none"
            yield f"  user        uid {exposure.uid}, gid {exposure.gid}, additional groups: {groups}"
            yield f"  rights      {', '.join(exposure.capabilities) or 'no capability'}{_bounds(exposure)}"
            yield f"  namespaces  {', '.join(exposure.namespaces) or 'none of its own'}"
            yield f"  listens     {', '.join(exposure.sockets) or 'nowhere'}"
            yield f"  may write   {', '.join(exposure.writable) or 'to none of the places looked at'}"
        for warning in one.warnings:
            yield f"  warning: {warning}"
    warned = sum(1 for one in findings if one.warnings)
    yield f"{len(findings)} looked at, {warned} with warnings"


def _bounds(exposure: Exposure) -> str:
    bounds = ["no new privileges"] if exposure.no_new_privileges else []
    bounds += ["system calls filtered"] if exposure.filtered else []
    return "".join(f"; {bound}" for bound in bounds)
