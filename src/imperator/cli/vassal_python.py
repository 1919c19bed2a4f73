"""Is the Python application there: its virtualenv, its module or file? It is looked for, and nothing is imported.

Where modules are looked for is said in :mod:`imperator.instance.environment_python`. What a module's own code or a hook
might add to that cannot be known, so where that is possible what is not found is a warning and no error.
"""

from __future__ import annotations

import difflib
import glob
import os
import re
import site
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import Final

from imperator.cli.access import obstacle
from imperator.cli.findings import Severity
from imperator.cli.vassal_paths import is_out_of_sight
from imperator.cli.vassal_surroundings import Surroundings
from imperator.instance.blame import CannotLoad, modules_in, near_files
from imperator.instance.environment_python import package_directories, read_configuration, system_packages

Say = Callable[[Severity, str, str], None]

HOME: Final = ("home", "virtualenv", "venv", "pyhome")
_MODULE: Final = ("module", "wsgi", "asgi", "rsgi")
_FILE: Final = ("wsgi-file", "file")
_PATH: Final = ("pythonpath", "python-path", "pp")
_DECIDES: Final = frozenset({*HOME, *_MODULE, *_FILE, *_PATH, "mount", "chdir", "env", "unenv", "engine"})
_CALLABLE: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\(.*\))?")
_SUFFIXES: Final = tuple(all_suffixes())
_HARMLESS: Final = re.compile(r"distutils-precedence\.pth|_virtualenv\.pth|.*-nspkg\.pth|a1_coverage\.pth|zope.*")
"""``.pth`` files that run code, but make no further module importable."""
_MOST_SHOWN: Final = 5
_MOST_DIRECTORIES: Final = 200


@dataclass(frozen=True, slots=True)
class _Places:
    """Where an application's modules are looked for."""

    own: tuple[str, ...]
    """The working directory and what ``pythonpath`` and ``PYTHONPATH`` name."""
    installed: tuple[str, ...]
    certain: bool
    """There are no others."""

    def finds(self, name: str) -> list[str]:
        """The directories and files that are the top module ``name``."""
        return [path for entry in (*self.own, *self.installed) for path in _in(entry, name)]


def look_at_python(around: Surroundings, say: Say, *, own_python: bool) -> None:
    """``own_python``: the vassal's program is of this Python."""
    settings = around.settings
    if settings.engine == "binary" or settings.privileged_binary_patch or settings.unprivileged_binary_patch:
        return
    if around.unsure & _DECIDES or "PYTHONHOME" in around.environ:
        return
    packages = _own_packages() if settings.home is None else _virtualenv(around, settings.home, say, own_python)
    if packages is None or not os.path.isdir(around.base):
        return  # that is said as such
    places = _places(around, packages, own_python, say)
    for said, value, where, file in _applications(around):
        target = _target(value, around.base)
        if file or target.endswith(".py") or "/" in target or os.path.isfile(os.path.join(around.base, target)):
            _look_at_file(around, said, os.path.join(around.base, target), where, say)
        elif not all(part.isidentifier() for part in target.split(".")):
            say("error", where, f"{said}: {target!r} is no name of a Python module")
        else:
            _look_at_module(said, target, where, places, say)


def _applications(around: Surroundings) -> Iterator[tuple[str, str, str, bool]]:
    settings = around.settings
    if settings.module:
        where = around.where(*_MODULE)
        yield f"{around.key(*_MODULE)} = {settings.module}", settings.module, where, False
    if settings.wsgi_file:
        yield f"{around.key(*_FILE)} = {settings.wsgi_file}", settings.wsgi_file, around.where(*_FILE), True
    for mount in settings.mount:
        yield f"mount = {mount.path}={mount.application}", mount.application, mount.where, False


def _target(value: str, base: str) -> str:
    """Without the callable's name."""
    target, colon, name = value.rpartition(":")
    if colon and _CALLABLE.fullmatch(name) and not os.path.exists(os.path.join(base, value)):
        return target
    return value


# -- the virtualenv


def _virtualenv(around: Surroundings, home: str, say: Say, own_python: bool) -> list[str] | None:
    """Its packages; ``None``: it is of no use."""
    where, said = around.where(*HOME), f"{around.key(*HOME)} = {home}"
    if any(is_out_of_sight(around, said, where, path, say) for path in _homes(around, home)):
        return None
    path = next((path for path in _homes(around, home) if os.path.isdir(path)), None)
    if path is None:
        severity: Severity = "warning" if around.may_change else "error"
        text = f"{said}: there is no such directory: python3 -m venv {os.path.join(around.directory, home)} makes one"
        say(severity, where, text)
        return None
    stopped = obstacle(Path(path), around.runner)
    if stopped is not None:
        say("error", where, f"{said}: {stopped}")
        return None
    try:
        packages = package_directories(said, path)
    except CannotLoad as error:
        say("error" if own_python and around.settings.engine != "uwsgi" else "warning", where, error.line)
        return None
    program = os.path.join(path, "bin", "python")
    if os.path.islink(program) and not os.path.exists(program):
        gone = os.path.realpath(program)
        say("warning", where, f"{said}: its Python, {gone}, is not there any more: make the virtualenv anew")
    return packages


def _homes(around: Surroundings, home: str) -> Iterator[str]:
    yield os.path.join(around.directory, home)
    yield os.path.join(around.base, home)


@lru_cache(maxsize=1)
def _own_packages() -> list[str]:
    """Where this Python's own packages are."""
    virtualenv = read_configuration(sys.prefix)
    system = system_packages(sys.base_prefix) if virtualenv is None or virtualenv.with_system else []
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    found = dict.fromkeys([*site.getsitepackages(), *system, *user])
    return [path for path in found if os.path.isdir(path)]


# -- modules


def _places(around: Surroundings, packages: list[str], own_python: bool, say: Say) -> _Places:
    variables = dict(around.environ)
    for text in around.settings.env:
        key, _, value = text.partition("=")
        variables[key] = value
    own = [around.base]
    for path in around.settings.pythonpath:
        full = os.path.join(around.base, path)
        own += (glob.glob(full) if glob.has_magic(path) else []) or [full]
        said, where = f"{around.key(*_PATH)} = {path}", around.where(*_PATH)
        if not is_out_of_sight(around, said, where, own[-1], say) and not os.path.exists(own[-1]):
            say("warning", where, f"{said}: {own[-1]} is not there")
    own += [os.path.join(around.base, path) for path in variables.get("PYTHONPATH", "").split(":") if path]
    directories = dict.fromkeys([*packages, *_own_packages()])
    installed, certain = [], own_python and not around.may_change and not around.settings.import_
    certain = certain and not any(around.is_hidden(os.path.join(path, ".")) for path in own)
    for directory in directories:
        more, sure = _site(directory)
        installed += [directory, *more]
        certain = certain and sure
    certain = certain and not any(os.path.isfile(path) for path in (*own, *installed))  # a zip file, an egg
    return _Places(tuple(dict.fromkeys(own)), tuple(dict.fromkeys(installed)), certain)


@lru_cache(maxsize=256)
def _site(directory: str) -> tuple[tuple[str, ...], bool]:
    """What the ``.pth`` files of a ``site-packages`` add; and whether that is all (others may run code)."""
    found, certain = [], True
    try:
        names = [name for name in os.listdir(directory) if name.endswith(".pth")]
    except OSError:
        return (), False
    for name in names:
        try:
            with open(os.path.join(directory, name), errors="surrogateescape") as file:
                lines = file.read(1 << 16).splitlines()
        except OSError:
            certain = False
            continue
        for line in lines:
            if line.startswith(("import ", "import\t")):
                certain = certain and bool(_HARMLESS.fullmatch(name))
            elif line.strip() and not line.startswith("#"):
                found.append(os.path.join(directory, line.strip()))
    return tuple(found), certain


def _in(directory: str, name: str) -> Iterator[str]:
    path = os.path.join(directory, name)
    if os.path.isdir(path):
        yield path
    yield from (path + suffix for suffix in _SUFFIXES if os.path.isfile(path + suffix))


def _look_at_module(said: str, name: str, where: str, places: _Places, say: Say) -> None:
    top, *inner = name.split(".")
    if top in sys.stdlib_module_names:
        return
    found = places.finds(top)
    if not found:
        severity: Severity = "error" if places.certain else "warning"
        say(severity, where, f"{said}: {_not_found(top, name, places)}")
        return
    for position, part in enumerate(inner, 1):
        packages = [path for path in found if os.path.isdir(path)]
        parent = ".".join([top, *inner[: position - 1]])
        if not packages:
            say("warning", where, f"{said}: {parent} ({found[0]}) is a module and no package")
            return
        found = [path for package in packages for path in _in(package, part)]
        if not found:
            near = difflib.get_close_matches(part, modules_in(packages), n=1, cutoff=0.7)
            hint = f": did you mean {parent}.{near[0]}?" if near else ""
            say("warning", where, f"{said}: there is no module {part} in {', '.join(packages[:_MOST_SHOWN])}{hint}")
            return


def _not_found(top: str, name: str, places: _Places) -> str:
    shown = " or ".join(places.own[:_MOST_SHOWN])
    text = f"there is no module {top} in {shown}, nor among those installed"
    near = difflib.get_close_matches(top, modules_in(places.own), n=1, cutoff=0.7)
    if near:
        return f"{text}: did you mean {'.'.join([near[0], *name.split('.')[1:]])}?"
    for directory in _below(places.own):
        if next(_in(directory, top), None) is not None:
            inside = f", or {os.path.basename(directory)}.{name} meant" if "." not in name else ""
            return f"{text}: it is in {directory}: is pythonpath = {directory} missing{inside}?"
    return f"{text}: chdir and pythonpath say where else to look"


def _below(directories: tuple[str, ...]) -> Iterator[str]:
    for directory in directories:
        try:
            with os.scandir(directory) as entries:
                for count, entry in enumerate(entries):
                    if count >= _MOST_DIRECTORIES:
                        break
                    if entry.is_dir() and not entry.name.startswith("."):
                        yield entry.path
        except OSError:  # what cannot be looked into holds no hint
            continue


def _look_at_file(around: Surroundings, said: str, path: str, where: str, say: Say) -> None:
    if is_out_of_sight(around, said, where, path, say):
        return
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        severity: Severity = "warning" if around.may_change else "error"
        what = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be looked at: {error}"
        say(severity, where, f"{said}: {path} {what}{near_files(path)}")
        return
    if stat.S_ISDIR(found.st_mode) and not os.path.isfile(os.path.join(path, "__init__.py")):
        say("error", where, f"{said}: {path} is a directory and no package: it has no __init__.py")
        return
    if (stopped := obstacle(Path(path).parent, around.runner)) is not None:
        say("error", where, f"{said}: {stopped}")
    elif not around.runner.may(found, os.R_OK):
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        say("error", where, f"{said}: {around.runner} may not read {path} ({mode})")
