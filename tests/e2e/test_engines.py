"""What an Emperor sees of an instance, and its clients: the same whichever engine serves. The test is the Emperor."""

from __future__ import annotations

import signal
import threading

import pytest

from imperator.reign.protocol import FromVassal, ToVassal

from .clients import Answer, Where, ask, connect, read_answer, send_request
from .solo import free_port
from .throne import Court, Raising

READY, ACCEPTING, LOYAL, HEARTBEAT = (
    FromVassal.READY,
    FromVassal.ACCEPTING,
    FromVassal.LOYAL,
    FromVassal.HEARTBEAT,
)
ENGINES = ("granian", "gunicorn", "uwsgi")
SPEAKING = (("granian", "http"), ("gunicorn", "http"), ("gunicorn", "uwsgi"), ("uwsgi", "http"), ("uwsgi", "uwsgi"))
every_engine = pytest.mark.parametrize("engine", ENGINES)
every_protocol = pytest.mark.parametrize(("engine", "protocol"), SPEAKING)


@pytest.fixture
def tcp() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


def socket_option(where: Where, protocol: str) -> str:
    address = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
    return f"{'http-socket' if protocol == 'http' else 'socket'} = {address}"


def sound(engine: str, lines: tuple[str, ...]) -> tuple[str, ...]:
    """What keeps the original from hanging at its end.

    With threads, the one that a signal ends waits for the others for ever. A worker that is just being forked does not
    hear that it has to end, until the mercy is over.
    """
    if engine == "uwsgi" and any(line.startswith("threads") for line in lines):
        return (*lines, "skip-atexit = true")
    if engine == "uwsgi" and any(line.startswith("processes") for line in lines):
        return (*lines, "worker-reload-mercy = 3")
    return lines


def after_reload(engine: str) -> tuple[FromVassal, ...]:
    """What it says again. The original says once in its life that it is up."""
    return (ACCEPTING,) if engine == "uwsgi" else (READY, ACCEPTING)


@every_engine
@pytest.mark.parametrize("lines", [(), ("threads = 4",), ("processes = 2", "master = true")], ids=" ".join)
def test_ready_accepting_and_loyal_at_the_first_request(
    court: Court, tcp: tuple[str, int], engine: str, lines: tuple[str, ...]
) -> None:
    instance = court.start(
        f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", *sound(engine, lines)
    )
    instance.expect(READY, ACCEPTING)
    assert instance.is_silent(0.5)
    assert ask(tcp) == Answer(200, "one")
    instance.expect(LOYAL)


@every_engine
def test_heartbeats_come_from_the_workers(court: Court, tcp: tuple[str, int], engine: str) -> None:
    instance = court.start(f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", "heartbeat = 1")
    instance.expect(READY, ACCEPTING, HEARTBEAT, HEARTBEAT)
    with connect(tcp) as client:
        send_request(client, "http", "/hold")
        held = court.held()
        # One may be on its way, and the next may still find that something has moved since the last.
        for _ in range(3):
            if instance.is_silent(2.5):
                break
        else:
            raise AssertionError("a worker that is stuck still sends heartbeats")
        held.release()
        assert read_answer(client) == Answer(200, "one")
    instance.expect(LOYAL, HEARTBEAT)


@every_engine
def test_a_slow_request_beside_others_is_no_stuck_worker(court: Court, tcp: tuple[str, int], engine: str) -> None:
    lines = sound(engine, ("wsgi-file = app.py", "heartbeat = 1", "threads = 2"))
    instance = court.start(f"engine = {engine}", socket_option(tcp, "http"), *lines)
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, "http", "/hold")
        held = court.held()
        assert ask(tcp) == Answer(200, "one")
        instance.expect(LOYAL, *[HEARTBEAT] * 4)
        held.release()
        assert read_answer(client) == Answer(200, "one")


@every_engine
@pytest.mark.parametrize("order", [ToVassal.STOP, ToVassal.STOP_GRACEFULLY])
@pytest.mark.parametrize("lines", [(), ("threads = 2",), ("processes = 2",)], ids=" ".join)
def test_stopping_answers_what_is_being_answered(
    court: Court, tcp: tuple[str, int], engine: str, order: ToVassal, lines: tuple[str, ...]
) -> None:
    instance = court.start(
        f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", *sound(engine, lines)
    )
    instance.expect(READY, ACCEPTING)
    with connect(tcp) as client:
        send_request(client, "http", "/hold")
        held = court.held()
        if "processes = 2" in lines:  # the other worker answers, so it is there: see sound()
            assert ask(tcp) == Answer(200, "one")
        instance.say(order)
        instance.log.expect("stop|received message")
        if (engine, order) == ("uwsgi", ToVassal.STOP):  # the original takes byte 0 for an end at once
            with pytest.raises(ConnectionError):
                read_answer(client)
        held.release()
        if (engine, order) != ("uwsgi", ToVassal.STOP):
            assert read_answer(client) == Answer(200, "one")
    assert instance.wait() == 0


@every_engine
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_reload_brings_new_code_and_loses_no_request(
    court: Court, tcp: tuple[str, int], engine: str, kind: str
) -> None:
    where: Where = tcp if kind == "tcp" else f"{court.directory}/site.sock"
    instance = court.start(f"engine = {engine}", socket_option(where, "http"), "wsgi-file = app.py")
    instance.expect(READY, ACCEPTING)
    answers: list[Answer] = []
    over = threading.Event()

    def visit() -> None:
        while not over.is_set():
            answers.append(ask(where))

    visitors = [Raising(visit) for _ in range(3)]
    instance.expect(LOYAL)
    with connect(where) as client:
        send_request(client, "http", "/hold")
        held = court.held()
        court.write("two")
        instance.say(ToVassal.RELOAD)
        held.release()
        assert read_answer(client) == Answer(200, "one")
    instance.expect(*after_reload(engine))
    assert ask(where) == Answer(200, "two")
    over.set()
    for visitor in visitors:
        visitor.join()
    texts = [answer.body for answer in answers]
    assert texts == sorted(texts), "after the first new answer came an old one"
    assert {answer.status for answer in answers} == {200}
    assert int(ask(where, "/pid").body) == instance.pid or engine == "uwsgi"


@every_engine
def test_a_reload_reads_the_configuration_anew(court: Court, tcp: tuple[str, int], engine: str) -> None:
    lines = f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py"
    instance = court.start(*lines, "env = COLOUR=blue")
    instance.expect(READY, ACCEPTING)
    assert ask(tcp, "/env/COLOUR") == Answer(200, "blue")
    instance.expect(LOYAL)
    for colour in ("green", "yellow"):
        court.configure(*lines, f"env = COLOUR={colour}")
        instance.say(ToVassal.RELOAD)
        instance.expect(*after_reload(engine))
        assert ask(tcp, "/env/COLOUR") == Answer(200, colour)
        instance.expect(LOYAL)


@every_engine
@pytest.mark.parametrize("by", ["the Emperor", "a signal"])
def test_a_configuration_that_the_emperor_holds(court: Court, tcp: tuple[str, int], engine: str, by: str) -> None:
    """It comes once by itself, and whenever it is asked for."""
    lines = f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py"
    instance, config = court.start_with_config(*lines, "env = COLOUR=blue")
    instance.expect(READY, ACCEPTING)
    assert config.asked == 0
    assert ask(tcp, "/env/COLOUR") == Answer(200, "blue")
    instance.expect(LOYAL)
    for colour in ("green", "yellow"):
        config.lines = (*lines, f"env = COLOUR={colour}")
        asked = config.asked
        if by == "the Emperor":
            instance.say(ToVassal.RELOAD)
        else:
            instance.send(signal.SIGHUP)
        instance.expect(*after_reload(engine))
        assert config.asked == asked + (1 if engine == "uwsgi" else 2)  # ours look first whether it is in order
        assert ask(tcp, "/env/COLOUR") == Answer(200, colour)
        instance.expect(LOYAL)


@pytest.mark.parametrize(("before", "after"), [("granian", "uwsgi"), ("uwsgi", "gunicorn"), ("gunicorn", "granian")])
def test_a_reload_may_change_the_engine(court: Court, tcp: tuple[str, int], before: str, after: str) -> None:
    lines = socket_option(tcp, "http"), "wsgi-file = app.py"
    instance = court.start(f"engine = {before}", *lines)
    instance.expect(READY, ACCEPTING)
    court.configure(f"engine = {after}", *lines)
    instance.say(ToVassal.RELOAD)
    instance.log.expect(f"engine {after}")
    instance.expect(*after_reload(after))
    assert ask(tcp) == Answer(200, "one")
    instance.say(ToVassal.STOP)
    assert instance.wait() == 0


@every_engine
@pytest.mark.parametrize("lines", [(), ("processes = 2",)], ids=" ".join)
def test_it_does_not_outlive_its_emperor(
    court: Court, tcp: tuple[str, int], engine: str, lines: tuple[str, ...]
) -> None:
    instance = court.start(
        f"engine = {engine}", socket_option(tcp, "http"), "wsgi-file = app.py", *sound(engine, lines)
    )
    instance.expect(READY, ACCEPTING)
    assert ask(tcp) == Answer(200, "one")
    instance.abandon()
    instance.wait()
