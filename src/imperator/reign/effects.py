"""What a reign wants done. Small frozen classes, handed out as data; the court carries them out, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

from imperator.reign.names import Serial, VassalName
from imperator.reign.protocol import ToVassal
from imperator.reign.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Spawn:
    """Make a process for a vassal: answered by ``Spawned`` or ``SpawnFailed``, and at last ``Exited``."""

    serial: Serial
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Send:
    """Write one byte to the emperor fd; answered by ``FellSilent`` if that fails."""

    serial: Serial
    byte: ToVassal


@dataclass(frozen=True, slots=True)
class SendConfig:
    """Write the configuration to the config fd."""

    serial: Serial
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the instance's first process."""

    serial: Serial
    signal: int


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Bind and listen for an on-demand vassal, then say ``Knocked`` at the first connection, once."""

    name: VassalName
    address: str
    uid: int
    """The owner of the configuration, with whose rights it is done in tyrant mode."""
    gid: int


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close the on-demand socket and remove its file."""

    name: VassalName


class HookPhase(Enum):
    """The moments outside a vassal's own process at which hooks run."""

    AS_EMPEROR = "as-emperor"
    AS_ON_DEMAND_VASSAL = "as-on-demand-vassal"
    AS_ON_CONFIG_VASSAL = "as-on-config-vassal"
    VASSALS_STOP = "vassals-stop-hook"


@dataclass(frozen=True, slots=True)
class RunHooks:
    """Run the hooks of a phase for a vassal, beside the loop. Where there are none this is nothing."""

    phase: HookPhase
    wanted: Wanted
    pid: int | None = None


class Severity(IntEnum):
    """As syslog(3) has them, of which four are enough."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the log: what happened (``event``, a stable word) and, for a person, ``text``."""

    severity: Severity
    event: str
    text: str
    vassal: VassalName | None = None


@dataclass(frozen=True, slots=True)
class Abandon:
    """A process that was asked for need not come to be: what comes before it is to end. Answered all the same."""

    serial: Serial


@dataclass(frozen=True, slots=True)
class Finish:
    """Everything has ended: the Emperor may."""


Effect = Spawn | Abandon | Send | SendConfig | Signal | OpenSocket | CloseSocket | RunHooks | Note | Finish
