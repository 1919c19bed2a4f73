"""Why a program cannot be executed: the directory that may not be entered, the interpreter that is not there.

Loaded by the spawner's children by its path, and only when something has gone wrong.
"""

from __future__ import annotations

import errno
import os


def obstacle(path: bytes) -> str | None:
    """What keeps the calling user from ``path``: the first directory that may not be entered, or what is missing."""
    parts = os.path.abspath(path).split(b"/")
    for count in range(1, len(parts)):
        directory = b"/".join(parts[:count]) or b"/"
        shown = os.fsdecode(directory)
        if not os.path.isdir(directory):
            return f"{os.fsdecode(path)} is not there (no directory {shown})"
        if not os.access(directory, os.X_OK):
            return f"uid {os.geteuid()} may not enter {shown} (chmod o+x it, or install elsewhere)"
    if not os.path.exists(path):
        return f"{os.fsdecode(path)} is not there"
    if not os.access(path, os.X_OK):
        return f"uid {os.geteuid()} may not execute {os.fsdecode(path)}"
    return None


def why_not_executed(path: bytes, error: OSError) -> str:
    """An execve(2) error in words, down to the directory or the ``#!`` interpreter that stops it."""
    text = f"{os.fsdecode(path)}: {error.strerror}"
    if b"/" not in path:
        return text + " (looked for in PATH)" if error.errno == errno.ENOENT else text
    if error.errno not in (errno.EACCES, errno.ENOENT, errno.ENOTDIR):
        return text
    reason = obstacle(path)
    if reason is None:
        try:
            with open(path, "rb") as file:
                line = file.readline(4096)
        except OSError:
            return text
        if line.startswith(b"#!") and line[2:].split():
            interpreter = line[2:].split()[0]
            stopped = obstacle(interpreter)
            reason = f"its interpreter: {stopped}" if stopped else None
    return f"{text}: {reason}" if reason else text
