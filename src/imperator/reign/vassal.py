"""A vassal and its instance: state only. Every change of it is made by :mod:`imperator.reign.emperor`.

A *vassal* is one name. An *instance* is one process tree of it. A vassal has one instance or none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from imperator.reign.names import Seconds, Serial, VassalName
from imperator.reign.throttle import Throttle
from imperator.reign.wanted import Wanted


class Phase(Enum):
    """Where a vassal is in its life. The value is the word that people read."""

    QUEUED = "queued"
    """To be started as soon as it is its turn."""
    WAITING = "waiting"
    """To be started at ``due``; ``why`` says why not now."""
    SUSPENDED = "suspended"
    """Stays down until somebody orders it to start."""
    ASLEEP = "asleep"
    """On demand: starts when somebody connects to its socket."""
    FAILED = "failed"
    """Cannot be started; tried again when its configuration changes or somebody orders it."""
    SPAWNING = "spawning"
    """A process has been asked for."""
    RUNNING = "running"
    STOPPING = "stopping"
    """Told to stop; killed at ``due``; ``afterwards`` says what comes then."""


IDLE_PHASES = frozenset({Phase.QUEUED, Phase.WAITING, Phase.SUSPENDED, Phase.ASLEEP, Phase.FAILED})
"""The phases without a process."""


class Afterwards(Enum):
    """What happens to a vassal once its instance has ended."""

    REMOVE = "is removed"
    RESTART = "starts again"
    SUSPEND = "stays down until it is ordered to start"


@dataclass(frozen=True, slots=True)
class Exit:
    """How an instance ended: an exit code, or the signal that killed it."""

    code: int | None
    signal: int | None
    at: Seconds
    lived: Seconds
    reason: str | None = None
    """What is known beyond the number: why nothing could be executed, for example."""


@dataclass(slots=True)
class Instance:
    """One process tree. Times are ``None`` until the thing has happened."""

    serial: Serial
    spawned_at: Seconds
    pid: int | None = None
    speaks: bool = False
    """It has sent a byte: it knows the Emperor protocol and is managed with it, not with signals."""
    ready_at: Seconds | None = None
    accepting_at: Seconds | None = None
    loyal_at: Seconds | None = None
    heartbeat_at: Seconds | None = None
    """The last heartbeat, or the reload that it is to come back from; ``None``: not watched (none came yet)."""
    reloading: bool = False
    """It was told to reload, and has not accepted since."""
    hung: bool = False
    """The reload under way is because of a lost heartbeat: if it is not back at ``due``, it is killed."""
    recalled: str | None = None
    """Why it has to be stopped as soon as it is there: its configuration changed in the meantime, for example."""
    cursed_at: Seconds | None = None
    failure: str | None = None
    """Why its binary could not be executed, as the child reported before it exited."""


@dataclass(slots=True)
class Vassal:
    """One name that is wanted (or is on its way out)."""

    name: VassalName
    wanted: Wanted
    born: float
    """The configuration's modification time when the vassal was first seen (seconds since 1970)."""
    phase: Phase = Phase.QUEUED
    instance: Instance | None = None
    due: Seconds | None = None
    why: str = ""
    afterwards: Afterwards = Afterwards.RESTART
    first_run: Seconds | None = None
    last_run: Seconds | None = None
    last_exit: Exit | None = None
    respawns: int = 0
    failed_spawns: int = 0
    """How many times in a row no process could be made for it (no memory, no pids, no fds)."""
    throttle: Throttle = field(default_factory=Throttle)
