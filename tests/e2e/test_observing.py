"""What an Emperor shows of itself: statistics as the original's, a log for people and for machines."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from .conftest import Reign
from .stage import PATIENCE, Stage
from .test_contract import ORIGINAL


def read_all(address: tuple[str, int] | str) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    deadline = time.monotonic() + PATIENCE
    while True:
        with socket.socket(family) as connection:
            connection.settimeout(PATIENCE)
            try:
                connection.connect(address)
            except OSError:  # it has not come so far yet
                assert time.monotonic() < deadline
                time.sleep(0.02)
                continue
            return b"".join(iter(lambda: connection.recv(65536), b""))


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def shape(value: Any) -> Any:
    """The keys and the kinds of what is behind them."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "text" if isinstance(value, str) else "number"


# -- statistics


def test_every_key_of_the_original_is_there_and_of_its_kind(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    (vassals / "bad.ini").write_text("[uwsgi]\n")
    documents = []
    for program in (ORIGINAL, None):
        port = free_port()
        options = ["--emperor-stats", f"127.0.0.1:{port}", "--emperor-throttle", "60000"]
        empire = reign(*options, **({"program": program} if program else {}))
        good = stage.next("a.ini")
        good.say(1, 5, 17)
        stage.next("bad.ini").exit(1)
        deadline = time.monotonic() + PATIENCE
        while True:
            document = json.loads(read_all(("127.0.0.1", port)))
            if document["blacklist"] and any(v["id"] == "a.ini" and v["loyal"] for v in document["vassals"]):
                break
            assert time.monotonic() < deadline, document
            time.sleep(0.05)
        documents.append(document)
        empire.stop()
    original, ours = documents
    assert original["vassals"][0].keys() <= ours["vassals"][0].keys()
    assert original["blacklist"][0].keys() <= ours["blacklist"][0].keys()
    for key in original:
        theirs, mine = shape(original[key]), shape(ours[key])
        if key in ("vassals", "blacklist"):
            theirs, mine = theirs[0], {name: mine[0][name] for name in theirs[0]}
        assert theirs == mine, key
    assert original["emperor"] == ours["emperor"]


def test_over_a_unix_socket_that_is_removed_at_the_end(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    address = open_path / "stats"
    empire = reign("--emperor-stats", address).ready()
    assert json.loads(read_all(str(address)))["pid"] == empire.pid
    empire.stop()
    assert not address.exists()


def test_over_http(reign: Reign, open_path: Path) -> None:
    address = open_path / "stats"
    reign("--emperor-stats", address, "--stats-http").ready()
    head, _, body = read_all(str(address)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Type: application/json" in head
    assert "vassals" in json.loads(body)


def test_what_died_when_why_and_what_comes_next(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "bad.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "30000")
    stage.next("bad.ini").exit(22)
    vassal = empire.expect_state("bad.ini", state="waiting")
    end = vassal["last_exit"]
    assert (end["code"], end["signal"]) == (22, None)
    assert 0 <= end["lived"] < PATIENCE
    assert abs(end["at"] - time.time()) < PATIENCE
    assert re.fullmatch(r"exited with code 22 after [\d.e-]+ s", end["text"])
    assert 0 < vassal["next_try_in"] <= 30
    assert abs(vassal["next_try"] - time.time() - vassal["next_try_in"]) < PATIENCE
    assert "without having managed a request" in vassal["why"]


def test_readers_that_do_not_read_disturb_nobody(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    for number in range(300):
        (vassals / f"{number:03}{'x' * 248}.ini").write_text("[uwsgi]\n")
    address = str(open_path / "stats")
    empire = reign("--emperor-stats", address, "--log-format", "json")
    empire.expect("every source was read")
    mute = [socket.socket(socket.AF_UNIX) for _ in range(8)]
    for connection in mute:
        connection.connect(address)
    (vassals / "new.ini").write_text("[uwsgi]\n")
    stage.next("new.ini", timeout=2)
    for connection in mute:
        connection.close()
    assert len(json.loads(read_all(address))["vassals"]) == 301


# -- the log


def test_a_line_says_when_who_what_and_why(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "60000")
    puppet = stage.next("a.ini")
    empire.expect(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} a\.ini  started as pid {puppet.pid}$")
    puppet.exit(3)
    empire.expect(r"^\S+ \S+ .*a\.ini  exited with code 3 after [\d.]+ s.*next try in 60 s")


def test_json_lines(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / 'quote".ini').write_text("[uwsgi]\n")
    empire = reign("--log-format", "json")
    puppet = stage.next('quote".ini')
    puppet.print("\x1b[31mred\x1b[0m \xff\n")
    empire.expect("red")
    empire.stop()
    empire.log.wait_for_end()
    lines = [json.loads(line) for line in empire.log.lines]
    assert {"time", "event"} <= set.intersection(*(set(line) for line in lines))
    # A vassal may be there before the last source is read: the order holds for each of them by itself.
    assert _events(lines, None, "start", "ready", "ragnarok", "end") == ["start", "ready", "ragnarok", "end"]
    assert _events(lines, 'quote".ini', "spawned", "output") == ["spawned", "output"]
    assert {line["vassal"] for line in lines if line["event"] == "spawned"} == {'quote".ini'}


def _events(lines: list[dict[str, str]], vassal: str | None, *wanted: str) -> list[str]:
    """Which of these happened, each once, in their order."""
    return list(dict.fromkeys(one["event"] for one in lines if one.get("vassal") == vassal and one["event"] in wanted))


def test_what_a_vassal_writes_cannot_pass_for_ours(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.print("a\r2026-01-01 00:00:00.000 forged\x1b[2K\n")
    line = empire.expect("forged").string
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} a\.ini ", line)
    assert "\x1b" not in line
    assert "\r" not in line


def test_its_output_is_left_alone_where_that_is_wanted(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--vassal-log", "inherit")
    puppet = stage.next("a.ini")
    puppet.print("just as it is\n")
    empire.expect("^just as it is$")


def test_a_log_file_and_its_rotation(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    log, old = open_path / "emperor.log", open_path / "emperor.log.old"
    empire = reign("--logto", log, "--log-maxsize", "2000", "--log-backupname", old)
    puppet = stage.next("a.ini")
    for number in range(50):
        puppet.print(f"line {number} {'x' * 80}\n")
    deadline = time.monotonic() + PATIENCE
    while not old.exists() or "line 49" not in log.read_text() + old.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    empire.stop()
    assert "so does the Emperor" in log.read_text() + old.read_text()
    assert empire.log.lines == []


def test_a_log_over_udp(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as collector:
        collector.bind(("127.0.0.1", 0))
        collector.settimeout(PATIENCE)
        reign("--logto", f"127.0.0.1:{collector.getsockname()[1]}")
        heard = b""
        while b"a.ini  started as pid" not in heard:
            heard += collector.recv(65536)


@pytest.mark.parametrize(
    ("environment", "coloured"), [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]
)
def test_colour_is_for_terminals(
    reign: Reign, stage: Stage, vassals: Path, environment: dict[str, str], coloured: bool
) -> None:
    """Everything else in this file has no terminal, and no colour."""
    (vassals / "bad.ini").write_text("[uwsgi]\n")
    master, slave = pty.openpty()
    empire = reign("--emperor-throttle", "60000", environment=environment, stdout=slave, stderr=slave)
    os.close(slave)
    stage.next("bad.ini").exit(1)
    text = b""
    while b"exited with code 1" not in text:
        text += os.read(master, 4096)
    assert (b"\x1b[" in text) is coloured
    empire.stop()
    os.close(master)
