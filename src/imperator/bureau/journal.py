"""The Emperor's log: what happened, one line an event, and what the vassals say, with their name in front.

Rules: a line costs microseconds and never waits (:mod:`imperator.bureau.sink` takes it from there); nothing here
raises once the journal is open; a line is one line, whatever is in its text (:mod:`imperator.bureau.escape`).
The process must not fork without exec and go on logging in the child: the thread stays behind.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Final

from imperator.bureau.lines import JournalStyle, JsonStyle, Style, TextStyle
from imperator.bureau.sink import LIMIT, RESERVE, Sink
from imperator.bureau.targets import FdTarget, FileTarget, Target, UdpTarget
from imperator.config.settings import EmperorSettings
from imperator.reign.effects import Severity
from imperator.reign.names import VassalName

STDERR: Final = 2


class Journal:
    """One log. :meth:`open` makes it from the settings."""

    def __init__(self, style: Style, target: Target, *, limit: int = LIMIT, reserve: int = RESERVE) -> None:
        self._style = style
        self._sink = Sink(target, self._warning, limit, reserve)

    @classmethod
    def open(cls, settings: EmperorSettings) -> Journal:
        """The log that the settings ask for; where that cannot be opened, the error output, and an error in it."""
        path = settings.logto
        failure: str | None = None
        if path is not None:
            try:
                return cls._to_file_or_address(path, settings)
            except OSError as error:
                failure = f"the log {path} cannot be opened: {error.strerror or error}; the error output is used"
        journal = cls.to_fd(STDERR, log_format=settings.log_format)
        if failure is not None:
            journal.write(Severity.ERROR, "log", failure)
        return journal

    @classmethod
    def _to_file_or_address(cls, path: str, settings: EmperorSettings) -> Journal:
        style: Style = JsonStyle() if settings.log_format == "json" else TextStyle(date=True, colour=False)
        host, _, port = path.rpartition(":")
        if host and port.isdecimal() and "/" not in path:
            return cls(style, UdpTarget(host.removeprefix("[").removesuffix("]"), int(port)))
        # Absolute: the Emperor may change its directory, and rotation goes by name.
        backup = settings.log_backupname
        target = FileTarget(os.path.abspath(path), settings.log_maxsize, backup and os.path.abspath(backup))
        journal = cls(style, target)
        target.say = lambda text: journal.write(Severity.WARNING, "log", text)
        return journal

    @classmethod
    def to_fd(
        cls,
        fd: int,
        *,
        log_format: str = "text",
        environment: Mapping[str, str] | None = None,
        limit: int = LIMIT,
        reserve: int = RESERVE,
    ) -> Journal:
        """Log to an open descriptor, in the form that suits it: terminal, systemd journal, anything else."""
        environ = os.environ if environment is None else environment
        return cls(_style_for(fd, log_format, environ), FdTarget(fd), limit=limit, reserve=reserve)

    # -- lines

    def write(self, severity: Severity, event: str, text: str, vassal: VassalName | None = None) -> None:
        """Something happened: ``event`` is its stable word, ``text`` is for a person. Never blocks, never raises."""
        self._sink.put(self._style.event(time.time(), severity, event, text, vassal))

    def vassal_output(self, vassal: VassalName, line: bytes, truncated: bool = False) -> None:
        """A vassal wrote ``line`` (without its newline). Never blocks, never raises."""
        self._sink.put(self._style.output(time.time(), vassal, line, truncated), output=True)

    def _warning(self, text: str) -> bytes:
        return self._style.event(time.time(), Severity.WARNING, "log", text, None)

    @property
    def trouble(self) -> str | None:
        """Why nothing can be written at the moment; ``None``: all is well."""
        return self._sink.trouble

    def close(self, timeout: float = 2.0) -> bool:
        """Write what waits, for ``timeout`` seconds at most; says whether everything was written."""
        return self._sink.close(timeout)


def _style_for(fd: int, log_format: str, environment: Mapping[str, str]) -> Style:
    if log_format == "json":
        return JsonStyle()
    if _is_systemd_journal(fd, environment.get("JOURNAL_STREAM")):
        return JournalStyle()
    if not os.isatty(fd):
        return TextStyle(date=True, colour=False)
    colour = not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
    return TextStyle(date=False, colour=colour)


def _is_systemd_journal(fd: int, stream: str | None) -> bool:
    """Does ``JOURNAL_STREAM`` (``device:inode``, systemd.exec(5)) speak of this very descriptor?"""
    if not stream:
        return False
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
