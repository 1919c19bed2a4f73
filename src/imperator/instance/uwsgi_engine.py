"""Becoming the real uWSGI, by exec: same process, same pid, its own hooks, jail, rights, workers and Emperor protocol.

uWSGI is given the configuration as it was understood here (:mod:`.uwsgi_text`), and it must come back here when it
reloads itself, for the file may have been edited and only Imperator understands all of it. How depends on which it is:

* the pyuwsgi *wheel* is an extension module. A launcher (:mod:`.uwsgi_launcher`) is executed in the Python of the
  application's virtual environment, and reads the text from an inherited memfd. At a reload uWSGI executes the launcher
  anew, which executes this instance, with its own arguments: everything is read and chosen from the start.
* a uWSGI that is a *program* of its own (Debian's, or built from source) gets ``--ini exec://…``: it runs that command
  in a shell at every load, and it prints the text. A failure there ends uWSGI with exit code 1.

Sockets that are open already are passed as ``fd://N``. ``UWSGI_RELOADS``, with which uWSGI would find inherited sockets
by their addresses, is not set for that: it would skip chroot and pid files, which it believes done.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration, Given
from imperator.config.instance_settings import InstanceSettings
from imperator.config.records import record
from imperator.instance.environment_python import package_directories, set_environment
from imperator.instance.inherited import take_inherited
from imperator.instance.installed import wheel
from imperator.instance.listening import UNASKED, Listening
from imperator.instance.uwsgi_text import HANDED, text_for_uwsgi
from imperator.instance.voice import Voice
from imperator.kernel.interpreter import installed_command, places

_LAUNCHER: Final = str(Path(__file__).with_name("uwsgi_launcher.py"))
_HOME: Final = ("home", "virtualenv", "venv", "pyhome")
_LISTEN: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_CONFIG_FD: Final = "UWSGI_EMPEROR_FD_CONFIG"
_RIGHTS: Final = frozenset({"cap", "cap-bset", "seccomp"})
"""What the wheel is built without and would pass over in silence, with more rights left than were asked for."""


@record
class Wheel:
    """The uWSGI of the pyuwsgi wheel."""

    extension: str
    """Its extension module."""


@record
class Program:
    """A uWSGI that is a program."""

    path: str


Uwsgi = Wheel | Program


def find_uwsgi(binary_path: str | None = None) -> Uwsgi:
    """The uWSGI to become: what ``binary-path`` names, or the one that came with us. Raises ConfigurationError."""
    extension = wheel()
    if binary_path is not None and not (extension and _is_ours(binary_path)):
        return Program(binary_path)
    if extension is not None:
        return Wheel(extension)
    program = installed_command("uwsgi")
    if program is None:
        raise ConfigurationError(
            "engine = uwsgi",
            f"there is no uwsgi in {' or '.join(places())}",
            f"install it with '{sys.executable} -m pip install pyuwsgi', or name another with binary-path",
        )
    return Program(program)


def _is_ours(path: str) -> bool:
    """The script that came with the wheel is no other uWSGI than the wheel."""
    program = installed_command("uwsgi")
    return program is not None and os.path.exists(path) and os.path.samefile(path, program)


def become_uwsgi(
    configuration: Configuration,
    settings: InstanceSettings,
    argv: Sequence[str],
    environ: MutableMapping[str, str],
    *,
    uwsgi: Uwsgi | None = None,
    command: Sequence[str] | None = None,
) -> NoReturn:
    """Execute the real uWSGI. Raises ConfigurationError, and CannotLoad (``home``): nothing has begun then.

    ``argv``: this instance's own arguments; ``command``: what started it (``sys.orig_argv``), for a reload.
    """
    named = configuration.last("binary-path")
    found = uwsgi or find_uwsgi(None if named is None else named.text)
    interpreter = _interpreter(configuration) if isinstance(found, Wheel) else ""
    if isinstance(found, Wheel):
        _refuse_what_would_be_passed_over(configuration)
    activation = {name: environ[name] for name in _LISTEN if name in environ}
    listening = take_inherited(settings, environ, Voice(environ))
    set_environment(settings.env, settings.unenv)
    options = {given.where: environ[given.where] for given in configuration if given.where in environ}
    give_back = options | activation
    held = isinstance(found, Wheel) and environ.get(_CONFIG_FD, "").isdecimal()
    if held:
        give_back[_CONFIG_FD] = environ[_CONFIG_FD]
    after = {name: value for name, value in environ.items() if name not in (*give_back, "UWSGI_BINARY_PATH")}
    handed = _hand_over(listening)

    if isinstance(found, Wheel):
        text = text_for_uwsgi(configuration, handed)
        if held:
            # What uWSGI knows of, it asks for at a reload, and does not read: we are the one who reads the answer. So
            # it must not know, only leave the descriptor open.
            text += f"safe-fd = {environ[_CONFIG_FD]}\n"
        told = {
            "reloads": after.get("UWSGI_RELOADS"),
            "extension": found.extension,
            "configuration": _held(text),
            "command": command or [sys.executable, *sys.orig_argv[1:]],
            "give back": give_back,
        }
        _execute(interpreter, [interpreter, _LAUNCHER, json.dumps(told)], after)
    ini = f"exec://{_reading(argv, options, handed)}"
    _execute(found.path, [found.path, "--ini", ini], after)


def _refuse_what_would_be_passed_over(configuration: Configuration) -> None:
    for given in configuration.meant():
        if given.key in _RIGHTS:
            raise ConfigurationError(
                given.where,
                f"{given.key} = {given.text}: the uWSGI of the pyuwsgi wheel is built without it and would ignore it",
                "name one that has it with binary-path = /path/to/uwsgi",
            )


def _interpreter(configuration: Configuration) -> str:
    """The Python that runs the wheel: the one of the application's virtual environment. Raises CannotLoad."""
    home = _last(configuration, _HOME)
    if home is None:
        return sys.executable
    package_directories(f"{home.where}: {home.key} = {home.text}", home.text)
    for name in ("python", "python3"):
        program = os.path.join(os.path.abspath(home.text), "bin", name)
        if os.access(program, os.X_OK):
            return program
    raise ConfigurationError(
        home.where,
        f"{home.key} = {home.text}: there is no bin/python in it, which would run uWSGI",
        f"make it anew: python3 -m venv {home.text}",
    )


def _last(configuration: Configuration, keys: Sequence[str]) -> Given | None:
    return next((given for given in reversed(configuration.given) if given.key in keys), None)


def _hand_over(listening: Sequence[Listening]) -> dict[str, int]:
    """Let the open sockets through exec: by what asked for them, as :func:`text_for_uwsgi` wants it."""
    handed = {}
    for one in listening:
        fd = one.socket.fileno()
        if one.asked.option != UNASKED:
            handed[f"{one.asked.option} = {one.asked.address}"] = fd
        elif one.from_stdin:
            os.dup2(fd, 0)  # uWSGI looks there by itself
            continue
        else:
            handed[f"fd://{fd}"] = fd
        os.set_inheritable(fd, True)
    return handed


def _held(text: str) -> int:
    """A file without a name that holds the text, at its beginning, to be inherited: memfd_create(2)."""
    fd = os.memfd_create("uwsgi.ini", 0)
    with open(fd, "wb", closefd=False) as file:
        file.write(os.fsencode(text))
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _reading(argv: Sequence[str], options: Mapping[str, str], handed: Mapping[str, int]) -> str:
    """The shell command that prints the configuration: for ``exec://``."""
    variables = dict(options)
    if handed:
        variables[HANDED] = json.dumps(dict(handed))
    words = ["env", *(f"{name}={value}" for name, value in variables.items())] if variables else []
    words += [sys.executable, "-m", "imperator.instance.uwsgi_text", *argv]
    # uWSGI takes what stands after the last colon behind the last slash for a section: there must be none.
    return f"{shlex.join(words)} || printf '[uwsgi]\\nhook-asap = exit:1\\n' #/"


def _execute(program: str, arguments: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what is ignored stays so: execve(2)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        os.execve(program, list(arguments), dict(environment))
    except OSError as error:
        raise ConfigurationError(
            "engine = uwsgi", f"cannot execute {program}: {error.strerror}", "name another with binary-path"
        ) from error
