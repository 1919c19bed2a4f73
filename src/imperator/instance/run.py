"""An instance, from its configuration to its end: what happens in which order.

1. The settings, and which engine serves them (:mod:`.choice`).
2. Where that is the real uWSGI: become it. It does all the rest by itself.
3. The phases up to the application (:mod:`.phases`); a binary patch ends here, as another program.
4. The application, its worker or workers, and the master that watches over them.
5. The end; after a reload this same program again, with the same sockets.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration
from imperator.config.instance_loader import instance_settings
from imperator.config.instance_settings import InstanceSettings
from imperator.config.language import load
from imperator.config.variables import variables_of_process
from imperator.instance.application import FAILED_APPLICATION, Application
from imperator.instance.blame import CannotLoad
from imperator.instance.choice import Choice, choose, installed
from imperator.instance.inherited import unasked_sockets
from imperator.instance.keeper import Keeper, signals_handed_on
from imperator.instance.lifespan import LifespanFailed
from imperator.instance.link import Link, Unlinked, link_from
from imperator.instance.listening import Listening
from imperator.instance.loading import NoApplication, load_application, prepare_python, take_leave
from imperator.instance.master import HEARD, Ending, Master
from imperator.instance.patch import RELOADS, become_ourselves
from imperator.instance.phases import HOOK_FAILED, REPLACEMENT, Phases
from imperator.instance.rights import identity_asked
from imperator.instance.traces import name_process
from imperator.instance.tuntap import start_devices
from imperator.instance.voice import Voice

_HARAKIRI = "a request took too long (harakiri)"
if TYPE_CHECKING:
    from imperator.instance.stats import Ask, Stats

_DONE = "it has done what one worker may (max-requests, max-worker-lifetime)"
_SIGNALS = "IMPERATOR_SIGNALS"
FAILED = 1
"""The exit code of an instance that cannot start."""


def run(configuration: Configuration, argv: Sequence[str], directory: str) -> int:
    """Be an instance until the end; returns the exit code. Raises ConfigurationError before anything has begun."""
    say = Voice(os.environ)
    settings = instance_settings(configuration, directory)
    for note in settings.notes:
        say(f"{note.where}: {note.text}")
    say.dated(settings.log_date)
    if settings.log_format is not None and not settings.disable_logging:
        from imperator.instance.request_log import unknown_in

        for name in unknown_in(settings.log_format):
            say(f"log-format: there is no %({name}) here: it is always -")
    choice = choose(settings, installed(), unasked=unasked_sockets(settings, os.environ))
    say(f"engine {choice.engine}: {choice.reason}")
    if choice.engine == "uwsgi":
        from imperator.instance.uwsgi_engine import become_uwsgi

        _start_devices(settings, say)
        become_uwsgi(configuration, settings, argv, os.environ)
    instance = Instance(configuration, settings, choice, argv, directory, say)
    try:
        return instance.live()
    except (ConfigurationError, CannotLoad) as error:
        say(str(error) if isinstance(error, ConfigurationError) else error.line)
        if isinstance(error, CannotLoad) and error.details:
            say(error.details)
        return FAILED


def _start_devices(settings: InstanceSettings, say: Voice) -> None:
    """``tuntap-device``, which this uWSGI is built without: before it is there, so that its hooks find them."""
    if not settings.tuntap_device or RELOADS in os.environ:
        return
    if settings.unshare:
        text = "a device made by Imperator would stay outside of the namespaces that uWSGI unshares later"
        hint = "let the Emperor make them (emperor-use-clone = net), or say engine = granian"
        raise ConfigurationError("tuntap-device and unshare with engine = uwsgi", text, hint)
    start_devices(settings, identity_asked(settings), say)


class Instance:
    """One instance that serves by itself."""

    def __init__(
        self,
        configuration: Configuration,
        settings: InstanceSettings,
        choice: Choice,
        argv: Sequence[str],
        directory: str,
        say: Voice,
    ) -> None:
        self._configuration = configuration
        self._settings = settings
        self._choice = choice
        self._argv = argv
        self._directory = directory
        self._say = say
        self._command = [sys.executable, *sys.orig_argv[1:]]
        """This very program, as it was started; the virtual environment that is entered has another interpreter."""
        self._start = os.open(".", os.O_PATH | os.O_CLOEXEC)
        self._replacing = False
        self._phases = Phases(settings, argv, os.environ, say)
        self._link: Unlinked = link_from(os.environ)
        handed_on = os.environ.pop(_SIGNALS, "")
        self._signals = signals_handed_on(int(handed_on)) if handed_on else []
        """What the life before the reload has heard and had no time for."""
        self._stats: Stats | None = None
        self._cut_off = False
        """Requests are still being answered, in threads that nobody waits for."""

    def live(self) -> int:
        """From the phases to the end; returns the exit code."""
        listening = self._phases.prepare()
        keeper = Keeper()
        master = Master(self._settings, keeper, self._link, self._phases.traces, self._check, self._say)
        master.on_early_end = self._end_early
        master.hear()
        for number in self._signals:
            signal.raise_signal(number)
        master.on_order = self._phases.emperor_says
        master.watch_files()
        try:
            self._open_stats()
            if self._choice.engine == "daemons":
                self._keep_daemons(master)
            elif self._needs_master():
                self._serve_with_workers(master, listening)
            else:
                self._serve_alone(master, listening)
        except NoApplication as error:
            self._say(str(error))
            self._undo()
            return error.code
        except (ConfigurationError, CannotLoad, SystemExit):  # before anything was begun; SystemExit: a hook's "exit"
            self._undo()
            raise
        return self._end(master, listening)

    def _undo(self) -> None:
        self._close_stats()
        self._phases.give_up()

    def _open_stats(self) -> None:
        if self._settings.stats is not None:
            from imperator.instance.stats import Stats

            self._stats = Stats(self._settings)
            self._say(f"stats = {self._settings.stats}: served there")

    def _serve_stats(self, keeper: Keeper, listening: Sequence[Listening], ask: Ask) -> None:
        if self._stats is not None:
            self._stats.serve(keeper, listening, ask)

    def _close_stats(self) -> None:
        if self._stats is not None:
            self._stats.close()

    def _needs_master(self) -> bool:
        settings = self._settings
        return settings.processes > 1 or settings.cheap

    def _check(self) -> None:
        """Whether what is in the files now can be read at all. Raises ConfigurationError."""
        further = variables_of_process(self._argv, self._directory)
        instance_settings(load(self._argv, os.environ, self._directory, further=further), self._directory)

    # -- the three ways to live

    def _keep_daemons(self, master: Master) -> None:
        """No application: the daemons are all there is."""
        self._link.ready()
        master.begin()
        self._link.accepting()
        self._link.loyal()
        self._phases.accepting(first_time=True)
        master.keeper.run()

    def _serve_alone(self, master: Master, listening: Sequence[Listening]) -> None:
        """One process: the main thread serves, the keeper's thread does the rest."""
        from imperator.instance.worker import Worker

        application = self._load()
        worker = Worker(
            application, self._settings, listening, 1, master.keeper, self._link, self._say, self._choice.engine
        )
        worker.on_limit = lambda: self._replace_worker(master, _DONE)
        worker.on_harakiri = lambda: self._replace_worker(master, _HARAKIRI)
        worker.on_failure = lambda: master.end(Ending.STOP, "a hook failed", FAILED)
        if self._settings.die_on_idle:
            worker.on_idle = lambda: self._die_of_idleness(master)
        master.crew = worker
        self._serve_stats(master.keeper, listening, lambda done: done([worker.report()]))
        self._link.ready()
        master.begin()
        master.keeper.start()
        try:
            if not worker.serve(lambda: self._phases.accepting(first_time=not self._phases.is_replacement)):
                self._say("the mercy is over: what is still being answered is cut off")
                self._cut_off = True
        except LifespanFailed as error:
            reason = f"{application.where}: {application.name}: {error}"
            master.keeper.soon(lambda: master.end(Ending.STOP, reason, FAILED_APPLICATION))
        master.keeper.soon(master.crew_is_over)
        master.keeper.join()

    def _replace_worker(self, master: Master, why: str) -> None:
        """This process is a worker and the whole instance, and only the worker's time is over."""
        self._replacing = master.ending is None
        master.end(Ending.RELOAD, why)

    def _serve_with_workers(self, master: Master, listening: Sequence[Listening]) -> None:
        """Several: this process is the master, and serves nothing."""
        import gc

        from imperator.instance.workers import Workers

        settings = self._settings
        lazy = settings.lazy_apps or settings.cheap
        application = None if lazy else self._load()

        def work(number: int, first_time: bool, link: Link, questions: socket.socket) -> int:
            from imperator.instance.worker import Worker

            keeper = Keeper()
            below = Master(settings.of_worker(), keeper, link, self._phases.traces, self._check, lambda _: None)
            below.hear()
            name_process(settings, f"worker {number}")
            try:
                served = application or self._load()
            except NoApplication as error:
                self._say(str(error))
                return error.code
            except ConfigurationError as error:
                self._say(str(error))
                return HOOK_FAILED
            worker = Worker(served, settings, listening, number, keeper, link, self._say, self._choice.engine)

            def replaced(why: str) -> None:
                link.ready()  # to the master: start another one at once
                below.end(Ending.STOP, f"worker {number}: {why}")

            worker.on_limit = lambda: replaced(_DONE)
            worker.on_harakiri = lambda: replaced(_HARAKIRI)
            worker.on_failure = lambda: below.end(Ending.STOP, f"worker {number}: a hook failed", HOOK_FAILED)
            worker.on_idle = link.asleep
            below.crew = worker

            def answer() -> None:
                import json

                if questions.recv(1):
                    questions.send(json.dumps(worker.report()).encode())
                else:
                    keeper.unwatch(questions.fileno())

            if settings.stats:
                keeper.watch(questions.fileno(), answer)
            below.begin()
            keeper.start()
            try:
                if worker.serve(lambda: self._phases.accepting(first_time=first_time)):
                    take_leave()
            except LifespanFailed as error:
                self._say(f"{served.where}: {served.name}: {error}")
                return FAILED_APPLICATION
            return below.code

        workers = Workers(settings.processes, work, master.keeper, master.children, self._say)
        workers.on_accepting = _once(self._link.accepting)
        workers.on_loyal = _once(self._link.loyal)
        workers.on_heartbeat = self._link.heartbeat
        workers.on_over = master.crew_is_over
        workers.on_hopeless = lambda code: self._give_up(master, code)
        workers.on_idle = workers.send_to_sleep
        if settings.die_on_idle:
            workers.on_idle = lambda: self._die_of_idleness(master)
        master.crew = workers
        self._serve_stats(master.keeper, listening, workers.ask)
        master.chain_reload = workers.replace_one_by_one
        gc.collect()
        gc.freeze()  # what is shared with the workers stays shared
        self._link.ready()
        master.begin()
        if settings.cheap:
            workers.start_at_first_request([one.socket.fileno() for one in listening])
            self._link.accepting()
        else:
            workers.start()
        master.keeper.run()

    @staticmethod
    def _give_up(master: Master, code: int) -> None:
        """Another worker would do no better."""
        if code == HOOK_FAILED:
            master.end(Ending.STOP, "a worker's hook failed", FAILED)
        else:
            master.end(Ending.STOP, "a worker has no application", code)

    def _load(self) -> Application:
        import gc

        gc.disable()  # hardly anything of what is loaded is garbage, and looking for it takes a tenth of the time
        prepare_python(self._settings, self._configuration)
        application = load_application(self._settings, self._configuration, self._phases, self._say)
        if self._choice.engine == "gunicorn" and application.interface == "rsgi":
            raise NoApplication(
                f"{application.where}: {application.name} is RSGI: that is granian's (engine = granian)"
            )
        gc.freeze()
        gc.enable()
        return application

    def _die_of_idleness(self, master: Master) -> None:
        self._link.asleep()
        master.end(Ending.STOP, f"no request for {self._settings.idle} s, and die-on-idle")

    # -- the end

    def _end_early(self, name: str) -> None:
        """In the main thread, wherever it is while the application is loaded."""
        self._say(f"stop: {name}, before the application was loaded")
        self._undo()
        sys.stdout.flush()
        os._exit(0)

    def _end(self, master: Master, listening: Sequence[Listening]) -> int:
        self._close_stats()
        if master.ending is Ending.RELOAD:
            if not self._replacing:
                self._phases.run_exit_hooks()
            if not self._cut_off:
                take_leave()
            self._begin_anew(master.keeper, listening)
        self._phases.at_exit()
        if self._cut_off:  # the interpreter's own end would wait for the threads
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(master.code)
        return master.code

    def _begin_anew(self, keeper: Keeper, listening: Sequence[Listening]) -> NoReturn:
        """This program again, in this very process: what runs in other threads ends, the sockets stay."""
        os.fchdir(self._start)
        # Whoever is told to reload or to stop while it starts must not die of it: it hears that when it can.
        signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
        environment = {**os.environ, _SIGNALS: str(keeper.hand_on_signals())}
        if self._replacing:
            environment[REPLACEMENT] = "1"
        become_ourselves(self._command, listening, environment)


def _once(callback: Callable[[], None]) -> Callable[[], None]:
    done = False

    def call() -> None:
        nonlocal done
        if not done:
            done = True
            callback()

    return call
