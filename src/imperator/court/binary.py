"""Which program a vassal is, when nobody says otherwise: the uwsgi that came with us, never what PATH happens to hold.

The wheel of pyuwsgi installs a small Python script called ``uwsgi`` beside the interpreter. Such a uwsgi believes that
its binary is the interpreter, resolved through every symlink, so after a reload it would come up without its virtual
environment: the path to execute has to be told to it (``UWSGI_BINARY_PATH``).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path


class NoBinary(Exception):
    """There is no program to run vassals with; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Binary:
    """A program for vassals; ``reload_path`` is what it must execute to reload itself, where it cannot know."""

    path: str
    reload_path: str | None = None


def beside_interpreter() -> Binary:
    """The uwsgi that pip installed with us. Raises :class:`NoBinary`."""
    places = dict.fromkeys((Path(sys.executable).parent, Path(sysconfig.get_path("scripts"))))
    for place in places:
        candidate = place / "uwsgi"
        if os.access(candidate, os.X_OK):
            is_script = candidate.read_bytes()[:2] == b"#!"
            return Binary(str(candidate), sys.executable if is_script else None)
    looked = " or ".join(str(place) for place in places)
    raise NoBinary(
        f"no uwsgi in {looked}: install it with '{sys.executable} -m pip install pyuwsgi', or name another program "
        "with --binary-path"
    )
