"""Hook actions: what ``hook-PHASE = action:argument`` can do.

Runs in a short-lived process, in an instance, or, before the Emperor's loop starts, in the Emperor: it may block. Only
the standard library is imported, because the spawner loads this file by its path. Actions and their arguments are those
of the original's manual, section "Hooks"; what they do was compared with the real one.
"""

from __future__ import annotations

import ctypes
import errno
import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Container

WAIT_FOR_SECONDS = 60
"""How long the ``wait_for_…`` actions look before they give up."""
LOOK_SECONDS = 0.05
"""Between two looks for something that somebody else has to bring: any file system, so nothing tells of it."""

MOUNT_FLAGS = {
    "bind": 0x1000,
    "defaults": 0,
    "dirsync": 0x80,
    "mandlock": 0x40,
    "move": 0x2000,
    "noatime": 0x400,
    "nodev": 0x4,
    "noexec": 0x8,
    "nosuid": 0x2,
    "private": 1 << 18,
    "rdonly": 0x1,
    "readonly": 0x1,
    "rec": 0x4000,
    "recursive": 0x4000,
    "remount": 0x20,
    "ro": 0x1,
    "shared": 1 << 20,
    "slave": 1 << 19,
    "sync": 0x10,
    "unbindable": 1 << 17,
}
"""``MS_…`` of mount(2)."""
UMOUNT_FLAGS = {"force": 1, "detach": 2, "lazy": 2, "rec": 0, "recursive": 0}
"""``MNT_…`` of umount2(2); 0: a rule of our own."""

_libc = ctypes.PyDLL(None, use_errno=True)


class HookFailed(Exception):
    """The hook could not do what it says."""


def _split(argument: str, count: int, usage: str) -> list[str]:
    parts = argument.split(" ", count - 1)
    if len(parts) != count:
        raise HookFailed(f"expected {usage}")
    return parts


def _number(text: str, what: str, base: int = 10) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise HookFailed(f"{text!r} is no {what}") from None


def _run(command: str) -> int:
    """Run a command to its end. One who is told to stop meanwhile leaves none behind: it is killed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT))
    process = None
    try:
        # No signal comes between the command's start and our knowing of it. It has to be open to all of them itself.
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ())
        )
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return process.wait()
    except BaseException:
        if process is not None:
            process.kill()
            process.wait()
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exec(argument: str) -> None:
    code = _run(argument)
    if code < 0:
        raise HookFailed(f"was killed by {signal.Signals(-code).name}")
    if code:
        raise HookFailed(f"ended with {code}")


def _safeexec(argument: str) -> None:
    try:
        _exec(argument)
    except HookFailed as failure:
        print(f"hook safeexec:{argument} {failure}", file=sys.stderr, flush=True)


def _flags(text: str, known: dict[str, int], more: str = "") -> int:
    flags = 0
    for word in filter(None, text.split(",")):
        if word not in known:
            raise HookFailed(f"there is no flag {word!r}: it is one of {', '.join(known)}{more}")
        flags |= known[word]
    return flags


def _mount(argument: str) -> None:
    """``FILESYSTEM SOURCE TARGET [FLAGS [DATA]]``: mount(2) itself, for a jail may hold no mount(8)."""
    words = argument.split(" ", 4)
    if len(words) < 3:
        raise HookFailed("expected FILESYSTEM SOURCE TARGET [FLAGS [DATA]]")
    kind, source, target, *more = words
    flags = _flags(more[0], MOUNT_FLAGS, "; what only the file system knows comes after FLAGS") if more else 0
    data = os.fsencode(more[1]) if len(more) == 2 else None
    names = (os.fsencode(word) or None for word in (source, target, kind))
    if _libc.mount(*names, ctypes.c_ulong(flags), data) != 0:
        _raise_for(target)


def _umount(argument: str) -> None:
    """``TARGET [FLAGS]``; ``rec``: whatever is mounted below it first, the last one before the others."""
    target, _, words = argument.partition(" ")
    flags = _flags(words, UMOUNT_FLAGS)
    if not {"rec", "recursive"}.isdisjoint(words.split(",")):
        below = target.rstrip("/") + "/"
        with open("/proc/self/mounts") as file:
            places = [line.split()[1].encode().decode("unicode_escape") for line in file]
        for place in reversed(places):
            if place.startswith(below):
                _umount_one(place, flags)
    _umount_one(target, flags)


def _umount_one(target: str, flags: int) -> None:
    if _libc.umount2(os.fsencode(target), flags) != 0:
        _raise_for(target)


def _raise_for(path: str) -> None:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), path)


def _exit(argument: str) -> None:
    raise SystemExit(_number(argument or "0", "exit code"))


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
    """Nobody reading it is no failure, as in the original."""
    path, text = _split(argument, 2, "FIFO TEXT")
    _write_to_reader(path, text, (errno.ENXIO, errno.ENODEV))


def _spinningfifo(argument: str) -> None:
    """Waits for as long as it takes until somebody reads it."""
    path, text = _split(argument, 2, "FIFO TEXT")
    while not _write_to_reader(path, text, (errno.ENXIO, errno.ENODEV, errno.ENOENT)):
        time.sleep(LOOK_SECONDS)


def _write_to_reader(path: str, text: str, nobody: Container[int | None]) -> bool:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in nobody:
            return False
        raise
    try:
        os.write(fd, text.encode(errors="surrogateescape"))
    finally:
        os.close(fd)
    return True


def _creat(argument: str) -> None:
    os.close(os.open(argument, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666))


def _chmod(argument: str) -> None:
    path, mode = _split(argument, 2, "FILE MODE")
    os.chmod(path, _number(mode, "mode in octal, like 660", 8))


def _chown(argument: str) -> None:
    path, user, group = _split(argument, 3, "FILE USER GROUP")
    try:
        os.chown(path, pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid)
    except KeyError as error:
        raise HookFailed(f"there is no {user}:{group} here: {error.args[0]}") from error


def _chown2(argument: str) -> None:
    path, uid, gid = _split(argument, 3, "FILE UID GID")
    os.chown(path, _number(uid, "uid"), _number(gid, "gid"))


def _sticky(argument: str) -> None:
    os.chmod(argument, stat.S_IMODE(os.stat(argument).st_mode) | stat.S_ISVTX)


def _putenv(argument: str) -> None:
    """``NAME=VALUE``; ``NAME`` alone removes it, as putenv(3) does."""
    name, separator, value = argument.partition("=")
    if not name:
        raise HookFailed("expected NAME=VALUE")
    if separator:
        os.environ[name] = value
    else:
        os.environ.pop(name, None)


def _wait_for(argument: str, is_there: Callable[[int], bool]) -> None:
    """``PATH [SECONDS]``. Polls: it has to work for any file system, and nothing else waits for it."""
    path, _, seconds = argument.partition(" ")
    limit = _number(seconds or str(WAIT_FOR_SECONDS), "number of seconds")
    deadline = time.monotonic() + limit
    while True:
        try:
            if is_there(os.stat(path).st_mode):
                return
        except FileNotFoundError:
            pass
        if time.monotonic() >= deadline:
            raise HookFailed(f"{path} did not appear within {limit} s")
        time.sleep(LOOK_SECONDS)


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
    "spinningfifo": _spinningfifo,
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


def shown(action: str, argument: str) -> str:
    """A hook as the log has it. One whose action opens with ``!`` is private: it may hold a password."""
    return "a private hook" if action.startswith("!") else f"{action}:{argument}"


def run_hook(action: str, argument: str) -> None:
    """Run one hook in this process. Raises :class:`HookFailed`, and SystemExit for ``exit``."""
    action = action.removeprefix("!")
    try:
        perform = _ACTIONS[action]
    except KeyError:
        raise HookFailed(f"there is no action {action!r}: one of {', '.join(sorted(_ACTIONS))}") from None
    try:
        perform(argument)
    except OSError as error:
        raise HookFailed(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)) from error
    except ValueError as error:  # a NUL byte in a path
        raise HookFailed(str(error)) from error
