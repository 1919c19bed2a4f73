"""The rules for what the sources want: vassals that appear, change and go.

Two sources that name the same vassal: the first one keeps it, the other is told so with an error, and takes over when
the first one gives it up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from imperator.reign import events as ev
from imperator.reign.effects import HookPhase, RunHooks, Severity
from imperator.reign.names import Seconds, SourceName, VassalName
from imperator.reign.protocol import objection_to_config
from imperator.reign.realm import Realm
from imperator.reign.vassal import Afterwards, Instance, Phase, Vassal
from imperator.reign.wanted import Wanted


class Wants:
    """Answers ``SourceListed``, ``VassalWanted`` and ``VassalUnwanted``."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._rivals: dict[VassalName, dict[SourceName, Wanted]] = {}
        """Names that a second source wants too, while the first one holds them."""

    def rules(self) -> dict[type, Callable[[Any, Seconds], None]]:
        return {
            ev.SourceListed: self._source_listed,
            ev.VassalWanted: self._vassal_wanted,
            ev.VassalUnwanted: self._vassal_unwanted,
        }

    def _source_listed(self, event: ev.SourceListed, now: Seconds) -> None:
        named: dict[VassalName, Wanted] = {}
        for wanted in event.wanted:
            if named.setdefault(wanted.name, wanted) is not wanted:
                text = f"named twice by {event.source}: the first counts; remove or rename the other"
                self._realm.note(Severity.ERROR, "named-twice", text, wanted.name)
        given_up = [
            vassal.name
            for vassal in self._realm.vassals.values()
            if vassal.wanted.source == event.source and vassal.name not in named
        ]
        given_up += [n for n, rivals in self._rivals.items() if event.source in rivals and n not in named]
        for name in given_up:
            self._unwant(event.source, name, now)
        for wanted in named.values():
            self._want(wanted, now)

    def _vassal_wanted(self, event: ev.VassalWanted, now: Seconds) -> None:
        self._want(event.wanted, now)

    def _vassal_unwanted(self, event: ev.VassalUnwanted, now: Seconds) -> None:
        self._unwant(event.source, event.name, now)

    # -- wanted

    def _want(self, wanted: Wanted, now: Seconds) -> None:
        realm = self._realm
        if realm.ending:
            return
        longest = realm.policy.longest_config
        if wanted.problem is None and (problem := objection_to_config(wanted.config, longest)) is not None:
            wanted = replace(wanted, problem=problem)
        vassal = realm.vassals.get(wanted.name)
        if vassal is None:
            self._appear(wanted, now)
        elif vassal.wanted.source != wanted.source:
            self._rival(vassal, wanted, now)
        else:
            wanted = self._as_far_as_known(wanted, vassal.wanted)
            if self._on_its_way_out(vassal):
                self._come_back(vassal, wanted)
            elif wanted != vassal.wanted:
                self._change(vassal, wanted, now)

    @staticmethod
    def _as_far_as_known(wanted: Wanted, old: Wanted) -> Wanted:
        """A broken configuration says nothing of its socket and the like: what it said last stands till it is whole."""
        if wanted.problem is None:
            return wanted
        return replace(
            wanted, socket=old.socket, config=old.config, executable=old.executable, attributes=old.attributes
        )

    def _appear(self, wanted: Wanted, now: Seconds) -> None:
        realm = self._realm
        vassal = Vassal(wanted.name, wanted, born=wanted.modified)
        realm.vassals[wanted.name] = vassal
        if self._must_wait_for_command(wanted.name):
            realm.rest(vassal, Phase.SUSPENDED, "waits for the spawn command")
            realm.note(Severity.INFO, "suspended", "found; waits for the spawn command", wanted.name)
        else:
            realm.call_up_soon(vassal, vassal.last_run, now, "found")

    def _must_wait_for_command(self, name: VassalName) -> bool:
        policy = self._realm.policy
        return policy.wait_for_command and name not in policy.wait_for_command_ignore

    def _change(self, vassal: Vassal, wanted: Wanted, now: Seconds) -> None:
        realm = self._realm
        old = vassal.wanted
        realm.replace_wanted(vassal, wanted)
        why = "its configuration changed"
        match vassal.phase:
            case Phase.QUEUED | Phase.WAITING | Phase.FAILED:
                realm.call_up_soon(vassal, vassal.last_run, now, why)
            case Phase.ASLEEP if old.socket != wanted.socket or realm.objection(wanted) is not None:
                realm.call_up(vassal, why)
            case Phase.ASLEEP:
                realm.effects.append(RunHooks(HookPhase.AS_ON_CONFIG_VASSAL, wanted))
                realm.note(Severity.INFO, "updated", f"{why}; it is asleep", vassal.name)
            case Phase.SPAWNING if vassal.instance is not None:
                vassal.instance.recalled = "its configuration changed while it started"
            case Phase.RUNNING if vassal.instance is not None:
                self._change_running(vassal, vassal.instance, old, now)
            case _:
                pass  # stopping or suspended: whatever starts next reads the new configuration

    def _change_running(self, vassal: Vassal, instance: Instance, old: Wanted, now: Seconds) -> None:
        realm = self._realm
        restart = self._why_restart(old, vassal.wanted)
        if restart is not None:
            realm.stop(vassal, instance, Afterwards.RESTART, now, restart)
        else:
            realm.reload_if_usable(vassal, instance, now, "its configuration changed")

    def _why_restart(self, old: Wanted, new: Wanted) -> str | None:
        """Why a change cannot be answered with a reload in place: what an instance is born with has changed."""
        if self._realm.policy.tyrant and (old.uid, old.gid) != (new.uid, new.gid):
            return f"the owner of its configuration changed to {new.uid}:{new.gid}"
        if old.socket != new.socket:
            return f"its on-demand socket changed to {new.socket or 'none'}"
        if old.source != new.source or old.directory != new.directory:
            return f"it is now wanted by {new.source}"
        if old.executable != new.executable:
            return "the executable bit of its configuration changed"
        if (old.config is None) != (new.config is None):
            return "its configuration now comes another way"
        return None

    # -- no longer wanted

    @staticmethod
    def _on_its_way_out(vassal: Vassal) -> bool:
        return vassal.instance is not None and vassal.afterwards is Afterwards.REMOVE

    def _come_back(self, vassal: Vassal, wanted: Wanted) -> None:
        """Removed and there again before the process has ended."""
        self._realm.replace_wanted(vassal, wanted)
        vassal.afterwards = Afterwards.RESTART
        vassal.why = "its configuration was gone and is back"
        if vassal.phase is Phase.SPAWNING and vassal.instance is not None:
            vassal.instance.recalled = "its configuration changed while it started"

    def _unwant(self, source: SourceName, name: VassalName, now: Seconds) -> None:
        realm = self._realm
        rivals = self._rivals.get(name, {})
        vassal = realm.vassals.get(name)
        if vassal is None or vassal.wanted.source != source:
            rivals.pop(source, None)
        elif not self._on_its_way_out(vassal):
            heir = next(iter(rivals), None)
            if heir is None:
                realm.dismiss(vassal, now, "its configuration is gone")
            else:
                self._change(vassal, rivals.pop(heir), now)
        if not rivals:
            self._rivals.pop(name, None)

    def _rival(self, vassal: Vassal, wanted: Wanted, now: Seconds) -> None:
        realm = self._realm
        if self._on_its_way_out(vassal):
            self._come_back(vassal, wanted)
            return
        rivals = self._rivals.setdefault(wanted.name, {})
        if wanted.source not in rivals:
            text = (
                f"wanted by {wanted.source} too, but {vassal.wanted.source} named it first and keeps it: "
                "rename one of the two"
            )
            realm.note(Severity.ERROR, "two-sources", text, vassal.name)
        rivals[wanted.source] = wanted
