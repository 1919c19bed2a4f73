"""Starts the Emperor's small helper processes: the spawner and the guardian."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def start_helper(script: Path, fds: Sequence[int]) -> subprocess.Popen[bytes]:
    """Run a script of ours with as small an interpreter as there is, and ``fds`` as its arguments.

    ``-I -S``: nothing of the user's and no site-packages. A session of its own: what a terminal sends is not for it.
    """
    command = [sys.executable, "-I", "-S", str(script), *map(str, fds)]
    return subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/")
