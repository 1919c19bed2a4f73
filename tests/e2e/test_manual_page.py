"""The original's manual page "The uWSGI Emperor", row by row, with its own configuration and Imperator as the vassal.

What the page says, in its order, and the test that has it:

* configuration files are ``.ini``, ``.xml``, ``.yml``, ``.json``, etc.: ``test_every_kind_of_configuration_file``
* ``dir://`` and ``glob://`` are recognised; ``dir://`` is the default: ``test_a_source``
* a new file, a changed one, a removed one: ``test_a_file_comes_changes_and_goes``
* the Emperor dies, a vassal dies: ``test_if_the_emperor_dies_…``, ``test_if_a_vassal_dies_…``
* ``--emperor`` several times: ``test_multiple_sources``
* one skeleton for all Django apps, ``--emperor-nofollow``: ``test_a_skeleton_for_all``
* ``vassal-set``: ``test_vassal_set``
* ``UWSGI_VASSAL_xxx``: ``test_options_in_the_environment``
* ``--vassals-include``, and what ``%n`` is in it: ``test_vassals_include``, ``test_magic_in_an_included_file``
* its relatives, of which the page has the first only: ``test_before_and_after``

Where the page names a place of the file system (``/opt/apps``, ``/tmp``, ``/etc/uwsgi``), a test has one of its own.
The section's name that every ini file needs, and which the page leaves out, is put in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from . import web
from .conftest import Reign
from .empire import expect_nobody
from .stage import PATIENCE, Stage
from .web import Answer, expect_answer, http, uwsgi

UWSGI = Path(sys.executable).with_name("uwsgi")
PROGRAMS = pytest.mark.parametrize("program", [None, UWSGI], ids=["imperator", "uwsgi"])
"""What the page says of the arguments of vassals holds for both."""


@pytest.fixture
def page(open_path: Path) -> Callable[[str], str]:
    """The page's text with the test's own places in it."""
    places = {"/opt/apps": "apps", "/tmp/sockets": "sockets", "/tmp": "sockets", "/etc/uwsgi": "etc"}
    for name in dict.fromkeys(places.values()):
        (open_path / name).mkdir()
    (open_path / "etc/vassals").mkdir()

    def here(text: str) -> str:
        for place, name in places.items():
            text = text.replace(place, f"\0{name}")
        return text.replace("\0", f"{open_path}/")

    return here


@pytest.fixture
def apps(page: Callable[[str], str]) -> Path:
    return Path(page("/opt/apps"))


def touch(file: Path) -> None:
    """``touch --no-dereference``, the page's way to reload."""
    subprocess.run(["touch", "--no-dereference", file], check=True)


# -- the Emperor


KINDS = {
    "site.ini": "[uwsgi]\nhttp-socket = {socket}\nwsgi-file = {app}\nenv = KIND={name}\n",
    "site.xml": "<uwsgi>\n<http-socket>{socket}</http-socket>\n<wsgi-file>{app}</wsgi-file>\n<env>KIND={name}</env>\n"
    "</uwsgi>\n",
    "site.yml": "uwsgi:\n  http-socket: {socket}\n  wsgi-file: {app}\n  env: KIND={name}\n",
    "site.yaml": "uwsgi:\n  http-socket: {socket}\n  wsgi-file: {app}\n  env: KIND={name}\n",
    "site.json": '{{"uwsgi": {{"http-socket": "{socket}", "wsgi-file": "{app}", "env": "KIND={name}"}}}}\n',
    "site.js": '{{"uwsgi": {{"http-socket": "{socket}", "wsgi-file": "{app}", "env": "KIND={name}"}}}}\n',
    "site.toml": '[uwsgi]\nhttp-socket = "{socket}"\nwsgi-file = "{app}"\nenv = "KIND={name}"\n',
}


def write_site(directory: Path, name: str = "site.ini", *more: str) -> str:
    """A configuration, an application beside it, and the path of the socket at which the two are."""
    socket = f"{directory}/{name}.sock"
    app = web.write_application(directory, "it works")
    text = KINDS[f"site{Path(name).suffix}"].format(socket=socket, app=app, name=name)
    web.renew(directory / name, "\n".join([text.rstrip("\n"), *more, ""]))
    return socket


def test_every_kind_of_configuration_file(reign: Reign, vassals: Path) -> None:
    sockets = {name: write_site(vassals, name) for name in KINDS}
    (vassals / "site.skel").write_text("[uwsgi]\nhttp-socket = /nowhere\n")
    empire = reign(binary=None)
    for name, socket in sockets.items():
        expect_answer(socket, name, "/environ/KIND")
    assert empire.vassals_known() == set(KINDS)


@pytest.mark.parametrize("source", ["{}", "dir://{}", "{}/*.ini", "glob://{}/s*.ini", "{}/site.ini"])
def test_a_source(source: str, reign: Reign, vassals: Path) -> None:
    socket = write_site(vassals)
    reign(emperor=source.format(vassals), binary=None)
    expect_answer(socket, "it works")


def test_multiple_sources(reign: Reign, vassals: Path, open_path: Path) -> None:
    homes = [open_path / "home" / user for user in ("alice", "bob")]
    for home in homes:
        home.mkdir(parents=True)
    sockets = [write_site(vassals), *(write_site(home) for home in homes)]
    reign("--emperor", f"{open_path}/home/*/site.ini", binary=None)
    for socket in sockets:
        expect_answer(socket, "it works")


def test_a_file_comes_changes_and_goes(reign: Reign, vassals: Path) -> None:
    empire = reign(binary=None).ready()
    socket = write_site(vassals)
    expect_answer(socket, "it works")
    first = empire.expect_state("site.ini", ready=1, accepting=1, loyal=1)

    web.write_application(vassals, "it works better")
    touch(vassals / "site.ini")
    expect_answer(socket, "it works better")
    assert empire.expect_state("site.ini", reloading=False, accepting=1)["pid"] == first["pid"]

    write_site(vassals, "site.ini", "env = NEW=from the file")
    expect_answer(socket, "from the file", "/environ/NEW")

    (vassals / "site.ini").unlink()
    empire.expect("site.ini .*removed")
    web.expect_nobody_listens(socket)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_if_the_emperor_dies_all_the_vassals_die(
    processes: int, number: int, reign: Reign, vassals: Path, stage: Stage
) -> None:
    socket = write_site(vassals, "site.ini", f"processes = {processes}")
    empire = reign(binary=None)
    expect_answer(socket, "it works")
    empire.stop(number)
    expect_nobody(stage.address)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_if_a_vassal_dies_it_is_respawned(number: int, reign: Reign, vassals: Path) -> None:
    socket = write_site(vassals)
    empire = reign(binary=None)
    expect_answer(socket, "it works")
    pid = empire.expect_state("site.ini", loyal=1)["pid"]
    os.kill(pid, number)
    empire.expect(f"site.ini +was killed by {signal.Signals(number).name}")
    expect_answer(socket, "it works")
    assert empire.vassal("site.ini")["pid"] != pid


# -- special configuration variables


SKELETON = """\
[uwsgi]
chdir = /opt/apps/%n
threads = 20
socket = /tmp/sockets/%n.sock
env = DJANGO_SETTINGS_MODULE=%n.settings
module = django.core.handlers.wsgi:WSGIHandler()
"""
SETTINGS = '''\
"""A Django project in one file: says its name; below /together when 20 have come."""
import os
import threading

from django.http import HttpResponse
from django.urls import path

SECRET_KEY = "none"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = __name__
together = threading.Barrier(20)

def say(request):
    return HttpResponse(f"{__name__} in {os.getcwd()}")

def meet(request):
    together.wait(15)
    return HttpResponse("together")

urlpatterns = [path("", say), path("together", meet)]
'''


@pytest.mark.parametrize("engine", ["auto", "gunicorn"])
def test_a_skeleton_for_all(engine: str, reign: Reign, apps: Path, page: Callable[[str], str]) -> None:
    (apps / "app.skel").write_text(page(SKELETON))
    sockets = {}
    for name in ("app1", "app2"):
        (apps / name / name).mkdir(parents=True)
        (apps / name / name / "settings.py").write_text(SETTINGS)
        (apps / f"{name}.ini").symlink_to(apps / "app.skel")
        sockets[name] = page(f"/tmp/sockets/{name}.sock")
    empire = reign("--emperor-nofollow", "--vassal-set", f"engine={engine}", emperor=apps, binary=None)
    for name, socket in sockets.items():
        expect_answer(socket, f"{name}.settings in {apps / name}", ask=uwsgi)
    assert empire.vassals_known() == {"app1.ini", "app2.ini"}
    assert answers_at_once(20, sockets["app1"], "/together") == [Answer(200, "together")] * 20

    for name in ("app1", "app2"):
        text = SETTINGS.replace("{__name__} in", f"{name} again in")
        (apps / name / name / "settings.py").write_text(text)
    touch(apps / "app1.ini")
    expect_answer(sockets["app1"], f"app1 again in {apps / 'app1'}", ask=uwsgi)
    assert uwsgi(sockets["app2"]) == Answer(200, f"app2.settings in {apps / 'app2'}")


def answers_at_once(count: int, socket: str, path: str) -> list[Answer]:
    """What as many clients are answered that all ask at the same time."""
    answers: list[Answer] = []
    clients = [threading.Thread(target=lambda: answers.append(uwsgi(socket, path))) for _ in range(count)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return answers


# -- passing configuration parameters to all vassals


EMPEROR = """\
[uwsgi]
emperor = /etc/uwsgi/vassals
vassal-set = processes=8
vassal-set = enable-metrics=1
"""
ASKS_UWSGI = """\
import uwsgi
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"%d processes, metrics: %s" % (uwsgi.numproc, uwsgi.opt["enable-metrics"])]
"""


@PROGRAMS
def test_vassal_set(program: Path | None, reign: Reign, page: Callable[[str], str]) -> None:
    """Metrics are something that only uWSGI has, so that is what the vassal becomes.

    A uWSGI that is told to stop while its eight workers are still starting waits for ever: this one is, by its test.
    """
    file = Path(page("/etc/uwsgi/emperor.ini"))
    file.write_text(page(EMPEROR))
    vassals = Path(page("/etc/uwsgi/vassals"))
    socket = write_site(vassals)
    (vassals / "app.py").write_text(ASKS_UWSGI)
    reign(file, "--reload-mercy", "2", emperor=None, binary=program)
    expect_answer(socket, "8 processes, metrics: 1")


def test_vassal_set_in_our_own_processes(reign: Reign, page: Callable[[str], str]) -> None:
    file = Path(page("/etc/uwsgi/emperor.ini"))
    file.write_text(page(EMPEROR).replace("vassal-set = enable-metrics=1\n", ""))
    socket = write_site(Path(page("/etc/uwsgi/vassals")))
    empire = reign(file, emperor=None, binary=None)
    expect_answer(socket, "it works")
    pid = empire.vassal("site.ini")["pid"]
    children = Path(f"/proc/{pid}/task/{pid}/children")
    deadline = time.monotonic() + PATIENCE
    while len(children.read_text().split()) != 8:
        assert time.monotonic() < deadline, children.read_text()
        time.sleep(0.02)
    assert int(http(socket, "/pid").body) in map(int, children.read_text().split())


@PROGRAMS
def test_options_in_the_environment(program: Path | None, reign: Reign, apps: Path, page: Callable[[str], str]) -> None:
    """The page's own line: ``UWSGI_VASSAL_SOCKET=/tmp/%n.sock uwsgi --emperor /opt/apps``."""
    for name in ("one", "two"):
        web.write_application(apps, name, f"{name}.py")
        (apps / f"{name}.ini").write_text(f"[uwsgi]\nwsgi-file = {name}.py\n")
    reign(emperor=apps, binary=program, environment={"UWSGI_VASSAL_SOCKET": page("/tmp/%n.sock")})
    for name in ("one", "two"):
        expect_answer(page(f"/tmp/{name}.sock"), name, ask=uwsgi)


@PROGRAMS
def test_vassals_include(program: Path | None, reign: Reign, apps: Path, page: Callable[[str], str]) -> None:
    """The placeholder that the page recommends."""
    default = Path(page("/etc/uwsgi/vassals-default.ini"))
    default.write_text(page("[uwsgi]\nsocket = /tmp/sockets/%(vassal_name).sock\n"))
    for name in ("one", "two"):
        web.write_application(apps, name, f"{name}.py")
        (apps / f"{name}.ini").write_text(f"[uwsgi]\nvassal_name = %n\nwsgi-file = {name}.py\n")
    reign("--vassals-include", default, emperor=apps, binary=program)
    for name in ("one", "two"):
        expect_answer(page(f"/tmp/sockets/{name}.sock"), name, ask=uwsgi)


@PROGRAMS
def test_magic_in_an_included_file(program: Path | None, reign: Reign, apps: Path, page: Callable[[str], str]) -> None:
    """``%n`` is the name of the included file there."""
    default = Path(page("/etc/uwsgi/vassals-default.ini"))
    default.write_text(page("[uwsgi]\nhttp-socket = /tmp/sockets/%n.sock\n"))
    web.write_application(apps, "it works")
    (apps / "one.ini").write_text("[uwsgi]\nwsgi-file = app.py\n")
    reign("--vassals-include", default, emperor=apps, binary=program)
    expect_answer(page("/tmp/sockets/vassals-default.sock"), "it works")


@PROGRAMS
@pytest.mark.parametrize(
    ("option", "wins"),
    [
        ("--vassals-include-before", "own"),
        ("--vassals-inherit-before", "common"),
        ("--vassals-include", "common"),
        ("--vassals-inherit", "common"),
    ],
)
def test_before_and_after(
    option: str, wins: str, program: Path | None, reign: Reign, apps: Path, page: Callable[[str], str]
) -> None:
    """What comes last wins: what is included before the own file does not; what is inherited always comes last."""
    for name in ("own", "common"):
        (apps / name).mkdir()
    web.write_application(apps, "it works")
    common = Path(page("/etc/uwsgi/common.ini"))
    common.write_text(f"[uwsgi]\nchdir = {apps}/common\nhttp-socket = {apps}/one.sock\n")
    (apps / "one.ini").write_text(f"[uwsgi]\nchdir = {apps}/own\nwsgi-file = {apps}/app.py\n")
    reign(option, common, emperor=apps, binary=program)
    expect_answer(f"{apps}/one.sock", str(apps / wins), "/cwd")
