"""The whole life of a vassal that is Imperator itself: edits, mistakes, users, sections, sources, silence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import imperator

from . import web
from .conftest import Reign
from .empire import IMPERATOR
from .queue_source import queue_source
from .stage import PATIENCE
from .web import Answer, expect_answer, http

TENANT = 1234


def site(directory: Path, *lines: str, name: str = "site.ini", text: str = "it works") -> str:
    """A vassal's file with an application beside it: the path of its socket."""
    socket = f"{directory.parent}/{name}.sock"
    app = web.write_application(directory.parent, text)
    web.renew(directory / name, "\n".join(["[uwsgi]", f"http-socket = {socket}", f"wsgi-file = {app}", *lines, ""]))
    return socket


@contextmanager
def clients(address: web.Address, count: int = 3) -> Iterator[list[Answer | OSError]]:
    """Clients that ask again and again until the end; what they got."""
    answers: list[Answer | OSError] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(http(address))
            except OSError as error:
                answers.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        over.set()
        for thread in threads:
            thread.join()


# -- edits


@pytest.mark.parametrize("processes", [1, 2])
def test_no_connection_is_refused_while_it_is_edited(processes: int, reign: Reign, vassals: Path) -> None:
    empire = reign(binary=None)
    socket = site(vassals, f"processes = {processes}", "env = EDITION=0")
    expect_answer(socket, "0", "/environ/EDITION")
    pid = empire.vassal("site.ini")["pid"]
    with clients(socket) as answers:
        for edition in range(1, 6):
            before = len(answers)
            site(vassals, f"processes = {processes}", f"env = EDITION={edition}")
            expect_answer(socket, str(edition), "/environ/EDITION")
            assert len(answers) > before
    assert set(answers) == {Answer(200, "it works")}
    assert empire.vassal("site.ini")["pid"] == pid


def test_a_broken_edit_is_told_of_and_changes_nothing(reign: Reign, vassals: Path) -> None:
    empire = reign(binary=None)
    socket = site(vassals)
    expect_answer(socket, "it works")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    site(vassals, "processes = many")
    empire.expect("site.ini.*not reloaded.*site.ini:4: processes = many: a number was expected")
    assert http(socket, "/pid") == Answer(200, str(pid))
    site(vassals, "processes = 2")
    empire.expect("site.ini.*worker 2: pid")
    expect_answer(socket, "it works")


def test_an_application_that_breaks_is_tried_again_and_comes_back_when_mended(reign: Reign, vassals: Path) -> None:
    empire = reign("--emperor-throttle", "200", binary=None)
    socket = site(vassals, "need-app = true")
    expect_answer(socket, "it works")
    app = vassals.parent / "app.py"
    app.write_text("import no_such_module\n")
    os.utime(vassals / "site.ini")
    empire.expect("site.ini.*app.py.*line 1|site.ini.*no_such_module")
    empire.expect("site.ini +exited with code 22")
    assert empire.expect_state("site.ini", loyal=0)["last_exit"]["code"] == 22
    site(vassals, "need-app = true", text="mended")
    expect_answer(socket, "mended")


# -- who it is


@pytest.fixture(scope="module")
def installed() -> Iterator[Path]:
    """Imperator in an environment of its own, as ``pip install`` leaves it, where every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="imperator-installed-"))
    place.chmod(0o755)
    try:
        install(place)
        yield place
    finally:
        shutil.rmtree(place)


def install(place: Path) -> None:
    subprocess.run([os.path.realpath(sys.executable), "-m", "venv", "--without-pip", place], check=True)
    theirs = next(place.glob("lib/python*/site-packages"))
    ours = Path(sysconfig.get_path("purelib"))
    for package in ("granian", "yaml", "setproctitle"):
        shutil.copytree(ours / package, theirs / package)
    for information in ours.glob("imperator-*.dist-info"):
        shutil.copytree(information, theirs / information.name)
    shutil.copytree(Path(imperator.__file__).parent, theirs / "imperator")
    command = place / "bin" / "imperator"
    command.write_text(f"#!{place}/bin/python\nimport sys\nfrom imperator.cli.main import main\nsys.exit(main())\n")
    command.chmod(0o755)


def test_a_tyrants_vassal_is_its_owner(
    as_root: None, installed: Path, reign: Reign, vassals: Path, open_path: Path
) -> None:
    """The Emperor runs its own command, beside its own interpreter, whichever that is."""
    open_path.chmod(0o1777)
    socket = site(vassals)
    os.chown(vassals / "site.ini", TENANT, TENANT)
    empire = reign("--emperor-tyrant", binary=None, program=(f"{installed}/bin/imperator",))
    empire.expect(f"vassals are {installed}/bin/imperator")
    expect_answer(socket, f"{TENANT} {TENANT} []", "/ids")
    vassal = empire.expect_state("site.ini", loyal=1)
    assert (vassal["uid"], vassal["gid"]) == (TENANT, TENANT)


def test_a_place_that_a_tenant_may_not_enter_is_named(
    as_root: None, installed: Path, reign: Reign, vassals: Path, open_path: Path
) -> None:
    closed = open_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").mkdir()
    (closed / "bin" / "python").symlink_to(f"{installed}/bin/python")
    command = closed / "bin" / "imperator"
    command.write_text((installed / "bin" / "imperator").read_text())
    command.chmod(0o755)
    site(vassals)
    os.chown(vassals / "site.ini", TENANT, TENANT)
    empire = reign("--emperor-tyrant", binary=command, program=(f"{installed}/bin/imperator",))
    empire.expect(f"site.ini .*uid {TENANT} may not enter {closed}")


def test_it_drops_its_rights_by_itself(as_root: None, installed: Path, reign: Reign, vassals: Path) -> None:
    """No tyrant: the vassal is started as root, and its own file says who it becomes."""
    socket = site(vassals, f"uid = {TENANT}", f"gid = {TENANT}", f"chown-socket = {TENANT}:{TENANT}")
    reign(binary=None, program=(f"{installed}/bin/imperator",))
    expect_answer(socket, f"{TENANT} {TENANT} [{TENANT}]", "/ids")


def test_it_starts_where_its_file_is(reign: Reign, vassals: Path) -> None:
    """The page: "all vassal instances will start from here"."""
    socket = site(vassals)
    reign(binary=None)
    expect_answer(socket, str(vassals), "/cwd")


# -- where it comes from


def test_several_instances_in_one_file(reign: Reign, vassals: Path, open_path: Path) -> None:
    web.write_application(open_path, "it works")

    def write(second: str) -> None:
        sections = [
            f"[app{number}]\nhttp-socket = {open_path}/{number}.sock\nwsgi-file = {open_path}/app.py\n"
            f"env = IS={value}\n"
            for number, value in (("1", "one"), ("2", second))
        ]
        web.renew(vassals / "both.ini", "".join(sections))

    write("two")
    empire = reign("--emperor-sections", binary=None)
    expect_answer(f"{open_path}/1.sock", "one", "/environ/IS")
    expect_answer(f"{open_path}/2.sock", "two", "/environ/IS")
    with clients(f"{open_path}/1.sock") as answers:
        write("two again")
        expect_answer(f"{open_path}/2.sock", "two again", "/environ/IS")
    assert set(answers) == {Answer(200, "it works")}
    assert not empire.log.find(r"both.ini:app1.*(reload|changed)")


def test_a_configuration_of_any_size_that_no_file_holds(reign: Reign, open_path: Path) -> None:
    """It comes through a pipe that holds less than it: ``emperor://site.ini``, at the start and at a reload."""
    source, environment = queue_source(open_path)
    web.write_application(open_path, "it works")
    empire = reign(emperor=f"queue://{source}", binary=None, environment=environment).ready()

    def send(edition: str) -> None:
        many = "\n".join(f"env = FILL{number}={'x' * 200}" for number in range(1000))
        end = f"http-socket = {open_path}/site.sock\nwsgi-file = {open_path}/app.py\nenv = EDITION={edition}"
        assert len(many) > 3 * 65536
        source.write_text(f"site.ini {many}\n{end}")

    send("one")
    expect_answer(f"{open_path}/site.sock", "one", "/environ/EDITION")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    send("two")
    expect_answer(f"{open_path}/site.sock", "two", "/environ/EDITION")
    assert empire.expect_state("site.ini", reloading=False)["pid"] == pid
    source.write_text("end")


@pytest.mark.parametrize(("line", "ask"), [("protocol = http", web.http), ("engine = auto", web.uwsgi)])
def test_on_demand(line: str, ask: web.Ask, reign: Reign, vassals: Path, open_path: Path) -> None:
    """It is started by the first who comes, with the socket that the Emperor has bound, and sleeps when idle."""
    app = web.write_application(open_path, "it works")
    address = f"{open_path}/on-demand.sock"
    (vassals / "site.ini").write_text(f"[uwsgi]\n{line}\nwsgi-file = {app}\nidle = 1\ndie-on-idle = true\n")
    (vassals / "site.ini.socket").write_text(address)
    empire = reign("--emperor-on-demand-extension", ".socket", binary=None).ready()
    empire.expect_state("site.ini", state="asleep")
    for _ in range(2):
        assert ask(address, "/") == Answer(200, "it works")
        empire.expect_state("site.ini", state="asleep")


# -- what it tells


def test_loyalty_is_seen_in_the_status(reign: Reign, vassals: Path) -> None:
    socket = site(vassals)
    empire = reign(binary=None).ready()
    empire.expect_state("site.ini", ready=1, accepting=1)
    assert "accepts requests" in status(empire.pid)
    expect_answer(socket, "it works")
    empire.expect_state("site.ini", loyal=1)
    assert "loyal: has managed requests" in status(empire.pid)


def status(pid: int) -> str:
    command = [*IMPERATOR, "status", "--pid", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE).stdout


@pytest.mark.parametrize("processes", [1, 2])
def test_one_whose_workers_are_all_stuck_is_reloaded(processes: int, reign: Reign, vassals: Path) -> None:
    """No heartbeat for too long: gracefully at first, and by force where a request never ends."""
    required, tolerance = 2, 2
    options = "--emperor-required-heartbeat", str(required), "--emperor-curse-tolerance", str(tolerance)
    empire = reign(*options, binary=None)
    socket = site(vassals, "heartbeat = 1", "reload-mercy = 1", "worker-reload-mercy = 1", f"processes = {processes}")
    expect_answer(socket, "it works")
    empire.expect_state("site.ini", loyal=1)
    stuck = [threading.Thread(target=stick, args=(socket,)) for _ in range(processes)]
    started = time.monotonic()
    for thread in stuck:
        thread.start()
    empire.expect(rf"site.ini .*no heartbeat for {required} s")
    expect_answer(socket, "it works")
    for thread in stuck:
        thread.join()
    assert time.monotonic() - started >= required


def stick(address: web.Address) -> None:
    """A request that no worker survives."""
    with pytest.raises(OSError):
        http(address, "/wait/600")


def test_one_whose_workers_are_busy_one_after_the_other_is_left_alone(reign: Reign, vassals: Path) -> None:
    empire = reign("--emperor-required-heartbeat", "2", binary=None)
    socket = site(vassals, "heartbeat = 1")
    expect_answer(socket, "it works")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    for _ in range(8):
        assert http(socket, "/wait/0.5") == Answer(200, "it works")
    assert not empire.log.find("no heartbeat")
    assert http(socket, "/pid") == Answer(200, str(pid))
