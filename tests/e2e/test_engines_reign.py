"""Every engine under a real Emperor, from a file that appears to a file that goes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .clients import Answer, ask
from .conftest import Reign
from .solo import free_port
from .stage import PATIENCE
from .test_engines import every_engine, every_protocol
from .throne import Court

IMPERATOR = Path(sys.executable).with_name("imperator")


@pytest.fixture
def tcp() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


def place(file: Path, *lines: str) -> None:
    new = file.with_suffix(".new")
    new.write_text("\n".join(["[uwsgi]", *lines, ""]))
    new.rename(file)


def wait_for(expected: Answer, question: Callable[[], Answer]) -> None:
    """Nobody tells when a socket is bound: it is asked again and again."""
    deadline = time.monotonic() + PATIENCE
    found: object = None
    while found != expected:
        assert time.monotonic() < deadline, f"{found!r} and not {expected!r}"
        time.sleep(0.02)
        try:
            found = question()
        except OSError as error:
            found = error


@every_engine
def test_a_site_from_its_first_answer_to_its_last(
    reign: Reign, vassals: Path, court: Court, tcp: tuple[str, int], engine: str
) -> None:
    empire = reign(binary=IMPERATOR).ready()
    site = vassals / "site.ini"
    lines = f"engine = {engine}", f"http-socket = 127.0.0.1:{tcp[1]}", f"wsgi-file = {court.directory}/app.py"
    place(site, *lines, "heartbeat = 1")
    empire.expect(rf"site\.ini.*engine {engine}: ")
    empire.expect_state("site.ini", ready=1, accepting=1, loyal=0)
    assert ask(tcp) == Answer(200, "one")
    before = empire.expect_state("site.ini", loyal=1)
    assert before["last_heartbeat"] > 0

    court.write("two")
    os.utime(site)
    wait_for(Answer(200, "two"), lambda: ask(tcp))
    after = empire.expect_state("site.ini", reloading=False, accepting=1)
    assert after["pid"] == before["pid"]

    site.unlink()
    empire.expect("site.ini .*removed")
    with pytest.raises(ConnectionRefusedError):
        ask(tcp)
    assert not Path(f"/proc/{after['pid']}").exists()


@every_engine
def test_a_site_that_dies_is_back(reign: Reign, vassals: Path, court: Court, tcp: tuple[str, int], engine: str) -> None:
    place(
        vassals / "site.ini",
        f"engine = {engine}",
        f"http-socket = 127.0.0.1:{tcp[1]}",
        f"wsgi-file = {court.directory}/app.py",
        "processes = 2",
    )
    empire = reign(binary=IMPERATOR)
    wait_for(Answer(200, "one"), lambda: ask(tcp))
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    os.kill(pid, 9)
    empire.expect("site.ini .*SIGKILL")
    wait_for(Answer(200, "one"), lambda: ask(tcp))
    assert empire.expect_state("site.ini", loyal=1)["pid"] != pid


@every_protocol
def test_on_demand_and_asleep_again(reign: Reign, vassals: Path, court: Court, engine: str, protocol: str) -> None:
    path = f"{court.directory}/site.sock"
    place(
        vassals / "site.ini",
        f"engine = {engine}",
        f"protocol = {protocol}",
        f"wsgi-file = {court.directory}/app.py",
        "idle = 1",
        "die-on-idle = true",
    )
    (vassals / "site.ini.socket").write_text(path)
    empire = reign("--emperor-on-demand-extension", ".socket", binary=IMPERATOR).ready()
    empire.expect_state("site.ini", state="asleep")
    for _ in range(2):
        assert ask(path, protocol=protocol) == Answer(200, "one")
        empire.expect_state("site.ini", state="running")
        empire.expect_state("site.ini", state="asleep")


@every_engine
def test_a_configuration_that_the_emperor_holds(
    reign: Reign, vassals: Path, court: Court, tcp: tuple[str, int], engine: str
) -> None:
    """Sections of one file: each vassal's configuration comes over the config fd, and anew at a reload."""
    other = ("127.0.0.1", free_port())

    def write(colour: str) -> None:
        parts = []
        for name, where in (("one", tcp), ("two", other)):
            parts += [f"[{name}]", f"engine = {engine}", f"http-socket = 127.0.0.1:{where[1]}"]
            parts += [f"wsgi-file = {court.directory}/app.py", f"env = COLOUR={name}-{colour}"]
        new = vassals / "sites.new"
        new.write_text("\n".join([*parts, ""]))
        new.rename(vassals / "sites.ini")

    write("blue")
    reign("--emperor-sections", binary=IMPERATOR)
    for colour in ("blue", "green"):
        write(colour)
        for name, where in (("one", tcp), ("two", other)):
            wait_for(Answer(200, f"{name}-{colour}"), lambda where=where: ask(where, "/env/COLOUR"))  # type: ignore[misc]
