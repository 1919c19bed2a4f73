"""Several applications under paths."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from imperator.config.instance_settings import Interface
from imperator.instance.application import Application
from imperator.instance.blame import CannotLoad
from imperator.instance.mounts import AsgiApplication, Message, Receive, Scope, Send, combine, longest


def wsgi(name: str) -> Callable[..., Iterable[bytes]]:
    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return [f"{name} {environ.get('SCRIPT_NAME')!r} {environ['PATH_INFO']!r}".encode()]

    return application


def asgi(name: str, seen: list[str]) -> AsgiApplication:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for word in ("startup", "shutdown"):
                await receive()
                seen.append(f"{name} {word}")
                await send({"type": f"lifespan.{word}.complete"})
            return
        seen.append(f"{name} {scope.get('root_path')!r} {scope['path']!r}")

    return application


def app(
    callable: Callable[..., Any], path: str = "", interface: Interface = "wsgi", where: str = "app.ini:1"
) -> Application:
    return Application(callable, interface, where, "", f"name{path.replace('/', '_')}", path)


def get(application: Application, path: str, script_name: str = "") -> str:
    environ = {"PATH_INFO": path, "SCRIPT_NAME": script_name}
    (body,) = application.callable(environ, lambda status, headers: None)
    return str(body.decode())


class TestManagedScriptName:
    site = combine([app(wsgi("main")), app(wsgi("a"), "/a"), app(wsgi("deep"), "/a/deep"), app(wsgi("t"), "/t/")], True)

    @pytest.mark.parametrize(
        ("path", "answered"),
        [
            ("/", "main '' '/'"),
            ("/other", "main '' '/other'"),
            ("/a", "a '/a' ''"),
            ("/a/", "a '/a' '/'"),
            ("/a/x", "a '/a' '/x'"),
            ("/ab", "main '' '/ab'"),
            ("/a/deep/x", "deep '/a/deep' '/x'"),
            ("/a/deeper", "a '/a' '/deeper'"),
            ("/t/y", "t '/t' '/y'"),
        ],
    )
    def test_the_longest_mount_above_the_path_answers(self, path: str, answered: str) -> None:
        assert get(self.site, path) == answered

    def test_without_a_module_what_is_mounted_at_the_root_is_the_default(self) -> None:
        site = combine([app(wsgi("a"), "/a"), app(wsgi("root"), "/")], True)
        assert get(site, "/other") == "root '' '/other'"

    def test_without_either_the_first_mount_is_and_sees_the_whole_path(self) -> None:
        site = combine([app(wsgi("a"), "/a"), app(wsgi("b"), "/b")], True)
        assert get(site, "/other") == "a '' '/other'"
        assert get(site, "/b/x") == "b '/b' '/x'"

    def test_one_mounted_application_alone(self) -> None:
        site = combine([app(wsgi("a"), "/a")], True)
        assert get(site, "/a/x") == "a '/a' '/x'"


class TestScriptNameOfTheWebServer:
    site = combine([app(wsgi("main")), app(wsgi("a"), "/a")], False)

    def test_names_the_mount(self) -> None:
        assert get(self.site, "/x", "/a") == "a '/a' '/x'"

    def test_without_one_the_default_answers_and_the_path_stays(self) -> None:
        assert get(self.site, "/a/x") == "main '' '/a/x'"


class TestCombining:
    def test_one_application_is_left_as_it_is(self) -> None:
        one = app(wsgi("main"))
        assert combine([one], True) is one

    def test_two_interfaces_do_not_go_together(self) -> None:
        with pytest.raises(CannotLoad) as caught:
            combine([app(wsgi("a"), "/a"), app(asgi("b", []), "/b", "asgi", "app.ini:2")], True)
        assert caught.value.line == (
            "app.ini:2: name_b is ASGI and name_a (app.ini:1) is WSGI: one instance speaks one interface; "
            "make them two vassals"
        )

    def test_rsgi_has_no_mounts(self) -> None:
        with pytest.raises(CannotLoad, match="an RSGI application cannot be mounted"):
            combine([app(wsgi("a"), "/a", "rsgi")], True)

    def test_the_longest_mount(self) -> None:
        assert longest(["/a", "/a/b"], "/a/b/c") == "/a/b"
        assert longest(["/a"], "/b") is None


def call(application: Application, scope: Scope, messages: Iterable[str] = ()) -> list[Message]:
    """Run an ASGI application until it ends."""
    sent: list[Message] = []

    async def run() -> None:
        queue: asyncio.Queue[Message] = asyncio.Queue()
        for message in messages:
            queue.put_nowait({"type": message})

        async def send(message: Message) -> None:
            sent.append(message)

        await application.callable(scope, queue.get, send)

    asyncio.run(run())
    return sent


LIFESPAN = ("lifespan.startup", "lifespan.shutdown")


class TestAsgi:
    def test_the_mount_is_added_to_the_root_path_and_the_path_stays(self) -> None:
        seen: list[str] = []
        site = combine([app(asgi("main", seen), "", "asgi"), app(asgi("a", seen), "/a", "asgi")], True)
        call(site, {"type": "http", "path": "/a/x", "root_path": ""})
        call(site, {"type": "http", "path": "/outer/a/x", "root_path": "/outer"})
        call(site, {"type": "websocket", "path": "/x"})
        assert seen == ["a '/a' '/a/x'", "a '/outer/a' '/outer/a/x'", "main None '/x'"]

    def test_without_managed_script_names_the_root_path_names_the_mount(self) -> None:
        seen: list[str] = []
        site = combine([app(asgi("main", seen), "", "asgi"), app(asgi("a", seen), "/a", "asgi")], False)
        call(site, {"type": "http", "path": "/a/x", "root_path": "/a"})
        call(site, {"type": "http", "path": "/a/x", "root_path": ""})
        assert seen == ["a '/a' '/a/x'", "main '' '/a/x'"]

    def test_each_application_is_started_and_stopped(self) -> None:
        seen: list[str] = []
        site = combine([app(asgi("main", seen), "", "asgi"), app(asgi("a", seen), "/a", "asgi")], True)
        sent = call(site, {"type": "lifespan"}, LIFESPAN)
        assert seen == ["main startup", "a startup", "a shutdown", "main shutdown"]
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    def test_one_that_knows_no_lifespan_is_left_alone(self) -> None:
        async def ignorant(scope: Scope, receive: Receive, send: Send) -> None:
            raise KeyError(scope["type"])

        seen: list[str] = []
        site = combine([app(ignorant, "", "asgi"), app(asgi("a", seen), "/a", "asgi")], True)
        sent = call(site, {"type": "lifespan"}, LIFESPAN)
        assert seen == ["a startup", "a shutdown"]
        assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        with pytest.raises(KeyError):
            call(
                combine([app(ignorant, "/a", "asgi"), app(ignorant, "/b", "asgi")], True),
                {"type": "lifespan"},
                LIFESPAN,
            )

    def test_one_that_fails_to_start_stops_those_before_it(self) -> None:
        async def failing(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no database"})

        seen: list[str] = []
        site = combine([app(asgi("main", seen), "", "asgi"), app(failing, "/a", "asgi")], True)
        sent = call(site, {"type": "lifespan"}, LIFESPAN)
        assert seen == ["main startup", "main shutdown"]
        assert sent == [{"type": "lifespan.startup.failed", "message": "no database"}]

    def test_one_that_dies_while_it_is_stopped_is_told(self) -> None:
        async def dying(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            raise ValueError("half closed")

        seen: list[str] = []
        site = combine([app(asgi("main", seen), "", "asgi"), app(dying, "/a", "asgi")], True)
        sent = call(site, {"type": "lifespan"}, LIFESPAN)
        assert seen == ["main startup", "main shutdown"]
        assert sent[-1] == {"type": "lifespan.shutdown.failed", "message": "ValueError: half closed"}
