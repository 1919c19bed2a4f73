"""From the statistics document to what a person reads: one row a vassal, and the summary. Pure: text in, text out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

from imperator.bureau.escape import visible
from imperator.config.quantities import words_of_size

HEADINGS: Final = ("vassal", "state", "pid", "since", "respawns", "last exit", "why")
WITH_USAGE: Final = ("vassal", "state", "pid", "since", "respawns", "uses", "last exit", "why")
"""The same where vassals have control groups."""
GOOD_STATES: Final = frozenset({"running", "asleep", "suspended"})
"""States in which nothing has to be done."""
_STATES: Final = ("running", "spawning", "queued", "stopping", "waiting", "failed", "asleep", "suspended")
_UNITS: Final = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


@dataclass(frozen=True, slots=True)
class Row:
    """One vassal, in words: safe to print."""

    vassal: str
    state: str
    pid: str
    since: str
    respawns: str
    last_exit: str
    why: str
    uses: str = ""
    """Empty: not known, for it has no control group."""

    def cells(self, with_usage: bool = False) -> tuple[str, ...]:
        uses = (self.uses or "-",) if with_usage else ()
        return (self.vassal, self.state, self.pid, self.since, self.respawns, *uses, self.last_exit, self.why)


def length(seconds: float) -> str:
    """A length of time in its two largest units: ``45 s``, ``3 min 20 s``, ``5 d 3 h``."""
    left = max(int(seconds), 0)
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
        if parts and (len(parts) == 2 or not count):
            break
    return " ".join(parts) or "0 s"


def state_of(vassal: dict[str, Any]) -> str:
    """The state in one word; made up from the other keys where the original answered."""
    state = vassal.get("state")
    if isinstance(state, str):
        return state
    if vassal.get("pid", -1) > 0:
        return "stopping" if vassal.get("cursed") else "running"
    if vassal.get("suspended"):
        return "suspended"
    return "asleep" if vassal.get("on_demand") else "waiting"


def row_of(vassal: dict[str, Any], now: float) -> Row:
    """``now`` is the Emperor's, in seconds since 1970."""
    state = state_of(vassal)
    pid = vassal.get("pid", -1)
    end = vassal.get("last_exit")
    since = vassal.get("last_run", 0) if pid > 0 or state == "spawning" else end["at"] if end else 0
    return Row(
        vassal=visible(str(vassal["id"])),
        state=visible(state),
        pid=str(pid) if pid > 0 else "-",
        since=length(now - since) if since else "-",
        respawns=str(vassal.get("respawns", 0)),
        last_exit=visible(f"{end['text']}, {length(now - end['at'])} ago") if end else "-",
        why=visible(_why(vassal, state)),
        uses=_uses(vassal.get("resources") or {}),
    )


def _uses(resources: dict[str, Any]) -> str:
    """``48 MB of 512 MB, 3 of 100 pids, cpu 12 s of 0.5 cores; waits for memory 7 %``."""
    parts = []
    memory, pids, cpu = (resources.get(what) or {} for what in ("memory", "pids", "cpu"))
    if "current" in memory:
        most = f" of {words_of_size(memory['max'])}" if memory.get("max") else ""
        parts.append(words_of_size(memory["current"] or 0) + most)
    if "current" in pids:
        parts.append(f"{pids['current']}" + (f" of {pids['max']}" if pids.get("max") else "") + " pids")
    if "seconds" in cpu:
        parts.append(f"cpu {length(cpu['seconds'])}")
        if (held_back := cpu.get("throttled_seconds", 0)) >= 1:
            parts[-1] += f" (held back for {length(held_back)})"
    pressure = {what: share for what, share in (resources.get("pressure") or {}).items() if share >= 1}
    if pressure:
        parts.append("waits for " + " and ".join(f"{what} {share:.0f} %" for what, share in pressure.items()))
    return ", ".join(parts)


def _why(vassal: dict[str, Any], state: str) -> str:
    why = str(vassal.get("why") or "")
    if state == "running":
        return _how_it_runs(vassal)
    wait = vassal.get("next_try_in")
    if wait is not None:
        return f"next try in {length(wait + 0.999)}" + (f": {why}" if why else "")
    return why or "-"


def _how_it_runs(vassal: dict[str, Any]) -> str:
    if vassal.get("reloading"):
        return "is reloading"
    if vassal.get("loyal"):
        return "loyal: has managed requests"
    if vassal.get("accepting"):
        return "accepts requests"
    if vassal.get("ready"):
        return "is up"
    return "has said nothing yet" if vassal.get("speaks", True) else "does not speak the Emperor protocol, or not yet"


def summary(document: dict[str, Any]) -> list[str]:
    """The lines under the table: how many of each state; the sources in trouble; the Emperor itself."""
    counts = Counter(state_of(vassal) for vassal in document["vassals"])
    words = [f"{counts[state]} {state}" for state in _STATES if counts[state]]
    words += [f"{count} {visible(state)}" for state, count in counts.items() if state not in _STATES]
    lines = [(", ".join(words) or "no vassals") + ("; Ragnarok is under way" if document.get("ending") else "")]
    lines += [f"source in trouble: {text}" for text in troubles(document)]
    who = f"Emperor {visible(str(document.get('version')))}, pid {document.get('pid')}, uid {document.get('uid')}"
    if "uptime" in document:
        who += f", up for {length(document['uptime'])}"
    sources = ", ".join(visible(str(name)) for name in document.get("emperor", []))
    return [*lines, f"{who}; sources: {sources or 'none'}"]


def troubles(document: dict[str, Any]) -> list[str]:
    """Each source that cannot be read, with the reason."""
    return [
        visible(f"{source['name']}: {source['trouble']}")
        for source in document.get("sources", [])
        if source.get("trouble")
    ]
