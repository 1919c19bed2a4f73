"""A person's client of the forkpty router, who sees what is shown and waits for it."""

from __future__ import annotations

import re
import socket
import time
from pathlib import Path

PATIENCE = 20.0


class Client:
    """Somebody's terminal client."""

    def __init__(self, path: Path) -> None:
        """Connects as soon as somebody listens there."""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self.socket.connect_ex(str(path)) != 0:
            assert time.monotonic() < deadline, f"nobody listens on {path}"
            time.sleep(0.005)
        self.text = ""

    def shown(self, pattern: str) -> str:
        """What is shown up to the pattern, which is taken away."""
        while not (found := re.search(pattern, self.text, re.DOTALL)):
            data = self.socket.recv(65536)
            assert data, f"closed before {pattern!r}: {self.text!r}"
            self.text += data.decode()
        before, self.text = self.text[: found.end()], self.text[found.end() :]
        return before

    def closed(self) -> str:
        while data := self.socket.recv(65536):
            self.text += data.decode()
        return self.text
