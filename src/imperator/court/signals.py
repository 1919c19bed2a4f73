"""Signals, as the original has them, and two more for PID 1.

INT, TERM, QUIT: Ragnarok. HUP: reload all. URG: empty the blacklist. USR1: every vassal's status to the log.
WINCH: look at the sources now. As PID 1 of a container also PWR and RTMIN+3 (what lxc and systemd send): Ragnarok.
"""

from __future__ import annotations

import asyncio
import os
import signal

from imperator.court.emperor import Emperor
from imperator.court.service import Service
from imperator.court.sources import Sources
from imperator.reign.effects import Severity
from imperator.reign.events import AmnestyOrdered, RagnarokOrdered, ReloadOrdered

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)


def listen(loop: asyncio.AbstractEventLoop, emperor: Emperor, sources: Sources, service: Service) -> None:
    """Answer signals from now on."""

    def ragnarok(number: int) -> None:
        name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        service.stopping()
        emperor.post(RagnarokOrdered(name))

    def reload() -> None:
        service.reloading()
        emperor.post(ReloadOrdered())
        service.ready()

    stop: list[int] = list(_STOP)
    if os.getpid() == 1:
        stop += (signal.SIGPWR, signal.SIGRTMIN + 3)
    for number in stop:
        loop.add_signal_handler(number, ragnarok, number)
    loop.add_signal_handler(signal.SIGHUP, reload)
    loop.add_signal_handler(signal.SIGURG, lambda: emperor.post(AmnestyOrdered()))
    loop.add_signal_handler(signal.SIGUSR1, report, emperor)
    loop.add_signal_handler(signal.SIGWINCH, sources.scan_soon)


def report(emperor: Emperor) -> None:
    """Every vassal's status to the log, one line each."""
    vassals = emperor.reign.vassals
    emperor.say(Severity.NOTICE, "status", f"vassals: {len(vassals)}")
    for vassal in vassals.values():
        instance = vassal.instance
        words = [vassal.phase.value]
        if instance is not None:
            words.append(f"pid {instance.pid}" if instance.pid is not None else "no pid yet")
            words.append("loyal" if instance.loyal_at is not None else "not loyal yet")
            if instance.accepting_at is not None:
                words.append("accepting")
        if vassal.why:
            words.append(vassal.why)
        emperor.say(Severity.NOTICE, "status", ", ".join(words), vassal.name)
