"""Files served before the application is asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from imperator.instance.application import Application
from imperator.instance.blame import CannotLoad
from imperator.instance.mounts import Message, Receive, Scope, Send
from imperator.instance.static_files import _is_inside, content_type, with_static

MODIFIED = 1_700_000_000
STYLE = b"body { color: red }\n"


class Reply:
    """What a client gets."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status[:3])
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def by_application(self) -> bool:
        return self.body.startswith(b"application:")


Ask = Callable[..., Reply]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """``static/`` with files and links, and neighbours that are none of its business."""
    static = tmp_path / "static"
    (static / "sub").mkdir(parents=True)
    (static / "style.css").write_bytes(STYLE)
    (static / "sub" / "index.html").write_text("<p>sub</p>")
    (static / "naïve.txt").write_text("naïve")
    (static / "empty").write_text("")
    (static / "inside.css").symlink_to("style.css")
    (tmp_path / "secret.txt").write_text("secret")
    (static / "leak.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "static-private").mkdir()
    (tmp_path / "static-private" / "key.txt").write_text("key")
    (static / "private").symlink_to(tmp_path / "static-private")
    os.mkfifo(static / "pipe")
    os.utime(static / "style.css", (MODIFIED, MODIFIED))
    return tmp_path


def over_wsgi(static_map: list[tuple[str, str]], check_static: list[str]) -> Ask:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("404 Not Found", [])
        return [f"application: {environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]

    site = with_static(Application(application, "wsgi", "app.ini:1", "", "hello"), static_map, check_static).callable

    def ask(path: str, method: str = "GET", **headers: str) -> Reply:
        environ = {"REQUEST_METHOD": method, "PATH_INFO": path.encode().decode("latin-1")}
        environ |= {f"HTTP_{name.upper()}": value for name, value in headers.items()}
        started: list[tuple[str, list[tuple[str, str]]]] = []
        body = site(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
        text = b"".join(body)
        if hasattr(body, "close"):
            body.close()
        return Reply(*started[0], text)

    return ask


def over_asgi(static_map: list[tuple[str, str]], check_static: list[str]) -> Ask:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": []})
        text = f"application: {scope['method']} {scope['path']}"
        await send({"type": "http.response.body", "body": text.encode()})

    site = with_static(Application(application, "asgi", "app.ini:1", "", "hello"), static_map, check_static).callable

    def ask(path: str, method: str = "GET", **headers: str) -> Reply:
        given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": "/mount" + path, "root_path": "/mount", "headers": given}
        sent: list[Message] = []

        async def receive() -> Message:
            raise AssertionError("a file needs no body of the request")

        async def send(message: Message) -> None:
            sent.append(message)

        asyncio.run(site(scope, receive, send))
        assert not sent[-1].get("more_body")
        headers_sent = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        return Reply(str(sent[0]["status"]), headers_sent, b"".join(message["body"] for message in sent[1:]))

    return ask


@pytest.fixture(params=[over_wsgi, over_asgi], ids=["wsgi", "asgi"])
def over(request: pytest.FixtureRequest) -> Callable[[list[tuple[str, str]], list[str]], Ask]:
    made: Callable[[list[tuple[str, str]], list[str]], Ask] = request.param
    return made


@pytest.fixture
def ask(over: Callable[[list[tuple[str, str]], list[str]], Ask], files: Path) -> Ask:
    """A site with ``static-map = /s=static``."""
    return over([("/s", str(files / "static"))], [])


@pytest.fixture(autouse=True)
def no_descriptor_is_left_open() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


class TestAFile:
    def test_is_served(self, ask: Ask) -> None:
        reply = ask("/s/style.css")
        assert (reply.status, reply.body) == (200, STYLE)
        assert reply.headers["content-type"] == "text/css"
        assert reply.headers["content-length"] == str(len(STYLE))
        assert reply.headers["last-modified"] == formatdate(MODIFIED, usegmt=True)
        assert reply.headers["accept-ranges"] == "bytes"

    def test_of_any_size(self, ask: Ask, files: Path) -> None:
        big = os.urandom(1_000_000)
        (files / "static" / "big.bin").write_bytes(big)
        assert ask("/s/big.bin").body == big
        assert ask("/s/empty").status == 200

    def test_in_a_directory_below(self, ask: Ask) -> None:
        assert ask("/s/sub/index.html").headers["content-type"] == "text/html"

    def test_with_a_name_that_is_not_ascii(self, ask: Ask) -> None:
        assert ask("/s/naïve.txt").body.decode() == "naïve"

    def test_head_has_no_body(self, ask: Ask) -> None:
        reply = ask("/s/style.css", "HEAD")
        assert (reply.status, reply.body, reply.headers["content-length"]) == (200, b"", str(len(STYLE)))

    def test_through_a_link_that_stays_inside(self, ask: Ask) -> None:
        assert ask("/s/inside.css").body == STYLE

    def test_that_becomes_shorter_while_it_is_sent_ends_the_body(self, files: Path) -> None:
        (files / "static" / "log").write_bytes(b"x" * 300_000)

        def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            raise AssertionError

        site = with_static(Application(application, "wsgi", "", "", ""), [("/s", str(files / "static"))], []).callable
        body = iter(site({"REQUEST_METHOD": "GET", "PATH_INFO": "/s/log"}, lambda status, headers: None))
        first = next(body)
        os.truncate(files / "static" / "log", 0)
        assert b"".join([first, *body]) == first


class TestFallsThroughToTheApplication:
    @pytest.mark.parametrize(
        "path", ["/", "/s", "/s/", "/s/gone.css", "/s/sub", "/s/style.css/x", "/s/pipe", "/s/a\0b"]
    )
    def test_where_there_is_no_file(self, ask: Ask, path: str) -> None:
        assert ask(path).by_application

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
    def test_with_another_method(self, ask: Ask, method: str) -> None:
        assert ask("/s/style.css", method).body == f"application: {method} ".encode() + ask_path(ask)

    def test_with_a_name_that_is_too_long(self, ask: Ask) -> None:
        assert ask("/s/" + "x" * 300).by_application

    @pytest.mark.parametrize("path", ["/s/leak.txt", "/s/private/key.txt", "/s/../secret.txt", "/s../secret.txt"])
    def test_what_leads_out_of_the_directory(self, ask: Ask, path: str, capfd: pytest.CaptureFixture[str]) -> None:
        assert ask(path).by_application
        told = capfd.readouterr().err
        assert told.startswith("static file not served: ")
        assert ", outside " in told

    def test_an_absolute_path(self, ask: Ask, files: Path) -> None:
        assert ask(f"/s/{files}/secret.txt").by_application
        assert ask(f"/s//{files}/secret.txt").by_application


def ask_path(ask: Ask) -> bytes:
    """The path as the application sees it."""
    return ask("/s/style.css", "PATCH").body.removeprefix(b"application: PATCH ")


class TestConditions:
    def test_not_modified_since(self, ask: Ask) -> None:
        reply = ask("/s/style.css", if_modified_since=formatdate(MODIFIED, usegmt=True))
        assert (reply.status, reply.body) == (304, b"")
        assert "content-length" not in reply.headers

    def test_modified_since(self, ask: Ask) -> None:
        assert ask("/s/style.css", if_modified_since=formatdate(MODIFIED - 1, usegmt=True)).status == 200

    def test_a_date_that_is_none(self, ask: Ask) -> None:
        assert ask("/s/style.css", if_modified_since="yesterday").status == 200

    def test_the_tag_comes_before_the_date(self, ask: Ask) -> None:
        tag = ask("/s/style.css").headers["etag"]
        assert ask("/s/style.css", if_none_match=f'"other", W/{tag}').status == 304
        assert ask("/s/style.css", if_none_match="*").status == 304
        later = formatdate(MODIFIED, usegmt=True)
        assert ask("/s/style.css", if_none_match='"other"', if_modified_since=later).status == 200

    def test_an_edit_within_the_same_second_changes_the_tag(self, ask: Ask, files: Path) -> None:
        tag = ask("/s/style.css").headers["etag"]
        os.utime(files / "static" / "style.css", ns=(MODIFIED * 10**9 + 1, MODIFIED * 10**9 + 1))
        assert ask("/s/style.css", if_none_match=tag).status == 200


class TestRanges:
    @pytest.mark.parametrize(
        ("header", "start", "end"),
        [("bytes=0-3", 0, 3), ("bytes=5-", 5, 19), ("bytes=-4", 16, 19), ("bytes=10-999", 10, 19)],
    )
    def test_a_part(self, ask: Ask, header: str, start: int, end: int) -> None:
        reply = ask("/s/style.css", range=header)
        assert (reply.status, reply.body) == (206, STYLE[start : end + 1])
        assert reply.headers["content-range"] == f"bytes {start}-{end}/20"
        assert reply.headers["content-length"] == str(end - start + 1)

    @pytest.mark.parametrize("header", ["bytes=20-", "bytes=-0"])
    def test_a_part_that_is_not_there(self, ask: Ask, header: str) -> None:
        reply = ask("/s/style.css", range=header)
        assert (reply.status, reply.headers["content-range"]) == (416, "bytes */20")

    @pytest.mark.parametrize("header", ["bytes=0-1,3-4", "lines=1-2", "bytes=4-2", "bytes=a-b", "bytes=-", "bytes"])
    def test_what_is_not_understood_is_ignored(self, ask: Ask, header: str) -> None:
        assert ask("/s/style.css", range=header).status == 200

    def test_only_if_it_is_still_the_same_file(self, ask: Ask) -> None:
        assert ask("/s/style.css", range="bytes=0-3", if_range=formatdate(MODIFIED, usegmt=True)).status == 206
        assert ask("/s/style.css", range="bytes=0-3", if_range='"old"').status == 200

    def test_not_for_head(self, ask: Ask) -> None:
        assert ask("/s/style.css", "HEAD", range="bytes=0-3").status == 200


class TestPlaces:
    def test_check_static_comes_before_the_maps(
        self, over: Callable[[list[tuple[str, str]], list[str]], Ask], files: Path
    ) -> None:
        (files / "other").mkdir()
        (files / "other" / "style.css").write_text("other")
        ask = over([("/", str(files / "other"))], [str(files / "static")])
        assert ask("/style.css").body == STYLE
        (files / "other" / "more.css").write_text("more")
        assert ask("/more.css").body == b"more"

    def test_one_file_can_be_mapped(self, over: Callable[[list[tuple[str, str]], list[str]], Ask], files: Path) -> None:
        ask = over([("/favicon.ico", str(files / "static" / "style.css"))], [])
        assert ask("/favicon.ico").body == STYLE
        assert ask("/other").by_application

    def test_a_directory_may_appear_later_and_be_a_link_that_changes(
        self, over: Callable[[list[tuple[str, str]], list[str]], Ask], files: Path
    ) -> None:
        ask = over([("/s", str(files / "current"))], [])
        assert ask("/s/style.css").by_application
        (files / "current").symlink_to("static")
        assert ask("/s/style.css").body == STYLE
        (files / "release").mkdir()
        (files / "release" / "style.css").write_text("new")
        (files / "next").symlink_to("release")
        (files / "next").rename(files / "current")
        assert ask("/s/style.css").body == b"new"

    def test_a_prefix_is_a_prefix_of_the_text(
        self, over: Callable[[list[tuple[str, str]], list[str]], Ask], files: Path
    ) -> None:
        ask = over([("/static/", str(files / "static")), ("/x", str(files / "static"))], [])
        assert ask("/static/style.css").body == STYLE
        assert ask("/xstyle.css").body == STYLE

    def test_none_leave_the_application_as_it_is(self) -> None:
        application = Application(print, "wsgi", "", "", "")
        assert with_static(application, [], []) is application

    def test_rsgi_is_refused(self) -> None:
        with pytest.raises(CannotLoad, match=r"app\.ini:1: static-map and check-static serve files for WSGI and ASGI"):
            with_static(Application(print, "rsgi", "app.ini:1", "", "hello"), [("/s", "/srv")], [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.html", "text/html"),
        ("a.js", "text/javascript"),
        ("a.svg", "image/svg+xml"),
        ("a.json", "application/json"),
        ("a.tar.gz", "application/gzip"),
        ("a.css.br", "application/octet-stream"),
        ("README", "application/octet-stream"),
    ],
)
def test_the_content_type_goes_by_the_name(name: str, expected: str) -> None:
    assert content_type(f"/srv/{name}".encode()) == expected


def test_without_proc_a_file_is_inside_by_its_name(files: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a jail without /proc a descriptor tells no path (here: because there is no such descriptor)."""

    def inside(name: str) -> bool:
        path = os.fsencode(files / "static" / name)
        return _is_inside(-1, path, os.fsencode(files / "static"), os.stat(path))

    assert inside("style.css")
    assert inside("inside.css")
    assert not inside("leak.txt")
    assert not inside("private/key.txt")
    other = os.stat(files / "secret.txt")
    assert not _is_inside(-1, os.fsencode(files / "static" / "style.css"), os.fsencode(files / "static"), other)
    assert capfd.readouterr().err.count("static file not served: ") == 2


def test_a_websocket_goes_to_the_application(files: Path) -> None:
    seen: list[str] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["type"])

    async def nothing(*_: object) -> Any:
        raise AssertionError

    site = with_static(Application(application, "asgi", "", "", ""), [("/", str(files))], [])
    asyncio.run(site.callable({"type": "websocket", "path": "/secret.txt"}, nothing, nothing))
    assert seen == ["websocket"]
