"""What an instance leaves on the system: its pid files, its log, its name in ``ps``, the files of its sockets.

Rules:

* A pid file is never written through a symbolic link: its directory may belong to somebody else than root.
* The log is fd 1 and 2 themselves, no pipe: whatever dies, its last words are in the file. So whoever has a timer calls
  :meth:`Log.look` about every second, in each process; whoever comes first rotates, the others follow.
* ``vacuum`` removes what this process made and what still is what it made: the pid file with its pid, the socket with
  its inode.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import stat
import time
from collections.abc import Callable, Iterable
from typing import Final

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.listening import Listening, remove_file
from imperator.instance.rights import Identity

Say = Callable[[str], None]

_LOG_MODE: Final = 0o640
_UDP: Final = re.compile(r"(?P<host>[^/:]+|\[[^]/]+\]):(?P<port>\d+)")
_TRY_AGAIN: Final = 60.0
"""Seconds after a rotation that failed before the next try."""


# -- the log


class Log:
    """``logto``: a file that fd 1 and 2 are, rotated when it has grown, or a UDP address."""

    def __init__(self, option: str, target: str, settings: InstanceSettings, say: Say) -> None:
        """Open it and put it in place. Raises :class:`ConfigurationError`."""
        self._max_size = settings.log_maxsize
        self._backup_name = settings.log_backupname
        self._mode = settings.logfile_chmod
        self._say = say
        self._grumbled = ""
        self._rotates_from = 0.0
        self._path: str | None = None
        try:
            udp = _UDP.fullmatch(target)
            if udp is not None:
                self._fd = _connected(udp["host"].strip("[]"), int(udp["port"]))
            else:
                self._path = os.path.abspath(target)
                self._fd = self._opened(os.O_TRUNC if settings.log_truncate else 0)
        except OSError as error:
            raise ConfigurationError(f"{option} = {target}", f"cannot be opened: {error.strerror}") from error
        self._put_in_place()

    def _opened(self, more_flags: int = 0) -> int:
        assert self._path is not None
        fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | more_flags, _LOG_MODE)
        if self._mode is not None:
            try:
                os.fchmod(fd, self._mode)
            except OSError as error:
                os.close(fd)
                raise OSError(error.errno, f"logfile-chmod: {error.strerror}") from error
        return fd

    def _put_in_place(self) -> None:
        os.dup2(self._fd, 1)
        os.dup2(self._fd, 2)

    def give_to(self, who: Identity) -> None:
        """``logfile-chown``: the file belongs to whom the instance is about to become."""
        if self._path is None:
            return
        try:
            os.fchown(self._fd, -1 if who.uid is None else who.uid, -1 if who.gid is None else who.gid)
        except OSError as error:
            raise ConfigurationError("logfile-chown", f"cannot give {self._path} away: {error.strerror}") from error

    def look(self) -> None:
        """Open the file anew if somebody has moved it away; rotate it if it is too large. Raises nothing."""
        if self._path is None or time.monotonic() < self._rotates_from:
            return
        try:
            if not self._is_in_place():
                self._reopen()
            elif self._max_size and os.fstat(self._fd).st_size > self._max_size:
                self._rotate()
            self._grumbled = ""
        except OSError as error:
            self._rotates_from = time.monotonic() + _TRY_AGAIN
            if self._grumbled != str(error):
                self._grumbled = str(error)
                self._say(f"the log file {self._path} cannot be rotated: {error.strerror}; it goes on growing")

    def _is_in_place(self) -> bool:
        assert self._path is not None
        ours = os.fstat(self._fd)
        if not stat.S_ISREG(ours.st_mode):
            return True  # a terminal, a FIFO, /dev/null
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (ours.st_dev, ours.st_ino)

    def _reopen(self) -> None:
        old, self._fd = self._fd, self._opened()
        self._put_in_place()
        os.close(old)

    def _rotate(self) -> None:
        if not stat.S_ISREG(os.fstat(self._fd).st_mode):
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the old file is closed
        except BlockingIOError:
            return  # another process of the instance is at it
        if self._is_in_place():
            assert self._path is not None
            backup = self._backup_name or _unused(f"{self._path}.{int(time.time())}")
            self._say(f"log file of {os.fstat(self._fd).st_size} bytes: rotating it to {backup}")
            os.rename(self._path, backup)
        self._reopen()


def _connected(host: str, port: int) -> int:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind | socket.SOCK_CLOEXEC) as sock:
        sock.connect(address)
        return sock.detach()


def _unused(name: str) -> str:
    """``name``, or with ``.1``, ``.2`` … behind it: two rotations within a second must not overwrite each other."""
    candidate, number = name, 0
    while os.path.lexists(candidate):
        number += 1
        candidate = f"{name}.{number}"
    return candidate


# -- the name


def name_process(settings: InstanceSettings, role: str) -> None:
    """What ``ps`` shows, where the configuration says anything about it. ``role``: ``master``, ``worker 1``, …"""
    if settings.procname is None and not (
        settings.auto_procname or settings.procname_prefix or settings.procname_append
    ):
        return
    from setproctitle import setproctitle  # only where it is asked for

    name = settings.procname if settings.procname is not None else f"imperator {role}"
    setproctitle(f"{settings.procname_prefix}{name}{settings.procname_append}")


# -- everything that is to be removed at the end


class Traces:
    """What was left where, for one instance."""

    def __init__(self, settings: InstanceSettings, say: Say) -> None:
        self._settings = settings
        self._say = say
        self._pidfiles: list[tuple[str, int]] = []
        self._maker = os.getpid()
        self.log: Log | None = None

    def in_this_process(self) -> None:
        """This process is the instance from now on: it was forked for a pid namespace."""
        self._maker = os.getpid()

    def open_log(self, option: str, target: str | None) -> None:
        if target is not None:
            self.log = Log(option, target, self._settings, self._say)

    def write_pidfile(self, option: str, path: str | None, *, is_reload: bool) -> None:
        """After a reload it is there already, and may be where only root can write."""
        if path is None:
            return
        pid = outer_pid()
        try:
            if not is_reload:
                write_pidfile(path, pid)
        except OSError as error:
            raise ConfigurationError(f"{option} = {path}", f"cannot be written: {error.strerror}") from error
        self._pidfiles.append((os.path.abspath(path), pid))

    def vacuum(self, listening: Iterable[Listening]) -> None:
        """Remove the pid files and the sockets' files, if ``vacuum`` is set. In a worker it does nothing."""
        if not self._settings.vacuum or os.getpid() != self._maker:
            return
        for path, pid in self._pidfiles:
            self._remove(path, lambda path=path, pid=pid: remove_pidfile(path, pid))  # type: ignore[misc]
        for one in listening:
            if one.file is not None:
                self._remove(one.file.path, lambda file=one.file: remove_file(file))  # type: ignore[misc]

    def _remove(self, path: str, remove: Callable[[], bool]) -> None:
        try:
            if remove():
                self._say(f"vacuum: {path} removed")
        except OSError as error:
            self._say(f"vacuum: {path} cannot be removed: {error.strerror} (uid {os.geteuid()})")


def outer_pid() -> int:
    """The pid of this process as the mounted /proc has it, which in a pid namespace is not what getpid(2) says."""
    try:
        return int(os.readlink("/proc/self"))
    except (OSError, ValueError):
        return os.getpid()


def write_pidfile(path: str, pid: int) -> None:
    """Raises OSError, also where ``path`` is a symbolic link."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    with os.fdopen(fd, "w") as file:
        file.write(f"{pid}\n")


def remove_pidfile(path: str, pid: int) -> bool:
    """Remove a pid file that holds ``pid``; says whether it did. Raises OSError."""
    try:
        with open(path) as file:
            found = file.read(64)
    except FileNotFoundError:
        return False
    if found.strip() != str(pid):
        return False
    os.unlink(path)
    return True
