"""The contract between a monitor and the court.

A monitor is an object with one asynchronous iterator, :meth:`Monitor.news`. It yields

* :class:`Listing` first (all that the source wants now; the court reconciles against it), and again whenever it
  cannot say what changed (a lost notification, the safety-net interval, a source that came back);
* :class:`Changed` and :class:`Gone` for single vassals, as soon as the source knows of them;
* :class:`Trouble` when the source cannot be read. Every running vassal keeps running. When the source is back the
  monitor yields a :class:`Listing`, which ends the trouble.

Rules: never block the loop for more than a few milliseconds; never raise for a bad entry (describe it in
``Wanted.problem`` and go on); never put a secret into a text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from imperator.reign.names import Seconds, SourceName, VassalName
from imperator.reign.wanted import Wanted


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything that the source wants, whole: whatever it does not name is no longer wanted by this source."""

    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Changed:
    """One vassal appeared, or its configuration changed (or it may have: equal stamps are ignored)."""

    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Gone:
    """One vassal is no longer wanted by this source."""

    name: VassalName


@dataclass(frozen=True, slots=True)
class Trouble:
    """The source cannot be read: ``text`` says why and what to do. Its vassals stay as they are."""

    text: str
    lasting: bool = False
    """It can be read, but not as it should be, and that is going to stay so."""


News = Listing | Changed | Gone | Trouble


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """What every monitor may need to know of the Emperor's options."""

    start_directory: str
    """Where the Emperor was started (absolute): relative patterns and globbed names belong here."""
    interval: Seconds | None = None
    """``emperor-freq``: seconds between two safety-net readings. ``None``: the monitor's own choice."""
    extra_extensions: tuple[str, ...] = ()
    """``emperor-extra-extension``: further endings of valid vassal names."""
    nofollow: bool = False
    """``emperor-nofollow``: a symlink's own change counts, not that of the file behind it."""
    tyrant: bool = False
    tyrant_nofollow: bool = False
    """``emperor-tyrant-nofollow``: uid and gid are the symlink's own."""
    collect_attributes: tuple[str, ...] = ()
    """``emperor-collect-attr``: keys of the ``[emperor]`` section to put into ``Wanted.attributes``."""
    on_demand_extension: str | None = None
    on_demand_directory: str | None = None
    on_demand_exec: str | None = None
    sections: bool | None = None
    """``emperor-sections``: each section of a file is a vassal. ``None``: where a file leaves no doubt about it."""
    magic_exec: bool = False
    """``emperor-magic-exec``: an executable file is run, and not read."""


class Monitor(Protocol):
    """One source of vassals. Built as ``Monitor(argument, options)``, argument being what follows ``scheme://``."""

    name: SourceName

    def news(self) -> AsyncIterator[News]:
        """Yield the source's news for ever; closing the iterator frees everything it holds."""
        ...

    def scan_soon(self) -> None:
        """Somebody asked (SIGWINCH) to look again now: yield a :class:`Listing` as soon as possible."""
        ...
