"""The user's Python application: finding it, loading it, and which interface (WSGI, ASGI, RSGI) it speaks.

The rules, which are the original's unless said otherwise:

* ``module = pkg.mod:callable``: imported by name. The callable may be dotted (not in the original) or be called,
  ``create_app()``. ``wsgi-file = path``: a file, or a directory with an ``__init__.py``, loaded as the module
  ``uwsgi_file_`` and its path with ``_`` for ``/`` and ``.``. Its directory is *not* put into ``sys.path``.
* The callable is the one after the colon, else ``callable = …``, else ``application``, else (not in the original)
  ``app``.
* Where no callable is named, a dictionary ``applications`` in the module is several applications: a path → a callable,
  or its name. (In the original it comes before a named callable too.)
* ``mount = /path=…`` takes a file or a module. (The original wants ``.py``, ``.wsgi`` or a colon in it, and passes over
  the rest in silence; ``file.py:callable`` it takes on its command line only.)
* Whatever the user's code raises, :class:`~imperator.instance.blame.CannotLoad` comes out, with one line for the
  person.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.machinery import SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, Literal, cast

from imperator.config.given import Configuration
from imperator.config.instance_settings import InstanceSettings, Interface
from imperator.config.records import record
from imperator.instance.blame import CannotLoad, beneath, blame, frames, near_files, no_such_module, unreadable
from imperator.instance.interface import guess, takes

FAILED_APPLICATION = 22
"""The exit code of an instance with ``need-app`` and no application: the Emperor does not respawn it at full speed."""

USUAL_NAMES = ("application", "app")
Option = Literal["module", "wsgi-file", "mount"]
_ALIASES: Mapping[Option, frozenset[str]] = {
    "module": frozenset({"module", "wsgi", "w", "asgi", "rsgi"}),
    "wsgi-file": frozenset({"wsgi-file", "file", "asgi", "rsgi"}),
    "mount": frozenset({"mount"}),
}
_CALLABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(\(\))?")


@record
class Asked:
    """An application that the configuration asks for."""

    option: Option
    value: str
    """Without the mount's path."""
    where: str
    callable: str | None = None
    """What ``callable = …`` says; a callable in ``value`` comes first."""
    interface: Interface | None = None
    path: str = ""
    """Where it is mounted; empty: it answers for everything."""

    @property
    def said(self) -> str:
        """``file:line: option = value``, with which every line for the person opens."""
        value = f"{self.path}={self.value}" if self.option == "mount" else self.value
        return f"{self.where}: {self.option} = {value}"


@record
class Application:
    """A loaded application."""

    callable: Callable[..., Any]
    interface: Interface
    where: str
    reason: str
    """How the callable and its interface were found, in one line."""
    name: str
    """``pkg.mod:callable``."""
    path: str = ""


@record
class Loaded:
    """Everything that was asked for: what could be loaded, and what could not."""

    applications: tuple[Application, ...]
    problems: tuple[CannotLoad, ...]


def asked_for(settings: InstanceSettings, configuration: Configuration) -> tuple[Asked, ...]:
    """The applications of an instance in the original's order: module, file, mounts."""
    asked = []
    single: tuple[tuple[Option, str | None], ...] = (("module", settings.module), ("wsgi-file", settings.wsgi_file))
    for option, value in single:
        if value:
            where = _where(configuration, _ALIASES[option], value)
            asked.append(Asked(option, value, where, settings.callable, settings.interface))
    for mount in settings.mount:
        asked.append(Asked("mount", mount.application, mount.where, settings.callable, settings.interface, mount.path))
    return tuple(asked)


def load_all(asked: Iterable[Asked]) -> Loaded:
    """Load every application; one that fails does not keep the others from being loaded."""
    applications: list[Application] = []
    problems = []
    for one in asked:
        try:
            applications.extend(load(one))
        except CannotLoad as problem:
            problems.append(problem)
    return Loaded(tuple(applications), tuple(problems))


def load(asked: Asked) -> tuple[Application, ...]:
    """Load what one option asks for: one application, or several for a dictionary. Raises :class:`CannotLoad`."""
    target, named, is_file = split(asked)
    module = load_file(asked.said, target) if is_file else load_module(asked.said, target)
    several = getattr(module, "applications", None)
    if named is None and isinstance(several, dict) and several:
        return tuple(_one_of_several(asked, module, path, value) for path, value in several.items())
    name, found, why = _find_callable(asked, module, named)
    interface, reason = _interface(asked, name, found)
    reason = f"{why}; {reason}" if why else reason
    return (Application(found, interface, asked.where, reason, f"{module.__name__}:{name}", asked.path),)


def split(asked: Asked) -> tuple[str, str | None, bool]:
    """The module or file, the callable that is named, and whether it is a file."""
    target, colon, name = asked.value.rpartition(":")
    if not colon or not _CALLABLE.fullmatch(name) or os.path.exists(asked.value):
        target, name = asked.value, ""
    is_file = asked.option == "wsgi-file" or target.endswith(".py") or "/" in target
    if target.endswith(".wsgi"):  # a file hello.wsgi, or Django's module website.wsgi
        is_file = is_file or os.path.isfile(target)
    if not is_file and ":" in target:
        raise CannotLoad(f"{asked.said}: {asked.value.partition(':')[2]!r} is no name of a callable")
    return target, name or asked.callable or None, is_file


def import_beforehand(modules: Iterable[str], where: str) -> tuple[CannotLoad, ...]:
    """``import = …``: modules and files imported before the application. The original goes on when one fails."""
    problems = []
    for name in modules:
        said = f"{where}: import = {name}"
        try:
            if "/" in name or name.endswith(".py"):
                load_file(said, name, prefix="")
            else:
                load_module(said, name)
        except CannotLoad as problem:
            problems.append(problem)
    return tuple(problems)


def load_module(said: str, name: str) -> ModuleType:
    """Import a module by its name. Raises :class:`CannotLoad`."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise CannotLoad(f"{said}: {name!r} is no name of a Python module")
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        is_ours = not any(frame.owner in ("user", "package") for frame in frames(error.__traceback__))
        if is_ours and error.name and f"{name}.".startswith(f"{error.name}."):
            raise CannotLoad(f"{said}: {no_such_module(name, error.name)}") from error
        raise blame(said, error, package) from error
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise blame(said, error, package) from error


def load_file(said: str, path: str, prefix: str = "uwsgi_file_") -> ModuleType:
    """Load a file, or a directory that is a package, as a module. Raises :class:`CannotLoad`."""
    file = os.path.abspath(path)
    is_package = os.path.isdir(file)
    source = os.path.join(file, "__init__.py") if is_package else file
    refused = unreadable(source)
    if refused:
        raise CannotLoad(f"{said}: {refused}{near_files(source)}")
    name = prefix + pythonized(path)
    loader = _UncachedLoader(name, source)
    spec = importlib.util.spec_from_file_location(
        name, source, loader=loader, submodule_search_locations=[file] if is_package else None
    )
    if spec is None:
        raise CannotLoad(f"{said}: {source} cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        sys.modules.pop(name, None)
        raise blame(said, error, name) from error
    return module


class _UncachedLoader(SourceFileLoader):
    """Compiles a file each time: the byte code of ``app.wsgi`` would be kept under the name of that of ``app.py``."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def pythonized(path: str) -> str:
    """The module name that the original makes of a file's path, as it was given."""
    return re.sub(r"_py$", "", path.replace(".", "_").replace("/", "_"))


def no_application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The WSGI application of an instance that has none: the original's answer and its line in the log."""
    environ["wsgi.errors"].write("--- no python application found, check your startup logs for errors ---\n")
    body = b"Internal Server Error"
    start_response("500 Internal Server Error", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


# -- the callable ---------------------------------------------------------------------------------------------------


def _interface(asked: Asked, name: str, found: object) -> tuple[Interface, str]:
    guessed = guess(found)
    if guessed.interface is None:
        kind = type(found).__name__ if not inspect.isclass(found) else "class"
        try:
            is_factory = takes(inspect.signature(cast("Callable[..., Any]", found)), 0)
        except (TypeError, ValueError):
            is_factory = False
        hint = f"it makes applications? then write {name}()" if is_factory else "no interface calls it like that"
        raise CannotLoad(f"{asked.said}: {name} is no application: a {kind}, {guessed.reason} ({hint})")
    said = asked.interface
    if said is None or said == guessed.interface:
        return guessed.interface, f"{guessed.interface.upper()}: {guessed.reason if said is None else 'as configured'}"
    if guessed.sure:
        raise CannotLoad(
            f"{asked.said}: configured as {said.upper()}, but {name} is {guessed.interface.upper()}: {guessed.reason} "
            f"(interface = {guessed.interface})"
        )
    return said, f"{said.upper()}: as configured"


def _find_callable(asked: Asked, module: ModuleType, named: str | None) -> tuple[str, Callable[..., Any], str]:
    """The callable's name, itself, and what is to be said about how it was found."""
    if named is not None:
        found, why = _attribute(asked, module, named), ""
    else:
        named = next((name for name in USUAL_NAMES if _can_be_called(getattr(module, name, None))), USUAL_NAMES[0])
        found = _attribute(asked, module, named)
        why = f"no callable named and no {USUAL_NAMES[0]}: {named} it is" if named != USUAL_NAMES[0] else ""
    if not _can_be_called(found):
        raise CannotLoad(
            f"{asked.said}: {named} in {beneath(module)} is not callable, it is {type(found).__name__} "
            f"{reprlib.repr(found)}{_candidates(asked, module)}"
        )
    return named, cast("Callable[..., Any]", found), why


def _can_be_called(found: object) -> bool:
    """An RSGI application is called through its ``__rsgi__``."""
    return callable(found) or hasattr(found, "__rsgi__")


def _attribute(asked: Asked, module: ModuleType, name: str) -> object:
    dotted = name.removesuffix("()")
    found: Any = module
    for part in dotted.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as error:
            holder = beneath(module) if found is module else f"{dotted.rpartition('.')[0]} in {beneath(module)}"
            raise CannotLoad(f"{asked.said}: no {part} in {holder}{_candidates(asked, module)}") from error
        except (Exception, SystemExit, KeyboardInterrupt) as error:  # a module's own __getattr__
            raise blame(asked.said, error, module.__name__.partition(".")[0]) from error
    if not name.endswith("()"):
        return found
    if not callable(found):
        raise CannotLoad(f"{asked.said}: {dotted} in {beneath(module)} is not callable, it is {type(found).__name__}")
    try:
        return found()
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        raise blame(asked.said, error, module.__name__.partition(".")[0]) from error


def _candidates(asked: Asked, module: ModuleType) -> str:
    """What in a module looks like an application, for a message."""
    found = []
    for name, value in vars(module).items():
        if name.startswith("_") or not callable(value) or inspect.isclass(value):
            continue
        is_function = inspect.isroutine(value)
        if is_function and getattr(value, "__module__", None) != module.__name__:
            continue
        guessed = guess(value)
        if guessed.interface and guessed.sure:
            found.append(name)
        elif is_function and re.search(r"app|wsgi", name) and guessed.interface is None:
            found.append(f"{name}()")
    if not found:
        return f" (nothing in it looks like an application; it should be called {USUAL_NAMES[0]})"
    others = f" also found: {', '.join(found[1:])}" if found[1:] else ""
    return f" (did you mean {_with_callable(asked, found[0])}?{others})"


def _with_callable(asked: Asked, name: str) -> str:
    target = split(asked)[0]
    return f"callable = {name}" if asked.option == "wsgi-file" else f"{target}:{name}"


def _one_of_several(asked: Asked, module: ModuleType, path: object, value: object) -> Application:
    if not isinstance(path, str):
        raise CannotLoad(f"{asked.said}: applications in {beneath(module)}: the path {path!r} must be a string")
    name = f"applications[{path!r}]"
    found = _attribute(asked, module, value) if isinstance(value, str) else value
    if not _can_be_called(found):
        raise CannotLoad(f"{asked.said}: {name} in {beneath(module)} is not callable, it is {type(found).__name__}")
    interface, reason = _interface(asked, name, cast("Callable[..., Any]", found))
    mounted = asked.path.rstrip("/") + path
    return Application(
        cast("Callable[..., Any]", found), interface, asked.where, reason, f"{module.__name__}:{name}", mounted
    )


def _where(configuration: Configuration, aliases: frozenset[str], value: str) -> str:
    for given in reversed(configuration.given):
        if given.key in aliases and given.text == value and not given.placeholder:
            return given.where
    return "configuration"
