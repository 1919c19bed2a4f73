"""ASGI and RSGI applications in an event loop of the instance's own thread, with the lifespan protocol."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from imperator.instance.granian_server import Server
from imperator.instance.lifespan import Lifespan, LifespanFailed
from imperator.instance.loyalty import Progress, asgi, rsgi

from .serving import ENDED, FAILED, OUT_OF_MERCY, body, connect, get, listen, read_all, served


async def answer(send: Any, content: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"x-who", b"asgi")]})
    await send({"type": "http.response.body", "body": content})


class Told:
    """An ASGI application with a lifespan, which says what happens to it."""

    def __init__(self) -> None:
        self.seen, self.tell = os.pipe()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            scope["state"]["found"] = "at startup"
            await send({"type": "lifespan.startup.complete"})
            await receive()
            os.write(self.tell, b"shutdown")
            await send({"type": "lifespan.shutdown.complete"})
            return
        message = await receive()
        known = {key: scope[key] for key in ("client", "path", "root_path", "state", "method")}
        await answer(send, json.dumps([known, message["body"].decode()]).encode())


def test_a_request_has_what_the_startup_kept_and_the_shutdown_comes_after_the_last(tmp_path: Path) -> None:
    application = Told()
    listener = listen()
    with served(tmp_path, application, listener, interface="asgi"):
        [scope, sent] = json.loads(body(get(listener, "/a%20b")))
    assert scope["state"] == {"found": "at startup"}
    assert scope["path"] == "/a b"
    assert scope["client"][0] == "127.0.0.1"
    assert sent == ""
    assert os.read(application.seen, 100) == b"shutdown"


def test_several_sockets_share_one_loop_and_a_unix_peer_has_no_address(tmp_path: Path) -> None:
    sockets = [listen(), listen(socket.AF_UNIX, str(tmp_path / "app.sock"))]
    with served(tmp_path, Told(), *sockets, interface="asgi"):
        clients = [json.loads(body(get(one)))[0]["client"] for one in sockets]
    assert clients[0][0] == "127.0.0.1"
    assert clients[1] is None


async def fails_in_words(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


async def fails_by_raising(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    raise LookupError("no database")


@pytest.mark.parametrize("application", [fails_in_words, fails_by_raising])
def test_a_startup_that_fails_is_an_error_with_the_reason_and_nothing_is_served(
    tmp_path: Path, application: Any
) -> None:
    with served(tmp_path, application, listen(), interface="asgi") as child:
        assert child.wait() == FAILED
    assert "LifespanFailed: the application's lifespan startup " in child.stderr()
    assert "no database" in child.stderr()


async def no_lifespan(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        raise ValueError("only http here\nand more words")
    await answer(send, b"hello", int(scope["query_string"] or 200))


def test_an_application_without_lifespan_is_served_and_that_is_said(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, no_lifespan, listener, interface="asgi") as child:
        assert body(get(listener)) == b"hello"
    assert "this ASGI application has no lifespan (ValueError: only http here)" in child.stderr()


def test_a_status_that_is_none_is_a_500_and_does_not_end_the_process(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, no_lifespan, listener, interface="asgi"):
        assert get(listener, "/?99").startswith(b"HTTP/1.1 500 ")
        assert get(listener, "/?299").startswith(b"HTTP/1.1 299 ")


def test_requests_run_beside_each_other_and_a_stop_waits_for_them(tmp_path: Path) -> None:
    arrived = os.pipe()
    together = 5

    class Meets:
        def __init__(self) -> None:
            self.here = 0

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if self.here == 0:
                self.all_here = asyncio.Event()
            self.here += 1
            os.write(arrived[1], b".")
            if self.here == together:
                self.all_here.set()
            await self.all_here.wait()
            await answer(send, b"met")

    listener = listen()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await meets(scope, receive, send)

    meets = Meets()
    with served(tmp_path, application, listener, interface="asgi") as child:
        clients = [connect(listener) for _ in range(together)]
        for client in clients[1:]:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            os.read(arrived[0], 1)
        clients[0].sendall(b"GET / HTTP/1.0\r\n\r\n")
        os.read(arrived[0], 1)
        child.terminate()
        assert [body(read_all(client)) for client in clients] == [b"met"] * together
        assert child.wait() == ENDED


async def never_ends(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"wait", "more_body": True})
    await asyncio.Event().wait()


def test_a_request_that_never_ends_does_not_outlast_the_mercy(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, never_ends, listener, interface="asgi", mercy=0.1) as child:
        client = connect(listener)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert client.recv(10)
        child.terminate()
        assert child.wait() == OUT_OF_MERCY


def test_a_client_that_leaves_is_a_disconnect(tmp_path: Path) -> None:
    seen, tell = os.pipe()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"wait", "more_body": True})
        os.write(tell, (await receive())["type"].encode())

    listener = listen()
    with served(tmp_path, application, listener, interface="asgi"):
        with connect(listener) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            client.recv(10)
        assert os.read(seen, 100) == b"http.disconnect"


def test_the_loop_answers_a_pulse(tmp_path: Path) -> None:
    listener = listen()
    server = Server(no_lifespan, "asgi", [listener])
    pid = os.fork()
    if pid == 0:
        answered = threading.Event()

        def heart() -> None:
            server.pulse(answered.set)
            answered.wait()
            server.stop()

        os._exit(ENDED if server.serve(lambda: threading.Thread(target=heart).start()) else OUT_OF_MERCY)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == ENDED


# -- RSGI


class Rsgi:
    def __init__(self) -> None:
        self.seen, self.tell = os.pipe()

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        os.write(self.tell, b"init ")

    def __rsgi_del__(self, loop: asyncio.AbstractEventLoop) -> None:
        os.write(self.tell, b"del ")

    async def __rsgi__(self, scope: Any, protocol: Any) -> None:
        protocol.response_str(200, [("x-who", "rsgi")], scope.path)


def test_an_rsgi_application(tmp_path: Path) -> None:
    application = Rsgi()
    listener = listen()
    loyal, tell = os.pipe()
    counted = rsgi(application, Progress(lambda: os.close(tell)))
    with served(tmp_path, counted, listener, interface="rsgi"):
        os.close(tell)
        assert body(get(listener, "/path")) == b"/path"
        assert os.read(loyal, 1) == b""
    assert os.read(application.seen, 100) == b"init del "


# -- counting, and the lifespan by itself


def test_an_asgi_application_is_loyal_after_its_first_request_not_after_its_startup(tmp_path: Path) -> None:
    application = Told()
    listener = listen()

    def loyal() -> None:
        os.write(application.tell, b"loyal ")

    with served(tmp_path, asgi(application, Progress(loyal)), listener, interface="asgi"):
        get(listener)
        assert os.read(application.seen, 6) == b"loyal "


def test_a_lifespan_that_just_returns_is_none_at_all() -> None:
    async def returns(scope: Any, receive: Any, send: Any) -> None:
        return

    async def story() -> None:
        lifespan = Lifespan(returns)
        await lifespan.startup()
        assert "returned at once" in str(lifespan.unsupported)
        await lifespan.shutdown()

    asyncio.run(story())


def test_a_shutdown_that_fails_is_an_error() -> None:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "not flushed"})

    async def story() -> None:
        lifespan = Lifespan(application)
        await lifespan.startup()
        with pytest.raises(LifespanFailed, match="lifespan shutdown failed: not flushed"):
            await lifespan.shutdown()

    asyncio.run(story())
