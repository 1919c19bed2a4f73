"""What to tell a person about an application that cannot be loaded: one line, and a short traceback for the log.

The rules of the line:

* it opens with where the option stands (``file:line``) and the option itself;
* then the Python exception, in one line however long it was;
* then the user's own innermost frame. Frames of ours, of importlib and of installed packages are passed over as long as
  there is a frame of the user's own, for that is where the person can mend something;
* it ends with what to do, where that is known.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import CodeType, ModuleType, TracebackType
from typing import Literal

from imperator.config.records import record
from imperator.kernel.obstacles import obstacle

Owner = Literal["user", "package", "python", "imperator"]
"""Whose a frame is: the user's, an installed package's, the standard library's, ours."""

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_LIBRARY = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_LONGEST_MESSAGE = 400


class CannotLoad(Exception):
    """An application, or what it needs, cannot be loaded. ``line`` is for the person, ``details`` for the log."""

    def __init__(self, line: str, details: str = "") -> None:
        super().__init__(line)
        self.line = line
        self.details = details
        """The traceback with the user's frames and the one that raised; empty where a traceback says nothing more."""


@record
class Frame:
    """One frame of a traceback."""

    file: str
    line: int
    function: str
    owner: Owner

    @property
    def source(self) -> str:
        import linecache  # only ever needed when something went wrong

        return linecache.getline(self.file, self.line).strip()

    def __str__(self) -> str:
        inside = "" if self.function == "<module>" else f" in {self.function}"
        source = self.source
        return f"{self.file}:{self.line}{inside}" + (f": {source}" if source else "")


def owner_of(file: str, module: str = "", package: str = "") -> Owner:
    """Whose a source file is. ``package``: the top of the module asked for, which is the user's even if installed."""
    if file.startswith(_OURS):
        return "imperator"
    if file.startswith("<frozen "):
        return "python"
    if package and module.partition(".")[0] == package:
        return "user"
    if any(part in file for part in _INSTALLED):
        return "package"
    return "python" if file.startswith(_LIBRARY) else "user"


def frames(traceback: TracebackType | None, package: str = "") -> list[Frame]:
    """The frames of a traceback, outermost first."""
    found = []
    while traceback is not None:
        code: CodeType = traceback.tb_frame.f_code
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        owner = owner_of(code.co_filename, module, package)
        found.append(Frame(code.co_filename, traceback.tb_lineno, code.co_name, owner))
        traceback = traceback.tb_next
    return found


def culprit(error: BaseException, package: str = "") -> Frame | None:
    """The user's own innermost frame, also of the exception that caused this one; else a package's; else ``None``."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    every = [frame for one in chain for frame in reversed(frames(one.__traceback__, package))]
    for owner in ("user", "package"):
        for frame in every:
            if frame.owner == owner:
                return frame
    return None


def in_one_line(error: BaseException) -> str:
    """``TypeError: what it says``, without line breaks, cut where it gets too long to read."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = " ".join(str(error).split())
    except Exception as broken:  # noqa: BLE001 - the user's own __str__: whatever it does, the person must get a line
        message = f"(its message cannot be shown: {type(broken).__name__})"
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "…"
    return f"{name}: {message}" if message else name


def trimmed(error: BaseException, package: str = "") -> str:
    """The traceback for the log: the user's frames and the one that raised, the others counted."""
    lines = ["Traceback (the application's own frames, most recent call last):"]
    all_frames = frames(error.__traceback__, package)
    hidden = 0
    for index, frame in enumerate(all_frames):
        last = index == len(all_frames) - 1 and frame.owner in ("user", "package", "python")
        if frame.owner == "user" or (last and not frame.file.startswith("<frozen ")):
            if hidden:
                lines.append(f"  … {hidden} of Python or of installed packages …")
            hidden = 0
            lines.append(f'  File "{frame.file}", line {frame.line}, in {frame.function}')
            if frame.source:
                lines.append(f"    {frame.source}")
        elif frame.owner != "imperator":
            hidden += 1
    if isinstance(error, SyntaxError) and error.filename:
        lines.append(f'  File "{error.filename}", line {error.lineno}')
        if error.text:
            lines.append(f"    {error.text.strip()}")
    lines.append(in_one_line(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and not isinstance(cause, CannotLoad):
        lines.append(f"caused by {in_one_line(cause)}")
    return "\n".join(lines)


def blame(said: str, error: BaseException, package: str = "") -> CannotLoad:
    """What an exception at import means. ``said``: ``file:line: option = value``; ``package``: see :func:`owner_of`."""
    frame = culprit(error, package)
    at = f" at {frame}" if frame else ""
    details = trimmed(error, package)
    if isinstance(error, SyntaxError) and error.filename and not error.filename.startswith("<"):
        return CannotLoad(f"{said}: {_syntax(error)}" + (f", imported by {frame}" if frame else ""), details)
    if isinstance(error, SystemExit):
        what = f"{_exit_word(error)} while it was loaded{at}"
        return CannotLoad(f"{said}: the application ended itself ({what}); what is loaded must not exit", details)
    if isinstance(error, KeyboardInterrupt):
        return CannotLoad(f"{said}: interrupted (KeyboardInterrupt) while it was loaded{at}", details)
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = missing_hint(error.name, frame)
        return CannotLoad(f"{said}: {in_one_line(error)}{at}" + (f" ({hint})" if hint else ""), details)
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        refused = unreadable(error.filename)
        if refused:
            return CannotLoad(f"{said}: {refused}{at}", details)
    return CannotLoad(f"{said}: {in_one_line(error)}{at}", details)


def missing_hint(name: str, frame: Frame | None) -> str:
    """What may help where the module ``name``, imported in ``frame``, is not there."""
    top = name.partition(".")[0]
    if top in ("uwsgi", "uwsgidecorators"):
        return f"only the real uWSGI has a module {top}: engine = uwsgi"
    if frame is None:
        return ""
    beside = os.path.join(os.path.dirname(frame.file), top)
    if os.path.exists(beside + ".py") or os.path.isdir(beside):
        return (
            f"{top} is beside that file, but not where modules are looked for: pythonpath = {os.path.dirname(beside)}"
        )
    if sys.prefix != sys.base_prefix:
        return f"looked for in the virtualenv {sys.prefix} too"
    return "no virtualenv is in use: is home = /path/of/the/virtualenv missing?"


def unreadable(path: str) -> str | None:
    """Why the calling user cannot read ``path``: the directory that stops it, or the file's own mode."""
    path = os.path.abspath(path)
    if not os.path.exists(path):
        return obstacle(os.fsencode(path))
    if os.access(path, os.R_OK):
        return None
    status = os.stat(path)
    mode = f"mode {status.st_mode & 0o7777:04o}, owner {status.st_uid}:{status.st_gid}"
    kind = "the directory " if os.path.isdir(path) else ""
    return f"uid {os.geteuid()} may not read {kind}{path} ({mode})"


def no_such_module(name: str, missing: str) -> str:
    """What to say where the module ``name`` is not there because ``missing``, itself or a package above it, is not."""
    parent, _, last = missing.rpartition(".")
    above = sys.modules.get(parent) if parent else None
    if above is not None:
        inside = getattr(above, "__path__", None)
        if inside is None:
            hint = f"; did you mean {parent}:{name.removeprefix(f'{parent}.')}?" if hasattr(above, last) else ""
            return f"there is no module {missing}: {parent} ({beneath(above)}) is a module, not a package{hint}"
        near = _near(last, modules_in(inside))
        return f"there is no module {last} in {', '.join(inside)}" + (
            f"; did you mean {parent}.{near}?" if near else ""
        )
    entries = [os.path.abspath(entry) for entry in sys.path if not entry.endswith(".zip")]
    places = [entry for entry in entries if owner_of(entry + os.sep) == "user"][:5]
    refused = next((why for why in map(unreadable, places) if why and "is not there" not in why), None)
    if refused:
        return f"there is no module {missing} to be found: {refused}"
    shown = [place if os.path.isdir(place) else f"{place} (which is not there)" for place in places]
    text = f"there is no module {missing} in {' or '.join(shown) or 'sys.path'}, nor among those installed"
    near = _near(missing, modules_in(places)) or _deeper(name, places)
    return text + (f"; did you mean {near}?" if near else " (chdir and pythonpath say where else to look)")


def modules_in(directories: Iterable[str]) -> list[str]:
    """The names of the modules and packages in some directories."""
    found = []
    for directory in directories:
        if os.path.isdir(directory) and os.access(directory, os.R_OK):
            for entry in os.scandir(directory):
                stem, dot, ending = entry.name.partition(".")
                is_module = ending == "py" or ending.endswith("so") or (not dot and entry.is_dir())
                if is_module and stem.isidentifier() and not stem.startswith("__"):
                    found.append(stem)
    return sorted(set(found))


def near_files(path: str) -> str:
    """``; did you mean …?`` for a file that is not there; empty if nothing is near."""
    directory, name = os.path.split(path)
    if os.path.exists(path) or not os.path.isdir(directory) or not os.access(directory, os.R_OK):
        return ""
    near = _near(name, [entry.name for entry in os.scandir(directory) if entry.is_file()])
    return f"; did you mean {near}?" if near else ""


def _near(name: str, names: list[str]) -> str:
    import difflib  # only ever needed when something went wrong

    found = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    return found[0] if found else ""


def _deeper(name: str, directories: list[str]) -> str:
    """``module = wsgi`` where there is a ``website/wsgi.py``."""
    for directory in directories:
        for package in modules_in([directory]):
            if os.path.isfile(os.path.join(directory, package, f"{name}.py")):
                return f"{package}.{name}"
    return ""


def beneath(module: ModuleType) -> str:
    """Where a module was loaded from, for a message."""
    return getattr(module, "__file__", None) or f"module {module.__name__}"


def _syntax(error: SyntaxError) -> str:
    message = " ".join(str(error.msg).split())
    text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
    return f"{type(error).__name__}: {message} at {error.filename}:{error.lineno}{text}"


def _exit_word(error: SystemExit) -> str:
    return in_one_line(error) if error.code is not None else "SystemExit"
