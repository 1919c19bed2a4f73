"""Programs that run beside the application, as long as the instance does (``attach-daemon``, ``smart-attach-daemon``).

Each runs in a process group of its own, is started again when it ends (later each time if it ends at once), and is
stopped with the instance: SIGTERM, and SIGKILL to the whole group after the mercy. An instance that is killed takes
them along, and so does an Emperor. A smart one is only watched where
the process in its pid file is alive already, and is then left alone at the end, as with the original.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Sequence

from imperator.config.instance_settings import Daemon, InstanceSettings
from imperator.instance.children import Children, in_words
from imperator.instance.keeper import Keeper, Timer
from imperator.kernel.namespaces import set_parent_death_signal

LONGEST_DELAY = 60.0
"""Seconds between two starts of one that ends at once."""
STEADY = 10.0
"""Seconds after which a program counts as one that runs."""
LOOK = 2.0
"""Seconds between two looks whether a process that is not our child lives."""

Say = Callable[[str], None]


def terminals_daemon(settings: InstanceSettings) -> tuple[Daemon, ...]:
    """The forkpty router (:mod:`.terminals`), where one is asked for: a program beside the application as any other."""
    asked = settings.terminals
    if not asked:
        return ()
    command = [sys.executable, "-m", "imperator.instance.terminals"]
    for one in asked:
        command.append(f"{'--uwsgi' if one.uwsgi else '--raw'}={one.address}")
    if settings.chmod_socket is not None:
        command.append(f"--mode={settings.chmod_socket:o}")
    if settings.forkptyrouter_command is not None:
        command.append(f"--command={settings.forkptyrouter_command}")
    command += [f"--rows={settings.forkptyrouter_rows}", f"--columns={settings.forkptyrouter_cols}"]
    return (Daemon(shlex.join(command), asked[0].option, asked[0].where),)


class _Attached:
    """One program."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.pid: int | None = None
        self.stranger: int | None = None
        """The pid of a process that was there before us."""
        self.started = 0.0
        self.failures = 0
        self.again: Timer | None = None


class Daemons:
    """All programs beside one application. Belongs to the keeper's thread."""

    def __init__(self, daemons: Sequence[Daemon], keeper: Keeper, children: Children, say: Say) -> None:
        self._all = [_Attached(daemon) for daemon in daemons]
        self._keeper = keeper
        self._children = children
        self._say = say
        self._ending = False
        self._looking = False

    def __bool__(self) -> bool:
        return bool(self._all)

    def start(self) -> None:
        """Start all of them."""
        for attached in self._all:
            self._start(attached)

    def _start(self, attached: _Attached) -> None:
        if self._ending:
            return
        daemon = attached.daemon
        stranger = None if daemon.pidfile is None else _living(daemon.pidfile)
        if stranger is not None:
            attached.stranger = stranger
            if not self._looking:
                self._looking = True
                self._keeper.every(LOOK, self._look_at_strangers)
            self._say(f"{daemon.command}: pid {stranger} of {daemon.pidfile} runs already: it is left alone")
            return
        import subprocess  # most instances have no use for it

        attached.started = time.monotonic()
        try:
            # Only what is ready-made is called between fork and exec: other threads may hold any lock at this moment.
            process = subprocess.Popen(
                shlex.split(daemon.command),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=lambda: set_parent_death_signal(signal.SIGKILL),
            )
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            self._try_later(attached, f"cannot be started ({daemon.where}): {reason}")
            return
        process.returncode = 0  # it is reaped by Children: Popen must not look for it
        attached.pid = process.pid
        self._children.watch(process.pid, lambda code: self._ended(attached, code))
        self._say(f"{daemon.command}: started as pid {process.pid}")

    def _try_later(self, attached: _Attached, what: str) -> None:
        attached.failures += 1
        delay = min(2.0 ** (attached.failures - 1), LONGEST_DELAY)
        self._say(f"{attached.daemon.command}: {what}; next try in {delay:g} s")
        attached.again = self._keeper.after(delay, lambda: self._start(attached))

    def _ended(self, attached: _Attached, code: int) -> None:
        attached.pid = None
        if self._ending:
            return
        daemon = attached.daemon
        if daemon.pidfile is not None and code == 0 and _living(daemon.pidfile):
            self._start(attached)  # it has put itself into the background: watched by its pid file from now on
            return
        if code == 0 and time.monotonic() - attached.started < STEADY:
            text = "if it has put itself into the background it is lost to us: it has to stay in the foreground"
            self._say(f"{daemon.command}: {text}")
        if time.monotonic() - attached.started >= STEADY:
            attached.failures = 0
        self._try_later(attached, in_words(code))

    def _look_at_strangers(self) -> None:
        for attached in self._all:
            if attached.stranger is not None and not os.path.exists(f"/proc/{attached.stranger}"):
                attached.stranger = None
                self._try_later(attached, "is gone")

    def stop(self) -> None:
        """Tell all of ours to end."""
        self._ending = True
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End whatever of ours has not ended yet."""
        self._signal(signal.SIGKILL)

    @property
    def running(self) -> int:
        """How many of ours have not ended."""
        return sum(1 for attached in self._all if attached.pid is not None)

    def _signal(self, number: int) -> None:
        for attached in self._all:
            if attached.again is not None:
                attached.again.cancel()
            if attached.pid is not None:
                try:
                    os.killpg(attached.pid, number)
                except ProcessLookupError:
                    continue


def _living(pidfile: str) -> int | None:
    """The process that a pid file names, if it lives."""
    try:
        with open(pidfile) as file:
            pid = int(file.read())
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and os.path.exists(f"/proc/{pid}") else None
