"""Starts the Emperor's small helper processes: the spawner, the guardian, the scribe, and those of networks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def start_helper(script: Path, fds: Sequence[int], *arguments: str) -> subprocess.Popen[bytes]:
    """Run a script of ours with as small an interpreter as there is. Its arguments: ``fds``, then ``arguments``.

    An fd of -1: there is none. ``-I -S``: nothing of the user's and no site-packages. A session of its own: what a
    terminal sends is not for it.
    """
    command = [sys.executable, "-I", "-S", str(script), *map(str, fds), *arguments]
    handed = [fd for fd in fds if fd >= 0]
    return subprocess.Popen(command, pass_fds=handed, stdin=subprocess.DEVNULL, start_new_session=True, cwd="/")
