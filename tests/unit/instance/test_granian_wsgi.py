"""WSGI as PEP 3333 has it, under granian: what an application that ran under uWSGI may do."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .serving import body, connect, exchange, get, listen, read_all, read_answer, served

Environ = dict[str, Any]
Start = Callable[..., Any]


def says_environ(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({key: value for key, value in environ.items() if isinstance(value, (str, bool))}).encode()]


def environ_of(answer: bytes) -> Environ:
    found: Environ = json.loads(body(answer))
    return found


# -- the environ


def test_the_environ_of_a_tcp_request(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, says_environ, listener, threads=2):
        environ = environ_of(get(listener, "/a%20b/c?d=%C3%A9&e", "X-Forwarded-For: 9.9.9.9", "Cookie: a=b"))
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/a b/c",
        "QUERY_STRING": "d=%C3%A9&e",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(listener.getsockname()[1]),
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_X_FORWARDED_FOR": "9.9.9.9",
        "HTTP_COOKIE": "a=b",
        "HTTP_HOST": "here",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    assert {key: environ.get(key) for key in expected} == expected
    assert "PATH" not in environ, "the process's environment is not the request's"


def test_on_a_unix_socket_the_peer_has_no_address_and_the_server_the_hosts_name(tmp_path: Path) -> None:
    listener = listen(socket.AF_UNIX, str(tmp_path / "app.sock"))
    with served(tmp_path, says_environ, listener):
        environ = environ_of(get(listener))
    assert environ["REMOTE_ADDR"] == ""
    assert environ["SERVER_NAME"] == socket.gethostname()
    assert environ["SERVER_PORT"] == ""
    assert environ["wsgi.multithread"] is False


def test_a_request_without_host_has_no_host(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, says_environ, listener):
        environ = environ_of(exchange(listener, b"GET / HTTP/1.0\r\n\r\n"))
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_PROTOCOL"] == "HTTP/1.0"


# -- the request's body


def says_body(read: Callable[[Any], bytes]) -> Callable[[Environ, Start], list[bytes]]:
    def application(environ: Environ, start: Start) -> list[bytes]:
        data = read(environ["wsgi.input"])
        start("200 OK", [])
        return [data]

    return application


POST = b"POST / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "read",
    [
        lambda stream: stream.read(),
        lambda stream: stream.read(-1),
        lambda stream: stream.read(7) + stream.read(1000),
        lambda stream: b"".join(stream),
        lambda stream: b"".join(stream.readlines()),
        lambda stream: stream.readline() + stream.readline(2) + stream.read(),
    ],
)
def test_the_body_is_read_whole_in_every_way_that_there_is(tmp_path: Path, read: Callable[[Any], bytes]) -> None:
    listener = listen()
    sent = b"one\ntwo\n\nfour without an end"
    with served(tmp_path, says_body(read), listener):
        answer = exchange(listener, POST + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
        assert body(answer) == sent
        chunks = b"Transfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(sent) - 4, sent[4:])
        assert body(exchange(listener, POST + chunks)) == sent


def test_a_big_body_arrives_whole(tmp_path: Path) -> None:
    listener = listen()
    sent = os.urandom(1 << 20) * 24
    with served(tmp_path, says_body(lambda stream: hashlib.sha256(stream.read()).hexdigest().encode()), listener):
        answer = exchange(listener, POST + b"Content-Length: %d\r\n\r\n" % len(sent) + sent)
    assert body(answer).decode() == hashlib.sha256(sent).hexdigest()


def test_a_body_that_is_not_read_does_not_hurt_the_next_request(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, says_body(lambda stream: b"unread"), listener), connect(listener) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nGET /")
        assert read_answer(client) == b"unread"
        assert body(get(listener)) == b"unread"


def test_half_an_upload_is_an_error_in_the_application_not_a_short_body(tmp_path: Path) -> None:
    listener = listen()
    seen, tell = os.pipe()

    def application(environ: Environ, start: Start) -> list[bytes]:
        try:
            environ["wsgi.input"].read()
        except ConnectionResetError as error:
            os.write(tell, str(error).encode())
        start("200 OK", [])
        return []

    with served(tmp_path, application, listener):
        with connect(listener) as client:
            client.sendall(POST + b"Content-Length: 100\r\n\r\nonly this")
        assert os.read(seen, 200) == b"the client went away: 91 bytes of its request never came"


# -- the answer


def test_an_answer_of_several_pieces_of_a_list(tmp_path: Path) -> None:
    def application(environ: Environ, start: Start) -> list[bytes]:
        write = start("201 Made", [("X-Twice", "a"), ("X-Twice", "b")])
        write(b"written, ")
        return [b"one, ", b"two"]

    listener = listen()
    with served(tmp_path, application, listener):
        answer = get(listener)
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert b"x-twice: a\r\nx-twice: b\r\n" in answer
    assert body(answer) == b"written, one, two"


def test_a_generator_may_call_start_response_at_its_first_chunk(tmp_path: Path) -> None:
    def application(environ: Environ, start: Start) -> Iterator[bytes]:
        start("404 Not Here", [("X-Late", "yes"), ("Content-Length", "4")])
        yield b""
        yield b"none"

    listener = listen()
    with served(tmp_path, application, listener):
        answer = get(listener)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b"x-late: yes" in answer
    assert body(answer) == b"none"


class Told:
    """An application's iterable that says when it was closed."""

    def __init__(self, chunks: Iterable[bytes], closed: int) -> None:
        self.chunks = iter(chunks)
        self.closed = closed

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        os.write(self.closed, b"closed")


@pytest.mark.parametrize("headers", [[], [("Content-Length", "5")]])
@pytest.mark.parametrize("chunks", [[b"first"], [b"fir", b"st"]])
def test_an_iterable_is_closed_once_at_its_end(
    tmp_path: Path, headers: list[tuple[str, str]], chunks: list[bytes]
) -> None:
    closed, tell = os.pipe()

    def application(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", headers)
        return Told(chunks, tell)

    listener = listen()
    with served(tmp_path, application, listener):
        assert b"first" in body(get(listener)).replace(b"\r\n2\r\n", b"").replace(b"fir\r\n2\r\nst", b"first")
        assert os.read(closed, 100) == b"closed"


def test_an_answer_is_sent_chunk_by_chunk_as_the_application_makes_it(tmp_path: Path) -> None:
    go_on, go = os.pipe()

    def application(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "11")])
        yield b"first"
        os.read(go_on, 1)
        yield b"second"

    listener = listen()
    with served(tmp_path, application, listener), connect(listener) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        came = b""
        while not came.endswith(b"first"):
            came += client.recv(1000)
        os.write(go, b".")
        assert read_all(client) == b"second"


def test_a_client_that_leaves_in_the_middle_ends_the_iterable(tmp_path: Path) -> None:
    closed, tell = os.pipe()

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x" * 65536

    def application(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", [])
        return Told(endless(), tell)

    listener = listen()
    with served(tmp_path, application, listener):
        with connect(listener) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            client.recv(1000)
        assert os.read(closed, 100) == b"closed"


def test_a_file_is_sent_by_the_file_wrapper(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "file").write_bytes(content)

    def application(environ: Environ, start: Start) -> Iterable[bytes]:
        start("200 OK", [("Content-Length", str(len(content)))])
        wrapped: Iterable[bytes] = environ["wsgi.file_wrapper"]((tmp_path / "file").open("rb"), 4096)
        return wrapped

    listener = listen()
    with served(tmp_path, application, listener):
        assert body(get(listener)) == content


def test_head_has_the_length_and_no_body(tmp_path: Path) -> None:
    def application(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [("Content-Length", "5")])
        return [b"hello"]

    listener = listen()
    with served(tmp_path, application, listener):
        answer = exchange(listener, b"HEAD / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
    assert b"content-length: 5" in answer.lower()
    assert body(answer) == b""


# -- what goes wrong in an application


def raises(environ: Environ, start: Start) -> list[bytes]:
    raise LookupError("the user's own words")


def leaves(environ: Environ, start: Start) -> list[bytes]:
    sys.exit("the user's own words")


def raises_in_generator(environ: Environ, start: Start) -> Iterator[bytes]:
    start("200 OK", [])
    raise LookupError("the user's own words")
    yield b""


def no_start(environ: Environ, start: Start) -> list[bytes]:
    return [b"x"]


def starts_twice(environ: Environ, start: Start) -> list[bytes]:
    start("200 OK", [])
    start("200 OK", [])
    return []


def answers(status: str, *headers: tuple[str, str], chunk: object = b"") -> Callable[[Environ, Start], list[Any]]:
    def application(environ: Environ, start: Start) -> list[Any]:
        start(status, list(headers))
        return [chunk]

    return application


@pytest.mark.parametrize(
    ("application", "words"),
    [
        (raises, "LookupError: the user's own words"),
        (leaves, "SystemExit: the user's own words"),
        (raises_in_generator, "LookupError: the user's own words"),
        (no_start, "answered without calling start_response"),
        (starts_twice, "start_response was called twice"),
        (answers("99 Low"), "'99 Low' is no status"),
        (answers("2000 High"), "'2000 High' is no status"),
        (answers("OK"), "'OK' is no status"),
        (answers("200 OK", ("X-Name", "é")), "the header 'X-Name' cannot be sent, it has characters outside ASCII"),
        (answers("200 OK", ("X-Name", "a\r\nSet-Cookie: b")), "'X-Name' cannot be sent, it has control characters"),
        (answers("200 OK", chunk="text"), "TypeError"),
    ],
)
def test_what_fails_before_the_answer_is_a_500_and_a_traceback_and_the_next_request_is_served(
    tmp_path: Path, application: Callable[[Environ, Start], Iterable[bytes]], words: str
) -> None:
    listener = listen()
    with served(tmp_path, application, listener) as child:
        for _ in range(2):
            assert get(listener, "/some/where").startswith(b"HTTP/1.1 500 ")
    assert f"the application failed at GET /some/where\n{'Traceback'}" in child.stderr()
    assert words in child.stderr()


def test_what_fails_in_the_middle_ends_the_connection_and_is_said(tmp_path: Path) -> None:
    def application(environ: Environ, start: Start) -> Iterator[bytes]:
        start("200 OK", [("Content-Length", "100")])
        yield b"first"
        raise LookupError("the user's own words")

    listener = listen()
    with served(tmp_path, application, listener) as child:
        assert len(body(get(listener))) < 100
    assert "LookupError: the user's own words" in child.stderr()


def test_exc_info_replaces_an_answer_that_is_not_sent_yet(tmp_path: Path) -> None:
    def application(environ: Environ, start: Start) -> list[bytes]:
        start("200 OK", [])
        try:
            raise LookupError
        except LookupError:
            start("503 Sorry", [], sys.exc_info())
        return [b"sorry"]

    listener = listen()
    with served(tmp_path, application, listener):
        assert get(listener).startswith(b"HTTP/1.1 503 ")
