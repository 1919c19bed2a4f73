"""Runs ``enact.py``, and what the tests of an instance's phases share."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imperator.config.hook import Hook
from imperator.config.instance_settings import InstanceSettings, SocketAsked

SCRIPT = Path(__file__).with_name("enact.py")
NOBODY = 65534
PATIENCE = 30.0
"""Seconds that anything may take on a machine under load before a test gives up."""


@dataclass(frozen=True)
class Enacted:
    """What came out of an instance."""

    code: int
    facts: list[dict[str, Any]]
    said: str


def start(
    directory: Path,
    settings: InstanceSettings,
    *todo: str,
    arguments: Iterable[str] = (),
    environment: Mapping[str, str] | None = None,
    prefix: Iterable[str] = (),
    **popen: Any,
) -> subprocess.Popen[str]:
    """Start an instance, by the command ``prefix``; its standard input is a pipe, unless said otherwise."""
    file = directory / "settings.pickle"
    file.write_bytes(pickle.dumps((settings, list(arguments), todo)))
    popen = {"stdin": subprocess.PIPE, "cwd": directory, **popen}
    return subprocess.Popen(
        [*prefix, sys.executable, str(SCRIPT), str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(environment or {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}),
        **popen,
    )


def finish(process: subprocess.Popen[str]) -> Enacted:
    """Wait for its end."""
    try:
        out, said = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    facts = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return Enacted(process.returncode, facts, said)


def enact(directory: Path, settings: InstanceSettings, *todo: str, **more: Any) -> Enacted:
    """Start an instance and wait for its end."""
    return finish(start(directory, settings, *todo, **more))


def asked(address: str | Path, option: str = "http-socket", line: int = 2) -> SocketAsked:
    return SocketAsked(str(address), "http" if option == "http-socket" else "uwsgi", option, f"app.ini:{line}")


def shell(command: str) -> Hook:
    return Hook("exec", command)


def free_port() -> int:
    """A port that nobody listens on, most probably."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def listener(port: int = 0) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    sock.listen()
    return sock
