"""From the settings to the one application that an engine serves: Python around it, hooks, mounts, static files.

In the original's order: environment, directory, path, virtual environment, ``import``, the applications, static files.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from imperator.config.given import Configuration
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.application import (
    FAILED_APPLICATION,
    Application,
    asked_for,
    import_beforehand,
    load_all,
    no_application,
)
from imperator.instance.blame import CannotLoad
from imperator.instance.environment_python import enter, set_arguments, set_path
from imperator.instance.mounts import combine
from imperator.instance.phases import Phases

Say = Callable[[str], None]


class NoApplication(Exception):
    """``need-app``, and there is none; ``code`` is the exit code that says so."""

    code = FAILED_APPLICATION


def prepare_python(settings: InstanceSettings, configuration: Configuration) -> None:
    """Everything before an application can be imported. Raises CannotLoad and ConfigurationError."""
    # What is printed is in the log at once, whether that is a terminal or not, and however this process ends.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    set_path(settings.pythonpath)
    if settings.home is not None:
        given = next(g for g in reversed(configuration.given) if g.key in ("home", "virtualenv", "venv", "pyhome"))
        enter(settings.home, given.where, given.key)
    set_arguments()


def load_application(settings: InstanceSettings, configuration: Configuration, phases: Phases, say: Say) -> Application:
    """The application to serve. Where it cannot be loaded that is said, and the one that answers 500 takes its place.

    Raises NoApplication with ``need-app``.
    """
    phases.before_application()
    problems = list(import_beforehand(settings.import_, "import"))
    loaded = load_all(asked_for(settings, configuration))
    problems += loaded.problems
    for problem in problems:
        say(problem.line)
        if problem.details:
            say(problem.details)
    applications = [_with_static(application, settings) for application in loaded.applications]
    if not applications:
        if settings.need_app:
            raise NoApplication("need-app: there is no application")
        say("there is no application: every request is answered with 500 until its file is mended and reloaded")
        empty = Application(no_application, "wsgi", "", "there is none", "no application")
        applications = [_with_static(empty, settings)]
    try:
        application = combine(applications, settings.manage_script_name)
    except CannotLoad as error:
        say(error.line)
        raise NoApplication("the applications cannot be served together") from error
    phases.after_application()
    say(f"{application.name}: {application.interface}: {application.reason}")
    return application


def _with_static(application: Application, settings: InstanceSettings) -> Application:
    """With the files of ``static-map`` and ``check-static`` before it. Most have none, and need not load all that."""
    if not settings.static_map and not settings.check_static:
        return application
    from imperator.instance.static_files import with_static

    return with_static(application, settings.static_map, settings.check_static)


def take_leave() -> None:
    """What Python does for an application at the end of a process, where the process does not end in Python's way."""
    import atexit

    atexit._run_exitfuncs()  # private, and the only way to run them before execve(2) and _exit(2)
    sys.stdout.flush()
    sys.stderr.flush()
