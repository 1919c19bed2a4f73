"""How an instance finds its Python application, and what surrounds it: module, file, mounts, virtual environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .solo import ACCEPTS, Start, get

ANY = """
import os, sys
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(eval(environ["QUERY_STRING"].replace("%20", " "))).encode()]
other = application
"""
ASGI = """
async def {name}(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"asgi"})
"""
RSGI = """
async def {name}(scope, protocol):
    protocol.response_str(200, [], "rsgi")
"""


def line(port: int) -> str:
    return f"http-socket = 127.0.0.1:{port}"


@pytest.mark.parametrize(
    "lines",
    [
        ("module = app",),
        ("module = app:other",),
        ("wsgi = app:other",),
        ("module = app", "callable = other"),
        ("wsgi-file = app.py",),
        ("file = app.py", "callable = other"),
        ("mount = /=app.py", "callable = other"),
    ],
    ids=" ".join,
)
def test_a_wsgi_application(start: Start, port: int, lines: tuple[str, ...]) -> None:
    start(line(port), *lines, app=ANY).expect(ACCEPTS.replace("application", r"(application|other)"))
    assert get(port, "/?1+1") == "2"


@pytest.mark.parametrize(
    ("lines", "app", "answer"),
    [
        (("asgi = app:application",), ASGI, "asgi"),
        (("module = app", "interface = asgi"), ASGI, "asgi"),
        (("wsgi-file = app.py",), ASGI, "asgi"),
        (("module = app:made",), ASGI, "asgi"),
        (("rsgi = app",), RSGI, "rsgi"),
        (("module = app", "interface = rsgi"), RSGI, "rsgi"),
        (("wsgi-file = app.py",), RSGI, "rsgi"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_other_interfaces_said_and_guessed(
    start: Start, port: int, lines: tuple[str, ...], app: str, answer: str
) -> None:
    name = "made" if "made" in lines[0] else "application"
    start(line(port), *lines, app=app.replace("{name}", name)).expect(f"app:{name}: {answer}: ")
    assert get(port) == answer


def test_an_interface_that_it_does_not_speak(start: Start, port: int) -> None:
    app = ASGI.replace("{name}", "application")
    instance = start(line(port), "module = app", "interface = rsgi", "need-app = true", app=app)
    instance.expect("site.ini:3: module = app: configured as RSGI, but application is ASGI")
    assert instance.wait() == 22


MOUNTED = """
def application(environ, start_response):
    start_response("200 OK", [])
    return [f"{__name__} {environ['SCRIPT_NAME']!r} {environ['PATH_INFO']!r}".encode()]
"""


@pytest.mark.parametrize("manage", [True, False])
def test_mounts(start: Start, port: int, open_path: Path, manage: bool) -> None:
    (open_path / "shop.py").write_text(MOUNTED)
    (open_path / "forum.py").write_text(MOUNTED)
    flag = ("manage-script-name = true",) if manage else ()
    start(line(port), "mount = /shop=shop.py", "mount = /forum=forum:application", *flag).expect("2 applications under")
    script, path = ("'/shop'", "'/cart'") if manage else ("''", "'/shop/cart'")
    assert get(port, "/shop/cart") == f"uwsgi_file_shop {script} {path}"
    # Without it the web server would have to say SCRIPT_NAME; where nobody does, the first one answers.
    assert get(port, "/forum/").startswith("forum " if manage else "uwsgi_file_shop ")


def test_a_package_of_a_virtual_environment_elsewhere(start: Start, port: int, open_path: Path) -> None:
    venv = open_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    [packages] = venv.glob("lib/python*/site-packages")
    (packages / "only_there.py").write_text("secret = 42\n")
    app = "import only_there\n" + ANY
    start(line(port), "module = app", f"virtualenv = {venv}", app=app).expect(ACCEPTS)
    assert get(port, "/?sys.modules['only_there'].secret") == "42"
    assert get(port, "/?sys.prefix") == repr(str(venv))


def test_pythonpath_env_chdir_import(start: Start, port: int, open_path: Path) -> None:
    (open_path / "lib").mkdir()
    (open_path / "elsewhere").mkdir()
    (open_path / "lib" / "helper.py").write_text("import os\nos.environ['IMPORTED'] = 'before'\n")
    app = "import os\nassert os.environ['IMPORTED'] == 'before'\n" + ANY
    start(
        line(port),
        f"wsgi-file = {open_path}/app.py",
        f"pythonpath = {open_path}/lib",
        "import = helper",
        "env = GREETING=ave Caesar",
        f"chdir = {open_path}/elsewhere",
        app=app,
    ).expect(ACCEPTS)
    assert get(port, "/?os.environ['GREETING']") == "'ave Caesar'"
    assert get(port, "/?os.getcwd()") == repr(f"{open_path}/elsewhere")
    assert get(port, "/?sys.modules['helper'].__file__") == repr(f"{open_path}/lib/helper.py")


@pytest.mark.parametrize("lazy", [True, False])
def test_lazy_apps_are_loaded_in_each_worker(start: Start, port: int, lazy: bool) -> None:
    app = "import os\nloaded_by = os.getpid()\n" + ANY
    flag = ("lazy-apps = true",) if lazy else ()
    instance = start(line(port), "module = app", "processes = 2", *flag, app=app)
    instance.expect("worker 2: pid")
    loader, server = eval(get(port, "/?loaded_by,os.getpid()"))
    assert (loader == server) is lazy
    assert (loader == instance.pid) is not lazy


def test_files_of_a_directory(start: Start, port: int, open_path: Path) -> None:
    (open_path / "static").mkdir()
    (open_path / "static" / "a.txt").write_text("a file")
    start(line(port), "module = app", f"static-map = /files={open_path}/static").expect(ACCEPTS)
    assert get(port, "/files/a.txt") == "a file"
    assert get(port, "/files/../app.py") == "one"
    assert get(port) == "one"


@pytest.mark.parametrize(
    "option",
    [
        "enable-threads = true",
        "single-interpreter = true",
        "die-on-term = true",
        "master = true",
        "no-orphans = true",
        "post-buffering = 8192",
        "buffer-size = 32768",
        "plugin = python3",
        "plugins = python,http",
        "strict = true",
        "thunder-lock = true",
        "need-app = true",
    ],
)
def test_what_real_files_say_besides(start: Start, port: int, option: str) -> None:
    """It is either so here anyway, or handed to the engine that has it; the application is served in any case."""
    instance = start(line(port), "wsgi-file = app.py", option)
    instance.expect("engine (granian|uwsgi)")
    assert get_patiently(port) == "one"
    instance.end()


def get_patiently(port: int) -> str:
    import time

    from .stage import PATIENCE

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return get(port)
        except ConnectionRefusedError:  # not listening yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def test_a_head_as_large_as_buffer_size_allows(start: Start, port: int) -> None:
    import http.client

    start(line(port), "module = app", "buffer-size = 200000").expect(ACCEPTS)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/", headers={"X-Long": "x" * 150_000, "Connection": "close"})
    assert connection.getresponse().read() == b"one"
    connection.close()


def test_an_option_that_only_uwsgi_has_is_handed_to_it(start: Start, port: int) -> None:
    instance = start(line(port), "wsgi-file = app.py", "cache2 = name=a,items=10")
    instance.expect(r"engine uwsgi: only uWSGI knows cache2 \(.*site.ini:4\)")
    assert get_patiently(port) == "one"


def test_an_option_that_the_named_engine_has_not_is_refused_by_name(start: Start, port: int) -> None:
    instance = start(line(port), "module = app", "engine = granian", "cache2 = name=a,items=10")
    instance.expect(r"granian cannot do this: cache2 is known to uWSGI only \(.*site.ini:5\)")
    assert instance.wait() == 1


def test_what_is_no_option_is_named(start: Start, port: int) -> None:
    instance = start(line(port), "module = app", "procesess = 4")
    instance.expect("site.ini:4: procesess is no option.*did you mean processes")
    instance.expect(ACCEPTS)
    assert get(port) == "one"
