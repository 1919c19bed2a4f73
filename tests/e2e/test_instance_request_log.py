"""The request log, and where it goes: ``log-format``, ``logto`` and what belongs to them."""

from __future__ import annotations

import http.client
import os
import re
import stat
import time
from pathlib import Path

import pytest

from .solo import ACCEPTS, Start, get
from .stage import PATIENCE

LINE = re.compile(
    r"\[pid: (\d+)\|app: 0\|req: \d+/\d+\] 127\.0\.0\.1 \(\) \{\d+ vars in \d+ bytes\} "
    r"\[\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\] GET /a%20b\?x=1 => generated 3 bytes in \d+ msecs "
    r"\(HTTP/1\.1 200\) \d headers in \d+ bytes \(1 switches on core 0\)"
)
ASGI = """
async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"one"})
"""
RSGI = """
class Application:
    async def __rsgi__(self, scope, protocol):
        protocol.response_str(200, [], "one")
application = Application()
"""
GENERATOR = """
def application(environ, start_response):
    start_response("200 OK", [("X-One", "1")])
    yield b"o"
    yield b"ne"
"""


def ask(port: int, path: str = "/", **headers: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(
        "GET", path, headers={"Connection": "close", **{k.replace("_", "-"): headers[k] for k in headers}}
    )
    try:
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def await_text(path: Path, pattern: str) -> str:
    """The file's text when it has the pattern."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if path.exists() and re.search(pattern, text := path.read_text()):
            return text
        time.sleep(0.01)
    raise AssertionError(f"{path} has no {pattern!r}: {path.read_text() if path.exists() else 'it is not there'}")


@pytest.mark.parametrize("app", [None, GENERATOR, ASGI, RSGI], ids=["wsgi", "generator", "asgi", "rsgi"])
def test_a_line_like_the_originals(start: Start, port: int, app: str | None) -> None:
    more = {} if app is None else {"app": app}
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", **more)  # type: ignore[arg-type]
    instance.expect("app:application: ")
    assert get(port, "/a%20b?x=1") == "one"
    assert instance.log.expect(LINE.pattern)[1] == str(instance.pid)


def test_a_format_of_ones_own(start: Start, port: int) -> None:
    instance = start(
        f"http-socket = 127.0.0.1:{port}",
        "module = app",
        "log-format = <%(method) %(uri) %(status) %(rsize) %(cl) %(var.HTTP_X_ONE) %(user) %(wid)> 100%% %(nix)",
    )
    instance.expect(r"log-format: there is no %\(nix\) here: it is always -")
    instance.expect(ACCEPTS)
    ask(port, "/?q", X_One="1")
    instance.expect(r"^<GET /\?q 200 3 0 1 - 1> 100% -$")


def test_no_client_writes_lines_of_its_own(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "log-format = <%(uri)>")
    instance.expect(ACCEPTS)
    ask(port, "/%0aforged%1b")
    instance.expect("^</%0Aforged%1B>$")


def test_requests_one_upon_the_other_have_all_their_lines_though_no_other_follows(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "log-format = <%(uri)>")
    instance.expect(ACCEPTS)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for number in range(200):
        connection.request("GET", f"/{number}")
        assert connection.getresponse().read() == b"one"
    connection.close()
    for number in range(200):
        instance.expect(f"^</{number}>$")


def test_the_last_requests_before_a_stop_have_their_lines(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "log-format = <%(uri)>")
    instance.expect(ACCEPTS)
    for number in range(20):
        get(port, f"/{number}")
    assert instance.end() == 0
    for number in range(20):
        instance.expect(f"^</{number}>$")


def test_the_client_that_a_proxy_names(start: Start, port: int) -> None:
    lines = "log-format = from %(addr)", "log-x-forwarded-for = true"
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", *lines)
    instance.expect(ACCEPTS)
    ask(port, X_Forwarded_For="192.0.2.1")
    instance.expect("^from 192.0.2.1$")
    ask(port)
    instance.expect("^from 127.0.0.1$")


def test_no_line_with_disable_logging(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "disable-logging = true")
    instance.expect(ACCEPTS)
    get(port)
    instance.end()
    assert not instance.log.find("GET /")


def test_the_format_of_the_time(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "log-date = year %%Y")
    instance.expect(rf"^year {time.strftime('%Y')} - .*{ACCEPTS}")


def test_a_log_file_with_its_mode_rotated_by_its_size(start: Start, port: int, open_path: Path) -> None:
    log, backup = open_path / "app.log", open_path / "old.log"
    instance = start(
        f"http-socket = 127.0.0.1:{port}",
        "module = app",
        f"logto = {log}",
        "logfile-chmod = 604",
        "log-maxsize = 2000",
        f"log-backupname = {backup}",
    )
    await_text(log, ACCEPTS)
    assert stat.S_IMODE(log.stat().st_mode) == 0o604
    deadline = time.monotonic() + PATIENCE
    while not backup.exists():
        assert time.monotonic() < deadline
        assert get(port) == "one"
    assert "GET / =>" in await_text(backup, "rotating it to")
    get(port, "/after")
    await_text(log, "GET /after =>")
    assert instance.end() == 0


def test_a_log_after_the_rights_were_dropped(as_root: None, start: Start, port: int, open_path: Path) -> None:
    open_path.chmod(0o777)
    first, second = open_path / "first.log", open_path / "second.log"
    start(
        f"http-socket = 127.0.0.1:{port}",
        "module = app",
        "uid = nobody",
        f"logto = {first}",
        "logfile-chown = true",
        f"logto2 = {second}",
    )
    await_text(second, ACCEPTS)
    assert first.stat().st_uid == second.stat().st_uid == os.stat(second).st_uid != 0
    get(port)
    await_text(second, "GET / =>")


def test_what_the_application_prints_is_there_at_once(start: Start, port: int) -> None:
    app = "def application(e, s):\n    print('to stdout')\n    s('200 OK', [])\n    return [b'one']\n"
    instance = start(
        f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", app=app, environment={"PYTHONUNBUFFERED": ""}
    )
    instance.expect("app:application: ")
    assert get(port) == "one"
    instance.expect("^to stdout$")
