"""Listening sockets that an instance was started with.

Taken over, in this order: what systemd hands over (``LISTEN_PID``, ``LISTEN_FDS``), or else fd 0 where it is a
listening socket (on demand); then ``fd://N``; then every inherited descriptor whose address is one that the
configuration asks for, so a reload and a hand-over keep the connections that wait. A socket that comes without a
``socket`` option of its own is served with ``protocol``. An inherited one that nothing asks for is closed, and named.
(The original looks for addresses only where ``UWSGI_RELOADS`` is set; but what is listening already cannot be bound.)
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Final, cast, get_args

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings, Protocol, SocketAsked
from imperator.instance.listening import UNASKED, Listening, Say, described, file_of, name_of, normal
from imperator.kernel.sockets import parse_address
from imperator.kernel.systemd import FIRST_LISTEN_FD, take_listening_sockets

OURS: Final = "IMPERATOR_SOCKET_FILES"
"""In the environment after a reload: the socket files that this instance made, ``device:inode`` each."""


def take_inherited(
    settings: InstanceSettings, environment: MutableMapping[str, str], say: Say
) -> tuple[Listening, ...]:
    """The listening sockets that this process was started with: in the order of the options, then those without one."""
    ours = _made_by_us(environment)
    activated = [_Inherited(sock, "LISTEN_FDS") for sock in _from_systemd(environment, say)]
    if not activated and (sock := _take_stdin()) is not None:
        activated = [_Inherited(sock, "on demand")]
    others = _other_listeners({one.socket.fileno() for one in activated})

    found: dict[SocketAsked, _Inherited] = {}
    for asked in settings.sockets:
        if asked.address.startswith("fd://"):
            found[asked] = _descriptor_asked(asked, others)
    left = [*activated, *others.values()]
    for asked in settings.sockets:
        if asked not in found and (match := _with_address(asked, left)) is not None:
            found[asked] = match
            left.remove(match)
    taken = [_taken(found[asked], asked, ours) for asked in settings.sockets if asked in found]
    for one in left:
        if one in activated:
            taken.append(_taken(one, _asked_of_nobody(one, settings), ours))
        else:
            say(f"closing fd {one.socket.fileno()}, an inherited socket that nothing asks for ({name_of(one.socket)})")
            one.socket.close()
    for listening in taken:
        say(f"{described(listening.asked)}: listening on the inherited socket {name_of(listening.socket)}")
    return tuple(taken)


def unasked_sockets(settings: InstanceSettings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where listening sockets come from that no option asks for, one for each: nothing is taken over yet."""
    count = environment.get("LISTEN_FDS", "")
    told = environment.get("LISTEN_PID") == str(os.getpid()) and count.isdecimal()
    fds = range(FIRST_LISTEN_FD, FIRST_LISTEN_FD + int(count)) if told else range(1)
    found = []
    for fd in fds:
        if (sock := _listener(fd)) is not None:
            one = _Inherited(sock, "LISTEN_FDS" if told else "fd 0")
            if not any(_with_address(asked, [one]) for asked in settings.sockets):
                found.append(one.source)
            sock.detach()
    return tuple(found)


class _Inherited:
    """A listening socket that somebody else opened, and how it came."""

    __slots__ = ("socket", "source")

    def __init__(self, sock: socket.socket, source: str) -> None:
        self.socket = sock
        self.source = source


def _taken(one: _Inherited, asked: SocketAsked, ours: frozenset[tuple[int, int]]) -> Listening:
    one.socket.setblocking(False)
    one.socket.set_inheritable(False)
    file = file_of(one.socket)
    if file is not None and (file.device, file.inode) not in ours:
        file = None
    return Listening(one.socket, asked, file, from_stdin=one.source == "on demand")


def _asked_of_nobody(one: _Inherited, settings: InstanceSettings) -> SocketAsked:
    protocol = settings.protocol or "uwsgi"
    if protocol not in get_args(Protocol):
        raise ConfigurationError(
            f"protocol = {protocol}", f"the socket {name_of(one.socket)} ({one.source}) cannot be served with it"
        )
    return SocketAsked(name_of(one.socket), cast(Protocol, protocol), UNASKED, one.source)


def _from_systemd(environment: MutableMapping[str, str], say: Say) -> list[socket.socket]:
    try:
        given = take_listening_sockets(environment)
    except OSError as error:
        raise ConfigurationError("LISTEN_FDS", f"the sockets it speaks of are not there: {error.strerror}") from error
    listening = []
    for _, sock in given:
        if _is_listening(sock):
            listening.append(sock)
        else:
            say(f"LISTEN_FDS: fd {sock.fileno()} ({name_of(sock)}) is not listening: closing it")
            sock.close()
    return listening


def _is_listening(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False


def _listener(fd: int) -> socket.socket | None:
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        return None
    if sock.type == socket.SOCK_STREAM and _is_listening(sock):
        return sock
    sock.detach()
    return None


def _take_stdin() -> socket.socket | None:
    """The listening socket that is fd 0, moved away from there: fd 0 has to stay open when the socket is closed."""
    found = _listener(0)
    if found is None:
        return None
    moved = found.dup()
    found.detach()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return moved


def _other_listeners(known: set[int]) -> dict[int, _Inherited]:
    found = {}
    for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        if fd >= FIRST_LISTEN_FD and fd not in known and _was_inherited(fd) and (sock := _listener(fd)) is not None:
            found[fd] = _Inherited(sock, "inherited")
    return found


def _was_inherited(fd: int) -> bool:
    """What exec(2) let through is inheritable; what this process opened itself is not."""
    try:
        return os.get_inheritable(fd)
    except OSError:  # it was listdir's own
        return False


def _descriptor_asked(asked: SocketAsked, others: dict[int, _Inherited]) -> _Inherited:
    number = asked.address.removeprefix("fd://")
    if not number.isdecimal():
        raise ConfigurationError(described(asked), f"{number!r} is no descriptor's number", "like fd://3")
    inherited = others.pop(int(number), None)
    if inherited is None:
        raise ConfigurationError(
            described(asked),
            f"fd {number} is no listening socket that this instance was given",
            "whoever starts it has to open the socket and leave it inheritable",
        )
    return inherited


def _with_address(asked: SocketAsked, candidates: Iterable[_Inherited]) -> _Inherited | None:
    try:
        wanted = _comparable(parse_address(normal(asked.address)).where)
    except ValueError:
        return None  # bind() says what is wrong with it
    return next((one for one in candidates if _comparable(one.socket.getsockname()) == wanted), None)


def _comparable(where: object) -> object:
    """An address as configured and as getsockname(2) tells it, made alike."""
    if isinstance(where, bytes):
        where = os.fsdecode(where)
    if isinstance(where, str):
        # The original's abstract addresses end in a zero byte, ours do not; a relative path is as good as a whole one.
        return where.rstrip("\0") if where.startswith("\0") else os.path.abspath(where)
    if isinstance(where, tuple):
        host, port = where[0], where[1]
        with contextlib.suppress(OSError):
            host = socket.getaddrinfo(host or "0.0.0.0", None, type=socket.SOCK_STREAM)[0][4][0]
        return (host, port)
    return where


def _made_by_us(environment: MutableMapping[str, str]) -> frozenset[tuple[int, int]]:
    """Which files this instance made before it executed itself anew."""
    pairs = (one.partition(":") for one in environment.pop(OURS, "").split())
    return frozenset((int(device), int(inode)) for device, _, inode in pairs if (device + inode).isdecimal())
