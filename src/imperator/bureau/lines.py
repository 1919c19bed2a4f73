"""What a line of the log looks like: for people, for the systemd journal, as JSON.

One event is one line, whatever is in its text. A style is a function of (moment, event) and holds nothing but the
formatted second, so that a line costs a few microseconds.
"""

from __future__ import annotations

import time
from json.encoder import encode_basestring_ascii as quote
from typing import Final, Protocol

from imperator.bureau.escape import encodable, visible, visible_but_tabs
from imperator.reign.effects import Severity

_CUT: Final = " […]"
"""What stands at the end of a line of output that was too long."""


class Style(Protocol):
    """Makes lines. ``moment`` is in seconds since 1970."""

    def event(self, moment: float, severity: Severity, event: str, text: str, vassal: str | None) -> bytes:
        """Something happened."""
        ...

    def output(self, moment: float, vassal: str, line: bytes, truncated: bool) -> bytes:
        """A vassal wrote a line."""
        ...


class _Clock:
    """Local time, formatted once a second; the milliseconds are put in between."""

    def __init__(self, form: str, with_offset: bool = False) -> None:
        self._form = form
        self._with_offset = with_offset
        self._second = -1
        self._before = self._after = ""

    def show(self, moment: float) -> str:
        second = int(moment)
        if second != self._second:
            local = time.localtime(second)
            self._before = time.strftime(self._form, local)
            if self._with_offset:
                sign = "-" if local.tm_gmtoff < 0 else "+"
                hours, minutes = divmod(abs(local.tm_gmtoff) // 60, 60)
                self._after = f"{sign}{hours:02}:{minutes:02}"
            self._second = second
        return f"{self._before}.{int((moment - second) * 1000):03}{self._after}"


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode(errors="surrogateescape")


class TextStyle:
    """``12:01:44.103 blog.ini  started as pid 4711``; with the date where nobody is looking at it as it comes."""

    def __init__(self, *, date: bool, colour: bool) -> None:
        self._clock = _Clock("%Y-%m-%d %H:%M:%S" if date else "%H:%M:%S")
        dim, bold, red, yellow, off = ("\x1b[2m", "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[0m") if colour else ("",) * 5
        self._event = f"{dim}%s{off} %s%s%s\n"
        self._name = f"{bold}%s{off}  "
        self._output = f"{dim}%s{off} {bold}%s{off} {dim}|{off} %s%s\n"
        self._words = {
            Severity.ERROR: f"{red}error:{off} ",
            Severity.WARNING: f"{yellow}warning:{off} ",
        }

    def event(self, moment: float, severity: Severity, event: str, text: str, vassal: str | None) -> bytes:
        name = "" if vassal is None else self._name % visible(vassal)
        line = self._event % (self._clock.show(moment), self._words.get(severity, ""), name, visible(text))
        return line.encode()

    def output(self, moment: float, vassal: str, line: bytes, truncated: bool) -> bytes:
        text = visible_but_tabs(_decode(line))
        cut = _CUT if truncated else ""
        return (self._output % (self._clock.show(moment), visible(vassal), text, cut)).encode()


class JournalStyle:
    """For the systemd journal, which has its own clock and reads the severity from ``<N>`` (sd-daemon(3))."""

    def event(self, moment: float, severity: Severity, event: str, text: str, vassal: str | None) -> bytes:
        name = "" if vassal is None else f"{visible(vassal)}  "
        return f"<{severity.value}>{name}{visible(text)}\n".encode()

    def output(self, moment: float, vassal: str, line: bytes, truncated: bool) -> bytes:
        text = visible_but_tabs(_decode(line))
        return f"<{Severity.INFO.value}>{visible(vassal)} | {text}{_CUT if truncated else ''}\n".encode()


class JsonStyle:
    """One object a line: ``time`` (RFC 3339), ``severity``, ``event``, ``vassal`` (or null), ``text``."""

    def __init__(self) -> None:
        self._clock = _Clock("%Y-%m-%dT%H:%M:%S", with_offset=True)
        self._severities = {severity: severity.name.lower() for severity in Severity}

    def event(self, moment: float, severity: Severity, event: str, text: str, vassal: str | None) -> bytes:
        name = "null" if vassal is None else quote(encodable(vassal))
        return (
            f'{{"time":"{self._clock.show(moment)}","severity":"{self._severities[severity]}",'
            f'"event":{quote(event)},"vassal":{name},"text":{quote(encodable(text))}}}\n'
        ).encode()

    def output(self, moment: float, vassal: str, line: bytes, truncated: bool) -> bytes:
        cut = ',"truncated":true' if truncated else ""
        return (
            f'{{"time":"{self._clock.show(moment)}","severity":"info","event":"output",'
            f'"vassal":{quote(encodable(vassal))},"text":{quote(encodable(_decode(line)))}{cut}}}\n'
        ).encode()
