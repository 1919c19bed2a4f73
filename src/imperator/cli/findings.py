"""What ``imperator check`` says: findings, each with its file, and its line where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

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
    section: str = ""
    """Of a file whose sections are vassals, the one that this is."""
    uwsgi_only: tuple[str, ...] = ()
    """Options that only the real uWSGI acts on, each with its place."""
    findings: list[Finding] = field(default_factory=list)

    def blame(self, severity: Severity, text: str, line: int | None = None) -> None:
        self.findings.append(Finding(severity, self.path, text, line))

    @property
    def label(self) -> str:
        """What tells it from every other vassal."""
        return f"{self.path}:{self.section}" if self.section else self.path

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
        """Each one once: what is wrong with a file that many vassals include is wrong in one place."""
        seen: set[Finding] = set()
        for finding in self._all():
            if finding not in seen:
                seen.add(finding)
                yield finding

    def _all(self) -> Iterator[Finding]:
        yield from self.general
        for vassal in self.vassals:
            yield from vassal.findings

    def count(self, severity: Severity) -> int:
        return sum(1 for finding in self.findings() if finding.severity == severity)
