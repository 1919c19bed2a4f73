"""Whatever ends an instance or a worker of it and begins it anew: no client notices more than that it had to wait."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest

from .load import Address, Clients, Connection
from .solo import ACCEPTS, Start, get

ASGI = """
async def application(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one"})
"""
RSGI = """
async def application(scope, protocol):
    protocol.response_str(200, [], "one")
application.__rsgi__ = application
"""
GENERATOR = """
def application(environ, start_response):
    start_response("200 OK", [])
    yield b"o"
    yield b"ne"
"""


@pytest.mark.parametrize("lines", [(), ("processes = 2",), ("threads = 4",)], ids=["1", "2 processes", "4 threads"])
def test_reloads_by_signal(start: Start, port: int, lines: tuple[str, ...]) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", *lines)
    instance.expect(ACCEPTS)
    with Clients(port) as clients:
        for _ in range(10):
            clients.more()
            instance.send(signal.SIGHUP)
            instance.expect("reload: SIGHUP")
            instance.expect(ACCEPTS)
        clients.more()
    assert clients.failures == []


@pytest.mark.parametrize("app", [ASGI, RSGI, GENERATOR], ids=["asgi", "rsgi", "generator"])
def test_reloads_of_every_kind_of_application(start: Start, port: int, app: str) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", app=app)
    instance.expect("app:application: ")
    with Clients(port) as clients:
        for _ in range(5):
            clients.more()
            instance.send(signal.SIGHUP)
            instance.expect("reload: SIGHUP")
            instance.expect("app:application: ")
        clients.more()
    assert clients.failures == []


def test_reloads_on_a_unix_socket_and_a_port_at_once(start: Start, port: int, open_path: Path) -> None:
    path = f"{open_path}/app.sock"
    instance = start(f"http-socket = {path}", f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py")
    instance.expect(ACCEPTS)
    both: list[Address] = [path, port]
    with Clients(both[0]) as first, Clients(both[1]) as second:
        for _ in range(5):
            first.more()
            second.more()
            instance.send(signal.SIGHUP)
            instance.expect("reload: SIGHUP")
            instance.expect(ACCEPTS)
        first.more()
        second.more()
    assert (first.failures, second.failures) == ([], [])


@pytest.mark.parametrize("processes", [1, 2])
def test_max_requests(start: Start, port: int, processes: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "max-requests = 3", f"processes = {processes}")
    instance.expect("worker 1: pid" if processes > 1 else ACCEPTS)
    with Clients(port) as clients:
        for _ in range(3):
            instance.expect(r"worker \d: pid" if processes > 1 else "reload: .*max-requests")
            clients.more()
    assert clients.failures == []
    if processes == 1:
        assert get(port, "/pid") == str(instance.pid)


@pytest.mark.parametrize("lines", [(), ("threads = 3",), ("processes = 2", "threads = 3")])
def test_harakiri_of_another_request(start: Start, port: int, lines: tuple[str, ...]) -> None:
    instance = start(
        f"http-socket = 127.0.0.1:{port}", "module = app", "harakiri = 1", "harakiri-verbose = true", *lines
    )
    instance.expect(ACCEPTS)
    lost: list[BaseException] = []

    def hang() -> None:
        try:
            get(port, "/wait")
        except OSError as error:
            lost.append(error)

    hanging = threading.Thread(target=hang)
    with Clients(port) as clients:
        clients.more()
        hanging.start()
        instance.expect(
            r"harakiri: GET /wait has taken 1 s, which is too long, at .*app\.py:6 in application: threading\.Event"
        )
        instance.expect(r"app\.py.*line 6")
        clients.more(3)
    hanging.join()
    assert len(lost) == 1
    assert clients.failures == []


def test_workers_replaced_one_after_the_other(start: Start, port: int, open_path: Path) -> None:
    touched = open_path / "chain.txt"
    instance = start(
        f"http-socket = 127.0.0.1:{port}", "module = app", "processes = 2", f"touch-chain-reload = {touched}"
    )
    instance.expect("worker 2: pid")
    with Clients(port) as clients:
        clients.more()
        touched.touch()
        instance.expect("replacing one worker after the other")
        instance.expect("worker 1: pid")
        instance.expect("worker 2: pid")
        clients.more()
    assert clients.failures == []
    assert not instance.log.find("^.*reload:")


def test_an_idle_connection_is_closed_and_holds_nobody_up(start: Start, port: int) -> None:

    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "threads = 2")
    instance.expect(ACCEPTS)
    idle = Connection(port)
    idle.request("GET", "/")
    assert idle.getresponse().read() == b"one"
    instance.send(signal.SIGHUP)
    assert idle.sock.recv(100) == b""
    assert get(port) == "one"
    idle.close()


def test_a_long_answer_is_finished_before_a_reload(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app")
    instance.expect(ACCEPTS)
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(get(port, "/wait?1")))
    client.start()
    instance.send(signal.SIGHUP)
    instance.expect("reload: SIGHUP")
    assert get(port) == "one"  # by the successor, which waits for the other
    client.join()
    assert answers == ["one"]


def test_reloads_of_another_users_instance(as_root: None, start: Start, port: int, open_path: Path) -> None:
    """What closes the door while requests end must not need root."""
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", "uid = 20001", "gid = 20001")
    instance.expect(ACCEPTS)
    with Clients(port) as clients:
        for _ in range(5):
            clients.more()
            instance.send(signal.SIGHUP)
            instance.expect("reload: SIGHUP")
            instance.expect(ACCEPTS)
        clients.more()
    assert clients.failures == []
    assert not instance.log.find("door stays open")
