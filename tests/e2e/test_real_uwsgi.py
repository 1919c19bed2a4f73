"""The real uwsgi as vassal: ``binary-path = …/uwsgi``."""

from __future__ import annotations

import os
import socket
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .conftest import Reign
from .stage import PATIENCE

UWSGI = Path(sys.executable).with_name("uwsgi")

APP = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"{text}"]
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def get(port: int) -> str | None:
    """What the app answers; ``None``: nobody does."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def expect_answer(port: int, expected: str | None) -> None:
    deadline = time.monotonic() + PATIENCE
    while (answer := get(port)) != expected:
        assert time.monotonic() < deadline, f"{answer!r} and not {expected!r}"
        time.sleep(0.05)


def write_app(directory: Path, text: str) -> None:
    (directory / "app.py").write_text(APP.replace("{text}", text))


def write_vassal(vassals: Path, port: int, more: str = "") -> Path:
    file = vassals / "site.ini"
    text = f"[uwsgi]\nhttp-socket = 127.0.0.1:{port}\nwsgi-file = {vassals.parent}/app.py\nmaster = true\n{more}"
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)
    return file


def test_a_site_from_its_first_answer_to_its_last(reign: Reign, vassals: Path, port: int) -> None:
    write_app(vassals.parent, "one")
    empire = reign(binary=UWSGI)
    file = write_vassal(vassals, port)
    expect_answer(port, "one")
    before = empire.expect_state("site.ini", ready=1, accepting=1, loyal=1)

    write_app(vassals.parent, "two")
    os.utime(file)
    expect_answer(port, "two")
    after = empire.expect_state("site.ini", reloading=False, accepting=1)
    assert after["pid"] == before["pid"]

    file.unlink()
    empire.expect("site.ini .*removed")
    expect_answer(port, None)
    assert not Path(f"/proc/{after['pid']}").exists()


def test_a_site_that_dies_is_back(reign: Reign, vassals: Path, port: int) -> None:
    write_app(vassals.parent, "alive")
    write_vassal(vassals, port)
    empire = reign(binary=UWSGI)
    expect_answer(port, "alive")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    os.kill(pid, 9)
    empire.expect("site.ini .*SIGKILL")
    expect_answer(port, "alive")
    assert empire.vassal("site.ini")["pid"] != pid


def test_a_file_with_a_mistake_says_so_and_harms_nobody(reign: Reign, vassals: Path, port: int) -> None:
    write_app(vassals.parent, "good")
    write_vassal(vassals, port)
    empire = reign(binary=UWSGI)
    (vassals / "bad.ini").write_text("[uwsgi]\nhttp-socket = 999.0.0.1:nonsense\nstrict = true\nno-such-option = 1\n")
    empire.expect("bad.ini.*no-such-option")
    assert empire.vassal("bad.ini")["state"] in ("waiting", "queued", "spawning", "running")
    expect_answer(port, "good")


def test_its_environment_and_variables_reach_it(reign: Reign, vassals: Path, port: int) -> None:
    write_app(vassals.parent, "from the environment")
    (vassals / "site.ini").write_text("[uwsgi]\nhttp-socket = %(address)\n")
    reign(
        *["--vassal-set", f"address=127.0.0.1:{port}"],
        binary=UWSGI,
        environment={"UWSGI_VASSAL_WSGI_FILE": f"{vassals.parent}/app.py"},
    )
    expect_answer(port, "from the environment")
