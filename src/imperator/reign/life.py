"""The rules for processes: that they came to be, what they say, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from signal import Signals
from typing import Any

from imperator.reign import events as ev
from imperator.reign.effects import HookPhase, RunHooks, SendConfig, Severity
from imperator.reign.names import Seconds
from imperator.reign.protocol import EXILE, FromVassal
from imperator.reign.realm import Realm
from imperator.reign.vassal import Afterwards, Exit, Instance, Phase, Vassal

LONGEST_SPAWN_RETRY = Seconds(60.0)
"""The longest delay between two tries when no process can be made at all."""


def describe_exit(code: int | None, signal: int | None) -> str:
    """An end in words: ``exited with code 1``, ``was killed by SIGKILL``."""
    if signal is None:
        return f"exited with code {code}"
    try:
        return f"was killed by {Signals(signal).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {signal}"


def describe_length(time: Seconds) -> str:
    """A length of time in words: ``0.25 s``, ``86400 s``."""
    return f"{time:.3g} s" if time < 100 else f"{time:.0f} s"


class Life:
    """Answers what the kernel and the vassals themselves say, and the passing of time."""

    def __init__(self, realm: Realm) -> None:
        self._realm = realm

    def rules(self) -> dict[type, Callable[[Any, Seconds], None]]:
        return {
            ev.Spawned: self._spawned,
            ev.SpawnFailed: self._spawn_failed,
            ev.ExecFailed: self._exec_failed,
            ev.Exited: self._exited,
            ev.WentOn: self._went_on,
            ev.Received: self._received,
            ev.FellSilent: self._fell_silent,
            ev.Knocked: self._knocked,
            ev.SocketFailed: self._socket_failed,
            ev.Tick: self._tick,
        }

    def _find(self, serial: int) -> tuple[Vassal, Instance] | None:
        """The vassal and its instance; ``None``: that instance has ended in the meantime."""
        vassal = self._realm.by_serial.get(serial)  # type: ignore[call-overload]
        return None if vassal is None or vassal.instance is None else (vassal, vassal.instance)

    # -- coming to be

    def _spawned(self, event: ev.Spawned, now: Seconds) -> None:
        realm = self._realm
        realm.spawn_answered()
        found = self._find(event.serial)
        if found is None:
            return
        vassal, instance = found
        instance.pid = event.pid
        vassal.phase = Phase.RUNNING
        vassal.failed_spawns = 0
        realm.effects.append(RunHooks(HookPhase.AS_EMPEROR, vassal.wanted, event.pid))
        realm.note(Severity.INFO, "spawned", f"started as pid {event.pid}", vassal.name)
        if vassal.afterwards is not Afterwards.RESTART:
            realm.stop(vassal, instance, vassal.afterwards, now, vassal.why or "no longer wanted")
        elif instance.recalled is not None:
            realm.stop(vassal, instance, Afterwards.RESTART, now, instance.recalled)

    def _spawn_failed(self, event: ev.SpawnFailed, now: Seconds) -> None:
        realm = self._realm
        realm.spawn_answered()
        found = self._find(event.serial)
        if found is None:
            return
        vassal, instance = found
        realm.forget_instance(vassal, instance)
        if vassal.afterwards is not Afterwards.RESTART or realm.ending:
            self._settle(vassal, now)
            return
        vassal.failed_spawns += 1
        delay = min(Seconds(2.0 ** min(vassal.failed_spawns - 1, 10)), LONGEST_SPAWN_RETRY)
        why = f"no process could be made: {event.reason}"
        realm.wait(vassal, delay, now, why)
        realm.note(Severity.ERROR, "spawn-failed", f"{why}; next try in {delay:g} s", vassal.name)

    def _exec_failed(self, event: ev.ExecFailed, now: Seconds) -> None:
        found = self._find(event.serial)
        if found is not None:
            found[1].failure = event.reason

    # -- what it says

    def _received(self, event: ev.Received, now: Seconds) -> None:
        found = self._find(event.serial)
        if found is None:
            return
        vassal, instance = found
        realm = self._realm
        try:
            message = FromVassal(event.byte)
        except ValueError:
            text = f"sent byte {event.byte}, which means nothing in the Emperor protocol: ignored"
            realm.note(Severity.WARNING, "unknown-byte", text, vassal.name)
            return
        instance.speaks = True
        match message:
            case FromVassal.READY:
                instance.ready_at = now
                realm.note(Severity.INFO, "ready", "is up", vassal.name)
            case FromVassal.ACCEPTING:
                self._accepting(vassal, instance, now)
            case FromVassal.LOYAL:
                self._loyal(vassal, instance, now)
            case FromVassal.HEARTBEAT:
                self._heartbeat(vassal, instance, now)
            case FromVassal.WANTS_CONFIG:
                if vassal.wanted.config is not None:
                    realm.effects.append(SendConfig(instance.serial, vassal.wanted))
            case FromVassal.VOLUNTARY_SHUTDOWN:
                asleep = vassal.wanted.socket is not None
                why = "it asked to go back to sleep" if asleep else "it asked to be stopped"
                if vassal.phase is Phase.RUNNING:
                    realm.stop(vassal, instance, Afterwards.RESTART, now, why)
                elif vassal.phase is Phase.SPAWNING:
                    instance.recalled = why
            case FromVassal.REINFORCEMENTS:
                text = "asks for reinforcements, but there is no broodlord: ignored"
                realm.note(Severity.NOTICE, "sos", text, vassal.name)

    def _accepting(self, vassal: Vassal, instance: Instance, now: Seconds) -> None:
        if instance.reloading and vassal.phase is Phase.RUNNING:
            # It may have become a program without a heart: its next heartbeat switches the watch on again.
            instance.heartbeat_at = None
            vassal.due = None
        instance.reloading = instance.hung = False
        instance.accepting_at = now
        self._realm.note(Severity.INFO, "accepting", "accepts requests", vassal.name)

    def _loyal(self, vassal: Vassal, instance: Instance, now: Seconds) -> None:
        realm = self._realm
        instance.loyal_at = now
        forgiven = realm.blacklist.remove(vassal.name)
        text = "is loyal: it has managed its first request"
        realm.note(Severity.INFO, "loyal", text + ("; off the blacklist" if forgiven else ""), vassal.name)

    def _heartbeat(self, vassal: Vassal, instance: Instance, now: Seconds) -> None:
        if vassal.phase is not Phase.RUNNING:
            return
        instance.heartbeat_at = now
        instance.reloading = instance.hung = False
        # The deadline of the last heartbeat may stand: it is looked at again when it comes.
        if vassal.due is None:
            self._realm.deadlines.set(vassal, Seconds(now + self._realm.policy.required_heartbeat))

    def _fell_silent(self, event: ev.FellSilent, now: Seconds) -> None:
        found = self._find(event.serial)
        if found is None:
            return
        vassal, instance = found
        if vassal.phase is Phase.STOPPING or not instance.speaks:
            return  # it closes the fd on its way out; or it never cared for it
        instance.speaks = False
        instance.heartbeat_at = None
        if instance.reloading:
            why = "it closed the Emperor's socket instead of reloading"
            self._realm.stop(vassal, instance, Afterwards.RESTART, now, why)
            return
        vassal.due = None
        text = "closed the Emperor's socket: managed with signals from now on (a vassal must not daemonize)"
        self._realm.note(Severity.WARNING, "silent", text, vassal.name)

    # -- the end

    def _exited(self, event: ev.Exited, now: Seconds) -> None:
        found = self._find(event.serial)
        if found is None:
            return
        vassal, instance = found
        realm = self._realm
        lived = Seconds(now - instance.spawned_at)
        reason = event.reason or instance.failure
        vassal.last_exit = Exit(event.code, event.signal, now, lived, reason)
        was_stopping = vassal.phase is Phase.STOPPING
        realm.forget_instance(vassal, instance)
        realm.effects.append(RunHooks(HookPhase.VASSALS_STOP, vassal.wanted, instance.pid))
        how = f"{describe_exit(event.code, event.signal)} after {describe_length(lived)}"
        how += f": {reason}" if reason is not None else ""
        if was_stopping or realm.ending or vassal.afterwards is not Afterwards.RESTART:
            realm.note(Severity.INFO, "stopped", how, vassal.name)
            self._settle(vassal, now)
        elif event.code == EXILE:
            self._exile(vassal, instance)
        else:
            self._died(vassal, instance, how, lived, now)

    def _went_on(self, event: ev.WentOn, now: Seconds) -> None:
        self._realm.note(Severity.ERROR, "background", event.text, event.name)
        vassal = self._realm.vassals.get(event.name)
        if vassal is not None and vassal.phase is Phase.WAITING:
            vassal.why = event.text

    def _settle(self, vassal: Vassal, now: Seconds) -> None:
        """Its process is gone as was wanted: do what was to come afterwards."""
        realm = self._realm
        afterwards, vassal.afterwards = vassal.afterwards, Afterwards.RESTART
        if realm.ending or afterwards is Afterwards.REMOVE:
            realm.remove(vassal, now, vassal.why or "no longer wanted")
        elif afterwards is Afterwards.SUSPEND:
            realm.rest(vassal, Phase.SUSPENDED, "stopped by command; waits for the spawn command")
        else:
            realm.call_up_soon(vassal, vassal.last_run, now, vassal.why)

    def _exile(self, vassal: Vassal, instance: Instance) -> None:
        reason = instance.failure or f"it exited with code {EXILE}, which asks never to be started again"
        what = "edit its configuration, or order it to start, to try again"
        self._realm.rest(vassal, Phase.FAILED, reason)
        self._realm.note(Severity.ERROR, "exile", f"not started again: {reason}; {what}", vassal.name)

    def _died(self, vassal: Vassal, instance: Instance, how: str, lived: Seconds, now: Seconds) -> None:
        realm = self._realm
        policy = realm.policy
        if instance.reloading and not instance.hung:
            # Some programs reload by exiting. What comes up now is judged like any other.
            realm.note(Severity.INFO, "died", f"{how} when told to reload: starting it again", vassal.name)
            realm.call_up_soon(vassal, instance.spawned_at, now, "it exited when told to reload")
            return
        if policy.blacklist and instance.loyal_at is None:
            item = realm.blacklist.add(vassal.name, lived, now)
            delay = item.level
            blame = f"blacklisted: it has died {item.attempts + 1} times without managing a request"
            if item.attempts == 0:
                blame = "blacklisted: it died without having managed a request"
        else:
            delay = vassal.throttle.delay(vassal.last_run, now, policy)
            blame = "throttled: it started twice within a second" if delay else ""
        if delay:
            realm.note(Severity.WARNING, "died", f"{how}; {blame}; next try in {delay:g} s", vassal.name)
            realm.wait(vassal, delay, now, f"{blame}; it {how}")
        else:
            realm.note(Severity.NOTICE, "died", f"{how}; starting it again", vassal.name)
            realm.call_up(vassal, f"it {how}")

    # -- on demand

    def _knocked(self, event: ev.Knocked, now: Seconds) -> None:
        vassal = self._realm.vassals.get(event.name)
        if vassal is not None and vassal.phase is Phase.ASLEEP and not self._realm.ending:
            self._realm.enqueue(vassal, "somebody connected to its socket")

    def _socket_failed(self, event: ev.SocketFailed, now: Seconds) -> None:
        vassal = self._realm.vassals.get(event.name)
        if vassal is None or vassal.phase is not Phase.ASLEEP:
            return
        vassal.failed_spawns += 1
        delay = min(Seconds(2.0 ** min(vassal.failed_spawns - 1, 10)), LONGEST_SPAWN_RETRY)
        why = f"its on-demand socket could not be opened: {event.reason}"
        self._realm.wait(vassal, delay, now, why)
        self._realm.note(Severity.ERROR, "socket-failed", f"{why}; next try in {delay:g} s", vassal.name)

    # -- time

    def _tick(self, event: ev.Tick, now: Seconds) -> None:
        for vassal in self._realm.deadlines.pop_due(now):
            self._due(vassal, now)

    def _due(self, vassal: Vassal, now: Seconds) -> None:
        realm = self._realm
        instance = vassal.instance
        if vassal.phase is Phase.WAITING:
            realm.call_up(vassal, vassal.why)
        elif vassal.phase is Phase.STOPPING and instance is not None:
            told = Seconds(now - (instance.cursed_at if instance.cursed_at is not None else now))
            realm.kill(vassal, instance, now, f"killing it: it did not stop within {describe_length(told)}")
        elif vassal.phase is Phase.RUNNING and instance is not None:
            self._watch_heartbeat(vassal, instance, now)

    def _watch_heartbeat(self, vassal: Vassal, instance: Instance, now: Seconds) -> None:
        realm = self._realm
        required = realm.policy.required_heartbeat
        if instance.hung:
            realm.kill(vassal, instance, now, "killing it: no heartbeat, and it does not reload either")
            return
        if instance.heartbeat_at is None:
            return
        # Compared as the sum that becomes the deadline: a difference may round to the other side of it, for ever.
        due = Seconds(instance.heartbeat_at + required)
        if now < due:
            realm.deadlines.set(vassal, due)
        else:
            realm.reload(vassal, instance, now, f"no heartbeat for {required:g} s")
            if vassal.phase is Phase.RUNNING:
                instance.hung = True
                realm.deadlines.set(vassal, Seconds(now + realm.policy.curse_tolerance))
