"""Clients that never stop asking, and count what they are answered: none of their requests may be lost."""

from __future__ import annotations

import http.client
import socket
import threading
import time

from .stage import PATIENCE

Address = int | str
"""A port of 127.0.0.1, or the path of a UNIX socket."""


class Connection(http.client.HTTPConnection):
    """An HTTP connection to either kind of address."""

    def __init__(self, address: Address) -> None:
        super().__init__("127.0.0.1", timeout=PATIENCE)
        self._address = address

    def connect(self) -> None:
        if isinstance(self._address, int):
            self.sock = socket.create_connection(("127.0.0.1", self._address), PATIENCE)
        else:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(PATIENCE)
            self.sock.connect(self._address)


class Clients:
    """Threads that ask for a path again and again: some on a new connection each time, some on one that they keep.

    One that keeps its connection gives it up when an answer says so, as every client does, and for no other reason.
    """

    def __init__(self, address: Address, *, new: int = 2, keeping: int = 2, path: str = "/", expected: str = "one"):
        self._address = address
        self._path = path
        self._expected = expected
        self._changed = threading.Condition()
        self._over = False
        self.answers = [0] * (new + keeping)
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._ask, args=(number, number >= new)) for number in range(new + keeping)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        for thread in self._threads:
            thread.join()

    def _ask(self, number: int, keeping: bool) -> None:
        connection = Connection(self._address)
        while not self._over:
            try:
                connection.request("GET", self._path, headers={} if keeping else {"Connection": "close"})
                answer = connection.getresponse()
                text = answer.read().decode()
                failure = "" if (answer.status, text) == (200, self._expected) else f"{answer.status} {text!r}"
            except (OSError, http.client.HTTPException) as error:
                failure = repr(error)
                connection.close()
            with self._changed:
                if failure:
                    self.failures.append(failure)
                else:
                    self.answers[number] += 1
                self._changed.notify_all()
            if not keeping:
                connection.close()
        connection.close()

    def more(self, count: int = 1) -> None:
        """Returns when every client has got so many more answers (or when something was lost)."""
        deadline = time.monotonic() + PATIENCE
        with self._changed:
            wanted = [answers + count for answers in self.answers]
            while not self.failures and any(have < want for have, want in zip(self.answers, wanted, strict=True)):
                assert self._changed.wait(deadline - time.monotonic()), f"no answer: {self.answers}, wanted {wanted}"
