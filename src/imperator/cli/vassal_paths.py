"""The files and users that a vassal's options name: are they there, and may the vassal do with them what it has to?

When each is needed, and so by whom and from which directory, is the order of :mod:`imperator.instance.phases`.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from imperator.cli.access import Person, obstacle
from imperator.cli.findings import Severity
from imperator.cli.vassal_surroundings import Surroundings
from imperator.kernel.credentials import gid_of, uid_of

Say = Callable[[Severity, str, str], None]

_UDP: Final = re.compile(r"[^/]*:\d+")
_SPECIAL_LOG: Final = re.compile(r"[a-z0-9]+:.*")


def look_at_paths(around: Surroundings, say: Say) -> None:
    """Users first: who there is decides what may be done."""
    _users(around, say)
    if around.is_elsewhere:
        return
    if around.settings.chdir is not None:
        where = around.where("chdir")
        _directory(around, f"chdir = {around.settings.chdir}", where, around.base, say)
    for option, path, base, person, where in _written(around):
        _writable(around, f"{option} = {path}", where, os.path.join(base, path), person, say)
    for said, path, where in _served(around):
        full = os.path.join(around.base, path)
        if not is_out_of_sight(around, said, where, full, say) and not os.path.exists(full):
            say("warning", where, f"{said}: {full} is not there")
    _socket_files(around, say)


def is_out_of_sight(around: Surroundings, said: str, where: str, path: str, say: Say) -> bool:
    """Nothing can be said about this path: that is said."""
    hidden = around.is_hidden(path)
    if hidden:
        say("warning", where, f"{said}: not looked at: the owner of the file may not get to {path}, the vassal may")
    return hidden


def _served(around: Surroundings) -> Iterator[tuple[str, str, str]]:
    for prefix, path in around.settings.static_map:
        yield f"static-map = {prefix}={path}", path, around.where("static-map")
    for path in around.settings.check_static:
        yield f"check-static = {path}", path, around.where("check-static")


def _users(around: Surroundings, say: Say) -> None:
    settings = around.settings
    if around.starter.uid != 0:
        return  # only root can become somebody else; the options are passed over
    for option, name, number_of in _names(around):
        try:
            number_of(name)
        except LookupError as error:
            key = option.partition(" ")[0]
            say("error", around.where(key), f"{option}: {error}: create it, or give a number")
    if settings.uid is None and settings.gid is not None:
        say("warning", around.where("gid"), f"gid = {settings.gid} without uid: the vassal would go on being root")


def _names(around: Surroundings) -> Iterator[tuple[str, str, Callable[[str], int]]]:
    settings = around.settings
    if settings.uid is not None:
        yield f"uid = {settings.uid}", settings.uid, uid_of
    if settings.gid is not None:
        yield f"gid = {settings.gid}", settings.gid, gid_of
    for group in settings.add_gid:
        yield f"add-gid = {group}", group, gid_of
    if settings.chown_socket is not None:
        user, _, group = settings.chown_socket.partition(":")
        said = f"chown-socket = {settings.chown_socket}"
        if user:
            yield said, user, uid_of
        if group:
            yield said, group, gid_of


def _missing(around: Surroundings) -> tuple[Severity, str]:
    """How bad it is that something is not there, and what is to be added to that."""
    return ("warning", " now (a hook may make it)") if around.may_change else ("error", "")


def _directory(around: Surroundings, said: str, where: str, path: str, say: Say) -> None:
    if is_out_of_sight(around, said, where, path, say):
        return
    severity, now = _missing(around)
    found = _stat(path)
    if isinstance(found, OSError):
        what = "is not there" if isinstance(found, FileNotFoundError) else f"cannot be entered: {found.strerror}"
        say(severity, where, f"{said}: {path} {what}{now}: the vassal would not start")
    elif not stat.S_ISDIR(found.st_mode):
        say("error", where, f"{said}: {path} is no directory: the vassal would not start")
    elif (stopped := obstacle(Path(path), around.runner)) is not None:
        say(severity, where, f"{said}: {stopped}")


def _written(around: Surroundings) -> Iterator[tuple[str, str, str, Person, str]]:
    """What the vassal would write: option, path, the directory that it is relative to, as whom, and place."""
    settings = around.settings
    if settings.logto is not None and not _is_no_file(settings.logto):
        yield "logto", settings.logto, around.directory, around.starter, around.where("logto")
    if settings.logto2 is not None and not _is_no_file(settings.logto2):
        yield "logto2", settings.logto2, around.directory, around.runner, around.where("logto2")
    if settings.pidfile is not None:
        yield "pidfile", settings.pidfile, around.directory, around.starter, around.where("pidfile")
    if settings.pidfile2 is not None:
        keys = ("pidfile2", "safe-pidfile", "safe-pidfile2")
        yield "pidfile2", settings.pidfile2, around.base, around.runner, around.where(*keys)


def _is_no_file(log: str) -> bool:
    return bool(_UDP.fullmatch(log) or _SPECIAL_LOG.fullmatch(log))


def _writable(around: Surroundings, said: str, where: str, path: str, person: Person, say: Say) -> None:
    path = os.path.realpath(path)
    if is_out_of_sight(around, said, where, path, say):
        return
    found = _stat(path)
    if isinstance(found, os.stat_result):
        if stat.S_ISDIR(found.st_mode):
            say("error", where, f"{said}: {path} is a directory")
        elif not person.may(found, os.W_OK):
            say("error", where, f"{said}: {person} may not write to {path} (mode {stat.S_IMODE(found.st_mode):04o})")
        elif (stopped := obstacle(Path(path).parent, person)) is not None:
            say("error", where, f"{said}: {stopped}")
        return
    _creatable(around, said, where, os.path.dirname(path), person, say)


def _creatable(around: Surroundings, said: str, where: str, directory: str, person: Person, say: Say) -> None:
    severity, now = _missing(around)
    found = _stat(directory)
    if isinstance(found, OSError):
        what = "is not there" if isinstance(found, FileNotFoundError) else f"cannot be entered: {found.strerror}"
        say(severity, where, f"{said}: the directory {directory} {what}{now}")
    elif not stat.S_ISDIR(found.st_mode):
        say("error", where, f"{said}: {directory} is no directory")
    elif (stopped := obstacle(Path(directory), person)) is not None:
        say(severity, where, f"{said}: {stopped}")
    elif not person.may(found, os.W_OK | os.X_OK):
        mode = f"mode {stat.S_IMODE(found.st_mode):04o}"
        say(severity, where, f"{said}: {person} may not create a file in {directory} ({mode}){now}")


def _socket_files(around: Surroundings, say: Say) -> None:
    """The directories of UNIX sockets; root makes the socket where somebody else gets it."""
    settings = around.settings
    person = around.starter if settings.chown_socket is not None else around.runner
    for asked in settings.sockets:
        address = asked.address
        of_network = "://" in address or (":" in address and "/" not in address)
        if of_network or address.isdecimal() or address.startswith(("@", "\\0")):
            continue
        said, path = f"{asked.option} = {address}", os.path.join(around.base, address)
        if is_out_of_sight(around, said, asked.where, path, say):
            continue
        found = _stat(path)
        if isinstance(found, os.stat_result) and not stat.S_ISSOCK(found.st_mode):
            say("error", asked.where, f"{said}: {path} is there and is no socket: remove it, or choose another path")
        else:
            _creatable(around, said, asked.where, os.path.dirname(os.path.realpath(path)), person, say)


def _stat(path: str) -> os.stat_result | OSError:
    try:
        return os.stat(path)
    except OSError as error:
        return error
    except ValueError as error:  # a null character
        return OSError(0, str(error))
