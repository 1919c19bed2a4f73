"""Several instances in one file: each section is a vassal of its own, and an edit concerns nobody else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import Empire
from .stage import PATIENCE, Puppet, Stage

PROMPTLY = 5.0
"""Seconds in which a change has to be noticed, on a machine under load."""
QUIET = 0.4
"""Seconds in which nothing must happen."""

UWSGI = Path(sys.executable).with_name("uwsgi")

FORMATS = {
    "x.ini": ("[app1]\nthreads = 1\n[app2]\nthreads = 2\n", "--ini"),
    "x.xml": (
        '<apps>\n<uwsgi id="app1"><threads>1</threads></uwsgi>\n<uwsgi id="app2"><threads>2</threads></uwsgi>\n</apps>',
        "--xml",
    ),
    "x.yaml": ("app1:\n  threads: 1\napp2:\n  threads: 2\n", "--yaml"),
    "x.yml": ("app1:\n  threads: 1\napp2:\n  threads: 2\n", "--yaml"),
    "x.json": ('{"app1": {"threads": 1}, "app2": {"threads": 2}}', "--json"),
    "x.js": ('{"app1": {"threads": 1}, "app2": {"threads": 2}}', "--json"),
    "x.toml": ("[app1]\nthreads = 1\n[app2]\nthreads = 2\n", "--toml"),
}
TWO = FORMATS["x.ini"][0]


def loyal(empire: Empire, stage: Stage, *names: str) -> list[Puppet]:
    puppets = stage.next_of(*names)
    for puppet in puppets:
        puppet.say(1, 5, 17)
        empire.expect_state(puppet.name, loyal=1)
    return puppets


def expect_reload(*puppets: Puppet) -> None:
    for puppet in puppets:
        assert puppet.expect_byte(PROMPTLY) == 1
        puppet.say(5)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name: str, reign: Reign, stage: Stage, vassals: Path) -> None:
    text, flag = FORMATS[name]
    file = vassals / name
    file.write_text(text)
    empire = reign("--emperor-sections")
    one, two = loyal(empire, stage, f"{name}:app1", f"{name}:app2")
    assert one.argv[1:] == [flag, f"{name}:app1"]
    assert one.given["cwd"] == str(vassals)
    assert empire.vassals_known() == {f"{name}:app1", f"{name}:app2"}

    file.write_text(text.replace("2", "3").replace("app3", "app2"))  # edit
    expect_reload(two)
    one.nothing_heard(QUIET)

    os.utime(file)  # touch
    expect_reload(one, two)

    file.write_text(text.replace("app2", "app3"))  # rename
    three = stage.next(f"{name}:app3", timeout=PROMPTLY)
    assert two.expect_byte(PROMPTLY) == 0
    one.nothing_heard(QUIET)
    three.say(1, 5, 17)
    empire.expect_state(three.name, loyal=1)

    file.write_text("[<{\n" + text.replace("app2", "app3") + "\n  [<{")  # break
    empire.expect(rf"{name} .*not started: {file}:\d+: .*; its other vassals go on as they are")
    one.nothing_heard(QUIET)
    three.nothing_heard(0.0)

    file.unlink()
    assert one.expect_byte(PROMPTLY) == 0
    assert three.expect_byte(PROMPTLY) == 0


def test_a_section_that_is_removed(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "x.ini").write_text(TWO)
    empire = reign("--emperor-sections")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    (vassals / "x.ini").write_text(TWO.partition("[app2]")[0])
    assert two.expect_byte(PROMPTLY) == 0
    two.expect_gone()
    empire.expect("x.ini:app2 .*removed")
    one.nothing_heard(QUIET)
    assert empire.vassals_known() == {"x.ini:app1"}


def test_a_file_that_is_broken_and_mended(reign: Reign, stage: Stage, vassals: Path) -> None:
    """One line names the place; nobody is stopped by it, nor reloaded when it is as it was."""
    file = vassals / "x.ini"
    file.write_text(TWO)
    empire = reign("--emperor-sections")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    file.write_text(TWO + "[app3\nthreads = 3\n")
    empire.expect(rf"x.ini .*{file}:5: the section '\[app3' has no closing bracket, so .*; its other vassals go on")
    empire.expect_state("x.ini", state="failed")
    file.write_text(TWO)
    empire.expect("x.ini .*removed")
    one.nothing_heard(QUIET)
    two.nothing_heard(0.0)
    assert len(empire.log.find("no closing bracket")) == 1
    file.write_text("")
    empire.expect("x.ini is empty now: remove it if nothing of it is wanted; its other vassals go on")
    file.write_text(TWO.replace("threads = 2", "threads = 3"))
    expect_reload(two)
    one.nothing_heard(QUIET)


def test_the_file_is_broken_when_the_emperor_starts(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "x.toml"
    file.write_text("[app1\n")
    empire = reign("--emperor-sections")
    empire.expect(f"x.toml .*not started: {file}:1: ")
    file.write_text("[app1]\nthreads = 1\n")
    stage.next("x.toml:app1", timeout=PROMPTLY)


def test_a_template_in_the_file(reign: Reign, stage: Stage, vassals: Path) -> None:
    text = "[common]\nthreads = 2\n[app1]\nini = :common\n[app2]\nthreads = 1\n"
    (vassals / "x.ini").write_text(text)
    empire = reign("--emperor-sections")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    assert empire.vassals_known() == {"x.ini:app1", "x.ini:app2"}
    (vassals / "x.ini").write_text(text.replace("threads = 2", "threads = 4"))
    expect_reload(one)
    two.nothing_heard(QUIET)


def test_the_root_section_is_called_as_the_file(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "x.ini").write_text(TWO + "[uwsgi]\nthreads = 3\n")
    empire = reign("--emperor-sections")
    root, one = loyal(empire, stage, "x.ini", "x.ini:app1")
    (vassals / "x.ini").write_text(TWO + "[uwsgi]\nthreads = 4\n")
    expect_reload(root)
    one.nothing_heard(QUIET)


def test_without_the_option(reign: Reign, stage: Stage, vassals: Path) -> None:
    """A file without root section cannot mean one instance; whatever can goes on meaning it."""
    (vassals / "apps.ini").write_text(TWO)
    (vassals / "both.ini").write_text(TWO + "[uwsgi]\n")
    (vassals / "empty.ini").write_text("")
    (vassals / "attributes.ini").write_text("[emperor]\nx = y\n")
    (vassals / "package.json").write_text('{"name": "shop", "scripts": {"test": "jest"}}')
    empire = reign()
    names = {"apps.ini:app1", "apps.ini:app2", "both.ini", "empty.ini", "attributes.ini", "package.json"}
    stage.next_of(*names)
    assert empire.vassals_known() == names


def test_against_the_option(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "apps.ini").write_text(TWO)
    reign("--set", "emperor-sections=false")
    stage.next("apps.ini")


def test_a_pattern(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "x.ini").write_text(TWO)
    empire = reign("--emperor-sections", emperor=f"{vassals}/*.ini", directory=vassals.parent)
    one, two = loyal(empire, stage, f"{vassals}/x.ini:app1", f"{vassals}/x.ini:app2")
    assert one.given["cwd"] == str(vassals.parent)
    (vassals / "x.ini").write_text(TWO.replace("threads = 2", "threads = 3"))
    expect_reload(two)
    one.nothing_heard(QUIET)


def test_a_symlink(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    target = open_path / "shared.ini"
    target.write_text(TWO)
    (vassals / "x.ini").symlink_to(target)
    empire = reign("--emperor-sections")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    target.write_text(TWO.replace("threads = 2", "threads = 3"))
    expect_reload(two)
    one.nothing_heard(QUIET)


def test_nofollow(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """The link counts, and whoever touches it means all that is in the file."""
    target = open_path / "shared.ini"
    target.write_text(TWO)
    (vassals / "x.ini").symlink_to(target)
    empire = reign("--emperor-sections", "--emperor-nofollow")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    target.write_text(TWO.replace("threads = 2", "threads = 3"))
    two.nothing_heard(QUIET)
    subprocess.run(["touch", "--no-dereference", vassals / "x.ini"], check=True)
    expect_reload(one, two)


def test_the_safety_net_reads_no_changes_into_it(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "x.ini"
    file.write_text(TWO)
    empire = reign("--emperor-sections", "--emperor-freq", "1")
    one, two = loyal(empire, stage, "x.ini:app1", "x.ini:app2")
    file.write_text("[app1\n")
    empire.expect("no closing bracket")
    empire.send(signal.SIGWINCH)
    one.nothing_heard(1.5)
    two.nothing_heard(0.0)
    assert empire.vassals_known() == {"x.ini", "x.ini:app1", "x.ini:app2"}


def test_on_demand_by_extension(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "x.ini").write_text(TWO)
    (vassals / "x.ini:app1.socket").write_text(f"{open_path}/app1\n")
    empire = reign("--emperor-sections", "--emperor-on-demand-extension", ".socket")
    stage.next("x.ini:app2")
    empire.expect_state("x.ini:app1", state="asleep")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{open_path}/app1")
        stage.next("x.ini:app1")
    (vassals / "x.ini:app2.socket").write_text(f"{open_path}/app2\n")
    empire.expect(f"x.ini:app2 .*its on-demand socket changed to {open_path}/app2")


def test_on_demand_by_directory(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "x.ini").write_text(TWO)
    empire = reign("--emperor-sections", "--emperor-on-demand-directory", open_path).ready()
    empire.expect_state("x.ini:app2", state="asleep")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{open_path}/x.app2.socket")
        stage.next("x.ini:app2")


def test_on_demand_by_command(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "x.ini").write_text(TWO)
    command = open_path / "socket-of"
    command.write_text(f'#!/bin/sh\necho "{open_path}/$1.sock"\n')
    command.chmod(0o755)
    empire = reign("--emperor-sections", "--emperor-on-demand-exec", command).ready()
    empire.expect_state("x.ini:app1", state="asleep")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{open_path}/x.ini:app1.sock")
        stage.next("x.ini:app1")


def test_a_tyrant_reads_nobodys_file(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "x.ini"
    file.write_text(TWO)
    os.chown(file, 4711, 4711)
    empire = reign("--emperor-sections", "--emperor-tyrant")
    empire.expect("emperor-sections is without effect in tyrant mode")
    assert stage.next("x.ini").given["uids"] == [4711, 4711, 4711]
    assert len(empire.log.find("without effect in tyrant mode")) == 1


def test_what_the_emperor_tells_a_vassal_that_is_imperator(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    """Where it is wanted from, and the attributes; nothing of what another Emperor told this one."""
    (vassals / "x.ini").write_text(TWO + "[emperor]\nowner = anna\n")
    binary = open_path / "imperator"
    binary.symlink_to(stage.binary)
    environment = {"IMPERATOR_MONITOR": "not/ours", "IMPERATOR_ATTRIBUTES": "{}", "IMPERATOR_PORT": "1:1"}
    options = ["--emperor-sections", "--emperor-collect-attr", "owner"]
    empire = reign(*options, binary=binary, environment=environment)
    environ = stage.next("x.ini:app1").environ
    assert environ["IMPERATOR_MONITOR"] == str(vassals)
    assert json.loads(environ["IMPERATOR_ATTRIBUTES"]) == {"owner": "anna"}
    assert "IMPERATOR_PORT" not in environ
    empire.stop()
    reign(*options, environment=environment)  # any other program
    puppet = stage.next("x.ini:app1")
    while puppet.environ.get("IMPERATOR_MONITOR") == str(vassals):  # left from the first reign
        puppet = stage.next("x.ini:app1")
    assert not [name for name in puppet.environ if name.startswith("IMPERATOR_")]


def test_the_real_uwsgi_reads_its_section(reign: Reign, vassals: Path, open_path: Path) -> None:
    (vassals / "app.py").write_text(
        "def application(environ, start_response):\n"
        "    import uwsgi\n"
        "    start_response('200 OK', [])\n"
        "    return [uwsgi.opt['say']]\n"
    )
    for number in (1, 2):
        with (vassals / "x.ini").open("a") as file:
            file.write(
                f"[app{number}]\nhttp-socket = {open_path}/{number}.sock\nwsgi-file = app.py\nsay = it is {number}\n"
            )
    empire = reign(binary=UWSGI).ready()
    for number in (1, 2):
        empire.expect_state(f"x.ini:app{number}", accepting=1)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(f"{open_path}/{number}.sock")
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(f"it is {number}".encode())
