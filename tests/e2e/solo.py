"""An instance under test: ``imperator app.ini``, started as a person would, its own log awaited line by line."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .empire import IMPERATOR, MARK, Log
from .stage import PATIENCE

APP = """
import os, threading
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/wait":
        threading.Event().wait(float(environ.get("QUERY_STRING") or 600))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/pid":
        return [str(os.getpid()).encode()]
    return [b"{text}"]
"""
ACCEPTS = "application: wsgi"
"""What the log says when the application is loaded: from then on (and before) connections wait, and are answered."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Solo:
    """A running instance."""

    def __init__(
        self,
        file: Path,
        *arguments: str,
        mark: str,
        environment: Mapping[str, str] | None = None,
        pass_fds: tuple[int, ...] = (),
    ) -> None:
        self.directory = file.parent
        self.process = subprocess.Popen(
            [*IMPERATOR, str(file), *arguments],
            env={**os.environ, MARK: mark, **(environment or {})},
            cwd=file.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )
        self.log = Log(self.process.stdout)

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect(self, pattern: str) -> str:
        return self.log.expect(pattern)[0]

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Stop it as a person would; its exit code."""
        if self.process.poll() is None:
            self.send(signal.SIGINT)
        return self.wait()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)


def get(port: int, path: str = "/") -> str:
    """What is answered. An instance that is just starting or reloading keeps the connection waiting, refuses none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


class Start(Protocol):
    """Starts an instance with these lines in its file, in the test's own directory, beside ``app.py``."""

    def __call__(
        self,
        *lines: str,
        app: str = ...,
        text: str = ...,
        environment: Mapping[str, str] | None = ...,
        pass_fds: tuple[int, ...] = ...,
    ) -> Solo: ...
