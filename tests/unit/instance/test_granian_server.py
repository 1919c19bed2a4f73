"""A server in the instance's own process: its sockets, its threads, its end. WSGI unless said otherwise."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from imperator.instance.granian_server import Server
from imperator.instance.granian_worker import Limits, load
from imperator.instance.loyalty import Progress, wsgi

from .serving import ENDED, OUT_OF_MERCY, body, connect, exchange, get, listen, read_all, read_answer, served


def hello(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
    start("200 OK", [("Content-Type", "text/plain")])
    return [b"hello from ", str(os.getpid()).encode()]


class Pipe:
    """Between the test and an application in the child: the application waits, the test lets it go on."""

    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def wait(self) -> bytes:
        return os.read(self.read, 1)

    def go(self, times: int = 1) -> None:
        os.write(self.write, b"." * times)


def waits_for(arrived: Pipe, go_on: Pipe) -> Callable[..., list[bytes]]:
    def application(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        arrived.go()
        go_on.wait()
        start("200 OK", [])
        return [b"late"]

    return application


# -- sockets


def test_several_sockets_of_every_family_are_served_at_once(tmp_path: Path) -> None:
    sockets = [
        listen(),
        listen(socket.AF_INET6, ("::1", 0)),
        listen(socket.AF_UNIX, str(tmp_path / "app.sock")),
        listen(socket.AF_UNIX, f"\0imperator-test-{os.getpid()}"),
    ]
    with served(tmp_path, hello, *sockets) as child:
        for one in sockets:
            assert body(get(one)) == f"hello from {child.pid}".encode()


def test_the_sockets_outlive_the_server_and_a_successor_serves_what_waited(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, hello, listener) as first:
        get(listener)
    waiting = connect(listener)
    waiting.sendall(b"GET / HTTP/1.0\r\n\r\n")
    with served(tmp_path, hello, listener) as second:
        assert body(read_all(waiting)) == f"hello from {second.pid}".encode()
    assert first.pid != second.pid


def test_two_workers_forked_after_the_engine_was_loaded_share_a_socket(tmp_path: Path) -> None:
    load()
    listener = listen()
    arrived, go_on = Pipe(), Pipe()

    def pid_when_told(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        arrived.go()
        go_on.wait()
        return hello(environ, start)

    only_what_can_be_answered = Limits(connections=1, keep_alive=False)
    with (
        served(tmp_path, pid_when_told, listener, limits=only_what_can_be_answered) as one,
        served(tmp_path, pid_when_told, listener, limits=only_what_can_be_answered) as two,
    ):
        clients = [connect(listener), connect(listener)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            arrived.wait()  # the first one is stuck until both are: the second went to the other worker
        go_on.go(2)
        answers = {body(read_all(client)) for client in clients}
    assert len(answers) == 2
    assert {one.pid, two.pid} == {int(answer.split()[-1]) for answer in (a.split(b"\r\n")[0] for a in answers)}


@pytest.mark.parametrize("bad", [socket.socket(), socket.socket(type=socket.SOCK_DGRAM)])
def test_a_socket_that_cannot_be_served_is_refused(bad: socket.socket) -> None:
    with pytest.raises(ValueError, match=r"does not listen|TCP and UNIX stream sockets only"):
        Server(hello, "wsgi", [bad])


# -- connections


def test_a_connection_is_kept_alive(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, hello, listener), connect(listener) as client:
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert read_answer(client).startswith(b"hello")


def test_keep_alive_can_be_refused(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, hello, listener, limits=Limits(keep_alive=False)):
        assert b"connection: close" in exchange(listener, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n").lower()


def test_a_head_over_the_limit_gets_431(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, hello, listener, limits=Limits(head=1)):  # one byte is below what granian can do: 8192
        assert get(listener, "/", "X-Some: " + "x" * 4000).startswith(b"HTTP/1.1 200")
        assert get(listener, "/", "X-Much: " + "x" * 20000).startswith(b"HTTP/1.1 431")


def test_a_connection_without_a_head_is_closed(tmp_path: Path) -> None:
    listener = listen()
    with served(tmp_path, hello, listener, limits=Limits(head_timeout=0.05)):
        assert exchange(listener, b"GET / HT") == b""


# -- threads


def most_at_once(tmp_path: Path, *sockets: socket.socket, threads: int, requests: int) -> int:
    """The largest number of requests that were in the application together."""
    inside, most = [0], [0]
    lock = threading.Lock()
    full = threading.Event()

    def application(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == threads:
                full.set()
        # Whoever comes waits for the others; where one too many could come, it has the time to.
        full.wait(5)
        threading.Event().wait(0.05)
        with lock:
            inside[0] -= 1
        start("200 OK", [])
        return [str(most[0]).encode()]

    with served(tmp_path, application, *sockets, threads=threads):
        clients = [connect(sockets[number % len(sockets)]) for number in range(requests)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return max(int(body(read_all(client))) for client in clients)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("count", [1, 2])
def test_as_many_requests_at_once_as_threads_however_many_sockets(tmp_path: Path, threads: int, count: int) -> None:
    assert most_at_once(tmp_path, *[listen() for _ in range(count)], threads=threads, requests=8) == threads


# -- the end


def test_a_stop_lets_the_running_request_end_and_closes_idle_connections(tmp_path: Path) -> None:
    listener = listen()
    arrived, go_on = Pipe(), Pipe()
    with served(tmp_path, waits_for(arrived, go_on), listener) as child:
        idle = connect(listener)
        idle.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        arrived.wait()
        go_on.go()
        assert read_answer(idle) == b"late"
        running = connect(listener)
        running.sendall(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
        arrived.wait()
        child.terminate()
        assert read_all(idle) == b""
        go_on.go()
        assert read_answer(running) == b"late"
        assert child.wait() == ENDED


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"])
def test_a_stop_does_not_wait_for_a_client_that_only_keeps_its_connection(tmp_path: Path, sent: bytes) -> None:
    listener = listen()
    with served(tmp_path, hello, listener) as child, connect(listener) as idle:
        idle.sendall(sent)
        get(listener)  # accepted after the idle one, which is therefore in the server's hands
        child.terminate()
        assert child.wait() == ENDED
        assert read_all(idle).endswith(str(child.pid).encode() if sent else b"")


def test_a_stuck_request_does_not_outlast_the_mercy(tmp_path: Path) -> None:
    listener = listen()
    arrived, never = Pipe(), Pipe()
    with served(tmp_path, waits_for(arrived, never), listener, mercy=0.1) as child:
        client = connect(listener)
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        arrived.wait()
        child.terminate()
        assert child.wait() == OUT_OF_MERCY


def test_a_second_stop_shortens_the_mercy(tmp_path: Path) -> None:
    listener = listen()
    arrived, never = Pipe(), Pipe()

    def stops_itself(environ: dict[str, Any], start: Callable[..., object]) -> Iterable[bytes]:
        server.stop(3600)
        server.stop(0.05)
        arrived.go()
        never.wait()
        return hello(environ, start)

    server = Server(stops_itself, "wsgi", [listener])
    pid = os.fork()
    if pid == 0:
        os._exit(ENDED if server.serve() else OUT_OF_MERCY)
    client = connect(listener)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    arrived.wait()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == OUT_OF_MERCY


def test_a_stop_before_the_start_serves_nothing() -> None:
    server = Server(hello, "wsgi", [listen()])
    server.stop()
    assert server.serve(lambda: pytest.fail("it must not accept")) is True


def test_under_load_a_stop_loses_no_request_that_was_accepted(tmp_path: Path) -> None:
    listener = listen()
    answers: list[bytes] = []
    with served(tmp_path, hello, listener) as child:
        half_way = threading.Event()

        def ask() -> None:
            for number in range(200):
                if number == 100:
                    half_way.set()
                with connect(listener) as client:
                    client.settimeout(0.5 if child_gone.is_set() else 30)
                    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    try:
                        answers.append(read_all(client))
                    except TimeoutError:
                        return  # in the backlog, for the successor

        child_gone = threading.Event()
        asking = threading.Thread(target=ask)
        asking.start()
        half_way.wait()
        child.terminate()
        assert child.wait() == ENDED
        child_gone.set()
        with served(tmp_path, hello, listener):
            asking.join()
    assert len(answers) == 200
    assert all(answer.startswith(b"HTTP/1.0 200") for answer in answers)


# -- what the instance's other thread sees


def test_loyal_after_the_first_request_and_not_before(tmp_path: Path) -> None:
    listener = listen()
    loyal = Pipe()
    progress = Progress(loyal.go)
    with served(tmp_path, wsgi(hello, progress), listener):
        os.set_blocking(loyal.read, False)
        with pytest.raises(BlockingIOError):
            loyal.wait()
        os.set_blocking(loyal.read, True)
        get(listener)
        assert loyal.wait() == b"."


ENDS_BY_ITSELF = """
import atexit, socket, sys
from imperator.instance.granian_server import Server
from imperator.instance.loyalty import Progress, wsgi

def application(environ, start):
    start("200 OK", [])
    return [b"x"]

sockets = [socket.socket(fileno=int(fd)) for fd in sys.argv[1:]]
progress = Progress(lambda: server.stop())
server = Server(wsgi(application, progress), "wsgi", sockets, threads=3)
atexit.register(print, "atexit")
print(server.serve())
"""


def test_the_process_can_end_the_usual_way_afterwards() -> None:
    """Not by os._exit: atexit functions run, and no thread of granian's aborts an interpreter that is ending."""
    for _ in range(15):
        listeners = [listen(), listen()]
        command = [sys.executable, "-c", ENDS_BY_ITSELF, *[str(one.fileno()) for one in listeners]]
        with subprocess.Popen(
            command, pass_fds=[one.fileno() for one in listeners], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as child:
            assert body(get(listeners[0])) == b"x"
            assert child.communicate() == (b"True\natexit\n", b"")
            assert child.returncode == 0


async def asgi_hello(scope: Any, receive: Any, send: Any) -> None:
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize(("application", "interface"), [(hello, "wsgi"), (asgi_hello, "asgi")])
def test_the_signal_that_stops_may_come_at_any_moment(tmp_path: Path, application: Any, interface: Any) -> None:
    """Also just before the main thread falls asleep, when it would not wake it."""
    for _ in range(20):
        listener = listen()
        with served(tmp_path, application, listener, interface=interface) as child:
            child.terminate()
            assert child.wait() == ENDED


def test_a_wakeup_descriptor_that_the_process_has_already_stays_its_owners() -> None:
    listener = listen()
    pid = os.fork()
    if pid == 0:
        reads, writes = os.pipe2(os.O_NONBLOCK)
        os.set_blocking(reads, True)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(writes)
        server = Server(hello, "wsgi", [listener])

        def owner() -> None:
            if os.read(reads, 1)[0] == signal.SIGTERM:
                server.stop()

        threading.Thread(target=owner).start()
        ended = server.serve(lambda: os.kill(os.getpid(), signal.SIGTERM))
        os._exit(ENDED if ended and signal.set_wakeup_fd(-1) == writes else OUT_OF_MERCY)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == ENDED
