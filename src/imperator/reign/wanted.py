"""What a monitor says of one vassal: that it should run, and with what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from imperator.reign.names import SourceName, VassalName

NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})

Stamp = tuple[int, ...]
"""What a configuration looked like when it was last read: compared for equality only.

For a file: mtime in ns, inode, device, size. Any difference is a change: an older mtime too, for a restored
backup is a change as well.
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A vassal that should be running, as one source describes it at one moment."""

    name: VassalName
    source: SourceName
    stamp: Stamp
    modified: float
    """Last change of the configuration, in seconds since 1970 (for people and statistics only)."""
    directory: str
    """The working directory in which the vassal starts."""
    uid: int = 0
    gid: int = 0
    config: bytes | None = None
    """The configuration itself, where the source and not a file holds it: it goes over the config fd."""
    executable: bool = False
    """The file has the executable bit (``emperor-magic-exec``)."""
    socket: str | None = None
    """On demand: start only when somebody connects to this address."""
    attributes: Mapping[str, str] = field(default_factory=lambda: NO_ATTRIBUTES)
    """What ``emperor-collect-attr`` picked up."""
    problem: str | None = None
    """Why this vassal cannot be started as it stands, in words for a person. ``None``: it can."""
