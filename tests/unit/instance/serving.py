"""For the tests of the granian engine: an application served in a forked child, and a client that sees every byte.

The child is what an instance is: forked from a process that never ran granian, with listening sockets that it did not
make. SIGTERM is a graceful stop with the mercy given.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imperator.instance.granian_server import Server
from imperator.instance.granian_worker import Interface, Limits

ENDED, OUT_OF_MERCY, FAILED = 0, 3, 4
"""Exit codes of the child: every request ended, the mercy ran out, serve() raised."""


def listen(family: socket.AddressFamily = socket.AF_INET, address: Any = ("127.0.0.1", 0)) -> socket.socket:
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen(16)
    return listener


def connect(listener: socket.socket) -> socket.socket:
    client = socket.socket(listener.family)
    client.settimeout(30)
    client.connect(listener.getsockname())
    return client


@dataclass
class Child:
    pid: int
    errors: Path
    code: int | None = None

    def terminate(self) -> None:
        os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Its exit code."""
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.code

    def stderr(self) -> str:
        """All of it: waits for the end."""
        self.wait()
        return self.errors.read_text()


@contextmanager
def served(
    tmp_path: Path,
    application: Any,
    *sockets: socket.socket,
    interface: Interface = "wsgi",
    mercy: float | None = None,
    threads: int = 1,
    limits: Limits | None = None,
) -> Iterator[Child]:
    """Serves in a child until the block ends; then it must have ended well, unless the test has waited for it."""
    ready, tell = os.pipe()
    errors = tmp_path / f"stderr-{sockets[0].fileno()}-{len(list(tmp_path.iterdir()))}"
    errors.touch()
    pid = os.fork()
    if pid == 0:
        code = FAILED
        try:
            os.close(ready)
            sys.stderr = errors.open("a")
            server = Server(application, interface, sockets, threads=threads, limits=limits)
            signal.signal(signal.SIGTERM, lambda *_: server.stop(mercy))
            code = ENDED if server.serve(lambda: os.close(tell)) else OUT_OF_MERCY
        except BaseException:  # noqa: BLE001 (the child must not return into the test)
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    os.close(tell)
    child = Child(pid, errors)
    os.read(ready, 1)  # EOF: it accepts, or it has failed
    os.close(ready)
    try:
        yield child
    except BaseException:
        if child.code is None:
            os.kill(pid, signal.SIGKILL)
            child.wait()
        print(errors.read_text())
        raise
    if child.code is None:
        child.terminate()
        assert child.wait() == ENDED, child.stderr()


def exchange(listener: socket.socket, request: bytes) -> bytes:
    """Sends a request, returns everything until the server closes."""
    with connect(listener) as client:
        client.sendall(request)
        return read_all(client)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while data := client.recv(65536):
        answer += data
    return answer


def get(listener: socket.socket, path: str = "/", *headers: str) -> bytes:
    """The answer to one GET, head and body."""
    lines = [f"GET {path} HTTP/1.1", "Host: here", "Connection: close", *headers, "", ""]
    return exchange(listener, "\r\n".join(lines).encode())


def body(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def read_answer(client: socket.socket) -> bytes:
    """The body of one answer on a connection that stays open."""
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.read()
