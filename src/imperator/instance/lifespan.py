"""The lifespan protocol of ASGI, the server's side: startup before the first request, shutdown after the last one.

An application that raises at the ``lifespan`` scope before it said a word does not speak the protocol: it is served
without it (https://asgi.readthedocs.io/en/latest/specs/lifespan.html), and :attr:`Lifespan.unsupported` says what it
raised, for the log. One that answers ``startup.failed``, or raises after it began to speak, must not be served.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class LifespanFailed(Exception):
    """The application said that it cannot start (or end), in its own words; its exception is the ``__cause__``."""


class Lifespan:
    def __init__(self, application: Callable[[Any, Any, Any], Awaitable[None]]) -> None:
        import asyncio  # a WSGI instance does without

        self._asyncio = asyncio
        self._application = application
        self._received = False
        self._inbox: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        self._outbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        """What the application keeps for its requests: each gets a copy in ``scope["state"]``."""
        self.unsupported: BaseException | None = None

    async def startup(self) -> None:
        """Returns when the application is ready. Raises :class:`LifespanFailed`."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        self._task = self._asyncio.create_task(self._run(scope), name="lifespan")
        await self._ask("startup")

    async def shutdown(self) -> None:
        """Returns when the application has ended. Raises :class:`LifespanFailed`."""
        if self._task is None or self.unsupported is not None or self._task.done():
            return
        await self._ask("shutdown")

    async def _run(self, scope: dict[str, Any]) -> None:
        await self._application(scope, self._receive, self._outbox.put)

    async def _receive(self) -> dict[str, str]:
        self._received = True
        return await self._inbox.get()

    async def _ask(self, what: str) -> None:
        task = self._task
        assert task is not None
        self._inbox.put_nowait({"type": f"lifespan.{what}"})
        answer = self._asyncio.create_task(self._outbox.get())
        await self._asyncio.wait({task, answer}, return_when=self._asyncio.FIRST_COMPLETED)
        if not answer.done():
            answer.cancel()
            self._over(task, what)
            return
        message = answer.result()
        if what == "startup" and not self._received and not message["type"].startswith("lifespan."):
            # It takes every scope for a request, as the smallest of applications do.
            self.unsupported = RuntimeError(f"it answered with {message['type']}")
            task.cancel()
            return
        if message["type"] == f"lifespan.{what}.failed":
            reason = message.get("message") or "it gave no reason"
            raise LifespanFailed(f"the application's lifespan {what} failed: {reason}")
        if message["type"] != f"lifespan.{what}.complete":
            raise LifespanFailed(f"the application answered lifespan.{what} with {message['type']!r}")

    def _over(self, task: asyncio.Task[None], what: str) -> None:
        """The application returned or raised without an answer."""
        error = task.exception() if not task.cancelled() else None
        if what == "startup" and not self._received:
            # It never listened to the protocol: most raise for a scope type they do not know, some just return.
            self.unsupported = error or RuntimeError("it returned at once")
            return
        if error is not None:
            words = f"{type(error).__name__}: {error}"
            raise LifespanFailed(f"the application's lifespan {what} raised {words}") from error
        if what == "startup":
            raise LifespanFailed("the application's lifespan ended without an answer to lifespan.startup")
