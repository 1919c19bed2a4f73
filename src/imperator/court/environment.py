"""The environment that vassals are born with, made from the Emperor's own.

As the original: ``UWSGI_RELOADS`` and ``NOTIFY_SOCKET`` are taken out and each ``UWSGI_VASSAL_X`` becomes ``UWSGI_X``.
Beyond it: what was meant for the Emperor alone (its own options, systemd's sockets and watchdog, what another
Emperor told it of itself) is taken out too, so a
vassal can neither answer systemd in our name nor become an Emperor because we are one.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    }
)
_FOR_VASSALS = b"UWSGI_VASSAL_"
_OF_EMPEROR = (b"UWSGI_EMPEROR", b"UWSGI_VASSALS_")


def for_vassals(environment: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What all vassals have in common."""
    result: dict[bytes, bytes] = {}
    for key, value in environment.items():
        if key not in _OURS and not key.startswith((_FOR_VASSALS, *_OF_EMPEROR)):
            result[key] = value
    for key, value in environment.items():
        if key.startswith(_FOR_VASSALS):
            result[b"UWSGI_" + key.removeprefix(_FOR_VASSALS)] = value
    return result
