"""Hook actions: what ``hook-PHASE = action:argument`` can do.

Runs in a short-lived process (or, before the Emperor's loop starts, in the Emperor): it may block. Only the standard
library is imported, because the spawner loads this file by its path. Actions and their arguments are those of the
original's manual, section "Hooks".
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable

WAIT_FOR_SECONDS = 60
"""How long the ``wait_for_…`` actions look before they give up."""


class HookFailed(Exception):
    """The hook could not do what it says."""


def _split(argument: str, count: int, usage: str) -> list[str]:
    parts = argument.split(" ", count - 1)
    if len(parts) != count:
        raise HookFailed(f"expected {usage}")
    return parts


def _exec(argument: str) -> None:
    code = subprocess.call(["/bin/sh", "-c", argument])
    if code != 0:
        raise HookFailed(f"ended with {code}")


def _safeexec(argument: str) -> None:
    code = subprocess.call(["/bin/sh", "-c", argument])
    if code != 0:
        print(f"hook safeexec:{argument} ended with {code}", file=sys.stderr, flush=True)


def _mount(argument: str) -> None:
    """``FILESYSTEM SOURCE TARGET [FLAGS]``, flags comma-separated: given to mount(8), which knows them all."""
    words = shlex.split(argument)
    if len(words) not in (3, 4):
        raise HookFailed("expected FILESYSTEM SOURCE TARGET [FLAGS]")
    kind, source, target, *flags = words
    options = ["-o", flags[0]] if flags else []
    code = subprocess.call(["mount", "-t", kind, *options, "--", source, target])
    if code != 0:
        raise HookFailed(f"mount ended with {code}")


def _umount(argument: str) -> None:
    """``TARGET [FLAGS]``: ``detach`` or ``lazy``, ``force``."""
    words = shlex.split(argument)
    if not words or len(words) > 2:
        raise HookFailed("expected TARGET [FLAGS]")
    known = {"detach": "-l", "lazy": "-l", "force": "-f", "rec": "-R", "recursive": "-R"}
    flags = []
    for word in words[1].split(",") if len(words) == 2 else []:
        if word not in known:
            raise HookFailed(f"unknown umount flag {word!r}: one of {', '.join(known)}")
        flags.append(known[word])
    code = subprocess.call(["umount", *flags, "--", words[0]])
    if code != 0:
        raise HookFailed(f"umount ended with {code}")


def _exit(argument: str) -> None:
    sys.stdout.flush()
    os._exit(int(argument or 0))


def _print(argument: str) -> None:
    print(argument, file=sys.stderr, flush=True)


def _store(argument: str, flags: int, newline: bool) -> None:
    path, separator, text = argument.partition(" ")
    if not separator and not newline:
        raise HookFailed("expected FILE TEXT")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, 0o666)
    try:
        os.write(fd, (text + ("\n" if newline else "")).encode(errors="surrogateescape"))
    finally:
        os.close(fd)


def _writefifo(argument: str) -> None:
    path, text = _split(argument, 2, "FIFO TEXT")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        import errno

        if error.errno in (errno.ENXIO, errno.ENODEV):
            return  # nobody reads it: as in the original, no failure
        raise
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    finally:
        os.close(fd)


def _creat(argument: str) -> None:
    os.close(os.open(argument, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666))


def _chmod(argument: str) -> None:
    path, mode = _split(argument, 2, "FILE MODE")
    os.chmod(path, int(mode, 8))


def _chown(argument: str) -> None:
    path, user, group = _split(argument, 3, "FILE USER GROUP")
    try:
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
    except KeyError as error:
        raise HookFailed(str(error)) from error


def _chown2(argument: str) -> None:
    path, uid, gid = _split(argument, 3, "FILE UID GID")
    os.chown(path, int(uid), int(gid))


def _sticky(argument: str) -> None:
    os.chmod(argument, stat.S_IMODE(os.stat(argument).st_mode) | stat.S_ISVTX)


def _putenv(argument: str) -> None:
    name, separator, value = argument.partition("=")
    if not separator or not name:
        raise HookFailed("expected NAME=VALUE")
    os.environ[name] = value


def _wait_for(argument: str, is_there: Callable[[int], bool]) -> None:
    """``PATH [SECONDS]``. Polls: it has to work for any file system, and nothing else waits for it."""
    path, _, seconds = argument.partition(" ")
    deadline = time.monotonic() + (float(seconds) if seconds else WAIT_FOR_SECONDS)
    while True:
        try:
            if is_there(os.stat(path).st_mode):
                return
        except FileNotFoundError:
            pass
        if time.monotonic() >= deadline:
            raise HookFailed(f"{path} did not appear")
        time.sleep(0.05)


_ACTIONS: dict[str, Callable[[str], object]] = {
    "exec": _exec,
    "safeexec": _safeexec,
    "mount": _mount,
    "umount": _umount,
    "cd": os.chdir,
    "chdir": os.chdir,
    "mkdir": os.mkdir,
    "exit": _exit,
    "print": _print,
    "log": _print,
    "write": lambda argument: _store(argument, os.O_TRUNC, newline=False),
    "writen": lambda argument: _store(argument, os.O_TRUNC, newline=True),
    "append": lambda argument: _store(argument, os.O_APPEND, newline=False),
    "appendn": lambda argument: _store(argument, os.O_APPEND, newline=True),
    "creat": _creat,
    "create": _creat,
    "writefifo": _writefifo,
    "unlink": os.unlink,
    "chmod": _chmod,
    "chown": _chown,
    "chown2": _chown2,
    "sticky": _sticky,
    "putenv": _putenv,
    "hostname": socket.sethostname,
    "wait_for_fs": lambda argument: _wait_for(argument, lambda mode: True),
    "wait_for_file": lambda argument: _wait_for(argument, stat.S_ISREG),
    "wait_for_dir": lambda argument: _wait_for(argument, stat.S_ISDIR),
    "wait_for_socket": lambda argument: _wait_for(argument, stat.S_ISSOCK),
}

ACTIONS = frozenset(_ACTIONS)
"""The names of all actions."""


def run_hook(action: str, argument: str) -> None:
    """Run one hook in this process. Raises :class:`HookFailed` or :class:`OSError`."""
    try:
        perform = _ACTIONS[action]
    except KeyError:
        raise HookFailed(f"there is no action {action!r}: one of {', '.join(sorted(_ACTIONS))}") from None
    try:
        perform(argument)
    except ValueError as error:
        raise HookFailed(str(error)) from error
