"""The life of an instance around its application: every phase in its order, with its hooks.

Read :meth:`Phases.prepare` from top to bottom: it is the order. It is the original's, measured hook by hook, with these
differences on purpose:

* ``as-root`` and ``as-user`` hooks run once. (The original, as root without ``uid``, runs them four times.)
* An instance that was not started as root runs its ``as-user`` hooks and its ``unprivileged-binary-patch`` too. (The
  original passes over both in silence.) What only root can do is passed over, and said.
* Sockets are bound for a binary patch before it happens. (The original leaves it with ``shared-socket`` only.)
* A port below 1024 is bound before the rights are dropped. (In the original it is then too late.)

What fails is a :class:`ConfigurationError`; the instance ends with exit code 1, after its ``as-user-atexit`` hooks and
``vacuum``, as there. At a reload in place (``UWSGI_RELOADS``) ``pre-jail`` and the jail are not gone through again, and
a process that is not root any more goes through ``as-root`` and ``as-user`` no more either. Where a worker that is the
whole instance is replaced (``max-requests``), only the hooks around its application and ``accepting`` run again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, MutableMapping, Sequence
from typing import Final, NoReturn

from imperator.config.errors import ConfigurationError
from imperator.config.hook import Hook
from imperator.config.instance_settings import BinaryPatch, InstanceSettings, SocketAsked
from imperator.instance import patch
from imperator.instance.environment_python import set_environment
from imperator.instance.inherited import take_inherited
from imperator.instance.link import Order
from imperator.instance.listening import Listening, bind_all, needs_rights, remove_file
from imperator.instance.rights import (
    Identity,
    become,
    capabilities_asked,
    enter_root,
    identity_asked,
    leave_namespaces,
    pivot,
    set_limits,
    set_umask,
)
from imperator.instance.traces import Traces, name_process
from imperator.instance.tuntap import start_devices
from imperator.kernel.hooks import HookFailed, run_hook, shown

Say = Callable[[str], None]

REPLACEMENT: Final = "IMPERATOR_WORKER_REPLACED"
"""In the environment of an instance of one process that executed itself anew because its worker's time was over."""
_STOPS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
HOOK_FAILED: Final = 23
"""The exit code by which a worker tells its master that one of its hooks has failed: no other would do better."""


class Phases:
    """One instance: :meth:`prepare` once, then the application, :meth:`accepting`, and :meth:`at_exit` at the end."""

    def __init__(
        self, settings: InstanceSettings, arguments: Sequence[str], environment: MutableMapping[str, str], say: Say
    ) -> None:
        """``arguments``: this instance's own, for a program that takes its place. ``environment``: ``os.environ``."""
        self.settings = settings
        self.arguments = arguments
        self.environment = environment
        self.say = say
        self.traces = Traces(settings, say)
        self.is_reload = patch.RELOADS in environment
        self.is_replacement = environment.pop(REPLACEMENT, None) is not None
        """Only a worker is replaced, which is the same process here: the instance has not ended nor begun."""
        self._listening: dict[SocketAsked, Listening] = {}

    @property
    def listening(self) -> tuple[Listening, ...]:
        """Every socket: in the order of the options, then those that came without one."""
        asked = [self._listening[one] for one in self.settings.sockets if one in self._listening]
        return (*asked, *(one for key, one in self._listening.items() if key not in self.settings.sockets))

    # -- up to the application

    def prepare(self) -> tuple[Listening, ...]:
        """Everything before the application is loaded. Does not return where the instance becomes another program.

        Who is told to stop meanwhile ends in good order too: by SystemExit, with 0. Only for the main thread.
        """
        for number in _STOPS:
            signal.signal(number, self._told_to_stop)
        try:
            self._prepare()
        except BaseException:
            self.give_up()
            raise
        return self.listening

    def _told_to_stop(self, number: int, frame: object) -> NoReturn:
        self.say(f"stop: {signal.Signals(number).name}, while it was starting")
        raise SystemExit(0)

    def give_up(self) -> None:
        """The end of an instance that has never served: no socket of it is left, whatever ``vacuum`` says."""
        self.at_exit()
        for one in self.listening:
            one.socket.close()
            if one.file is not None:
                try:
                    remove_file(one.file)
                except OSError as error:
                    self.say(f"{one.file.path} cannot be removed: {error.strerror} (uid {os.geteuid()})")

    def _prepare(self) -> None:
        settings = self.settings
        set_umask(settings)
        set_environment(settings.env, settings.unenv)
        if not self.is_replacement:
            self._run("asap", settings.hook_asap)
        self.traces.open_log("logto", settings.logto)
        name_process(settings, "master" if settings.master or settings.processes > 1 else "worker 1")
        self.traces.write_pidfile("pidfile", settings.pidfile, is_reload=self.is_reload)
        self._take(take_inherited(settings, self.environment, self.say))

        if not self.is_reload:
            self._run("pre-jail", settings.hook_pre_jail)
        if settings.privileged_binary_patch is not None:
            self._bind_all()
            self._become(settings.privileged_binary_patch)

        if not self.is_replacement:
            self._run("in-jail", settings.hook_in_jail)
        if settings.chown_socket is not None:
            self._enter_directory()
            self._bind_all()
        who = identity_asked(settings) if settings.chroot is not None else None  # while /etc/passwd is still the host's
        if not self.is_reload:
            self._enter_jail()

        was_root = os.geteuid() == 0
        if was_root:
            self._run("as-root", settings.hook_as_root)
        elif settings.hook_as_root and not self.is_reload:
            self.say(f"as-root hooks are not run: this instance was started as uid {os.geteuid()}")
        self._drop(who or identity_asked(settings))

        if was_root or not self.is_reload:
            self._run("as-user", settings.hook_as_user)
        if settings.unprivileged_binary_patch is not None:
            self._bind_all()
            self._become(settings.unprivileged_binary_patch)

        self.traces.open_log("logto2", settings.logto2)
        self._enter_directory()
        self.traces.write_pidfile("pidfile2", settings.pidfile2, is_reload=self.is_reload)
        self._bind_all()

    def _enter_jail(self) -> None:
        settings = self.settings
        left = leave_namespaces("unshare", settings.unshare)
        if self.settings.tuntap_device:
            start_devices(self.settings, identity_asked(self.settings), self.say)
        if left:
            self.traces.in_this_process()
        if left or settings.jailed:
            self._run("post-jail", settings.hook_post_jail)
        elif settings.hook_post_jail:
            self.say("post-jail hooks are not run: without unshare there is no jail (jailed = true runs them)")
        enter_root(settings, self.say)
        pivot(settings, self.say)
        if leave_namespaces("unshare2", settings.unshare2):
            self.traces.in_this_process()

    def _drop(self, who: Identity) -> None:
        if who.uid and os.geteuid() == 0:
            self._bind([asked for asked in self._unbound() if needs_rights(asked)])
        if self.settings.logfile_chown and self.traces.log is not None:
            self.traces.log.give_to(who)
        set_limits(self.settings)
        become(who, self.say, capabilities_asked(self.settings))

    def _enter_directory(self) -> None:
        if self.settings.chdir is not None:
            _change_directory("chdir", self.settings.chdir)

    # -- around the application

    def before_application(self) -> None:
        """Just before it is loaded: in each worker with ``lazy-apps``, as in the original."""
        self._run("pre-app", self.settings.hook_pre_app)

    def after_application(self) -> None:
        """Just after."""
        self._run("post-app", self.settings.hook_post_app)
        if self.settings.chdir2 is not None:
            _change_directory("chdir2", self.settings.chdir2)

    def accepting(self, *, first_time: bool) -> None:
        """In each worker, when it is ready to accept; ``first_time``: it is no respawned one."""
        self._run("accepting", self.settings.hook_accepting)
        if first_time:
            self._run("accepting-once", self.settings.hook_accepting_once)

    def at_exit(self) -> None:
        """At the end. Before a reload in place it is :meth:`run_exit_hooks`: the sockets are still needed."""
        self.run_exit_hooks()
        self.traces.vacuum(self.listening)

    def run_exit_hooks(self) -> None:
        """``as-user-atexit``."""
        self._run_all("as-user-atexit", self.settings.hook_as_user_atexit)

    # -- what the Emperor says

    def emperor_says(self, order: Order) -> None:
        """``emperor-stop``, ``emperor-reload``, ``emperor-lost``: before the instance does what it was told."""
        phase, hooks = {
            Order.STOP: ("emperor-stop", self.settings.hook_emperor_stop),
            Order.STOP_GRACEFULLY: ("emperor-stop", self.settings.hook_emperor_stop),
            Order.RELOAD: ("emperor-reload", self.settings.hook_emperor_reload),
            Order.ABANDONED: ("emperor-lost", self.settings.hook_emperor_lost),
        }[order]
        self._run_all(phase, hooks)

    # -- the steps

    def _run(self, phase: str, hooks: Sequence[Hook]) -> None:
        for hook in hooks:
            text = shown(hook.action, hook.argument)
            self.say(f"running {text} ({phase})")
            try:
                run_hook(hook.action, hook.argument)
            except HookFailed as error:
                where = f"{hook.where}: hook-{phase}" if hook.where else f"hook-{phase}"
                raise ConfigurationError(where, f"{text}: {error}") from error

    def _run_all(self, phase: str, hooks: Sequence[Hook]) -> None:
        """Hooks whose failure changes nothing: it is said, and the next one run."""
        for hook in hooks:
            try:
                self._run(phase, [hook])
            except ConfigurationError as error:
                self.say(str(error))

    def _take(self, listening: Sequence[Listening]) -> None:
        self._listening |= {one.asked: one for one in listening}

    def _unbound(self) -> list[SocketAsked]:
        """Those that are not bound yet; an address that is asked for twice counts once."""
        bound = {asked.address for asked in self._listening}
        first = {asked.address: asked for asked in reversed(self.settings.sockets)}
        return [
            asked for asked in self.settings.sockets if asked is first[asked.address] and asked.address not in bound
        ]

    def _bind_all(self) -> None:
        self._bind(self._unbound())

    def _bind(self, wanted: Sequence[SocketAsked]) -> None:
        self._take(bind_all(wanted, self.settings, self.say))

    def _become(self, program: BinaryPatch) -> None:
        patch.become(program, self.arguments, self.listening, self.environment)


def _change_directory(option: str, path: str) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        raise ConfigurationError(f"{option} = {path}", f"cannot be entered: {error.strerror}") from error
