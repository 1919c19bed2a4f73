"""Which program a vassal is: Imperator itself, when nobody says otherwise. Never what PATH happens to hold.

Where ``binary-path`` names the uwsgi that the wheel of pyuwsgi installed, there is more to know. That uwsgi is a small
Python script, and believes that its binary is the interpreter, resolved through every symlink; so after a reload it
would come up without its virtual environment. The path to execute has to be told to it (``UWSGI_BINARY_PATH``).
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from dataclasses import dataclass
from typing import Final

from imperator.kernel.interpreter import installed_command, places

_INTERPRETER: Final = re.compile(rb"#!(?:/bin/sh\n'''exec' \"?)?(/[^\"\n]*?python[\d.]*)")
"""The first line of a script that pip made, or the first two, where the path is too long or has a blank."""


class NoBinary(Exception):
    """There is no program to run vassals with; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A program for vassals; ``reload_path`` is what it must execute to reload itself, where it cannot know."""

    path: str
    reload_path: str | None = None


def binary_of(path: str | None) -> Binary:
    """What ``binary-path`` names; Imperator's own command if there is none. Raises :class:`NoBinary`."""
    if path is None:
        return ourselves()
    found = shutil.which(path) if os.sep not in path else path
    return Binary(path, None if found is None else _interpreter_of_wheel(found))


def ourselves() -> Binary:
    """Imperator's own command, as pip installed it for this interpreter. Raises :class:`NoBinary`."""
    found = installed_command("imperator")
    if found is None and os.path.isabs(sys.argv[0]) and is_imperator(sys.argv[0]) and os.access(sys.argv[0], os.X_OK):
        found = sys.argv[0]  # pip install --user: its commands are far from the interpreter
    if found is None:
        raise NoBinary(
            f"no command imperator in {' or '.join(places())}: install Imperator with '{sys.executable} -m pip', or "
            "name another program for vassals with --binary-path"
        )
    return Binary(found)


def is_imperator(path: str) -> bool:
    """Whether this program is our own instance, by its name: what only it understands is told to nobody else."""
    return os.path.basename(path) == "imperator"


def _interpreter_of_wheel(path: str) -> str | None:
    """The interpreter of a ``uwsgi`` that is a script of the pyuwsgi wheel; ``None``: it is no such thing."""
    try:
        with open(path, "rb") as file:
            head = file.read(4096)
    except OSError:  # said where it is executed, by whoever may not
        return None
    found = _INTERPRETER.match(head)
    return os.fsdecode(found[1]) if found and b"pyuwsgi" in head else None
