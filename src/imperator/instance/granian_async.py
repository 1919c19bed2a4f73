"""One ASGI or RSGI request under granian: what an application needs that granian's Rust side does not give it.

* An application is told of no path in front of its own (``root_path`` is empty), nor of a client on a UNIX socket.
* A status that is none of HTTP's is an error of the application's; granian would abort the process.
* When the server is about to end, answers are the last ones on their connections, and a WebSocket is closed with 1012
  ("service restart", RFC 6455's registry): its client connects again, to the successor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

_RESTART = 1012


def asgi_call(
    application: Any, state: dict[str, Any], unix: bool, leaving: asyncio.Future[None]
) -> Callable[[Any, Any], Any]:
    """What granian shall call for a request to an ASGI application.

    ``state`` is what its lifespan has left. ``leaving`` is done when the server is about to end.
    """
    is_leaving = leaving.done

    def call(scope: Any, protocol: Any) -> Any:
        scope["root_path"] = ""
        scope["state"] = state.copy()
        if unix:
            scope["client"] = None
        if scope["type"] != "http":
            return application(scope, _until_leaving(protocol, leaving), protocol.send)
        send = protocol.send

        def checked_send(message: Any) -> Any:
            if message["type"] == "http.response.start":
                if not 200 <= message["status"] <= 999:
                    raise ValueError(f"http.response.start: {message['status']!r} is no status of an answer")
                if is_leaving():
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            return send(message)

        return application(scope, protocol.receive, checked_send)

    return call


def _until_leaving(protocol: Any, leaving: asyncio.Future[None]) -> Callable[[], Any]:
    """``receive`` of a WebSocket, which hears the end of the server as if the client had gone."""
    pending: asyncio.Future[Any] | None = None

    async def receive() -> Any:
        nonlocal pending
        if pending is None:
            pending = asyncio.ensure_future(protocol.receive())
        await asyncio.wait({pending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not pending.done():
            await protocol.send({"type": "websocket.close", "code": _RESTART})
            return {"type": "websocket.disconnect", "code": _RESTART, "reason": "the server is restarting"}
        message, pending = pending.result(), None
        return message

    return receive


def rsgi_call(application: Any, leaving: asyncio.Future[None]) -> Callable[[Any, Any], Any]:
    """The same for an RSGI application: a function, or an object with ``__rsgi__``."""
    inner: Callable[[Any, Any], Any] = getattr(application, "__rsgi__", application)

    def call(scope: Any, protocol: Any) -> Any:
        if leaving.done() and scope.proto != "ws":
            protocol = _LastAnswer(protocol)
        return inner(scope, protocol)

    return call


class _LastAnswer:
    """granian's protocol of one request, whose answer says that its connection is closed."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def __call__(self) -> Any:
        return self._protocol()

    def __aiter__(self) -> Any:
        return aiter(self._protocol)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._protocol, name)
        if not name.startswith("response_"):
            return found

        def answer(status: int, headers: Any, *rest: Any) -> Any:
            return found(status, [*headers, ("connection", "close")], *rest)

        return answer
