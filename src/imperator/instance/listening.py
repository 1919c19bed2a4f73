"""The sockets an instance listens on: their types, and binding those that nobody has opened yet.

(:mod:`.inherited` takes over those that somebody has.) Rules:

* A socket is non-blocking and close-on-exec. Only a patched binary and a reload inherit it (:mod:`.patch`).
* The file of a UNIX socket is replaced when nobody listens on it, never otherwise (the original unlinks it always).
* If one socket cannot be had, those bound before it are closed and their files removed.
* Every failure is a :class:`ConfigurationError` with the option's place and what is in the way.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings, SocketAsked
from imperator.config.records import record
from imperator.kernel.credentials import gid_of, uid_of
from imperator.kernel.sockets import Address, give_away_socket_file, open_socket, parse_address

if TYPE_CHECKING:
    from imperator.kernel.holders import Holder

UNASKED: Final = "protocol"
"""The option of a socket that came without one of its own."""

Say = Callable[[str], None]


@record
class SocketFile:
    """The file of a UNIX socket that this instance made, known by its inode as well: another may take its name."""

    path: str
    device: int
    inode: int


@record
class Listening:
    """A listening socket, and who asked for it."""

    socket: socket.socket
    asked: SocketAsked
    file: SocketFile | None = None
    """``None``: it has none, or somebody else made it and it is not ours to remove."""
    from_stdin: bool = False
    """It came as fd 0, where /dev/null is now."""


def name_of(sock: socket.socket) -> str:
    """The address of a socket as people write it."""
    where = sock.getsockname()
    if isinstance(where, tuple):
        return f"[{where[0]}]:{where[1]}" if sock.family == socket.AF_INET6 else f"{where[0]}:{where[1]}"
    text = os.fsdecode(where)
    return "@" + text[1:].rstrip("\0") if text.startswith("\0") else text


def needs_rights(asked: SocketAsked) -> bool:
    """Whether only root may bind this socket: a port below ``ip_unprivileged_port_start``, see ip(7)."""
    try:
        where = parse_address(normal(asked.address)).where
    except ValueError:
        return False
    return not isinstance(where, str) and 0 < where[1] < _first_free_port()


def _first_free_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def bind_all(wanted: Iterable[SocketAsked], settings: InstanceSettings, say: Say) -> tuple[Listening, ...]:
    """Bind every socket of ``wanted``, or none."""
    bound: list[Listening] = []
    try:
        for asked in wanted:
            bound.append(bind(asked, settings, say))
    except BaseException:
        for listening in bound:
            listening.socket.close()
            if listening.file is not None:
                remove_file(listening.file)
        raise
    return tuple(bound)


def bind(asked: SocketAsked, settings: InstanceSettings, say: Say) -> Listening:
    """Bind and listen on one socket."""
    text = normal(asked.address)
    try:
        address = parse_address(text)
    except ValueError as error:
        raise ConfigurationError(described(asked), str(error)) from None
    try:
        sock = open_socket(
            text,
            backlog=_backlog(settings, say),
            mode=settings.chmod_socket,
            reuse_port=settings.reuse_port,
            v6only=_has_ipv4_twin(address, settings),
        )
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(described(asked), *_obstacle(address, error)) from error
    file = file_of(sock)
    if file is not None and settings.chown_socket is not None:
        try:
            _chown(file, settings.chown_socket)
        except (OSError, LookupError) as error:
            sock.close()
            remove_file(file)
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigurationError(
                f"chown-socket = {settings.chown_socket}", f"cannot give {file.path} away: {why}"
            ) from error
    say(f"{described(asked)}: listening on {name_of(sock)}")
    return Listening(sock, asked, file)


def _has_ipv4_twin(address: Address, settings: InstanceSettings) -> bool:
    """``[::]:80`` takes IPv4 as well, as in the original, unless the configuration asks for ``:80`` beside it."""
    for other in settings.sockets:
        with contextlib.suppress(ValueError):
            twin = parse_address(normal(other.address))
            if twin.family == socket.AF_INET and twin.where[1] == address.where[1]:
                return True
    return False


def normal(address: str) -> str:
    r"""``\0name`` is the original's other spelling of ``@name``."""
    return "@" + address[2:] if address.startswith("\\0") else address


def described(asked: SocketAsked) -> str:
    """``file:line: option = address``, with which every line for the person opens."""
    return f"{asked.where}: {asked.option} = {asked.address}"


def _backlog(settings: InstanceSettings, say: Say) -> int:
    """The original refuses to start here; the kernel would cap it without a word (listen(2))."""
    try:
        most = int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return settings.listen
    if settings.listen > most:
        say(f"listen = {settings.listen} is more than net.core.somaxconn allows: it is {most} (sysctl raises it)")
    return min(settings.listen, most)


def _obstacle(address: Address, error: OSError | UnicodeError) -> tuple[str, str]:
    """What is in the way of a bind, and what to do about it."""
    if isinstance(error, UnicodeError):
        return "the host's name cannot be understood", ""
    if address.path is not None:
        return _obstacle_of_file(address.path, error)
    if isinstance(error.__cause__, socket.gaierror):
        return f"the host {address.where[0]!r} has no address: {_plain(error)}", "name one, or leave the host out"
    if error.errno == errno.EADDRINUSE:
        from imperator.kernel.holders import holder_of_port, holder_of_unix

        abstract = isinstance(address.where, str)
        holder = holder_of_unix(str(address.where)) if abstract else holder_of_port(int(address.where[1]))
        return "somebody else listens there: " + _named(holder), "stop it, or choose another address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"uid {os.geteuid()} may not bind a port below {_first_free_port()}",
            "start the instance as root with uid = USER, or hand the socket over from the Emperor or systemd",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {address.where[0]}", "ip address shows those it has"
    return _plain(error), ""


def _obstacle_of_file(path: str, error: OSError) -> tuple[str, str]:
    directory = os.path.dirname(path) or "."
    if error.errno == errno.EADDRINUSE:
        from imperator.kernel.holders import holder_of_unix

        holder = holder_of_unix(path)
        return "somebody else listens there: " + _named(holder), "stop it, or choose another path"
    if error.errno == errno.EEXIST:
        return f"{path} is there and is no socket", "remove it, or choose another path"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no directory {directory}", f"create it, for example with hook-as-root = mkdir:{directory}"
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "give it the directory, or say chown-socket = USER:GROUP to have root make the socket"
        return f"uid {os.geteuid()} may not create a file in {directory}", hint
    return _plain(error), ""


def _plain(error: OSError) -> str:
    return re.sub(r"^cannot open .*?: ", "", str(error.strerror or error))


def _named(holder: Holder | None) -> str:
    return str(holder) if holder is not None else "a process of another user (ss -ltnp as root names it)"


def _chown(file: SocketFile, owner: str) -> None:
    """Give a socket's file away, if it is the one that was just made. Raises OSError, LookupError."""
    user, _, group = owner.partition(":")
    uid = uid_of(user) if user else -1
    gid = gid_of(group) if group else -1
    give_away_socket_file(file.path, uid, gid, made=(file.device, file.inode))


# -- the files


def file_of(sock: socket.socket) -> SocketFile | None:
    where = sock.getsockname()
    if sock.family != socket.AF_UNIX or not isinstance(where, str) or not where or where.startswith("\0"):
        return None
    try:
        found = os.lstat(where)
    except OSError:
        return None
    return SocketFile(os.path.abspath(where), found.st_dev, found.st_ino)


def remove_file(file: SocketFile) -> bool:
    """Remove the file of a socket if it still is the one that was made. Raises OSError where that is not allowed."""
    try:
        found = os.lstat(file.path)
    except FileNotFoundError:
        return False
    if (found.st_dev, found.st_ino) != (file.device, file.inode):
        return False
    os.unlink(file.path)
    return True
