"""The words that a hook may begin with, so that a slip of the pen is found while the configuration is read.

What they do is in :mod:`imperator.kernel.hooks`; a test sees to it that both lists are the same.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

HERE: Final = frozenset(
    [
        "append",
        "appendn",
        "cd",
        "chdir",
        "chmod",
        "chown",
        "chown2",
        "creat",
        "create",
        "exec",
        "exit",
        "hostname",
        "log",
        "mkdir",
        "mount",
        "print",
        "putenv",
        "safeexec",
        "spinningfifo",
        "sticky",
        "umount",
        "unlink",
        "wait_for_dir",
        "wait_for_file",
        "wait_for_fs",
        "wait_for_socket",
        "write",
        "writefifo",
        "writen",
    ]
)
"""The actions that Imperator has."""
OF_UWSGI: Final = frozenset(["alarm", "call", "callint", "callintret", "callret", "retryrpc", "rpc", "unix_signal"])
"""Those that reach into the original's own process: only the real uWSGI can have them."""
OLD_ORDER: Final = ("mount", "umount", "exec")
"""Within a phase the old spellings come after the hooks, and in this order, however they are mixed in the file."""


def advice(action: str) -> str:
    """What to write instead of an action that does not exist."""
    near = get_close_matches(action, sorted(HERE), 1)
    return f"did you mean {near[0]}?" if near else f"it is one of {', '.join(sorted(HERE))}"
