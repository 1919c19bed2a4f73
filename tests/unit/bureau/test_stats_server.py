"""The statistics server on real sockets, beside the original's own answer."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from imperator.bureau import server as server_module
from imperator.bureau.server import READERS, StatsServer
from imperator.bureau.statistics import EmperorFacts, SourceFacts, document
from imperator.kernel.sockets import open_socket
from imperator.reign.emperor import Reign
from imperator.reign.events import Exited, SourceListed
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.wanted import Wanted

SOURCE = SourceName("/etc/vassals")
PATIENCE = 20.0
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")


def reign_of(count: int) -> Reign:
    reign = Reign(Policy())
    names = (VassalName(f"vassal-{number:05}.ini") for number in range(count))
    wanted = tuple(Wanted(name, SOURCE, (1,), 0.0, "/", socket="/run/x") for name in names)
    reign.step(SourceListed(SOURCE, wanted), Seconds(1.0))
    return reign


def facts() -> EmperorFacts:
    return EmperorFacts(
        version="1",
        pid=os.getpid(),
        uid=os.getuid(),
        gid=os.getgid(),
        cwd="/",
        tyrant=False,
        sources=(SourceFacts(SOURCE, None, 1),),
        clock_offset=0.0,
    )


@asynccontextmanager
async def serving(count: int = 3) -> AsyncIterator[StatsServer]:
    server = StatsServer(reign_of(count), facts, time.monotonic)
    try:
        yield server
    finally:
        await server.close()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await story()

    asyncio.run(bounded())


def read_all(sock: socket.socket) -> bytes:
    sock.settimeout(PATIENCE)
    return b"".join(iter(lambda: sock.recv(65536), b""))


def ask(family: int, address: Any) -> bytes:
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(address)
        return read_all(sock)


def names_in(text: bytes) -> list[str]:
    return [vassal["id"] for vassal in json.loads(text)["vassals"]]


def test_tcp_and_unix(tmp_path: Path) -> None:
    async def story() -> None:
        async with serving(250) as server:
            with open_socket("127.0.0.1:0") as tcp, open_socket(str(tmp_path / "stats")) as unix:
                await server.serve(tcp)
                await server.serve(unix)
                over_tcp = await asyncio.to_thread(ask, socket.AF_INET, tcp.getsockname())
                over_unix = await asyncio.to_thread(ask, socket.AF_UNIX, unix.getsockname())
        assert len(names_in(over_tcp)) == 250
        assert names_in(over_tcp) == names_in(over_unix)

    run(story)


def test_http_for_browsers_and_probes() -> None:
    def get(address: tuple[str, int]) -> tuple[int, str, bytes]:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}/", timeout=PATIENCE) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read()

    async def story() -> None:
        async with serving(500) as server:
            with open_socket("127.0.0.1:0") as tcp:
                await server.serve(tcp, http=True)
                status, kind, body = await asyncio.to_thread(get, tcp.getsockname())
                assert (status, kind, len(names_in(body))) == (200, "application/json", 500)
                without_request = await asyncio.to_thread(ask, socket.AF_INET, tcp.getsockname())
                assert without_request.startswith(b"HTTP/1.0 200 OK\r\n")

    run(story)


def test_a_long_request_is_no_reason_for_a_reset() -> None:
    def chatty(address: tuple[str, int]) -> bytes:
        with socket.create_connection(address, PATIENCE) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n" + b"X-Padding: " + b"x" * 60_000 + b"\r\n\r\n")
            return read_all(sock)

    async def story() -> None:
        async with serving(1000) as server:
            with open_socket("127.0.0.1:0") as tcp:
                await server.serve(tcp, http=True)
                for _ in range(20):
                    text = await asyncio.to_thread(chatty, tcp.getsockname())
                    assert len(names_in(text.partition(b"\r\n\r\n")[2])) == 1000

    run(story)


def test_readers_that_do_not_read_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "PATIENCE", 1.0)

    async def story() -> None:
        async with serving(10_000) as server:
            with open_socket("127.0.0.1:0", backlog=200) as tcp, open_socket("127.0.0.1:0") as other:
                await server.serve(tcp)
                await server.serve(other)
                mute = [socket.create_connection(tcp.getsockname(), PATIENCE) for _ in range(READERS + 5)]
                lag = 0.0
                answer = asyncio.create_task(asyncio.to_thread(ask, socket.AF_INET, other.getsockname()))
                while not answer.done():
                    before = time.thread_time()  # the loop's own work, whatever else the machine does
                    await asyncio.sleep(0)
                    lag = max(lag, time.thread_time() - before)
                assert len(names_in(answer.result())) == 10_000
                # Those who do not read are let go, so whoever waits behind them gets an answer in the end.
                late = await asyncio.to_thread(ask, socket.AF_INET, tcp.getsockname())
                assert len(names_in(late)) == 10_000
                for sock in mute:
                    sock.close()
        assert lag < 1.0

    run(story)


def test_a_reader_that_leaves_at_once_is_no_trouble() -> None:
    async def story() -> None:
        async with serving(1000) as server:
            with open_socket("127.0.0.1:0") as tcp:
                await server.serve(tcp)
                for _ in range(100):
                    socket.create_connection(tcp.getsockname(), PATIENCE).close()
                assert len(names_in(await asyncio.to_thread(ask, socket.AF_INET, tcp.getsockname()))) == 1000

    run(story)


def test_the_private_socket_answers_its_own_user() -> None:
    async def story() -> None:
        async with serving() as server:
            address = await server.serve_private()
            assert address == f"@imperator/{os.geteuid()}/{os.getpid()}"
            text = await asyncio.to_thread(ask, socket.AF_UNIX, "\0" + address[1:])
            assert len(names_in(text)) == 3

    run(story)


def test_somebody_on_the_private_name_does_not_stop_it() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX) as squatter:
            squatter.bind(f"\0imperator/{os.geteuid()}/{os.getpid()}")
            async with serving() as server:
                address = await server.serve_private()
                assert address.startswith(f"@imperator/{os.geteuid()}/{os.getpid()}.")
                assert names_in(await asyncio.to_thread(ask, socket.AF_UNIX, "\0" + address[1:]))

    run(story)


_ASK_AS_NOBODY = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX)
sock.settimeout(20)
sock.connect("\\0" + sys.argv[1])
sys.stdout.write(sock.recv(100).decode())
"""


@as_root
def test_the_private_socket_answers_no_other_user() -> None:
    def as_nobody(name: str) -> str:
        command = [sys.executable, "-I", "-c", _ASK_AS_NOBODY, name]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout

    async def story() -> None:
        async with serving() as server:
            address = await server.serve_private()
            assert await asyncio.to_thread(as_nobody, address[1:]) == ""

    run(story)


# -- beside the original


@pytest.fixture
def original(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The statistics of the real thing, with one vassal that runs and one that is blacklisted."""
    uwsgi = Path(sys.executable).with_name("uwsgi")
    if not uwsgi.exists():
        pytest.skip("the real uwsgi is not installed beside this interpreter")
    vassals = tmp_path / "vassals"
    vassals.mkdir()
    (vassals / "good.ini").write_text(f"[uwsgi]\nmaster = true\nsocket = {tmp_path}/good.sock\n")
    (vassals / "bad.ini").write_text("[uwsgi]\nmaster = true\nsocket = /no/such/directory/bad.sock\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    stats = f"{address[0]}:{address[1]}"
    command = [str(uwsgi), "--emperor", str(vassals), "--emperor-stats", stats, "--binary-path", str(uwsgi)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield _wait_for_both(address)
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_both(address: tuple[str, int]) -> dict[str, Any]:
    never = threading.Event()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        never.wait(0.2)
        try:
            found: dict[str, Any] = json.loads(ask(socket.AF_INET, address))
        except (OSError, ValueError):
            continue
        if found["vassals"] and found["blacklist"]:
            return found
    raise AssertionError("the original did not come up")


def test_the_originals_own_document_has_no_key_that_ours_has_not(original: dict[str, Any]) -> None:
    reign = Reign(Policy())
    wanted = tuple(Wanted(VassalName(f"{name}.ini"), SOURCE, (1,), 0.0, "/") for name in ("good", "bad"))
    reign.step(SourceListed(SOURCE, wanted), Seconds(1.0))
    reign.step(Exited(Serial(2), code=1), Seconds(1.5))
    ours = json.loads("".join(document(reign, facts(), Seconds(2.0))))
    for theirs, mine in (
        (original, ours),
        (original["vassals"][0], ours["vassals"][0]),
        (original["blacklist"][0], ours["blacklist"][0]),
    ):
        assert theirs.keys() <= mine.keys()
        assert {key: type(theirs[key]) for key in theirs} == {key: type(mine[key]) for key in theirs}
