"""A vassal is Imperator itself, without a word about which program it is; the real uWSGI is one option away."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from . import web
from .conftest import Reign
from .web import expect_answer, free_port

UWSGI = Path(sys.executable).with_name("uwsgi")


@pytest.fixture
def site(open_path: Path) -> tuple[str, int]:
    """The address of an application that lies in ``open_path/app.py``."""
    web.write_application(open_path, "one")
    return ("127.0.0.1", free_port())


def write_vassal(vassals: Path, site: tuple[str, int], *more: str, name: str = "site.ini") -> Path:
    file = vassals / name
    lines = "[uwsgi]", f"http-socket = {site[0]}:{site[1]}", f"wsgi-file = {vassals.parent}/app.py", *more, ""
    web.renew(file, "\n".join(lines))
    return file


def program_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def test_a_site_from_its_first_answer_to_its_last(reign: Reign, vassals: Path, site: tuple[str, int]) -> None:
    empire = reign(binary=None)
    file = write_vassal(vassals, site)
    expect_answer(site, "one")
    before = empire.expect_state("site.ini", ready=1, accepting=1, loyal=1)
    assert str(Path(sys.executable).with_name("imperator")) in program_of(before["pid"])

    web.write_application(vassals.parent, "two")
    os.utime(file)
    expect_answer(site, "two")
    after = empire.expect_state("site.ini", reloading=False, accepting=1)
    assert after["pid"] == before["pid"]

    file.unlink()
    empire.expect("site.ini .*removed")
    web.expect_nobody_listens(site)
    assert not Path(f"/proc/{after['pid']}").exists()


def test_path_does_not_matter(reign: Reign, vassals: Path, site: tuple[str, int]) -> None:
    write_vassal(vassals, site)
    reign(binary=None, environment={"PATH": "/nonexistent"})
    expect_answer(site, "one")


def test_one_process_is_one_process(reign: Reign, vassals: Path, site: tuple[str, int]) -> None:
    write_vassal(vassals, site)
    empire = reign(binary=None)
    expect_answer(site, "one")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    assert web.http(site, "/pid").body == str(pid)
    assert not Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_a_site_that_dies_is_back(reign: Reign, vassals: Path, site: tuple[str, int]) -> None:
    write_vassal(vassals, site)
    empire = reign(binary=None)
    expect_answer(site, "one")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    os.kill(pid, signal.SIGKILL)
    empire.expect("site.ini.* was killed by SIGKILL|site.ini.*signal 9")
    expect_answer(site, "one")
    assert empire.vassal("site.ini")["pid"] != pid


@pytest.mark.parametrize("line", ["engine = uwsgi", "cache2 = name=pages,items=10"])
def test_the_vassals_own_file_makes_it_the_real_uwsgi(
    line: str, reign: Reign, vassals: Path, site: tuple[str, int]
) -> None:
    """By name, or because only uWSGI knows an option; and it is still the same vassal, that reloads in place."""
    file = write_vassal(vassals, site, line, "master = true")
    empire = reign(binary=None)
    empire.expect(r"site.ini.*engine uwsgi: ")
    expect_answer(site, "one")
    before = empire.expect_state("site.ini", accepting=1, loyal=1)
    assert any("uwsgi_launcher" in word for word in program_of(before["pid"]))
    web.write_application(vassals.parent, "two")
    os.utime(file)
    expect_answer(site, "two")
    assert empire.expect_state("site.ini", reloading=False)["pid"] == before["pid"]


def test_a_socket_for_a_web_server_speaks_uwsgi(reign: Reign, vassals: Path, open_path: Path) -> None:
    address = f"{open_path}/site.sock"
    web.write_application(open_path, "one")
    (vassals / "site.ini").write_text(f"[uwsgi]\nsocket = {address}\nwsgi-file = {open_path}/app.py\n")
    empire = reign(binary=None)
    empire.expect("site.ini.*engine uwsgi: socket = .* speaks the uwsgi protocol")
    expect_answer(address, "one", ask=web.uwsgi)
    empire.expect_state("site.ini", ready=1, accepting=1, loyal=1)


def test_binary_path_names_another(reign: Reign, vassals: Path, site: tuple[str, int]) -> None:
    write_vassal(vassals, site)
    empire = reign(binary=UWSGI)
    empire.expect(f"vassals are {UWSGI}")
    expect_answer(site, "one")
    assert str(UWSGI) in program_of(empire.vassal("site.ini")["pid"])
