"""Which engines are there to be chosen from: looked up in the file system, nothing is imported."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

from imperator.config.records import record
from imperator.kernel.interpreter import installed_command


@record
class Installed:
    """The engines that this Python can use."""

    granian: bool = False
    uwsgi: bool = False
    gunicorn: bool = False
    gunicorn_speaks_uwsgi: bool = False
    """Since 24: ``protocol = uwsgi``."""
    gunicorn_runs_asgi: bool = False
    """Since 25: a worker of its own for ASGI."""
    python: str = "python"
    """What to call pip with, in a hint."""


def installed() -> Installed:
    """What is installed now, for this very interpreter."""
    gunicorn = _directory("gunicorn")
    return Installed(
        granian=_directory("granian") is not None,
        uwsgi=_has_uwsgi(),
        gunicorn=gunicorn is not None,
        gunicorn_speaks_uwsgi=_holds(gunicorn, "uwsgi"),
        gunicorn_runs_asgi=_holds(gunicorn, "workers", "gasgi.py"),
        python=sys.executable,
    )


def wheel() -> str | None:
    """The extension module of the pyuwsgi wheel; ``None``: it is not installed."""
    spec = PathFinder.find_spec("pyuwsgi")
    return None if spec is None else spec.origin


def _has_uwsgi() -> bool:
    return wheel() is not None or installed_command("uwsgi") is not None


def _directory(package: str) -> str | None:
    spec = PathFinder.find_spec(package)
    places = None if spec is None else spec.submodule_search_locations
    return next(iter(places), None) if places else None


def _holds(directory: str | None, *parts: str) -> bool:
    return directory is not None and os.path.exists(os.path.join(directory, *parts))
