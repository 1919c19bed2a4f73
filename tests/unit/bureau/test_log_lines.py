"""What a line of the log looks like, on real descriptors: a file, a terminal, the systemd journal, JSON."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imperator.bureau.journal import Journal
from imperator.config.settings import EmperorSettings
from imperator.reign.effects import Severity
from imperator.reign.names import VassalName

BLOG = VassalName("blog.ini")
TIME = r"\d\d:\d\d:\d\d\.\d{3}"
DATE = r"\d{4}-\d\d-\d\d"


def written(fill: Callable[[Journal], object], log_format: str = "text", journal_stream: bool = False) -> str:
    """What comes out of a pipe that is the error output."""
    reading, writing = os.pipe()
    found = os.fstat(writing)
    environment = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"} if journal_stream else {}
    journal = Journal.to_fd(writing, log_format=log_format, environment=environment)
    fill(journal)
    assert journal.close(5)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        return pipe.read().decode()


def on_terminal(fill: Callable[[Journal], object], environment: dict[str, str]) -> str:
    """What comes out of a terminal that is the error output."""
    master, slave = os.openpty()
    try:
        journal = Journal.to_fd(slave, environment=environment)
        fill(journal)
        assert journal.close(5)
        return os.read(master, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(master)
        os.close(slave)


def started(journal: Journal) -> None:
    journal.write(Severity.INFO, "spawned", "started as pid 4711", BLOG)


def test_a_pipe_or_file_gets_the_date() -> None:
    assert re.fullmatch(rf"{DATE} {TIME} blog\.ini  started as pid 4711\n", written(started))


def test_a_terminal_gets_the_time_only() -> None:
    assert re.fullmatch(rf"{TIME} blog\.ini  started as pid 4711\n", on_terminal(started, {"NO_COLOR": "1"}))


def test_a_terminal_has_colours() -> None:
    def fill(journal: Journal) -> None:
        journal.write(Severity.ERROR, "refused", "not started", BLOG)

    line = on_terminal(fill, {"TERM": "xterm"})
    assert "\x1b[31merror:" in line
    assert "\x1b[1mblog.ini\x1b[0m" in line
    assert "\x1b" not in on_terminal(fill, {"TERM": "dumb"})


def test_only_trouble_has_its_severity_named() -> None:
    def fill(journal: Journal) -> None:
        for severity in Severity:
            journal.write(severity, "event", "text")

    lines = written(fill).splitlines()
    assert [re.sub(rf"^{DATE} {TIME} ", "", line) for line in lines] == ["error: text", "warning: text", "text", "text"]


def test_the_systemd_journal_gets_priorities_and_no_time() -> None:
    def fill(journal: Journal) -> None:
        journal.write(Severity.ERROR, "refused", "not started", BLOG)
        journal.vassal_output(BLOG, b"GET /")

    assert written(fill, journal_stream=True) == "<3>blog.ini  not started\n<6>blog.ini | GET /\n"


def test_a_journal_stream_of_another_descriptor_is_not_ours() -> None:
    reading, writing = os.pipe()
    journal = Journal.to_fd(writing, environment={"JOURNAL_STREAM": "1:2"})
    started(journal)
    assert journal.close(5)
    assert os.read(reading, 4096).startswith(b"20")
    os.close(reading)
    os.close(writing)


def test_a_vassals_own_output_is_told_apart() -> None:
    text = written(lambda journal: journal.vassal_output(BLOG, b"GET / => 200"))
    assert re.fullmatch(rf"{DATE} {TIME} blog\.ini \| GET / => 200\n", text)


def test_a_line_that_was_cut_says_so() -> None:
    assert written(lambda journal: journal.vassal_output(BLOG, b"x" * 10, truncated=True)).endswith(
        "| xxxxxxxxxx […]\n"
    )


def test_json_is_one_object_a_line() -> None:
    def fill(journal: Journal) -> None:
        started(journal)
        journal.write(Severity.WARNING, "two\nlines", "first\nsecond \x1b[31m\u202e")
        journal.vassal_output(BLOG, b"caf\xc3\xa9 \xff", truncated=True)

    first, second, third = (json.loads(line) for line in written(fill, "json").splitlines())
    assert re.fullmatch(rf"{DATE}T{TIME}[+-]\d\d:\d\d", first.pop("time"))
    assert first == {"severity": "info", "event": "spawned", "vassal": "blog.ini", "text": "started as pid 4711"}
    assert (second["severity"], second["event"], second["vassal"]) == ("warning", "two\nlines", None)
    assert second["text"] == "first\nsecond \x1b[31m\u202e"
    assert (third["event"], third["text"], third["truncated"]) == ("output", "café \\xff", True)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_nothing_in_a_text_can_forge_a_line_or_steer_a_terminal(log_format: str) -> None:
    evil = "a\nb\rc\x1b[2Jd\x85e\x9bf\u202eg\u2066h\u2028i\x00j\x7fk\udcffl"
    name = VassalName(os.fsdecode(b"ev\xffil\n.ini"))

    def fill(journal: Journal) -> None:
        journal.write(Severity.INFO, "event", evil, name)
        journal.vassal_output(name, evil.replace("\n", "").encode(errors="surrogateescape"))

    text = written(fill, log_format)
    assert text.count("\n") == 2
    assert len(text.splitlines()) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)
    if log_format == "text":
        assert r"ev\xffil\n.ini" in text
        assert r"a\nb\rc\x1b[2Jd\x85e\x9bf\u202eg\u2066h\u2028i\x00j\x7fk\xffl" in text


def test_tabs_stay_in_output_only() -> None:
    text = written(lambda journal: journal.vassal_output(BLOG, b"a\tb\r"))
    assert text.endswith("| a\tb\n")
    assert written(lambda journal: journal.write(Severity.INFO, "event", "a\tb")).endswith(" a\\tb\n")


def test_a_log_that_cannot_be_opened_leaves_the_error_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    journal = Journal.open(EmperorSettings(logto=str(tmp_path / "no" / "such" / "log")))
    started(journal)
    assert journal.close(5)
    error = capfd.readouterr().err
    assert "error: the log" in error
    assert "No such file or directory" in error
    assert "started as pid 4711" in error


def test_many_threads_lose_nothing() -> None:
    def fill(journal: Journal) -> None:
        def work() -> None:
            for number in range(500):
                journal.write(Severity.INFO, "event", f"line {number}")

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    reading, writing = os.pipe()
    read: list[bytes] = []
    drain = threading.Thread(target=lambda: read.extend(iter(lambda: os.read(reading, 65536), b"")))
    drain.start()
    journal = Journal.to_fd(writing)
    fill(journal)
    assert journal.close(10)
    os.close(writing)
    drain.join(10)
    os.close(reading)
    lines = b"".join(read).splitlines()
    assert len(lines) == 2000
    assert all(line[:2] == b"20" for line in lines)
