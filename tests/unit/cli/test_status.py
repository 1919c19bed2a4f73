"""``imperator status`` against a statistics server on real sockets: what it prints, and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import select
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imperator.bureau.server import StatsServer
from imperator.bureau.statistics import EmperorFacts, SourceFacts
from imperator.cli.reading import find_emperors, looks_like_address
from imperator.cli.rows import length, row_of, state_of
from imperator.cli.status import main
from imperator.kernel.sockets import open_socket
from imperator.reign.emperor import Reign
from imperator.reign.events import Exited, Received, SourceListed, Spawned
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.policy import Policy
from imperator.reign.protocol import FromVassal
from imperator.reign.wanted import Wanted

SOURCE = SourceName("/etc/vassals")
PATIENCE = 20.0


class Statistics:
    """A statistics server in a thread, over a reign that the test arranges."""

    def __init__(self, path: str, trouble: str | None = None, http: bool = False) -> None:
        self.reign = Reign(Policy())
        self.began = time.monotonic()
        self.address = path
        self._trouble = trouble
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(path, http),))

    async def _serve(self, path: str, http: bool) -> None:
        server = StatsServer(self.reign, self._facts, time.monotonic)
        with open_socket(path) as sock:
            if not path.startswith("/"):
                self.address = "{}:{}".format(*sock.getsockname())
            await server.serve(sock, http)
            await server.serve_private()
            self._ready.set()
            await self._stop.wait()
            await server.close()

    def _facts(self) -> EmperorFacts:
        return EmperorFacts(
            version="1.2.3",
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
            cwd="/",
            tyrant=False,
            sources=(SourceFacts(SOURCE, self._trouble, 0),),
            clock_offset=time.time() - time.monotonic(),
        )

    def add(self, *names: str, socket: str | None = None) -> None:
        wanted = tuple(Wanted(VassalName(n), SOURCE, (1,), 0.0, "/", socket=socket) for n in names)
        self.reign.step(SourceListed(SOURCE, wanted), Seconds(self.began))
        serial = 1
        while (vassal := self.reign.by_serial(Serial(serial))) is not None and vassal.instance is not None:
            self.reign.step(Spawned(Serial(serial), 1000 + serial), Seconds(self.began))
            serial += 1

    def dies(self, serial: int, code: int) -> None:
        self.reign.step(Exited(Serial(serial), code=code), Seconds(self.began))

    def __enter__(self) -> Statistics:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        self._loop.close()


@pytest.fixture
def stats(tmp_path: Path) -> Iterator[Statistics]:
    with Statistics(str(tmp_path / "stats")) as statistics:
        yield statistics


def test_all_is_well(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("blog.ini", "shop.ini")
    stats.reign.step(Received(Serial(1), FromVassal.LOYAL), Seconds(stats.began))
    assert main([stats.address]) == 0
    heading, blog, shop, empty, counts, emperor = capsys.readouterr().out.splitlines()
    assert heading.split() == ["vassal", "state", "pid", "since", "respawns", "last", "exit", "why"]
    assert blog.split()[:3] == ["blog.ini", "running", "1001"]
    assert "loyal" in blog
    assert shop.split()[:3] == ["shop.ini", "running", "1002"]
    assert empty == ""
    assert counts == "2 running"
    assert emperor.startswith(f"Emperor 1.2.3, pid {os.getpid()}, uid {os.getuid()}, up for ")
    assert emperor.endswith("sources: /etc/vassals")


def test_one_that_waits_says_why_and_the_exit_code_tells(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("blog.ini", "shop.ini")
    stats.dies(2, 22)
    assert main([stats.address]) == 1
    out = capsys.readouterr().out
    shop = next(line for line in out.splitlines() if line.startswith("shop.ini"))
    assert "waiting" in shop
    assert "exited with code 22 after 0 s" in shop
    assert "next try in 1 s: blacklisted" in shop
    assert "1 running, 1 waiting" in out
    assert "\t" not in out


def test_only_the_named_vassals_count(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("blog.ini", "shop.ini")
    stats.dies(2, 22)
    assert main([stats.address, "blog.ini"]) == 0
    assert "shop.ini" not in capsys.readouterr().out
    assert main([stats.address, "shop.ini"]) == 1
    assert main([stats.address, "blgo.ini"]) == 2
    assert "called blgo.ini; the Emperor has blog.ini, shop.ini" in capsys.readouterr().err


def test_sleeping_vassals_are_well(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("nap.ini", socket="/run/nap.sock")
    assert main([stats.address]) == 0
    assert "waits for a connection on /run/nap.sock" in capsys.readouterr().out


def test_a_source_in_trouble(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Statistics(str(tmp_path / "stats"), trouble="No such file or directory") as stats:
        assert main([stats.address]) == 1
        assert "source in trouble: /etc/vassals: No such file or directory" in capsys.readouterr().out


def test_json_is_the_document(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("blog.ini", "shop.ini")
    assert main([stats.address, "--json", "shop.ini"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [vassal["id"] for vassal in document["vassals"]] == ["shop.ini"]
    assert document["pid"] == os.getpid()


@pytest.mark.parametrize("http", [False, True])
def test_over_tcp_and_http(http: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with Statistics("127.0.0.1:0", http=http) as stats:
        stats.add("blog.ini")
        assert main([stats.address]) == 0
        if http:
            assert main([f"http://{stats.address}/"]) == 0
        assert "1 running" in capsys.readouterr().out


def test_it_finds_a_running_emperor_by_itself(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add("blog.ini")
    assert os.getpid() in [emperor.pid for emperor in find_emperors()]
    assert main(["--pid", str(os.getpid())]) == 0
    assert main([f"@imperator/{os.geteuid()}/{os.getpid()}"]) == 0
    assert capsys.readouterr().out.count("1 running") == 2


def test_a_pid_that_is_no_emperors(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pid", "999999999"]) == 2
    error = capsys.readouterr().err
    assert "no Emperor with pid 999999999" in error
    assert f"--pid {os.getpid()}" in error


def test_several_emperors_ask_for_one(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0imperator/{os.geteuid()}/999999998")
        other.listen()
        assert main([]) == 2
    error = capsys.readouterr().err
    assert "more than one Emperor runs here" in error
    assert f"--pid {os.getpid()}" in error
    assert "--pid 999999998" in error


def test_a_name_that_another_user_took_is_not_believed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind("\0imperator/54321/999999997")
        impostor.listen()
        code = main(["--pid", "999999997"])
    error = capsys.readouterr().err
    assert code == 2
    assert ("somebody took the name" if os.geteuid() == 0 else "no Emperor with pid") in error


def test_only_listening_private_sockets_are_emperors(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "unix").write_text(
        "Num       RefCount Protocol Flags    Type St Inode Path\n"
        f"0000000000000000: 00000002 00000000 00010000 0001 01 111 @imperator/{os.geteuid()}/7\n"
        f"0000000000000000: 00000003 00000000 00000000 0001 03 112 @imperator/{os.geteuid()}/7\n"
        f"0000000000000000: 00000002 00000000 00010000 0001 01 113 @imperator/{os.geteuid()}/8.0123abcd\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 114 @imperator/x/9\n"
        "0000000000000000: 00000002 00000000 00010000 0001 01 115\n"
    )
    assert [emperor.pid for emperor in find_emperors(tmp_path)] == [7, 8]


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare(1)")
def test_no_emperor_at_all_says_how_to_start_one() -> None:
    command = ["unshare", "--net", sys.executable, "-m", "imperator", "status"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.returncode == 2
    assert ended.stderr.endswith("is running here; start one with: imperator --emperor DIRECTORY\n")


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [(b"", "closed the connection"), (b"hello", "not with an Emperor's"), (b"[]", "not with an Emperor's")],
)
def test_something_else_at_the_address(answer: bytes, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer_once() -> None:
            with server.accept()[0] as client:
                client.sendall(answer)

        thread = threading.Thread(target=answer_once)
        thread.start()
        assert main(["{}:{}".format(*server.getsockname())]) == 2
        thread.join(PATIENCE)
    assert complaint in capsys.readouterr().err


def test_nobody_at_the_address(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
    assert main([address]) == 2
    assert capsys.readouterr().err == f"imperator status: {address} does not answer: nobody listens there\n"


def test_addresses_are_told_from_names(tmp_path: Path) -> None:
    with open_socket(str(tmp_path / "stats")):
        assert looks_like_address(str(tmp_path / "stats"))
    for address in ("127.0.0.1:9191", ":9191", "[::1]:9191", "localhost:1", "@imperator/0/1", "http://x"):
        assert looks_like_address(address)
    for name in ("blog.ini", "blog.ini:zerg", "/etc/apps/blog.ini", "caf\u00e9", str(tmp_path), "a\0b"):
        assert not looks_like_address(name)


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "imperator status --watch" in capsys.readouterr().out
    assert main(["--nonsense"]) == 2
    assert main(["--watch=0"]) == 2


def test_names_cannot_steer_the_terminal(stats: Statistics, capsys: pytest.CaptureFixture[str]) -> None:
    stats.add(os.fsdecode(b"\x1b[2Jev\xffil\n.ini"))
    assert main([stats.address]) == 0
    assert r"\x1b[2Jev\xffil\n.ini" in capsys.readouterr().out


# -- on a terminal


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        master, slave = pty.openpty()
        self._master = master
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "160"}
        environment.pop("NO_COLOR", None)
        command = [sys.executable, "-m", "imperator", *arguments]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
        os.close(slave)
        self.text = ""

    def read_until(self, enough: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + PATIENCE
        while not enough(self.text):
            assert select.select([self._master], [], [], deadline - time.monotonic())[0], self.text
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: the program has ended
                break
            self.text += data.decode(errors="replace")
        return self.text

    def end(self, signal: int | None = None) -> int:
        if signal is not None:
            self.process.send_signal(signal)
        self.read_until(lambda _: False)
        os.close(self._master)
        return self.process.wait(PATIENCE)


def test_a_terminal_gets_a_coloured_table(stats: Statistics) -> None:
    stats.add("blog.ini", "[bold]shop.ini")
    stats.dies(2, 1)
    terminal = Terminal(["status", stats.address])
    assert terminal.end() == 1
    assert "\x1b[32mrunning\x1b[0m" in terminal.text
    assert "\x1b[33mwaiting\x1b[0m" in terminal.text
    assert "[bold]shop.ini" in terminal.text
    assert "1 running, 1 waiting" in terminal.text


def test_watch_shows_it_again_until_it_is_stopped(stats: Statistics) -> None:
    stats.add("blog.ini")
    terminal = Terminal(["status", stats.address, "--watch=0.1"])
    terminal.read_until(lambda text: text.count("1 running") == 3)
    assert terminal.end(signal=2) == 0
    assert "Traceback" not in terminal.text


def test_a_reader_that_leaves_is_no_accident(stats: Statistics) -> None:
    stats.add(*(f"vassal-{number}.ini" for number in range(3000)))
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "imperator", "status", stats.address]
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
    os.close(writing)
    assert ended.stderr == b""


# -- words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3605, "1 h"),
        (3661, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_lengths_of_time(seconds: float, words: str) -> None:
    assert length(seconds) == words


def test_the_originals_document_will_do() -> None:
    vassal = {"id": "blog.ini", "pid": 12, "last_run": 100, "accepting": 1, "respawns": 3, "cursed": 0}
    assert row_of(vassal, 160.0).cells() == ("blog.ini", "running", "12", "1 min", "3", "-", "accepts requests")
    assert state_of({"id": "x", "pid": -1, "on_demand": "/run/x"}) == "asleep"
    assert state_of({"id": "x", "pid": -1, "suspended": 1}) == "suspended"
    assert state_of({"id": "x", "pid": 5, "cursed": 99}) == "stopping"
