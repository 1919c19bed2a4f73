"""``%(vassal.port)``, ``%(attr.KEY)`` and the others, in vassals that are Imperator itself, under a real Emperor."""

from __future__ import annotations

import itertools
import os
import signal
import socket
from pathlib import Path

import pytest

from imperator.config.ports import candidates

from .conftest import Reign
from .solo import Solo, get

APP = """import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["SAYS"].encode()]
"""
SERVES = "[uwsgi]\nhttp-socket = 127.0.0.1:%(vassal.port)\nwsgi-file = app.py\nneed-app = true\nenv = SAYS={}\n"


@pytest.fixture
def vassals(vassals: Path) -> Path:
    (vassals / "app.py").write_text(APP)
    return vassals


def port_of(file: Path) -> int:
    """The first choice of the vassal in this file."""
    return next(candidates(str(file)))


def two_with_the_same_port(directory: Path) -> tuple[str, str]:
    """Two names whose vassals have the same first choice."""
    known: dict[int, str] = {}
    for number in itertools.count():
        name = f"app{number}.ini"
        other = known.setdefault(port_of(directory / name), name)
        if other != name:
            return other, name
    raise AssertionError


def answers(port: int) -> str:
    try:
        return get(port)
    except ConnectionRefusedError:
        return ""


def test_a_vassal_has_its_port_again(reign: Reign, vassals: Path) -> None:
    (vassals / "shop.ini").write_text(SERVES.format("%(vassal.name) %(vassal.hash)"))
    port = port_of(vassals / "shop.ini")
    empire = reign(binary=None).ready()
    empire.expect_state("shop.ini", accepting=1)
    first = get(port)
    assert first.startswith("shop.ini ")
    os.kill(empire.vassal("shop.ini")["pid"], signal.SIGKILL)
    empire.expect("shop.ini .*was killed by SIGKILL")
    empire.expect("shop.ini .*accepts")
    assert get(port) == first
    empire.stop()
    reign(binary=None).ready().expect_state("shop.ini", accepting=1)
    assert get(port) == first


def test_two_that_have_the_same_first_choice_and_start_at_once(reign: Reign, vassals: Path) -> None:
    one, two = two_with_the_same_port(vassals)
    for name in (one, two):
        (vassals / name).write_text(SERVES.format("%(vassal.name)"))
    empire = reign(binary=None).ready()
    for name in (one, two):
        assert empire.expect_state(name, accepting=1)["respawns"] == 0
    choices = itertools.islice(candidates(str(vassals / one)), 2)
    assert {answers(port) for port in choices} == {one, two}


def test_one_whose_port_somebody_else_has(reign: Reign, vassals: Path) -> None:
    (vassals / "shop.ini").write_text(SERVES.format("%(vassal.name)"))
    first, second = itertools.islice(candidates(str(vassals / "shop.ini")), 2)
    with socket.create_server(("127.0.0.1", first)):
        reign(binary=None).ready().expect_state("shop.ini", accepting=1)
        assert get(second) == "shop.ini"


def test_sections_have_ports_of_their_own(reign: Reign, vassals: Path) -> None:
    section = SERVES.partition("\n")[2].format("%(vassal.name)")
    names = ["one", "zwei drei", "四"]
    (vassals / "x.ini").write_text("".join(f"[{name}]\n{section}" for name in names))
    empire = reign(binary=None).ready()
    for name in names:
        empire.expect_state(f"x.ini:{name}", accepting=1)
        assert get(port_of(vassals / f"x.ini:{name}")) == f"x.ini:{name}"


def test_what_the_emperor_knows(reign: Reign, vassals: Path) -> None:
    says = "%(attr.owner) of %(vassal.monitor) is %(vassal.uid), has %(vassal.attr.plan)"
    (vassals / "shop.ini").write_text(SERVES.format(says) + "[emperor]\nowner = anna\nplan = a %%(b)\n")
    reign("--emperor-collect-attr", "owner", binary=None).ready().expect_state("shop.ini", accepting=1)
    assert get(port_of(vassals / "shop.ini")) == f"anna of {vassals} is {os.getuid()}, has a %%(b)"


def test_a_wrong_one_is_told_with_its_line(reign: Reign, vassals: Path) -> None:
    (vassals / "shop.ini").write_text(SERVES.format("%(attr.ownr)") + "[emperor]\nowner = anna\n")
    empire = reign(binary=None).ready()
    empire.expect(r"shop\.ini:5: %\(attr\.ownr\): there is no attribute ownr \(there are owner;")


def test_an_instance_that_counts_with_them_can_be_reloaded(open_path: Path) -> None:
    (open_path / "app.py").write_text(APP)
    file = open_path / "shop.ini"
    file.write_text(SERVES.format("%(vassal.port)") + "threads = %(cgroup.cores)\nchdir = /\nwsgi-file = %dapp.py\n")
    instance = Solo(file, mark=str(open_path))
    try:
        port = port_of(file)
        for _ in range(2):
            instance.expect("application: wsgi")
            assert get(port) == str(port)
            instance.send(signal.SIGHUP)
            instance.expect("reload: SIGHUP")
        instance.expect("application: wsgi")
        assert get(port) == str(port)
        assert instance.end() == 0
    finally:
        instance.process.kill()
        instance.process.wait()
