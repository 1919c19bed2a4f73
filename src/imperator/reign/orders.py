"""The rules for people: commands, signals, and the end of the reign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imperator.reign import events as ev
from imperator.reign.effects import Severity
from imperator.reign.names import Seconds
from imperator.reign.realm import Realm
from imperator.reign.vassal import IDLE_PHASES, Afterwards, Phase, Vassal


class Orders:
    """Answers ``Ordered``, ``ReloadOrdered``, ``AmnestyOrdered`` and ``RagnarokOrdered``."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self._ragnarok_at = Seconds(0.0)

    def rules(self) -> dict[type, Callable[[Any, Seconds], None]]:
        return {
            ev.Ordered: self._ordered,
            ev.ReloadOrdered: self._reload_ordered,
            ev.AmnestyOrdered: self._amnesty_ordered,
            ev.RagnarokOrdered: self._ragnarok_ordered,
        }

    def _ordered(self, event: ev.Ordered, now: Seconds) -> None:
        realm = self._realm
        vassal = realm.vassals.get(event.name)
        command = event.command.value
        if realm.ending:
            realm.note(Severity.ERROR, "order", f"{command} refused: Ragnarok is under way", event.name)
        elif vassal is None:
            realm.note(Severity.ERROR, "order", f"{command} refused: there is no such vassal", event.name)
        elif event.command is ev.Command.STOP:
            self._stop(vassal, now)
        elif event.command is ev.Command.RESPAWN:
            self._respawn(vassal, now)
        else:
            self._spawn(vassal, now)

    def _spawn(self, vassal: Vassal, now: Seconds) -> None:
        realm = self._realm
        if vassal.phase in IDLE_PHASES:
            realm.note(Severity.INFO, "order", "starting: ordered by command", vassal.name)
            if vassal.phase is Phase.ASLEEP:
                realm.enqueue(vassal, "ordered by command")
            elif vassal.phase is not Phase.QUEUED:
                realm.call_up(vassal, "ordered by command")
        elif vassal.afterwards is Afterwards.SUSPEND:
            vassal.afterwards = Afterwards.RESTART
            realm.note(Severity.INFO, "order", "will start again: ordered by command", vassal.name)
        else:
            realm.note(Severity.WARNING, "order", "spawn ignored: it is already active", vassal.name)

    def _stop(self, vassal: Vassal, now: Seconds) -> None:
        realm = self._realm
        if vassal.phase in IDLE_PHASES:
            realm.rest(vassal, Phase.SUSPENDED, "stopped by command; waits for the spawn command")
            realm.note(Severity.INFO, "order", "stays down: ordered by command", vassal.name)
        elif vassal.phase is Phase.RUNNING and vassal.instance is not None:
            realm.stop(vassal, vassal.instance, Afterwards.SUSPEND, now, "ordered by command")
        elif vassal.afterwards is not Afterwards.REMOVE:
            vassal.afterwards = Afterwards.SUSPEND
            vassal.why = "ordered by command"
            realm.note(Severity.INFO, "order", "stays down once it has ended: ordered by command", vassal.name)

    def _respawn(self, vassal: Vassal, now: Seconds) -> None:
        if vassal.phase in (Phase.QUEUED, Phase.SUSPENDED, Phase.ASLEEP, Phase.STOPPING):
            text = f"respawn ignored: it is {vassal.phase.value}"
            self._realm.note(Severity.WARNING, "order", text, vassal.name)
        else:
            self._reload(vassal, now, "ordered by command")

    def _reload(self, vassal: Vassal, now: Seconds, why: str) -> None:
        realm = self._realm
        if vassal.phase is Phase.RUNNING and vassal.instance is not None:
            realm.reload_if_usable(vassal, vassal.instance, now, why)
        elif vassal.phase is Phase.SPAWNING and vassal.instance is not None:
            vassal.instance.recalled = why
        elif vassal.phase in (Phase.WAITING, Phase.FAILED):
            realm.call_up(vassal, why)

    def _reload_ordered(self, event: ev.ReloadOrdered, now: Seconds) -> None:
        realm = self._realm
        realm.note(Severity.NOTICE, "reload-all", f"reloading all vassals ({len(realm.vassals)})")
        if not realm.ending:
            for vassal in list(realm.vassals.values()):
                self._reload(vassal, now, "all vassals are reloaded")

    def _amnesty_ordered(self, event: ev.AmnestyOrdered, now: Seconds) -> None:
        realm = self._realm
        realm.note(Severity.NOTICE, "amnesty", f"emptying the blacklist (vassals on it: {len(realm.blacklist)})")
        realm.blacklist.clear()
        if realm.ending:
            return
        for vassal in realm.vassals.values():
            vassal.throttle.level = Seconds(0.0)
            if vassal.phase is Phase.WAITING:
                realm.call_up(vassal, "the blacklist was emptied")

    def _ragnarok_ordered(self, event: ev.RagnarokOrdered, now: Seconds) -> None:
        realm = self._realm
        if realm.ending:
            left = max(self._ragnarok_at + realm.policy.mercy - now, 0.0)
            text = f"Ragnarok is under way; vassals left: {len(realm.vassals)}; no mercy in {left:.0f} s"
            realm.note(Severity.NOTICE, "ragnarok", text)
            return
        realm.ending = True
        self._ragnarok_at = now
        text = f"Ragnarok ({event.by}): stopping all vassals ({len(realm.vassals)})"
        realm.note(Severity.NOTICE, "ragnarok", text)
        for vassal in list(realm.vassals.values()):
            if vassal.phase is Phase.STOPPING and vassal.instance is not None:
                # Told before: it has what is left of its tolerance, but never more than the mercy.
                vassal.afterwards = Afterwards.REMOVE
                vassal.why = "Ragnarok"
                merciful = Seconds(now + realm.policy.mercy)
                if vassal.due is None or vassal.due > merciful:
                    realm.deadlines.set(vassal, merciful)
            else:
                realm.dismiss(vassal, now, "Ragnarok")
