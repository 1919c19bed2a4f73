"""The commands that pip has installed for the interpreter that runs us: never what PATH happens to hold."""

from __future__ import annotations

import os
import sys


def places() -> list[str]:
    """The directories in which they are: the interpreter's own, and where its installation scheme puts commands."""
    import sysconfig  # a vassal seldom needs it

    return list(dict.fromkeys((os.path.dirname(sys.executable), sysconfig.get_path("scripts"))))


def installed_command(name: str) -> str | None:
    """The path of one; ``None``: it is not installed."""
    candidates = (os.path.join(place, name) for place in places())
    return next((path for path in candidates if os.path.isfile(path) and os.access(path, os.X_OK)), None)
