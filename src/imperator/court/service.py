"""The Emperor as a service of systemd (``Type=notify``): READY, STATUS, RELOADING, STOPPING and the watchdog.

Does nothing where there is no service manager.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from imperator.kernel.systemd import Notifier
from imperator.reign.effects import Severity
from imperator.reign.names import VassalName

_STATUS_EVERY = 1.0
"""Seconds between two STATUS lines at the least."""

Say = Callable[[Severity, str, str, VassalName | None], None]


class Service:
    """What the service manager is told, and when."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, notifier: Notifier, describe: Callable[[], str], say: Say
    ) -> None:
        self._loop = loop
        self._notifier = notifier
        self._describe = describe
        self._say = say
        self._said = ""
        self._status_timer: asyncio.TimerHandle | None = None
        self._watchdog_timer: asyncio.TimerHandle | None = None
        self._can_speak = True
        if notifier.watchdog is not None:
            self._feed_watchdog(notifier.watchdog / 2)

    def ready(self) -> None:
        self._said = self._describe()
        self._send(READY=1, STATUS=self._said)

    def reloading(self) -> None:
        self._attempt(self._notifier.reloading)

    def stopping(self) -> None:
        self._said = self._describe()
        self._send(STOPPING=1, STATUS=self._said)

    def changed(self) -> None:
        """Something happened: refresh the status, now or in a second."""
        if self._status_timer is None:
            self._status_timer = self._loop.call_later(_STATUS_EVERY, self._tell_status)

    def _tell_status(self) -> None:
        self._status_timer = None
        status = self._describe()
        if status != self._said:
            self._said = status
            self._send(STATUS=status)

    def _feed_watchdog(self, interval: float) -> None:
        self._send(WATCHDOG=1)
        self._watchdog_timer = self._loop.call_later(interval, self._feed_watchdog, interval)

    def _send(self, **variables: str | int) -> None:
        self._attempt(lambda: self._notifier.send(**variables))

    def _attempt(self, send: Callable[[], None]) -> None:
        try:
            send()
        except OSError as error:
            if self._can_speak:
                text = f"the service manager cannot be told anything: {error.strerror}"
                self._say(Severity.WARNING, "systemd", text, None)
            self._can_speak = False
        else:
            self._can_speak = True

    def close(self) -> None:
        for timer in (self._status_timer, self._watchdog_timer):
            if timer is not None:
                timer.cancel()
