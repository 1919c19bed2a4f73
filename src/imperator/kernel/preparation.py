"""What only some processes go through between clone and exec: a change of user, namespaces, commands, hooks.

Loaded by the spawner by its path, before the first clone that needs it. Rules: the order of steps is that of
:func:`prepare`; a step that fails raises, and the process ends with its reason told.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_libc = ctypes.PyDLL(None, use_errno=True)


class Failed(Exception):
    """A step failed: the text is for a person."""


class Exiled(Failed):
    """A step failed for good: trying again would not help."""


def prepare(
    special: dict[str, Any], environment: dict[bytes, bytes], die_with_emperor: Callable[[], None], report: Any
) -> None:
    """Run the steps of one process. ``report(text)`` tells what failed without being fatal."""
    if special["before_drop"] or special["commands"] or special["hooks"]:  # exec is given the environment anyway
        os.environb.clear()
        os.environb.update(environment)
    run_hooks(special["before_drop"], "as-vassal-before-drop")
    if special["namespaces_of"]:
        enter_namespaces(special["namespaces_of"], special["namespaces"])
    hardening = special["hardening"]
    if hardening is not None:
        harden(lambda: sys.modules["hardening"].close_off(hardening))
        if special["credentials"] is None:
            enter_hardened(special)  # again: another file system may be there now
    if special["bounding"] is not None:
        bound(special["bounding"])
    if special["credentials"] is not None:
        drop(*special["credentials"])
    die_with_emperor()  # after the drop: a change of credentials would clear it
    if special["credentials"] is not None:
        enter_hardened(special)  # not before: the vassal's user has to be allowed to
    if special["tenancy"] is not None:
        check_tenancy(*special["tenancy"])
    for command in special["commands"]:
        failure = run_command(command)
        if failure is not None:
            report(failure)
    if special["all_hooks"]:
        run_all_hooks(special["hooks"])
    else:
        run_hooks(special["hooks"], special["phase"])
    if special["bind"]:
        bind(*special["bind"])
    if special["remove_socket"]:
        remove_socket(special["remove_socket"])
    if special["chdir_at_last"]:
        try:
            enter(special["chdir_at_last"])
        except Failed as failure:
            raise Exiled(f"emperor-chdir-attr: {failure}") from failure
    if hardening is not None:  # at last: what was done until here needs what is taken now
        harden(lambda: sys.modules["hardening"].give_up(hardening))


def enter_hardened(special: dict[str, Any]) -> None:
    try:
        enter(special["directory"])
    except Failed as failure:
        if special["hardening"] is None:
            raise
        raise Failed(str(failure) + sys.modules["hardening"].hint(special["hardening"], special["directory"])) from None


def harden(step: Callable[[], None]) -> None:
    try:
        step()
    except OSError as error:
        where = f": {os.fsdecode(error.filename)}" if error.filename else ""
        raise Failed(f"{error.strerror}{where}") from error


def check_tenancy(path: bytes, nofollow: bool) -> None:
    tenancy = sys.modules["tenancy"]
    try:
        tenancy.check(path, nofollow=nofollow)
    except tenancy.NotTheirs as refusal:
        raise Failed(f"refused as uid {os.getuid()}: {refusal}") from refusal
    except OSError as error:
        raise Failed(f"uid {os.getuid()} cannot read it: {error.strerror}") from error


def bind(address: str, backlog: int, mode: int) -> None:
    """Listen on an address, with the rights that this process has by now, and send the socket over fd 3."""
    import socket

    try:
        opened = sys.modules["sockets"].open_socket(address, backlog=backlog, mode=mode)
    except (OSError, ValueError) as error:
        raise Failed(str(getattr(error, "strerror", None) or error)) from error
    with opened, socket.socket(fileno=os.dup(3)) as emperor:
        socket.send_fds(emperor, [b"!"], [opened.fileno()])


def remove_socket(address: str) -> None:
    try:
        sys.modules["sockets"].remove_socket_file(address)
    except OSError as error:
        raise Failed(f"{address} cannot be removed: {error.strerror}") from error


def bound(numbers: list[int]) -> None:
    """Whatever this process executes, it can never have another capability (capabilities(7), the bounding set)."""
    try:
        sys.modules["capabilities"].bound_to(frozenset(numbers))
    except OSError as error:
        raise Failed(f"emperor-cap: {error.strerror}: the Emperor needs setpcap for that") from error


def enter(directory: bytes) -> None:
    try:
        os.chdir(directory)
    except OSError as error:
        raise Failed(f"cannot enter {os.fsdecode(directory)}: {error.strerror}") from error


def drop(uid: int, gid: int, groups: list[int]) -> None:
    """Become the vassal's user, for good: no group, no capability and no way back stays (credentials(7))."""
    if uid == 0 or gid == 0:
        raise Failed(f"refusing to run a tyrant's vassal as uid {uid}, gid {gid}")
    try:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        # The kernel takes them from who was root. An Emperor that is not, but may change users, has some to lose.
        sys.modules["capabilities"].hold(frozenset())
    except OSError as error:
        rights = " (tyrant mode needs root, or CAP_SETUID and CAP_SETGID)" if error.errno == errno.EPERM else ""
        raise Failed(f"cannot become uid {uid}, gid {gid}: {error.strerror}{rights}") from error


def join(places: list[Any]) -> None:
    """Go into a control group of its own."""
    try:
        sys.modules["cgroup"].enter(places)
    except OSError as error:
        raise Failed(f"its control group: {error.strerror}: {error.filename}") from error


def enter_namespaces(pid: int, names: list[str]) -> None:
    """setns(2) into the namespaces of ``pid`` with these names, or into every one that is not our own."""
    every = ("ipc", "uts", "net", "pid", "cgroup", "mnt")
    unknown = sorted({*names} - {*every, "user"})
    if unknown:
        raise Failed(f"there is no namespace {unknown[0]!r}: it is one of {', '.join(every)}, user")
    for kind in names or every:
        theirs, ours = f"/proc/{pid}/ns/{kind}", f"/proc/self/ns/{kind}"
        if os.stat(theirs).st_ino != os.stat(ours).st_ino:
            fd = os.open(theirs, os.O_RDONLY | os.O_CLOEXEC)
            if _libc.setns(fd, 0) != 0:
                raise Failed(f"cannot enter the {kind} namespace: {os.strerror(ctypes.get_errno())}")
            os.close(fd)


def run_command(command: list[bytes]) -> str | None:
    """Run a program and wait for it; ``None``: it exited with 0."""
    try:
        pid = os.posix_spawnp(command[0], command, os.environb)
    except OSError as error:
        return f"{os.fsdecode(command[0])}: {error.strerror}"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return None if code == 0 else f"{os.fsdecode(command[0])} ended with {code}"


def run_hooks(hooks: list[tuple[str, str, str]], phase: str) -> None:
    """Run the hooks of a phase in this process; the first that fails ends it."""
    for hook in hooks:
        failure = run_hook(hook)
        if failure is not None:
            raise Failed(f"{phase}: {failure}")


def run_all_hooks(hooks: list[tuple[str, str, str]]) -> None:
    """Run the hooks of a phase in this process; one that fails does not keep the next one from running."""
    failures = [failure for hook in hooks if (failure := run_hook(hook)) is not None]
    if failures:
        raise Failed("; ".join(failures))


def run_hook(hook: tuple[str, str, str]) -> str | None:
    """Run one hook; the reason of its failure."""
    actions = sys.modules["hooks"]  # loaded by the spawner, by its path too
    action, argument, where = hook
    try:
        actions.run_hook(action, argument)
    except actions.HookFailed as error:
        return f"{where + ': ' if where else ''}{actions.shown(action, argument)}: {error}"
    return None
