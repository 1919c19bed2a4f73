"""Requests for a second or more from a process of its own: ``wrk``, of the Debian package of that name."""

from __future__ import annotations

import re
import subprocess

CONNECTIONS = 16
_SPEED = re.compile(r"^Requests/sec:\s+([\d.]+)", re.M)
_WRONG = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class LoadFailed(Exception):
    """What was answered is not what was to be measured."""


def requests_per_second(url: str, seconds: float, *, keep_alive: bool) -> float:
    """From 16 clients at once. Without ``keep_alive`` each says ``Connection: close`` and opens one for each request.

    A server that closes the connection in spite of ``keep_alive`` is asked on a new one. Raises :class:`LoadFailed`.
    """
    header = [] if keep_alive else ["--header", "Connection: close"]
    command = ["wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds:g}s", *header, url]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    speed, wrong = _SPEED.search(run.stdout), _WRONG.search(run.stdout)
    if speed is None or wrong is not None or run.returncode != 0:
        raise LoadFailed(f"{' '.join(command)}:\n{run.stdout}{run.stderr}")
    return float(speed[1])
