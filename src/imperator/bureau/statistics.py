"""The statistics document: the original's JSON, every key with its type and meaning, and ours beside them.

It comes in pieces of at most :data:`VASSALS_A_PIECE` vassals, so that who sends it can let the loop do something else
in between. One vassal is one line. Times are seconds since 1970, whole numbers in the original's keys, 0 for "not
yet". The text is ASCII; a byte of a name that is no UTF-8 comes as a lone surrogate (``\\udc80`` to ``\\udcff``).

The keys are described in the manual's page on statistics.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from signal import Signals
from typing import Any, Final

from imperator.reign.blacklist import BlacklistItem
from imperator.reign.emperor import Reign
from imperator.reign.life import describe_exit
from imperator.reign.names import Seconds, SourceName, VassalName
from imperator.reign.vassal import Exit, Phase, Vassal

VASSALS_A_PIECE: Final = 100
_LOADED_AT: Final = Seconds(time.monotonic())


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """One source: ``trouble`` says why it cannot be read, ``vassals`` how many it has."""

    name: SourceName
    trouble: str | None
    vassals: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmperorFacts:
    """What the document says of the Emperor's process, beyond its reign."""

    version: str
    pid: int
    uid: int
    gid: int
    cwd: str
    tyrant: bool
    sources: tuple[SourceFacts, ...]
    networks: Mapping[VassalName, str | None] = field(default_factory=dict)
    """The address of each vassal that has a network of its own; ``None``: it has no address."""
    clock_offset: float
    """What to add to the reign's clock to get seconds since 1970."""
    started: Seconds = _LOADED_AT
    """When the Emperor started, on the reign's clock."""
    usage: Mapping[VassalName, Mapping[str, Any]] = field(default_factory=dict)
    """What each vassal uses, where it has a control group."""

    def to_unix(self, moment: Seconds) -> float:
        """A moment of the reign in seconds since 1970."""
        return moment + self.clock_offset


def document(reign: Reign, facts: EmperorFacts, now: Seconds) -> Iterator[str]:
    """The whole document, as JSON text in pieces. The reign may change between two of them."""
    vassals = list(reign.vassals.values())
    blacklist = list(reign.blacklist)
    yield _dump(_head(reign, vassals, facts, now))[:-1] + ',"vassals":[\n'
    yield from _rows(_vassal(vassal, facts, now) for vassal in vassals)
    yield '],"blacklist":[\n'
    yield from _rows(_blacklist_item(item, facts) for item in blacklist)
    yield "]}\n"


_dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def _rows(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    between = ""
    lines: list[str] = []
    for row in rows:
        lines.append(_dump(row))
        if len(lines) == VASSALS_A_PIECE:
            yield between + ",\n".join(lines)
            between = ",\n"
            lines = []
    if lines:
        yield between + ",\n".join(lines)
    yield "\n"


def _head(reign: Reign, vassals: list[Vassal], facts: EmperorFacts, now: Seconds) -> dict[str, Any]:
    highest = max((vassal.throttle.level for vassal in vassals), default=Seconds(0.0))
    return {
        "version": facts.version,
        "pid": facts.pid,
        "uid": facts.uid,
        "gid": facts.gid,
        "cwd": facts.cwd,
        "emperor": [source.name for source in facts.sources],
        "emperor_tyrant": int(facts.tyrant),
        "throttle_level": _milliseconds(max(highest, reign.policy.throttle)),
        # ours
        "time": round(facts.to_unix(now), 3),
        "started": round(facts.to_unix(facts.started), 3),
        "uptime": round(now - facts.started, 3),
        "ending": reign.ending,
        "sources": [
            {"name": source.name, "trouble": source.trouble, "vassals": source.vassals} for source in facts.sources
        ],
    }


def _milliseconds(length: Seconds) -> int:
    return round(length * 1000)


def _vassal(vassal: Vassal, facts: EmperorFacts, now: Seconds) -> dict[str, Any]:
    wanted = vassal.wanted
    instance = vassal.instance
    offset = facts.clock_offset

    def unix(moment: Seconds | None) -> int:
        return 0 if moment is None else int(moment + offset)

    ready = accepting = loyal = heartbeat = cursed = None
    pid = None
    speaks = reloading = False
    if instance is not None:
        ready, accepting, loyal = instance.ready_at, instance.accepting_at, instance.loyal_at
        heartbeat, cursed, pid = instance.heartbeat_at, instance.cursed_at, instance.pid
        speaks, reloading = instance.speaks, instance.reloading
    due = vassal.due if vassal.phase is Phase.WAITING else None
    return {
        "id": vassal.name,
        "pid": -1 if pid is None else pid,
        "born": int(vassal.born),
        "last_mod": int(wanted.modified),
        "last_heartbeat": unix(heartbeat),
        "loyal": int(loyal is not None),
        "ready": int(ready is not None),
        "accepting": int(accepting is not None),
        "last_loyal": unix(loyal),
        "last_ready": unix(ready),
        "last_accepting": unix(accepting),
        "first_run": unix(vassal.first_run),
        "last_run": unix(vassal.last_run),
        "cursed": unix(cursed),
        "zerg": 0,
        "on_demand": wanted.socket or "",
        "suspended": int(vassal.phase is Phase.SUSPENDED),
        "adopted": 0,
        "uid": wanted.uid if facts.tyrant else 0,
        "gid": wanted.gid if facts.tyrant else 0,
        "monitor": wanted.source,
        "attrs": [{key: value} for key, value in wanted.attributes.items()],
        "respawns": vassal.respawns,
        # ours
        "state": vassal.phase.value,
        "why": vassal.why,
        "last_exit": None if vassal.last_exit is None else _exit(vassal.last_exit, offset),
        "next_try": None if due is None else round(due + offset, 3),
        "next_try_in": None if due is None else round(max(due - now, 0.0), 3),
        "speaks": speaks,
        "reloading": reloading,
        "source": wanted.source,
        "resources": None if instance is None else facts.usage.get(vassal.name),
        "net": {"address": facts.networks[vassal.name]} if vassal.name in facts.networks else None,
    }


def _exit(end: Exit, offset: float) -> dict[str, Any]:
    text = f"{describe_exit(end.code, end.signal)} after {end.lived:.3g} s"
    return {
        "code": end.code,
        "signal": end.signal,
        "signal_name": None if end.signal is None else _signal_name(end.signal),
        "at": round(end.at + offset, 3),
        "lived": round(end.lived, 3),
        "reason": end.reason,
        "text": text if end.reason is None else f"{text}: {end.reason}",
    }


def _signal_name(number: int) -> str:
    try:
        return Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _blacklist_item(item: BlacklistItem, facts: EmperorFacts) -> dict[str, Any]:
    return {
        "id": item.name,
        "throttle_level": _milliseconds(item.level),
        "attempt": item.attempts,
        "first_attempt": int(facts.to_unix(item.first_attempt)),
        "last_attempt": int(facts.to_unix(item.last_attempt)),
    }
