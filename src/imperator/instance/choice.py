"""Which engine serves an instance, and why. Pure: settings and what is installed go in, a choice comes out.

The rules of ``engine = auto``, the first that holds:

1. a binary patch: that program;
2. an option that only uWSGI acts on, or a socket that speaks the uwsgi protocol or is raw: the real uWSGI, and gunicorn
   where uWSGI is not installed (or cannot run the application: ASGI) and gunicorn can;
3. sockets that all speak HTTP: granian, and gunicorn where granian is not installed;
4. no socket and no application, but daemons or cron jobs: no engine, the instance watches over those.

An engine that was asked for by name and cannot do what is asked is refused: by option and place, and with the engines
that can. Nothing is chosen that would swallow an option.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, Literal

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.config.records import record
from imperator.instance.installed import Installed, installed

__all__ = ["Choice", "Installed", "NoEngine", "Refusal", "choose", "installed"]

Engine = Literal["granian", "uwsgi", "gunicorn"]
Chosen = Literal["granian", "uwsgi", "gunicorn", "binary", "daemons"]
"""``daemons``: there is nothing to serve, the instance watches over what is attached to it."""

PACKAGES: Final[dict[Engine, str]] = {"granian": "granian", "uwsgi": "pyuwsgi", "gunicorn": "gunicorn"}
"""What pip calls them."""
_ENGINES: Final[tuple[Engine, ...]] = ("granian", "uwsgi", "gunicorn")


@record
class Choice:
    """An engine, and why it is this one: a line for the log and for ``explain``."""

    engine: Chosen
    reason: str


@record
class Refusal:
    """Something that was asked for and that an engine cannot do."""

    where: str
    """``file:line``; empty where it is not known."""
    what: str
    """``http-socket = 127.0.0.1:8000``, or another option."""
    why: str

    def __str__(self) -> str:
        return f"{self.what} {self.why}" + (f" ({self.where})" if self.where else "")


class NoEngine(ConfigurationError):
    """Nothing can serve this; the text says what stands in the way, and what to do."""

    def __init__(self, where: str, text: str, hint: str = "", refusals: Sequence[Refusal] = ()) -> None:
        super().__init__(where, text, hint)
        self.refusals = tuple(refusals)


def choose(settings: InstanceSettings, installed: Installed, *, unasked: Sequence[str] = ()) -> Choice:
    """The engine for an instance. Raises :class:`NoEngine`.

    ``unasked``: it was started with listening sockets that no option asks for (on demand: fd 0), and where they are.
    """
    patch = settings.privileged_binary_patch or settings.unprivileged_binary_patch
    if settings.engine == "binary" and patch is None:
        raise NoEngine(
            "engine = binary", "no program is named", "name it with unprivileged-binary-patch-arg = PROGRAM ARGUMENTS"
        )
    if patch is not None and settings.engine in ("auto", "binary"):
        return Choice("binary", f"{patch.option} = {patch.program} ({patch.where})")

    wants = _Wants(settings, installed, unasked)
    if settings.engine in ("granian", "uwsgi", "gunicorn"):
        return wants.named(settings.engine)
    if settings.uwsgi_only or wants.protocols:
        return wants.best()
    if settings.has_application:
        raise NoEngine(
            wants.application_where,
            "there is an application, and no socket to serve it on",
            "add http-socket = 127.0.0.1:8000, or socket = /path/to/site.sock for a web server that speaks uwsgi",
        )
    if settings.daemons or settings.cron or settings.terminals:
        return Choice("daemons", "there is no socket and no application: only what is attached is kept running")
    raise NoEngine(
        "configuration",
        "there is nothing to do: no socket, no application, no daemon",
        "an application needs module = NAME:CALLABLE or wsgi-file = FILE, and http-socket = ADDRESS",
    )


class _Wants:
    """What an instance asks of an engine."""

    def __init__(self, settings: InstanceSettings, there: Installed, unasked: Sequence[str]) -> None:
        self._settings = settings
        self._there = there
        self._is_there: dict[Engine, bool] = {
            "granian": there.granian,
            "uwsgi": there.uwsgi,
            "gunicorn": there.gunicorn,
        }
        self._sockets = [
            (f"{asked.option} = {asked.address}", asked.where, asked.protocol) for asked in settings.sockets
        ]
        for where in unasked:
            protocol = settings.protocol or "uwsgi"
            spoken: Literal["uwsgi", "http", "raw"] = (
                "http" if protocol == "http" else "raw" if protocol == "raw" else "uwsgi"
            )
            self._sockets.append(("the inherited socket", where, spoken))

    @property
    def protocols(self) -> frozenset[str]:
        return frozenset(protocol for _, _, protocol in self._sockets)

    @property
    def application_where(self) -> str:
        settings = self._settings
        if settings.module or settings.wsgi_file:
            return f"module = {settings.module}" if settings.module else f"wsgi-file = {settings.wsgi_file}"
        return next((mount.where for mount in settings.mount), "configuration")

    # -- the two ways to a choice

    def named(self, engine: Engine) -> Choice:
        """The one that was asked for, if it can and is there."""
        refusals = list(self._refusals(engine))
        if refusals:
            able = [other for other in _ENGINES if other != engine and not any(self._refusals(other))]
            hint = f"engine = {' or '.join(able)} can" if able else "no engine can do all of this at once"
            text = f"{engine} cannot do this: {'; '.join(map(str, refusals))}"
            raise NoEngine(f"engine = {engine}", text, hint, refusals)
        if not self._is_there[engine]:
            raise NoEngine(f"engine = {engine}", "it is not installed", self._pip(engine))
        if not self._sockets and not self._settings.uwsgi_only:
            raise NoEngine(f"engine = {engine}", "there is no socket to serve on", "add http-socket = 127.0.0.1:8000")
        return Choice(engine, "the configuration asks for it")

    def best(self) -> Choice:
        """The first in the order of the rules that can and is there."""
        reason, order = self._preference()
        missing: list[Engine] = []
        for engine in order:
            if any(self._refusals(engine)):
                continue
            if self._is_there[engine]:
                return Choice(engine, "; ".join([reason, *(f"{other} is not installed" for other in missing)]))
            missing.append(engine)
        if missing:
            raise NoEngine("engine = auto", f"{reason}, and {missing[0]} is not installed", self._pip(missing[0]))
        refusals = list(self._refusals(order[0]))
        where = next((refusal.where for refusal in refusals if refusal.where), "engine = auto")
        raise NoEngine(
            where,
            f"no engine can do this: {reason}, but {order[0]} cannot: {'; '.join(map(str, refusals))}",
            self._way_out(),
            refusals,
        )

    def _preference(self) -> tuple[str, tuple[Engine, ...]]:
        only = self._settings.uwsgi_only
        if only:
            others = f" and {len(only) - 1} more" if len(only) > 1 else ""
            return f"only uWSGI knows {only[0][0]} ({only[0][1]}){others}", ("uwsgi",)
        for what, where, protocol in self._sockets:
            if protocol == "raw":
                return f"{what} is raw ({where})", ("uwsgi",)
            if protocol == "uwsgi":
                return f"{what} speaks the uwsgi protocol ({where})", ("uwsgi", "gunicorn")
        return "every socket speaks HTTP", ("granian", "gunicorn")

    def _way_out(self) -> str:
        if self._settings.uwsgi_only:
            return "leave out either the one or the other"
        if self.protocols == {"uwsgi"} and self._settings.interface == "asgi":
            return f"use http-socket, or gunicorn (25 or later), which can: {self._pip('gunicorn')}"
        return "use http-socket, and proxy_pass in nginx"

    def _pip(self, engine: Engine) -> str:
        return f"{self._there.python} -m pip install {PACKAGES[engine]}"

    # -- what an engine cannot do

    def _refusals(self, engine: Engine) -> Iterator[Refusal]:
        settings = self._settings
        patch = settings.privileged_binary_patch or settings.unprivileged_binary_patch
        if patch is not None and engine != "uwsgi":
            yield Refusal(patch.where, f"{patch.option} = {patch.program}", "puts another program in its place")
        if engine == "uwsgi":
            if settings.interface in ("asgi", "rsgi"):
                name = settings.interface.upper()
                yield Refusal("", f"{settings.interface} = {settings.module or '…'}", f"is {name}, and uWSGI runs WSGI")
            for terminals in settings.terminals:
                what = f"{terminals.option} = {terminals.address}"
                yield Refusal(terminals.where, what, "is not in the uWSGI of the pyuwsgi wheel")
            return
        for option, where in settings.uwsgi_only:
            yield Refusal(where, option, "is known to uWSGI only")
        for what, where, protocol in self._sockets:
            if protocol == "raw":
                yield Refusal(where, what, "is raw")
            elif protocol == "uwsgi" and engine == "granian":
                yield Refusal(where, what, "speaks the uwsgi protocol, and granian speaks HTTP")
        if engine == "gunicorn":
            yield from self._refusals_of_gunicorn()

    def _refusals_of_gunicorn(self) -> Iterator[Refusal]:
        settings, there = self._settings, self._there
        if settings.interface == "rsgi":
            yield Refusal("", "rsgi", "is granian's own interface")
        if settings.interface == "asgi" and there.gunicorn and not there.gunicorn_runs_asgi:
            yield Refusal("", "asgi", "needs gunicorn 25 or later")
        spoken = self.protocols
        if "uwsgi" in spoken and there.gunicorn and not there.gunicorn_speaks_uwsgi:
            yield Refusal("", "the uwsgi protocol", "needs gunicorn 24 or later")
        if {"uwsgi", "http"} <= spoken:
            what, where, _ = next(socket for socket in self._sockets if socket[2] == "uwsgi")
            yield Refusal(where, what, "speaks another protocol than the other sockets, and gunicorn speaks one on all")
