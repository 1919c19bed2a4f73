"""Where the log goes, and what happens when it cannot: slow readers, full disks, files moved away, nobody there."""

from __future__ import annotations

import os
import re
import select
import socket
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

from imperator.bureau.journal import Journal
from imperator.bureau.lines import TextStyle
from imperator.bureau.targets import FileTarget
from imperator.config.settings import EmperorSettings
from imperator.reign.effects import Severity
from imperator.reign.names import VassalName

BLOG = VassalName("blog.ini")
PATIENCE = 20.0


def eventually(happened: Callable[[], bool]) -> None:
    """Look again and again until it has happened; fails if it does not."""
    deadline = time.monotonic() + PATIENCE
    never = threading.Event()
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        never.wait(0.005)


def say(journal: Journal, text: str) -> None:
    journal.write(Severity.INFO, "event", text)


def texts(content: str) -> list[str]:
    """The lines without their dates."""
    return [re.sub(r"^[-\d]+ [\d:.]+ ", "", line) for line in content.splitlines()]


def log_to(path: Path, **settings: object) -> Journal:
    return Journal.open(EmperorSettings(logto=str(path), **settings))  # type: ignore[arg-type]


def test_a_log_file_is_appended_to_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    for text in ("first", "second"):
        journal = log_to(path)
        say(journal, text)
        assert journal.close(5)
    assert texts(path.read_text()) == ["first", "second"]
    assert stat.S_IMODE(path.stat().st_mode) & 0o027 == 0


def test_a_file_that_logrotate_moved_away_is_opened_anew(tmp_path: Path) -> None:
    path, old = tmp_path / "emperor.log", tmp_path / "emperor.log.1"
    journal = log_to(path)
    say(journal, "before")
    eventually(lambda: path.read_text() != "")
    path.rename(old)

    def appeared() -> bool:
        say(journal, "after")
        return path.exists() and path.read_text() != ""

    eventually(appeared)
    assert journal.close(5)
    assert texts(old.read_text())[0] == "before"
    assert set(texts(path.read_text())) == {"after"}


def test_a_file_that_was_deleted_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    journal = log_to(path)
    say(journal, "before")
    eventually(lambda: path.read_text() != "")
    path.unlink()

    def appeared() -> bool:
        say(journal, "after")
        return path.exists()

    eventually(appeared)
    assert journal.close(5)


def test_a_file_is_renamed_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    journal = log_to(path, log_maxsize=1000)
    for number in range(100):
        say(journal, f"line {number:02}")
    assert journal.close(5)
    files = sorted(tmp_path.iterdir())
    assert all(file.stat().st_size <= 1000 for file in files)
    assert all(re.fullmatch(r"emperor\.log(\.\d+(\.\d+)?)?", file.name) for file in files)
    lines = [text for file in files for text in texts(file.read_text())]
    assert sorted(lines) == [f"line {number:02}" for number in range(100)]


def test_a_backup_name_is_used_again_and_again(tmp_path: Path) -> None:
    path, backup = tmp_path / "emperor.log", tmp_path / "old.log"
    journal = log_to(path, log_maxsize=100, log_backupname=str(backup))
    for number in range(20):
        say(journal, f"line {number:02}")
    assert journal.close(5)
    assert sorted(tmp_path.iterdir()) == [path, backup]
    assert texts(path.read_text())[-1] == "line 19"


def test_a_rotation_that_fails_loses_nothing_and_is_told(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    journal = log_to(path, log_maxsize=100, log_backupname=str(tmp_path / "no" / "such" / "directory"))
    for number in range(20):
        say(journal, f"line {number:02}")
    eventually(lambda: "line 19" in path.read_text())
    assert journal.close(5)
    found = texts(path.read_text())
    assert [text for text in found if text.startswith("line")] == [f"line {number:02}" for number in range(20)]
    assert sum("cannot be rotated" in text for text in found) == 1


def test_a_full_disk_stops_nothing_and_keeps_the_lines(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    path.symlink_to("/dev/full")
    journal = log_to(path)
    say(journal, "while it was full")
    eventually(lambda: journal.trouble == "No space left on device")
    path.unlink()  # room again: the file can be made anew
    eventually(lambda: path.exists() and path.stat().st_size > 0)
    assert journal.close(5)
    assert texts(path.read_text()) == ["while it was full"]
    assert journal.trouble is None


def test_what_a_full_disk_cost_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "emperor.log"
    path.symlink_to("/dev/full")
    journal = Journal(TextStyle(date=True, colour=False), FileTarget(str(path)), limit=3000, reserve=1000)
    say(journal, "first")
    eventually(lambda: journal.trouble is not None)
    for _ in range(100):
        journal.vassal_output(BLOG, b"x" * 40)
    path.unlink()
    eventually(lambda: path.exists() and "lost" in path.read_text())
    assert journal.close(5)
    found = texts(path.read_text())
    kept = sum("| x" in text for text in found)
    assert 0 < kept < 100
    report = next(text for text in found if "lost" in text)
    assert report == (
        f"warning: {100 - kept} lines of vassals' output lost: the log could not be written (No space left on device)"
    )


def test_closing_on_a_full_disk_does_not_hang() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        journal = Journal.to_fd(full.fileno())
        say(journal, "lost")
        began = time.monotonic()
        assert not journal.close(1)
        assert time.monotonic() - began < 5


def test_a_reader_that_does_not_read_costs_vassals_output_first() -> None:
    reading, writing = os.pipe()
    journal = Journal.to_fd(writing, limit=100_000, reserve=50_000)
    for _ in range(5000):
        journal.vassal_output(BLOG, b"x" * 100)
    for number in range(100):
        say(journal, f"own {number:02}")
    read: list[bytes] = []
    drain = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65536), b"")))
    drain.start()
    assert journal.close(PATIENCE)
    os.close(writing)
    drain.join(PATIENCE)
    os.close(reading)
    found = texts(b"".join(read).decode())
    assert [text for text in found if text.startswith("own")] == [f"own {number:02}" for number in range(100)]
    kept = sum("| x" in text for text in found)
    assert kept < 5000
    reports = [re.fullmatch(r"warning: (\d+) lines? of vassals' output lost: the log cannot keep up", t) for t in found]
    assert sum(int(report[1]) for report in reports if report is not None) == 5000 - kept


def test_a_writer_is_never_held_up_by_a_reader_that_does_not_read() -> None:
    reading, writing = os.pipe()
    journal = Journal.to_fd(writing, limit=100_000)
    slowest = 0.0
    for _ in range(5000):
        began = time.perf_counter()
        journal.vassal_output(BLOG, b"x" * 100)
        slowest = max(slowest, time.perf_counter() - began)
    assert slowest < 0.5
    os.close(reading)
    journal.close(5)
    os.close(writing)


def test_a_non_blocking_error_output_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    journal = Journal.to_fd(writing)
    for number in range(3000):
        journal.vassal_output(BLOG, b"%05d " % number + b"x" * 100)
    read: list[bytes] = []
    drain = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65536), b"")))
    drain.start()
    assert journal.close(PATIENCE)
    os.close(writing)
    drain.join(PATIENCE)
    os.close(reading)
    assert [line.split(b"| ")[1][:5] for line in b"".join(read).splitlines()] == [b"%05d" % n for n in range(3000)]


def test_a_reader_that_has_gone_is_survived_and_the_next_one_is_told(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    journal = log_to(fifo)
    say(journal, "first")
    eventually(lambda: _has_data(reading))
    os.read(reading, 4096)
    os.close(reading)
    say(journal, "nobody reads this")
    eventually(lambda: journal.trouble == "Broken pipe")
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    say(journal, "second")
    assert journal.close(5)
    found = texts(os.read(reading, 65536).decode())
    os.close(reading)
    assert found == ["second", "warning: 1 line lost: the log could not be written (Broken pipe)"]


def _has_data(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


def test_a_udp_address_gets_one_datagram_a_line() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(PATIENCE)
        journal = Journal.open(EmperorSettings(logto=f"127.0.0.1:{receiver.getsockname()[1]}"))
        say(journal, "first")
        say(journal, "second")
        assert [texts(receiver.recv(4096).decode()) for _ in range(2)] == [["first"], ["second"]]
        assert journal.close(5)


def test_a_udp_address_where_nobody_listens_is_no_trouble() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        port = receiver.getsockname()[1]
    journal = Journal.open(EmperorSettings(logto=f"127.0.0.1:{port}"))
    for _ in range(10):
        say(journal, "into the void")
    assert journal.close(5)
    assert journal.trouble is None


def test_a_fifo_without_a_reader_does_not_hang_the_start(tmp_path: Path) -> None:
    fifo = tmp_path / "log"
    os.mkfifo(fifo)
    journal = log_to(fifo)
    assert journal.close(5)
