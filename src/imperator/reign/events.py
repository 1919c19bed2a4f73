"""What happens to a reign. Small frozen classes; the court makes them, :meth:`Reign.step` takes them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from imperator.reign.names import Serial, SourceName, VassalName
from imperator.reign.wanted import Wanted


@dataclass(frozen=True, slots=True)
class SourceListed:
    """A source said everything that it wants: whatever it does not name is gone."""

    source: SourceName
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class VassalWanted:
    """A source wants one vassal, or wants it with another configuration."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class VassalUnwanted:
    """A source no longer wants one vassal."""

    source: SourceName
    name: VassalName


@dataclass(frozen=True, slots=True)
class Spawned:
    """The process that was asked for is there."""

    serial: Serial
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """No process could be made: ``reason`` in words for a person."""

    serial: Serial
    reason: str


@dataclass(frozen=True, slots=True)
class ExecFailed:
    """The process is there, but nothing could be executed in it; it is about to exit with code 30."""

    serial: Serial
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The process has ended and was reaped. Exactly one of ``code`` and ``signal`` is set."""

    serial: Serial
    code: int | None = None
    signal: int | None = None
    reason: str | None = None
    """What is known beyond that: ``out of memory``."""


@dataclass(frozen=True, slots=True)
class WentOn:
    """The process of a vassal has ended with 0, but its program went on in the background: ``text`` for a person."""

    name: VassalName
    text: str


@dataclass(frozen=True, slots=True)
class Received:
    """One byte came over the emperor fd."""

    serial: Serial
    byte: int


@dataclass(frozen=True, slots=True)
class FellSilent:
    """The vassal closed its end of the emperor fd, or a write to it failed."""

    serial: Serial


@dataclass(frozen=True, slots=True)
class Knocked:
    """Somebody connected to the socket of a sleeping vassal."""

    name: VassalName


@dataclass(frozen=True, slots=True)
class SocketFailed:
    """The on-demand socket could not be opened."""

    name: VassalName
    reason: str


class Command(Enum):
    """What a person or a program can order for one vassal."""

    SPAWN = "spawn"
    RESPAWN = "respawn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Ordered:
    """Somebody ordered something, over the command socket for example."""

    command: Command
    name: VassalName


@dataclass(frozen=True, slots=True)
class ReloadOrdered:
    """Reload every vassal (SIGHUP)."""


@dataclass(frozen=True, slots=True)
class AmnestyOrdered:
    """Empty the blacklist (SIGURG)."""


@dataclass(frozen=True, slots=True)
class RagnarokOrdered:
    """Stop everything and end (SIGINT, SIGTERM, SIGQUIT)."""

    by: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: whatever is due is due."""


Event = (
    SourceListed
    | VassalWanted
    | VassalUnwanted
    | Spawned
    | SpawnFailed
    | ExecFailed
    | Exited
    | WentOn
    | Received
    | FellSilent
    | Knocked
    | SocketFailed
    | Ordered
    | ReloadOrdered
    | AmnestyOrdered
    | RagnarokOrdered
    | Tick
)
