"""Sockets from the addresses that people write.

``host:port`` and ``:port`` (TCP or UDP), ``[::1]:port`` (IPv6), ``@name`` (abstract UNIX), anything else is the path
of a UNIX socket. unix(7), ip(7), ipv6(7).
"""

from __future__ import annotations

import errno
import os
import socket
import stat


class Address:
    """An address, read: ``where`` is what socket.bind takes."""

    __slots__ = ("family", "where")

    def __init__(self, family: socket.AddressFamily, where: tuple[str, int] | str) -> None:
        self.family = family
        self.where = where

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return (self.family, self.where) == (other.family, other.where)

    def __hash__(self) -> int:
        return hash((self.family, self.where))

    def __repr__(self) -> str:
        return f"Address({self.family!r}, {self.where!r})"

    @property
    def path(self) -> str | None:
        """The file of a UNIX socket, if it has one."""
        if isinstance(self.where, str) and not self.where.startswith("\0"):
            return self.where
        return None


def parse_address(text: str) -> Address:
    """Read an address. Raises :class:`ValueError` that says what is wrong with it."""
    if not text:
        raise ValueError("the address is empty")
    if text.startswith("@"):
        return Address(socket.AF_UNIX, "\0" + text[1:])
    host, colon, port = text.rpartition(":")
    if not colon or "/" in text:
        if len(os.fsencode(text)) > 107:
            raise ValueError(f"{text}: a UNIX socket's path has at most 107 bytes")
        return Address(socket.AF_UNIX, text)
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text}: {port!r} is no port number")
    if host.startswith("[") and host.endswith("]"):
        return Address(socket.AF_INET6, (host[1:-1], int(port)))
    return Address(socket.AF_INET, (host, int(port)))


def open_socket(
    text: str,
    kind: socket.SocketKind = socket.SOCK_STREAM,
    *,
    backlog: int = 100,
    mode: int | None = None,
    reuse_port: bool = False,
    v6only: bool = True,
) -> socket.socket:
    """Bind (and, for streams, listen): non-blocking and close-on-exec. Raises OSError that names the address.

    The file of a UNIX socket that nobody listens to any more is replaced; one that somebody listens to is an error, and
    so is a file that is no socket. ``mode`` is what the new file gets, from the first moment on. ``reuse_port``: others
    may bind the same port (SO_REUSEPORT). Without ``v6only`` an IPv6 address takes IPv4 connections as well, where the
    system has it so (net.ipv6.bindv6only).
    """
    address = parse_address(text)
    sock = socket.socket(address.family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if address.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if reuse_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6 and v6only:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if address.path is not None:
            _make_room(address.path, kind)
            if mode is not None:
                # fchmod on the socket sets the mode that bind gives the file: no moment with a wider one (unix(7)).
                os.fchmod(sock.fileno(), mode)
        sock.bind(address.where)
        if address.path is not None and mode is not None:
            os.chmod(address.path, mode)  # bind took the umask off
        if kind == socket.SOCK_STREAM:
            sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot open {text}: {error.strerror or error}") from error
    return sock


def _make_room(path: str, kind: socket.SocketKind) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "somebody listens on it")


def remove_socket_file(text: str) -> None:
    """Unlink the file of a UNIX socket, if the address has one and it is still a socket."""
    path = parse_address(text).path
    if path is None:
        return
    try:
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


def give_away_socket_file(path: str, uid: int, gid: int, *, made: tuple[int, int] | None = None) -> None:
    """Make the file of a UNIX socket another user's. -1 leaves that part as it is.

    ``made``: its device and inode, where they are known. Its directory may be one that anybody can write to, and
    somebody may have put a link to something else in its place meanwhile: so the file is held open and looked at first.
    open(2), O_PATH; symlink(7). Raises OSError.
    """
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        is_ours = stat.S_ISSOCK(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()
        if not is_ours or made not in (None, (found.st_dev, found.st_ino)):
            raise OSError(errno.EPERM, "somebody put something else there", path)
        os.chown(f"/proc/self/fd/{fd}", uid, gid)
    finally:
        os.close(fd)
