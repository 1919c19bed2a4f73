"""What an instance does besides serving: it hears the Emperor and signals, reloads, and keeps daemons and the clock.

In an instance of one process this happens in the keeper's thread beside the application; with several workers, in a
master process of its own. Either way there is one way to the end: :meth:`Master.end` says what comes after it, the crew
(the worker or the workers) and the daemons end, and then the keeper's loop does.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from enum import Enum
from typing import Protocol

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.children import Children
from imperator.instance.cron import Cron
from imperator.instance.daemons import Daemons, terminals_daemon
from imperator.instance.keeper import Keeper
from imperator.instance.link import Order, Unlinked
from imperator.instance.touch import Touches
from imperator.instance.traces import Traces

Say = Callable[[str], None]

HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1)
"""The signals that mean something to an instance."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
LOG_LOOK = 5.0
"""Seconds between two looks at the size of the log file."""


class Ending(Enum):
    """What comes after the end."""

    STOP = "stop"
    RELOAD = "reload"


class Crew(Protocol):
    """Whoever serves."""

    def stop(self, mercy: float) -> None:
        """End within the mercy (seconds), and call ``crew_is_over`` then."""
        ...


class Master:
    """Belongs to the keeper's thread."""

    def __init__(
        self,
        settings: InstanceSettings,
        keeper: Keeper,
        link: Unlinked,
        traces: Traces,
        check: Callable[[], None],
        say: Say,
    ) -> None:
        """``check`` raises ConfigurationError where a reload could only end the instance."""
        self.settings = settings
        self.keeper = keeper
        self.link = link
        self.children = Children(keeper)
        self.crew: Crew | None = None
        self.ending: Ending | None = None
        self.code = 0
        self.chain_reload: Callable[[], None] | None = None
        self.on_order: Callable[[Order], None] = lambda order: None
        """The Emperor has told something: called before it is done."""
        self._traces = traces
        self._check = check
        self._say = say
        self._crew_over = False
        self._begun = False
        self._touches = Touches(keeper, say)
        self.on_early_end: Callable[[str], None] = lambda name: None
        """A signal wants the end before anything was begun (while the application is loaded): does not return."""
        self._daemons = Daemons((*settings.daemons, *terminals_daemon(settings)), keeper, self.children, say)
        self._cron = Cron(settings.cron, keeper, self.children, say)

    def hear(self) -> None:
        """Listen to signals. Only from the main thread, and before the application is loaded.

        Whoever wants the end while it is loaded need not wait for that; a reload is not forgotten.
        """
        self.keeper.on_signals(HEARD, self._signalled)
        for number in _ENDING:
            signal.signal(number, self._maybe_too_early)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)

    def watch_files(self) -> None:
        """Before the application is loaded: what changes from here on is taken in by a reload."""
        settings = self.settings
        self._touches.watch(settings.touch_reload, lambda path: self.reload(f"{path} changed"))
        self._touches.watch(settings.touch_chain_reload, self._chain)

    def begin(self) -> None:
        """Start everything that is not the crew."""
        settings = self.settings
        self._begun = True
        if self.link.fd is not None:
            self.keeper.watch(self.link.fd, self._hear_emperor)
        if settings.log_maxsize and self._traces.log is not None:
            self.keeper.every(LOG_LOOK, self._traces.log.look)
        self._daemons.start()
        self._cron.start()

    # -- what it is told

    def _maybe_too_early(self, number: int, frame: object) -> None:
        if not self._begun:
            self.on_early_end(signal.Signals(number).name)

    def _signalled(self, number: int) -> None:
        name = signal.Signals(number).name
        if number == signal.SIGHUP:
            self.reload(name)
        elif number == signal.SIGUSR1:
            self._say(f"pid {os.getpid()}: {'ending' if self.ending else 'serving'}")
        elif self.ending is Ending.STOP and self.crew is not None:
            self._say(f"{name} again: not waiting for anybody")
            self.crew.stop(0)
            self._daemons.kill()
        else:
            self.end(Ending.STOP, name)

    def _hear_emperor(self) -> None:
        fd = self.link.fd
        for order in self.link.orders():
            self.on_order(order)
            match order:
                case Order.ABANDONED:
                    if fd is not None:
                        self.keeper.unwatch(fd)
                    self.end(Ending.STOP, "the Emperor is gone")
                case Order.RELOAD:
                    self.reload("the Emperor wants it")
                case _:
                    self.end(Ending.STOP, "the Emperor wants it")

    def _chain(self, path: str) -> None:
        if self.chain_reload is None:
            self.reload(f"{path} changed")
        else:
            self._say(f"{path} changed: replacing one worker after the other")
            self.chain_reload()

    # -- the end

    def reload(self, why: str) -> None:
        """End, and begin anew with the same sockets; unless the configuration is broken, then go on as before."""
        if self.settings.exit_on_reload:
            self.end(Ending.STOP, f"{why}, and exit-on-reload")
            return
        try:
            self._check()
        except ConfigurationError as error:
            self._say(f"not reloaded ({why}): {error}")
            self.link.accepting()
            return
        self.end(Ending.RELOAD, why)

    def end(self, ending: Ending, why: str, code: int = 0) -> None:
        """End in good order. A stop outdoes a reload, and nothing outdoes a stop."""
        if self.ending is Ending.STOP or self.ending is ending:
            return
        begun = self.ending is not None
        self.ending, self.code = ending, code
        self._say(f"{ending.value}: {why}")
        if begun:
            return
        mercy = float(min(self.settings.reload_mercy, self.settings.worker_reload_mercy))
        self._daemons.stop()
        self.keeper.after(mercy, self._daemons.kill)
        if self.crew is None:
            self._crew_over = True
        else:
            self.crew.stop(mercy)
        self._look_whether_over()

    def crew_is_over(self) -> None:
        """The last one that served has ended."""
        self._crew_over = True
        self._look_whether_over()

    def _look_whether_over(self) -> None:
        if not self._crew_over:
            return
        if self._daemons.running:
            self.keeper.after(0.05, self._look_whether_over)
        else:
            self.keeper.stop()
