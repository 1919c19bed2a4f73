"""Several applications under paths: ``mount = /path=application``.

The rules, which are the original's unless said otherwise:

* With ``manage-script-name`` the longest mount that is the path, or a directory above it, answers; its path moves from
  ``PATH_INFO`` to ``SCRIPT_NAME``. Without, the mount that ``SCRIPT_NAME`` names, as the web server set it, answers.
* Where no mount answers, the default application does, with the path left as it is: ``module`` or ``wsgi-file``, else
  what is mounted at ``/``, else the first mount. (In the original the first mount comes before the one at ``/``.)
* A slash at the end of a mount's path means nothing. (In the original it ends up in ``SCRIPT_NAME``.)
* For ASGI the mount's path is added to ``root_path``, and ``path`` stays whole, as the ASGI specification has it.
  ``lifespan`` goes to each application; one that does not know it is left alone.
* One instance speaks one interface: mounts that differ are refused.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from imperator.instance.application import Application
from imperator.instance.blame import CannotLoad, in_one_line

if TYPE_CHECKING:
    import asyncio

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApplication = Callable[[Environ, StartResponse], Iterable[bytes]]
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApplication = Callable[[Scope, Receive, Send], Awaitable[None]]


def combine(applications: Sequence[Application], manage_script_name: bool) -> Application:
    """What an engine serves, made of one application or more. Raises :class:`CannotLoad` if they do not mix."""
    if len(applications) == 1 and not (manage_script_name and applications[0].path.rstrip("/")):
        return applications[0]
    first = applications[0]
    for other in applications[1:]:
        if other.interface != first.interface:
            raise CannotLoad(
                f"{other.where}: {other.name} is {other.interface.upper()} and {first.name} ({first.where}) is "
                f"{first.interface.upper()}: one instance speaks one interface; make them two vassals"
            )
    if first.interface == "rsgi":
        raise CannotLoad(
            f"{first.where}: an RSGI application cannot be mounted under a path: make it a vassal of its own"
        )
    mounts: dict[str, Callable[..., Any]] = {}
    for one in applications:
        mounts.setdefault(one.path.rstrip("/"), one.callable)
    default = mounts.pop("", first.callable)
    combined: Callable[..., Any]
    if first.interface == "wsgi":
        combined = WsgiMounts(mounts, default, manage_script_name)
    else:
        combined = AsgiMounts(mounts, default, manage_script_name)
    name = ", ".join(f"{one.path or '/'}: {one.name}" for one in applications)
    return Application(combined, first.interface, first.where, f"{len(applications)} applications under paths", name)


def longest(mounts: Iterable[str], path: str) -> str | None:
    """The longest mount that is ``path``, or a directory above it."""
    best: str | None = None
    for mount in mounts:
        if (path == mount or path.startswith(mount + "/")) and (best is None or len(mount) > len(best)):
            best = mount
    return best


class WsgiMounts:
    """A WSGI application (:pep:`3333`) made of several."""

    def __init__(
        self, mounts: dict[str, WsgiApplication], default: WsgiApplication, manage_script_name: bool = True
    ) -> None:
        self.mounts = mounts
        self.default = default
        self.manage_script_name = manage_script_name

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self.manage_script_name:
            named = environ.get("SCRIPT_NAME", "").rstrip("/")
            return self.mounts.get(named, self.default)(environ, start_response)
        path = environ.get("PATH_INFO", "")
        mount = longest(self.mounts, path)
        if mount is None:
            return self.default(environ, start_response)
        environ["SCRIPT_NAME"] = mount
        environ["PATH_INFO"] = path[len(mount) :]
        return self.mounts[mount](environ, start_response)


class AsgiMounts:
    """An ASGI application made of several."""

    def __init__(
        self, mounts: dict[str, AsgiApplication], default: AsgiApplication, manage_script_name: bool = True
    ) -> None:
        self.mounts = mounts
        self.default = default
        self.manage_script_name = manage_script_name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await Lifespans([self.default, *self.mounts.values()]).run(scope, receive, send)
            return
        root = scope.get("root_path", "")
        if not self.manage_script_name:
            await self.mounts.get(root.rstrip("/"), self.default)(scope, receive, send)
            return
        mount = longest(self.mounts, scope["path"].removeprefix(root))
        if mount is None:
            await self.default(scope, receive, send)
            return
        await self.mounts[mount]({**scope, "root_path": root + mount}, receive, send)


class Lifespans:
    """The lifespans of several ASGI applications as one: started in order, stopped in the reverse order.

    An application that raises before it has answered does not know lifespans (so says the specification) and is left
    alone. When all do not, the exception of the first goes to the server, which then does without as well.
    """

    def __init__(self, applications: Sequence[AsgiApplication]) -> None:
        self.applications = list({id(application): application for application in applications}.values())

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        running: list[_Lifespan] = []
        without: list[BaseException] = []
        for application in self.applications:
            one = _Lifespan(application, scope)
            answer = await one.ask("lifespan.startup")
            if answer is None:
                if one.error is not None:
                    without.append(one.error)
                continue
            if answer["type"] == "lifespan.startup.failed":
                for started in reversed(running):
                    await started.ask("lifespan.shutdown")
                await send(answer)
                return
            running.append(one)
        if not running and without:
            raise without[0]
        await send({"type": "lifespan.startup.complete"})
        await receive()
        failed: list[Message] = []
        for one in reversed(running):
            answer = await one.ask("lifespan.shutdown")
            if answer is not None and answer["type"] == "lifespan.shutdown.failed":
                failed.append(answer)
            elif answer is None and one.error is not None:
                failed.append({"type": "lifespan.shutdown.failed", "message": in_one_line(one.error)})
        await send(failed[0] if failed else {"type": "lifespan.shutdown.complete"})


class _Lifespan:
    """One application's lifespan, running in a task of its own."""

    def __init__(self, application: AsgiApplication, scope: Scope) -> None:
        import asyncio  # a WSGI instance does without

        self._asyncio = asyncio
        self._application = application
        self._scope = scope
        self._questions: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.error: BaseException | None = None

    async def ask(self, question: str) -> Message | None:
        """Send a message and wait for its answer; ``None``: the application has ended without one."""
        if self._task is None:
            self._task = self._asyncio.ensure_future(self._run())
        await self._questions.put({"type": question})
        answer = self._asyncio.ensure_future(self._answers.get())
        await self._asyncio.wait({answer, self._task}, return_when=self._asyncio.FIRST_COMPLETED)
        if not answer.done() and self._answers.empty():
            answer.cancel()
            self.error = None if self._task.cancelled() else self._task.exception()
            return None
        return await answer

    async def _run(self) -> None:
        await self._application(self._scope, self._questions.get, self._answers.put)
