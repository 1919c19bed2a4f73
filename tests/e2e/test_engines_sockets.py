"""Where an instance listens, and what it speaks there: every engine serves sockets that somebody else has opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from imperator.reign.protocol import FromVassal, ToVassal

from .clients import Answer, Where, ask
from .solo import free_port
from .test_engines import ACCEPTING, READY, after_reload, every_engine, every_protocol, socket_option
from .throne import Court

every_kind = pytest.mark.parametrize("kind", ["tcp", "unix"])


@pytest.fixture
def tcp() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


def listener(where: Where) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX if isinstance(where, str) else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(where)
    sock.listen(16)
    return sock


@pytest.fixture
def where(kind: str, court: Court, tcp: tuple[str, int]) -> Where:
    return tcp if kind == "tcp" else f"{court.directory}/site.sock"


@pytest.fixture
def opened(where: Where) -> Iterator[socket.socket]:
    with listener(where) as sock:
        yield sock


@every_protocol
@every_kind
def test_what_it_is_asked_to_bind(court: Court, where: Where, engine: str, protocol: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(where, protocol), "wsgi-file = app.py")
    instance.expect(READY, ACCEPTING)
    assert ask(where, protocol=protocol) == Answer(200, "one")


@every_protocol
@every_kind
def test_on_demand_it_serves_fd_0(
    court: Court, where: Where, opened: socket.socket, engine: str, protocol: str
) -> None:
    lines = f"protocol = {protocol}", "wsgi-file = app.py"
    instance = court.start(f"engine = {engine}", *lines, stdin=opened)
    opened.close()
    instance.expect(READY, ACCEPTING)
    for _ in range(2):
        assert ask(where, protocol=protocol) == Answer(200, "one")
        instance.expect(FromVassal.LOYAL)
        instance.say(ToVassal.RELOAD)
        instance.expect(*after_reload(engine))
    assert ask(where, protocol=protocol) == Answer(200, "one")
    instance.say(ToVassal.STOP_GRACEFULLY)
    assert instance.wait() == 0


@every_engine
@every_kind
def test_on_demand_with_its_own_option(court: Court, where: Where, opened: socket.socket, engine: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(where, "http"), "wsgi-file = app.py", stdin=opened)
    opened.close()
    assert ask(where) == Answer(200, "one")
    instance.say(ToVassal.STOP)
    assert instance.wait() == 0


@every_protocol
@every_kind
@pytest.mark.parametrize("asked", ["by address", "by nobody"])
def test_sockets_from_systemd(
    court: Court, where: Where, opened: socket.socket, engine: str, protocol: str, asked: str
) -> None:
    option = socket_option(where, protocol) if asked == "by address" else f"protocol = {protocol}"
    instance = court.start_with_sockets([opened], f"engine = {engine}", option, "wsgi-file = app.py")
    opened.close()
    instance.expect(READY, ACCEPTING)
    assert ask(where, protocol=protocol) == Answer(200, "one")
    instance.expect(FromVassal.LOYAL)
    instance.say(ToVassal.RELOAD)
    instance.expect(*after_reload(engine))
    assert ask(where, protocol=protocol) == Answer(200, "one")


@every_engine
def test_a_socket_that_is_named_by_its_number(court: Court, tcp: tuple[str, int], engine: str) -> None:
    with listener(tcp) as opened:
        option = f"http-socket = fd://{opened.fileno()}"
        instance = court.start(f"engine = {engine}", option, "wsgi-file = app.py", pass_fds=(opened.fileno(),))
    instance.expect(READY, ACCEPTING)
    assert ask(tcp) == Answer(200, "one")


@every_engine
def test_connections_wait_while_it_starts(court: Court, tcp: tuple[str, int], engine: str) -> None:
    """Whoever comes before the instance does is answered by it, as on demand."""
    with listener(tcp) as opened:
        client = socket.create_connection(tcp)
        client.sendall(b"GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n")
        court.start(f"engine = {engine}", "protocol = http", "wsgi-file = app.py", stdin=opened)
    with client:
        assert client.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("engine", ["granian", "gunicorn", "uwsgi"])
def test_several_sockets(court: Court, tcp: tuple[str, int], engine: str) -> None:
    path = f"{court.directory}/site.sock"
    lines = socket_option(tcp, "http"), socket_option(path, "http")
    instance = court.start(f"engine = {engine}", *lines, "wsgi-file = app.py")
    instance.expect(READY, ACCEPTING)
    assert ask(tcp) == ask(path) == Answer(200, "one")
    instance.expect(FromVassal.LOYAL)
    instance.say(ToVassal.RELOAD)
    instance.expect(*after_reload(engine))
    assert ask(tcp) == ask(path) == Answer(200, "one")


@pytest.mark.parametrize("engine", ["auto", "uwsgi"])
def test_several_protocols(court: Court, tcp: tuple[str, int], engine: str) -> None:
    path = f"{court.directory}/site.sock"
    lines = socket_option(tcp, "http"), socket_option(path, "uwsgi")
    instance = court.start(f"engine = {engine}", *lines, "wsgi-file = app.py")
    instance.log.expect("engine uwsgi")
    instance.expect(READY, ACCEPTING)
    assert ask(tcp) == ask(path, protocol="uwsgi") == Answer(200, "one")


@pytest.mark.parametrize("engine", ["granian", "gunicorn"])
def test_what_an_engine_cannot_speak_is_refused_with_its_place(court: Court, tcp: tuple[str, int], engine: str) -> None:
    path = f"{court.directory}/site.sock"
    lines = f"engine = {engine}", socket_option(tcp, "http"), socket_option(path, "uwsgi"), "wsgi-file = app.py"
    instance = court.start(*lines)
    instance.log.expect(rf"engine = {engine}.*socket = {path}.*site\.ini:4.*engine = uwsgi can")
    assert instance.wait() == 1


@every_engine
def test_the_file_of_a_socket(court: Court, engine: str) -> None:
    path = Path(f"{court.directory}/site.sock")
    lines = socket_option(str(path), "http"), "wsgi-file = app.py", "chmod-socket = 660", "vacuum = true"
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    assert path.stat().st_mode & 0o777 == 0o660
    if engine != "uwsgi":  # after a reload the original leaves the file: it takes its inode for a changed one
        inode = path.stat().st_ino
        instance.say(ToVassal.RELOAD)
        instance.expect(*after_reload(engine))
        assert path.stat().st_ino == inode
    assert ask(str(path)) == Answer(200, "one")
    instance.say(ToVassal.STOP)
    assert instance.wait() == 0
    assert not os.path.exists(path)
