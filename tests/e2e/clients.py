"""Clients of an instance under test: HTTP and the uwsgi protocol, over TCP and UNIX sockets."""

from __future__ import annotations

import http.client
import io
import socket
import struct
from dataclasses import dataclass

from .stage import PATIENCE

Where = tuple[str, int] | str
"""``(host, port)``, or the path of a UNIX socket."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: str


def connect(where: Where) -> socket.socket:
    """A connection. An instance that is just starting or reloading keeps it waiting."""
    connection = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    connection.settimeout(PATIENCE)
    connection.connect(where)
    return connection


def send_request(connection: socket.socket, protocol: str, target: str) -> None:
    connection.sendall(_uwsgi(target) if protocol == "uwsgi" else _http(target))


def read_answer(connection: socket.socket) -> Answer:
    """Whoever serves closes the connection after it. Raises ConnectionError where it is closed without an answer."""
    data = b"".join(iter(lambda: connection.recv(65536), b""))
    if not data:
        raise ConnectionError("closed without an answer")
    answer = http.client.HTTPResponse(_Read(data))  # type: ignore[arg-type]
    answer.begin()
    return Answer(answer.status, answer.read().decode())


def ask(where: Where, target: str = "/", protocol: str = "http") -> Answer:
    """One request, one answer."""
    with connect(where) as connection:
        send_request(connection, protocol, target)
        return read_answer(connection)


class _Read:
    """What was read, as the socket that http.client wants."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self._data)


def _http(target: str) -> bytes:
    return f"GET {target} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n".encode()


def _uwsgi(target: str) -> bytes:
    """A packet of variables: modifier1, the size in 16 bits, modifier2, then each name and value with its size."""
    path, _, query = target.partition("?")
    variables = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "site",
        "SERVER_PORT": "80",
        "HTTP_HOST": "site",
        "CONTENT_LENGTH": "",
    }
    words = (word.encode() for pair in variables.items() for word in pair)
    body = b"".join(struct.pack("<H", len(word)) + word for word in words)
    return struct.pack("<BHB", 0, len(body), 0) + body
