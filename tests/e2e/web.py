"""A client for the applications of the tests, in HTTP and in the uwsgi protocol, and an application to ask.

The uwsgi protocol, as far as a request needs it: a header of four bytes (modifier, size of the variables, modifier),
the variables as pairs of strings with their sizes before them, all little-endian, and then the body.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .stage import PATIENCE

APPLICATION = '''\
"""Answers with its text; below /pid with its process, below /environ/NAME with a variable, below /wait in a while."""
import os, time

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path.startswith("/wait/"):
        time.sleep(float(path[6:]))
    start_response("200 OK", [("Content-Type", "text/plain")])
    if path == "/pid":
        return [str(os.getpid()).encode()]
    if path == "/ids":
        return [f"{os.getuid()} {os.getgid()} {sorted(os.getgroups())}".encode()]
    if path == "/cwd":
        return [os.getcwd().encode()]
    if path.startswith("/environ/"):
        return [os.environ.get(path[9:], "(not set)").encode()]
    return [b"TEXT"]
'''

Address = tuple[str, int] | str
"""A TCP address, or the path of a unix socket."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status line's number, and the body."""

    status: int
    body: str


Ask = Callable[[Address, str], Answer]


def write_application(directory: Path, text: str, name: str = "app.py") -> Path:
    file = directory / name
    new = file.with_suffix(".new")
    new.write_text(APPLICATION.replace("TEXT", text))
    new.rename(file)
    return file


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def http(address: Address, path: str = "/") -> Answer:
    """Ask in HTTP. Raises OSError where nobody listens, or nothing comes."""
    return _ask(address, f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())


def uwsgi(address: Address, path: str = "/") -> Answer:
    """Ask in the uwsgi protocol. Raises OSError where nobody listens, or nothing comes."""
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": "localhost",
    }
    body = b"".join(_string(name) + _string(value) for name, value in variables.items())
    return _ask(address, struct.pack("<BHB", 0, len(body), 0) + body)


def _string(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode()


def _ask(address: Address, request: bytes) -> Answer:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    if not answer:
        raise ConnectionError("closed without an answer")
    head, _, body = answer.partition(b"\r\n\r\n")
    return Answer(int(head.split()[1]), body.decode())


def expect_answer(address: Address, text: str, path: str = "/", ask: Ask = http, status: int = 200) -> None:
    """Ask again and again until the answer is this one: nobody tells a client that an application has come up."""
    deadline = time.monotonic() + PATIENCE
    expected = Answer(status, text)
    last: object = None
    while True:
        try:
            last = ask(address, path)
        except OSError as error:
            last = error
        if last == expected:
            return
        assert time.monotonic() < deadline, f"{last!r} and not {expected!r}"
        time.sleep(0.02)


def expect_nobody_listens(address: Address) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            answer = http(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except OSError:
            answer = Answer(0, "")
        assert time.monotonic() < deadline, f"still answered: {answer}"
        time.sleep(0.02)


def renew(file: Path, text: str) -> None:
    """Put a text in the place of a file's, so that nobody sees half of it."""
    new = file.with_name(f".{file.name}.new")
    new.write_text(text)
    if file.exists():
        stat = file.stat()
        os.chown(new, stat.st_uid, stat.st_gid)
    new.rename(file)
