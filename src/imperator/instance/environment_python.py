"""The Python that an application finds itself in: environment variables, its virtualenv, where modules are looked for.

The original starts an interpreter for the virtualenv; ours is running already, so a virtualenv is *entered*:

* ``sys.prefix``, ``sys.exec_prefix`` and ``sys.executable`` become the virtualenv's, and its ``site-packages`` stand
  before Imperator's own, their ``.pth`` files processed. Imperator's stay at the end of ``sys.path``, for the engine.
* Modules that were imported from Imperator's own packages, and that the virtualenv has too, are forgotten: the
  application gets its own version, and what holds the old one keeps it.
* A virtualenv of another Python version cannot be entered: its compiled modules would not load. That is refused, with
  what to do instead.

``sys.path`` is as the original makes it: ``pythonpath`` (the last one given first), then the working directory. Globs
in ``pythonpath`` are expanded, and a relative one is relative to ``chdir``.
"""

from __future__ import annotations

import glob
import importlib
import os
import re
import site
import sys
from collections.abc import Iterable

from imperator.config.errors import ConfigurationError
from imperator.config.records import record
from imperator.instance.blame import CannotLoad, unreadable

KEPT = frozenset({"imperator", "granian", "gunicorn", "uvloop", "rloop", "setproctitle"})
"""Top packages that an engine goes on importing from: never forgotten."""


@record
class Entered:
    """A virtualenv that was entered."""

    home: str
    packages: tuple[str, ...]
    """The directories that were added to ``sys.path``."""
    forgotten: tuple[str, ...]
    """Top packages that Imperator had imported from its own environment and that the virtualenv has too."""
    own_executable: str
    """``sys.executable`` as it was: what runs Imperator."""


@record
class Configured:
    """``pyvenv.cfg``, as far as it matters here (:pep:`405`)."""

    version: str | None
    """``3.12``; ``None``: not said."""
    base: str | None
    """The directory of the Python that the virtualenv was made with."""
    with_system: bool


def set_environment(env: Iterable[str], unenv: Iterable[str] = ()) -> None:
    """``env = KEY=VALUE`` and ``unenv = KEY``. ``env = KEY`` alone unsets, as putenv(3) has it in the original."""
    for text in env:
        key, equals, value = text.partition("=")
        if not key or "\0" in text:
            raise ConfigurationError("env", f"{text!r} is no KEY=VALUE")
        if equals:
            os.environ[key] = value
        else:
            os.environ.pop(key, None)
    for key in unenv:
        os.environ.pop(key, None)


def set_arguments(pyargv: str | None = None) -> None:
    """``sys.argv`` as the original has it: ``uwsgi``, then the words of ``pyargv`` (blanks part them, no quoting)."""
    sys.argv[:] = ["uwsgi", *(pyargv or "").split()]


def set_path(pythonpath: Iterable[str]) -> tuple[str, ...]:
    """Put ``pythonpath`` and the working directory before everything in ``sys.path``. Returns what was put there."""
    wanted = [_working_directory()]
    for given in pythonpath:
        found = sorted(glob.glob(given)) if glob.has_magic(given) else []
        for directory in found or [given]:
            wanted.insert(0, os.path.abspath(directory))
    wanted = list(dict.fromkeys(wanted))
    sys.path[:] = wanted + [entry for entry in sys.path if entry not in wanted and entry != ""]
    importlib.invalidate_caches()
    return tuple(wanted)


def enter(home: str, where: str, option: str = "virtualenv") -> Entered:
    """Enter a virtualenv (or any Python home). Raises :class:`CannotLoad` where that cannot be."""
    said = f"{where}: {option} = {home}"
    home = os.path.abspath(home)
    directories = package_directories(said, home)
    executable = sys.executable
    if os.path.samefile(home, sys.prefix):
        return Entered(home, (), (), executable)
    own = tuple(entry for entry in sys.path if _is_packages(entry) and entry not in directories)
    sys.prefix = sys.exec_prefix = home
    program = os.path.join(home, "bin", "python")
    if os.access(program, os.X_OK):
        sys.executable = program
    added = _add_packages(directories, own)
    forgotten = _forget(directories, own)
    importlib.invalidate_caches()
    return Entered(home, added, forgotten, executable)


def package_directories(said: str, home: str) -> list[str]:
    """The ``site-packages`` of a virtualenv, of this very Python version. Raises :class:`CannotLoad`."""
    if not os.path.isdir(home):
        raise CannotLoad(f"{said}: {unreadable(home) or f'{home} is no directory'} (python3 -m venv {home} makes one)")
    refused = unreadable(home)
    if refused:
        raise CannotLoad(f"{said}: {refused}")
    try:
        configured = read_configuration(home)
    except OSError as error:
        raise CannotLoad(f"{said}: {unreadable(str(error.filename)) or error}") from error
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    theirs = versions_in(home)
    version = configured.version if configured and configured.version else (ours if ours in theirs else None)
    if version is None and theirs:
        version = theirs[-1]
    if version is None:
        raise CannotLoad(f"{said}: there is no Python in it (no lib/python{ours}): is it a virtualenv?")
    if version != ours:
        raise CannotLoad(
            f"{said}: it is of Python {version}, and this Imperator runs on Python {ours}: install Imperator for "
            f"{_program(home, version)} and run it with that, or have a server of that version run the application "
            f"(engine = uwsgi with a binary-path built for {version}, or engine = binary)"
        )
    found = [os.path.join(home, name, f"python{ours}", "site-packages") for name in ("lib", "lib64")]
    found.append(os.path.join(home, "lib", f"python{ours}", "dist-packages"))
    seen: dict[str, str] = {}
    for directory in filter(os.path.isdir, found):
        seen.setdefault(os.path.realpath(directory), directory)
    if not seen:
        raise CannotLoad(f"{said}: it is incomplete, there is no {found[0]}: make it anew (python3 -m venv {home})")
    for directory in seen.values():
        refused = unreadable(directory)
        if refused:
            raise CannotLoad(f"{said}: {refused}")
    if configured and configured.with_system and configured.base:
        return [*seen.values(), *system_packages(os.path.dirname(configured.base))]
    return list(seen.values())


def system_packages(prefix: str) -> list[str]:
    """Where the packages of a whole Python are, Debian's places too (``site`` does not name them from a virtualenv)."""
    ours = f"python{sys.version_info.major}.{sys.version_info.minor}"
    names = (f"lib/{ours}/site-packages", f"local/lib/{ours}/dist-packages", "lib/python3/dist-packages")
    return [path for path in (os.path.join(prefix, name) for name in names) if os.path.isdir(path)]


def read_configuration(home: str) -> Configured | None:
    """A virtualenv's ``pyvenv.cfg``; ``None`` where there is none."""
    path = os.path.join(home, "pyvenv.cfg")
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.readlines()
    except FileNotFoundError:
        return None
    keys = {
        key.strip().lower(): value.strip() for key, equals, value in (line.partition("=") for line in lines) if equals
    }
    version = re.match(r"\d+\.\d+", keys.get("version_info") or keys.get("version") or "")
    with_system = keys.get("include-system-site-packages", "").lower() == "true"
    return Configured(version.group() if version else None, keys.get("home") or None, with_system)


def versions_in(home: str) -> list[str]:
    """The Python versions that a home has directories of: ``["3.11"]``."""
    names = (os.path.basename(path) for path in glob.glob(os.path.join(glob.escape(home), "lib", "python3.*")))
    found = {name.removeprefix("python") for name in names if re.fullmatch(r"python3\.\d+t?", name)}
    return sorted(found, key=lambda version: int(re.sub(r"\D", "", version.partition(".")[2])))


def _add_packages(directories: list[str], own: tuple[str, ...]) -> tuple[str, ...]:
    """Add site directories with what their ``.pth`` files name, before Imperator's own ones."""
    before = list(sys.path)
    known: set[str] = set()
    for directory in directories:
        site.addsitedir(directory, known)
    added = list(dict.fromkeys(entry for entry in sys.path if entry not in before or entry in directories))
    others = [entry for entry in sys.path if entry not in added]
    kept = list(dict.fromkeys(entry for entry in others if entry not in own))
    sys.path[:] = [*kept, *added, *own]
    return tuple(added)


def _forget(directories: list[str], own: tuple[str, ...]) -> tuple[str, ...]:
    """Drop from ``sys.modules`` what was imported from ``own`` and is in ``directories`` too."""
    tops = set()
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if "." not in name and isinstance(file, str) and any(file.startswith(entry + os.sep) for entry in own):
            tops.add(name)
    theirs = {entry.name.partition(".")[0] for directory in directories for entry in os.scandir(directory)}
    forgotten = sorted(top for top in tops if top in theirs and top not in KEPT)
    for name in list(sys.modules):
        if name.partition(".")[0] in forgotten:
            del sys.modules[name]
    return tuple(forgotten)


def _is_packages(entry: str) -> bool:
    return os.path.basename(entry.rstrip(os.sep)) in ("site-packages", "dist-packages")


def _program(home: str, version: str) -> str:
    for name in (f"python{version}", "python3", "python"):
        program = os.path.join(home, "bin", name)
        if os.path.exists(program):
            return program
    return f"python{version}"


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # gone, or not to be read from here up: "." is what the original uses
        return "."
