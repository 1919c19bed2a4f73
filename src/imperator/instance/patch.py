"""Becoming another program: a binary patch, and ourselves anew at a reload.

``privileged-binary-patch = P`` executes P with this instance's own arguments before the rights are dropped,
``unprivileged-…`` after; the ``-arg`` forms bring arguments of their own. What the program finds:

* the listening sockets, bound and blocking, at fd 3, 4, …, told by ``LISTEN_FDS``, ``LISTEN_PID`` and
  ``LISTEN_FDNAMES`` (the options' names), as systemd does it: sd_listen_fds(3). An on-demand socket is fd 0 as well;
* the emperor fd, still named by ``UWSGI_EMPEROR_FD`` (its number may be another one);
* environment, working directory, limits, user and output as they are at that moment. Everything else is closed.

What a program does then cannot be seen from here, for nobody is left here. One that puts itself into the background
ends with 0 while a child of it lives on; the Emperor, whose child it was, sees the one, and the other as a process that
holds the instance's end of the emperor fd, or its output.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
from collections.abc import MutableMapping, Sequence
from typing import Final, NoReturn

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import BinaryPatch
from imperator.instance.inherited import OURS
from imperator.instance.listening import UNASKED, Listening
from imperator.kernel.obstacles import why_not_executed
from imperator.kernel.systemd import FIRST_LISTEN_FD

RELOADS: Final = "UWSGI_RELOADS"
"""In the environment of an instance that executed itself anew: how often."""

_EMPEROR_FDS: Final = ("UWSGI_EMPEROR_FD", "UWSGI_EMPEROR_FD_CONFIG")


def become(
    patch: BinaryPatch,
    own_arguments: Sequence[str],
    listening: Sequence[Listening],
    environment: MutableMapping[str, str],
) -> NoReturn:
    """Execute the program. Raises :class:`ConfigurationError` where that is not possible: the instance is at its end.

    ``own_arguments``: those of this instance without its name; ``environment`` is left as it is.
    """
    arguments = own_arguments if patch.arguments is None else patch.arguments
    environment = dict(environment)
    hand_on(listening, environment)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them, and what is ignored stays so: execve(2)
    try:
        os.execvpe(patch.program, [patch.program, *arguments], environment)
    except OSError as error:
        raise ConfigurationError(
            f"{patch.where}: {patch.option} = {patch.program}", f"cannot execute {_why(patch.program, error)}"
        ) from error


def become_ourselves(
    command: Sequence[str], listening: Sequence[Listening], environment: MutableMapping[str, str]
) -> NoReturn:
    """Execute ``command``, this instance's own, for a reload in place: the sockets stay open, the pid stays."""
    environment = dict(environment)
    reloads = environment.get(RELOADS, "0")
    environment[RELOADS] = str(int(reloads) + 1 if reloads.isdecimal() else 1)
    files = [f"{one.file.device}:{one.file.inode}" for one in listening if one.file is not None]
    if files:
        environment[OURS] = " ".join(files)
    asked = [one for one in listening if one.asked.option != UNASKED]
    unasked = [one for one in listening if one.asked.option == UNASKED]
    for one in asked:
        # Its address is what it will be known by. Out of the way of those that are known by their number.
        fcntl.fcntl(one.socket.fileno(), fcntl.F_DUPFD, FIRST_LISTEN_FD + len(listening))
    hand_on([one for one in unasked if not one.from_stdin], environment)
    for one in unasked:
        if one.from_stdin:
            os.dup2(one.socket.fileno(), 0)
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        raise ConfigurationError("reload", f"cannot execute {_why(command[0], error)}") from error


def hand_on(listening: Sequence[Listening], environment: MutableMapping[str, str]) -> None:
    """Lay the sockets at fd 3 and following for the program that this process executes next, and announce them.

    The emperor fd makes room where it must. There is no way back: what this process had at those numbers is closed.
    """
    free = FIRST_LISTEN_FD + len(listening)
    for variable in _EMPEROR_FDS:
        fd = environment.get(variable, "")
        if fd.isdecimal() and _is_open(int(fd)):
            if FIRST_LISTEN_FD <= int(fd) < free:
                environment[variable] = str(fcntl.fcntl(int(fd), fcntl.F_DUPFD, free))
            else:
                os.set_inheritable(int(fd), True)
    for variable in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environment.pop(variable, None)
    if not listening:
        return
    aside = [fcntl.fcntl(one.socket.fileno(), fcntl.F_DUPFD_CLOEXEC, free) for one in listening]
    for number, (spare, one) in enumerate(zip(aside, listening, strict=True), FIRST_LISTEN_FD):
        os.set_blocking(spare, True)
        os.dup2(spare, number)
        if one.from_stdin:
            os.dup2(spare, 0)
        os.close(spare)
    environment["LISTEN_PID"] = str(os.getpid())
    environment["LISTEN_FDS"] = str(len(listening))
    environment["LISTEN_FDNAMES"] = ":".join(one.asked.option for one in listening)


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _why(program: str, error: OSError) -> str:
    text = why_not_executed(os.fsencode(program), error)
    if error.errno == errno.ENOEXEC:
        return text + " (neither a program for this machine nor a script that opens with #!)"
    return text
