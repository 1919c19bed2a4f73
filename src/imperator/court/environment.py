"""The environment that vassals are born with, made from the Emperor's own.

As the original: ``UWSGI_RELOADS`` and ``NOTIFY_SOCKET`` are taken out and each ``UWSGI_VASSAL_X`` becomes ``UWSGI_X``.
Beyond it:

* What was meant for the Emperor alone (its own options, systemd's sockets and watchdog, what another Emperor told it of
  itself) is taken out too, so a vassal can neither answer systemd in our name nor become an Emperor because we are one.
* ``UWSGI_VASSAL_SOCKET=/tmp/%n.sock`` is what the original's manual says it is: a socket for each vassal, called as its
  file is. (The original passes the two characters on, and nobody replaces them in a variable: all bind the same file.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_OURS = frozenset(
    {
        b"UWSGI_RELOADS",
        b"NOTIFY_SOCKET",
        b"WATCHDOG_USEC",
        b"WATCHDOG_PID",
        b"LISTEN_PID",
        b"LISTEN_FDS",
        b"LISTEN_FDNAMES",
        b"UWSGI_EMPEROR_FD",
        b"UWSGI_EMPEROR_FD_CONFIG",
        b"UWSGI_EMPEROR_PROXY",
        b"UWSGI_BROODLORD_NUM",
        b"IMPERATOR_MONITOR",
        b"IMPERATOR_ATTRIBUTES",
        b"IMPERATOR_PORT",
        b"IMPERATOR_NET",
        b"IMPERATOR_NET_ADDRESS",
        b"IMPERATOR_NET_GATEWAY",
    }
)
_FOR_VASSALS = b"UWSGI_VASSAL_"
_OF_EMPEROR = (b"UWSGI_EMPEROR", b"UWSGI_VASSALS_")
_NAMES: Final = re.compile(rb"%([psdnecxPSDNECX%])")
_NAMES_ALONE: Final = re.compile(rb"(?:[^%]|%\(|%[psdnecxPSDNECX%])*", re.DOTALL)
_SECTION: Final = re.compile(rb"(.*\.[a-z]+):([^/:]+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Environment:
    """What all vassals have in common, and what is made for each."""

    common: dict[bytes, bytes]
    speaking: dict[bytes, bytes]
    """Variables whose values speak of the vassal's file."""

    def own(self, name: str, directory: str) -> dict[bytes, bytes]:
        """The variables that are made for the vassal ``name`` that starts in ``directory``."""
        if not self.speaking:
            return {}
        values = _names_of(os.fsencode(name), os.fsencode(directory))
        return {key: _NAMES.sub(lambda found: values[found[1].lower()], value) for key, value in self.speaking.items()}


def _names_of(name: bytes, directory: bytes) -> dict[bytes, bytes]:
    """The magic variables that name a file, by their letters. The upper-case twins are the same: it is the first."""
    section = b""
    if found := _SECTION.fullmatch(name):
        name, section = found.groups()
    path = os.path.normpath(os.path.join(directory, name))
    folder, _, last = path.rpartition(b"/")
    stem, dot, ending = last.rpartition(b".")
    return {
        b"p": path,
        b"s": last,
        b"d": folder + b"/",
        b"n": stem if dot else last,
        b"e": ending,
        b"c": folder.rpartition(b"/")[2],
        b"x": section,
        b"%": b"%",
    }


def for_vassals(environment: Mapping[bytes, bytes]) -> Environment:
    """The vassals' environment, from the Emperor's."""
    common: dict[bytes, bytes] = {}
    speaking: dict[bytes, bytes] = {}
    for key, value in environment.items():
        if key not in _OURS and not key.startswith((_FOR_VASSALS, *_OF_EMPEROR)):
            common[key] = value
    for key, value in environment.items():
        if key.startswith(_FOR_VASSALS):
            name = b"UWSGI_" + key.removeprefix(_FOR_VASSALS)
            common[name] = value
            # Where any other letter follows a "%" it is a format, as that of log-date, and not a name.
            if _NAMES_ALONE.fullmatch(value) and any(found[1] != b"%" for found in _NAMES.finditer(value)):
                speaking[name] = value
    return Environment(common, speaking)
