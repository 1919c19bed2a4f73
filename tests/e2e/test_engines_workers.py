"""What an instance does with its workers, and which applications it runs: the same whichever engine serves."""

from __future__ import annotations

import os
import signal
import time

import pytest

from imperator.reign.protocol import FromVassal, ToVassal

from .clients import Answer, ask, connect, read_answer, send_request
from .solo import free_port
from .stage import PATIENCE
from .test_engines import ACCEPTING, LOYAL, READY, every_engine, every_protocol, socket_option, sound
from .throne import Court

ASYNC = (("granian", "http"), ("gunicorn", "http"), ("gunicorn", "uwsgi"))
every_number = pytest.mark.parametrize("lines", [(), ("threads = 2",), ("processes = 2",)], ids=" ".join)


@pytest.fixture
def tcp() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


def hold(court: Court, where: tuple[str, int], count: int) -> list[int]:
    """Occupy ``count`` workers at once; the pids that answered."""
    clients = [connect(where) for _ in range(count)]
    held = []
    for client in clients:
        send_request(client, "http", "/hold/pid")
        held.append(court.held())
    for one in held:
        one.release()
    pids = [int(read_answer(client).body) for client in clients]
    for client in clients:
        client.close()
    return pids


@every_engine
def test_two_processes_answer_at_the_same_time(court: Court, tcp: tuple[str, int], engine: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", "processes = 2")
    instance.expect(READY, ACCEPTING)
    pids = hold(court, tcp, 2)
    assert len(set(pids)) == 2
    assert instance.pid not in pids


@every_engine
def test_a_worker_that_dies_is_replaced(court: Court, tcp: tuple[str, int], engine: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", "processes = 2")
    instance.expect(READY, ACCEPTING)
    before = hold(court, tcp, 2)
    os.kill(before[0], signal.SIGKILL)
    after = hold(court, tcp, 2)
    assert before[1] in after
    assert before[0] not in after


@every_engine
def test_one_process_is_one_process(court: Court, tcp: tuple[str, int], engine: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py")
    instance.expect(READY, ACCEPTING)
    is_instance = int(ask(tcp, "/pid").body) == instance.pid
    assert is_instance == (engine != "uwsgi")  # the original has a master above it as soon as it has an Emperor


@every_engine
@every_number
def test_harakiri(court: Court, tcp: tuple[str, int], engine: str, lines: tuple[str, ...]) -> None:
    lines = (socket_option(tcp, "http"), "wsgi-file = app.py", "harakiri = 1", *sound(engine, lines))
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, "http", "/hold")
        held = court.held()
        with pytest.raises(ConnectionError):
            read_answer(client)
        held.release()
    instance.log.expect("(?i)harakiri")
    assert ask(tcp) == Answer(200, "one")


@pytest.mark.parametrize(("engine", "protocol"), ASYNC)
@pytest.mark.parametrize("lines", [(), ("processes = 2",)], ids=" ".join)
def test_harakiri_of_asgi(
    court: Court, tcp: tuple[str, int], engine: str, protocol: str, lines: tuple[str, ...]
) -> None:
    lines = (socket_option(tcp, protocol), "asgi = asgi_app", "harakiri = 1", *sound(engine, lines))
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, protocol, "/hold")
        held = court.held()
        with pytest.raises(ConnectionError):
            read_answer(client)
        held.release()
    instance.log.expect("harakiri: GET /hold")
    assert ask(tcp, protocol=protocol) == Answer(200, "one")


@pytest.mark.parametrize("engine", ["granian", "gunicorn"])
def test_harakiri_spares_who_waits_behind(court: Court, tcp: tuple[str, int], engine: str) -> None:
    """A client whose connection is accepted already, while the only thread is at a request that takes too long."""
    lines = socket_option(tcp, "http"), "wsgi-file = app.py", "harakiri = 1"
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as condemned, connect(tcp) as innocent:
        send_request(condemned, "http", "/hold")
        held = court.held()
        send_request(innocent, "http", "/")
        assert read_answer(innocent) == Answer(200, "one")
        with pytest.raises(ConnectionError):
            read_answer(condemned)
        held.release()


@every_engine
@every_number
def test_max_requests(court: Court, tcp: tuple[str, int], engine: str, lines: tuple[str, ...]) -> None:
    if engine == "uwsgi":  # a worker of the original lives for a minute at least, unless this is said
        lines = ("min-worker-lifetime = 1", "worker-reload-mercy = 3", *lines)
    lines = (socket_option(tcp, "http"), "wsgi-file = app.py", "max-requests = 5", *sound(engine, lines))
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    first = hold(court, tcp, 2 if "processes = 2" in lines else 1)
    if first == [instance.pid]:  # one process: it begins anew
        for _ in range(5):
            assert ask(tcp) == Answer(200, "one")
        instance.expect(LOYAL, READY, ACCEPTING)
        return
    deadline = time.monotonic() + PATIENCE
    while int(ask(tcp, "/pid").body) in first:
        assert time.monotonic() < deadline, "no worker is ever replaced"


@pytest.mark.parametrize(("engine", "protocol"), ASYNC)
@every_number
def test_asgi(court: Court, tcp: tuple[str, int], engine: str, protocol: str, lines: tuple[str, ...]) -> None:
    lines = (socket_option(tcp, protocol), "asgi = asgi_app", *lines)
    instance = court.start(f"engine = {engine}", *lines)
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, protocol, "/hold")
        held = court.held()
        assert ask(tcp, protocol=protocol) == Answer(200, "one")
        instance.expect(LOYAL)
        instance.say(ToVassal.STOP)
        instance.log.expect("stop: ")
        held.release()
        assert read_answer(client) == Answer(200, "one")
    assert instance.wait() == 0


@pytest.mark.parametrize(("engine", "protocol"), ASYNC)
def test_asgi_anew(court: Court, tcp: tuple[str, int], engine: str, protocol: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(tcp, protocol), "asgi = asgi_app")
    instance.expect(READY, ACCEPTING)
    court.write("two")
    instance.say(ToVassal.RELOAD)
    instance.expect(READY, ACCEPTING)
    assert ask(tcp, protocol=protocol) == Answer(200, "two")


def test_asgi_on_the_uwsgi_protocol_is_gunicorns(court: Court, tcp: tuple[str, int]) -> None:
    instance = court.start(socket_option(tcp, "uwsgi"), "asgi = asgi_app")
    instance.log.expect("engine gunicorn: .*speaks the uwsgi protocol")
    instance.expect(READY, ACCEPTING)
    assert ask(tcp, protocol="uwsgi") == Answer(200, "one")


def test_uwsgi_does_not_run_asgi(court: Court, tcp: tuple[str, int]) -> None:
    instance = court.start("engine = uwsgi", socket_option(tcp, "http"), "asgi = asgi_app")
    instance.log.expect(
        "engine = uwsgi: .*asgi = asgi_app is ASGI, and uWSGI runs WSGI.*engine = granian or gunicorn can"
    )
    assert instance.wait() == 1


@every_protocol
def test_an_application_that_fails_answers_500(court: Court, tcp: tuple[str, int], engine: str, protocol: str) -> None:
    (court.directory / "bad.py").write_text(
        "def application(environ, start_response):\n    raise LookupError('gone')\n"
    )
    instance = court.start(f"engine = {engine}", socket_option(tcp, protocol), "wsgi-file = bad.py")
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, protocol, "/")
        try:
            assert read_answer(client).status == 500
        except ConnectionError:
            assert engine == "uwsgi"  # the original closes the connection without a word
    instance.log.expect("LookupError: gone")
    instance.expect(FromVassal.LOYAL)
    instance.log.lines[:] = [line for line in instance.log.lines if not line.startswith("Traceback")]
