"""The order in which a process is hardened, between clone and exec. Loaded by the spawner by its path.

First, with the Emperor's rights, what it sees (:func:`close_off`); at last, when nothing is left to do but exec, what
it may do (:func:`give_up`). The steps are in files of their own.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

ALWAYS_WRITABLE = ("/dev", "/proc")
"""Devices, shared memory, and files that are no files."""
TEMPORARY = ("/tmp", "/var/tmp")


def load_all(load: Callable[[str], Any], order: dict[str, Any]) -> None:
    """In the spawner, so that no child has to: what the steps of this order are made of."""
    for name, wanted in {
        "mounts": order["private_tmp"] or order["hidden_proc"] or order["read_only"] == "mounts",
        "landlock": order["read_only"] == "landlock",
        "seccomp": order["no_new_privs"],
    }.items():
        if wanted:
            load(name)


def close_off(order: dict[str, Any]) -> None:
    """The file system. In a mount namespace of its own. Raises OSError."""
    if order["private_tmp"]:
        sys.modules["mounts"].private_tmp()
    if order["hidden_proc"]:
        sys.modules["mounts"].hidden_proc()
    if order["read_only"] == "mounts":
        temporary = TEMPORARY if order["private_tmp"] else ()
        sys.modules["mounts"].read_only([*ALWAYS_WRITABLE, *temporary, *order["writable"]])


def hint(order: dict[str, Any], path: bytes) -> str:
    """Why a directory may not be there any more."""
    covered = order["private_tmp"] and any(path.startswith(f"{tmp}/".encode()) for tmp in TEMPORARY)
    return " (vassal-private-tmp has put an empty directory over it)" if covered else ""


def give_up(order: dict[str, Any]) -> None:
    """Privileges, writing, system calls: the last needs the first. Raises OSError."""
    if order["no_new_privs"]:
        sys.modules["seccomp"].no_new_privileges()
    if order["read_only"] == "landlock":
        sys.modules["landlock"].write_only_below([*ALWAYS_WRITABLE, *order["writable"]])
    if order["seccomp"]:
        sys.modules["seccomp"].install(order["seccomp"])
