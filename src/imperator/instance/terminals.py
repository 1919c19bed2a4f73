"""The forkpty router: a terminal in the instance for whoever connects (``forkpty-router``, ``forkpty-urouter``).

A program of its own, ``python -m imperator.instance.terminals``, kept by the instance beside the application: it has
the instance's user, namespaces and root, and a slow reader or a wild shell is nobody else's trouble. Two protocols:

* *raw*: what is typed and what is shown, as it is.
* *uwsgi*: what is shown, as it is; what is typed in packets of the uwsgi protocol. The header's 16 bits are the length,
  and its second modifier says of what: 0 typed text, which follows; 1 to 99 a signal for the command; 100 and 101 the
  rows and columns of the window, which are those 16 bits themselves.

Rules: one connection, one pseudoterminal (pty(7)), one session of the command; when either ends, the other does. Who
may connect may run anything as the instance's user: so the socket is its alone, unless ``chmod-socket`` says else.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pty
import selectors
import shlex
import signal
import socket
import struct
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from imperator.kernel.sockets import open_socket, remove_socket_file

DEFAULT_COMMAND: Final = "/bin/sh"
DEFAULT_MODE: Final = 0o600
_HEADER: Final = struct.Struct("<BHB")
_TYPED, _LAST_SIGNAL, _ROWS, _COLUMNS = 0, 99, 100, 101
_MOST_UNREAD: Final = 256 * 1024
"""Bytes that one end may be behind before the other has to wait for it."""


@dataclass(slots=True)
class Packets:
    """The uwsgi mode's packets, put together from whatever pieces they come in."""

    _data: bytearray = field(default_factory=bytearray)

    def feed(self, data: bytes) -> list[tuple[int, int, bytes]]:
        """What is complete now: the second modifier, the 16 bits, and the text of a packet that has one."""
        self._data += data
        packets = []
        while len(self._data) >= _HEADER.size:
            _, size, kind = _HEADER.unpack_from(self._data)
            end = _HEADER.size + (size if kind == _TYPED else 0)
            if len(self._data) < end:
                break
            packets.append((kind, size, bytes(self._data[_HEADER.size : end])))
            del self._data[:end]
        return packets


class Session:
    """One connection and its terminal."""

    def __init__(
        self, client: socket.socket, pid: int, terminal: int, packets: Packets | None, size: list[int]
    ) -> None:
        self.client = client
        self.pid: int | None = pid
        """``None``: the command has ended, and the number means nothing any more."""
        self.terminal = terminal
        self.packets = packets
        """``None``: raw."""
        self.size = size
        self.over = False
        """The terminal has ended: what it has shown last is still to be sent."""
        self.typed = bytearray()
        """Not taken by the terminal yet."""
        self.shown = bytearray()
        """Not taken by the client yet."""

    def hear(self, data: bytes) -> None:
        """From the client."""
        if self.packets is None:
            self.typed += data
            return
        for kind, value, text in self.packets.feed(data):
            if kind == _TYPED:
                self.typed += text
            elif kind <= _LAST_SIGNAL:
                self._signal(kind)
            elif kind in (_ROWS, _COLUMNS):
                self.size[kind - _ROWS] = value
                set_size(self.terminal, self.size)

    def _signal(self, number: int) -> None:
        if self.pid is None:
            return
        try:
            os.kill(self.pid, number)
        except OSError as error:  # no such signal; a command that has become another user
            print(f"terminal of pid {self.pid}: signal {number}: {error.strerror}", file=sys.stderr, flush=True)


def set_size(terminal: int, size: Sequence[int]) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", size[0], size[1], 0, 0))


class Router:
    """The loop: doors, clients and terminals."""

    def __init__(self, command: str, size: list[int]) -> None:
        self._command = command
        self._size = size
        self._selector = selectors.DefaultSelector()
        self._sessions: dict[int, Session] = {}
        """By both descriptors of each."""
        self._doors: dict[int, tuple[socket.socket, bool]] = {}
        self.ending = False

    def open(self, door: socket.socket, *, uwsgi: bool) -> None:
        self._doors[door.fileno()] = (door, uwsgi)
        self._selector.register(door, selectors.EVENT_READ)

    def serve(self, wake: int) -> None:
        """Until :attr:`ending` is set and ``wake`` can be read."""
        self._selector.register(wake, selectors.EVENT_READ)
        while not self.ending:
            for key, events in self._selector.select():
                if key.fd == wake:
                    os.read(wake, 4096)
                    self._reap()
                elif key.fd in self._doors:
                    self._welcome(*self._doors[key.fd])
                elif (session := self._sessions.get(key.fd)) is not None:
                    self._attend(session, key.fd, events)
        for session in {id(one): one for one in self._sessions.values()}.values():
            self._end(session)

    def _welcome(self, door: socket.socket, uwsgi: bool) -> None:
        try:
            client, _ = door.accept()
        except OSError:
            return  # it has thought better of it
        client.setblocking(False)
        try:
            pid, terminal = pty.fork()
        except OSError as error:
            print(f"no terminal for a new connection: {error}", file=sys.stderr, flush=True)
            client.close()
            return
        if pid == 0:
            self._become_command()
        os.set_blocking(terminal, False)
        os.set_inheritable(terminal, False)
        set_size(terminal, self._size)
        session = Session(client, pid, terminal, Packets() if uwsgi else None, list(self._size))
        for fd in (client.fileno(), terminal):
            self._sessions[fd] = session
            self._selector.register(fd, selectors.EVENT_READ)

    def _become_command(self) -> None:
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            words = shlex.split(self._command)
            os.execvp(words[0], words)
        except (OSError, ValueError) as error:
            os.write(2, f"{self._command}: {error}\r\n".encode())
        finally:
            os._exit(127)

    def _attend(self, session: Session, fd: int, events: int) -> None:
        from_client = fd == session.client.fileno()
        if events & selectors.EVENT_READ:
            if from_client:
                self._read_client(session)
            else:
                self._read_terminal(session)
        if session.over and not session.shown:
            self._end(session)
        elif fd in self._sessions:
            self._write(session)

    def _read_client(self, session: Session) -> None:
        try:
            data = session.client.recv(65536)
        except BlockingIOError:
            return
        except OSError:  # ECONNRESET
            data = b""
        if data:
            session.hear(data)
        else:
            self._end(session)

    def _read_terminal(self, session: Session) -> None:
        try:
            data = os.read(session.terminal, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the other end any more
            data = b""
        session.shown += data
        session.over = session.over or not data

    def _write(self, session: Session) -> None:
        with contextlib.suppress(BlockingIOError):
            if session.typed and not session.over:
                try:
                    del session.typed[: os.write(session.terminal, session.typed)]
                except BlockingIOError:
                    raise
                except OSError:  # EIO: what is to be shown is still to come
                    session.typed.clear()
        try:
            with contextlib.suppress(BlockingIOError):
                if session.shown:
                    del session.shown[: session.client.send(session.shown)]
        except OSError:
            self._end(session)
            return
        if session.over and not session.shown:
            self._end(session)
        else:
            self._watch(session)

    def _watch(self, session: Session) -> None:
        """Each end is read while the other is not too far behind, and written to while there is something for it."""
        if session.over:
            self._select(session.terminal, 0)
            self._select(session.client.fileno(), selectors.EVENT_WRITE)
            return
        for fd, unread, waiting in (
            (session.client.fileno(), session.typed, session.shown),
            (session.terminal, session.shown, session.typed),
        ):
            events = selectors.EVENT_READ if len(unread) < _MOST_UNREAD else 0
            self._select(fd, events | (selectors.EVENT_WRITE if waiting else 0))

    def _select(self, fd: int, events: int) -> None:
        registered = fd in self._selector.get_map()
        if not events:
            if registered:
                self._selector.unregister(fd)
        elif registered:
            self._selector.modify(fd, events)
        else:
            self._selector.register(fd, events)

    def _end(self, session: Session) -> None:
        """Hang up: the session's processes get SIGHUP from the kernel, for their terminal is gone."""
        for fd in (session.client.fileno(), session.terminal):
            del self._sessions[fd]
            self._select(fd, 0)
        session.client.close()
        os.close(session.terminal)

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for one in self._sessions.values():
                if one.pid == pid:
                    one.pid = None


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM. 1: a socket could not be opened."""
    parser = argparse.ArgumentParser(prog="imperator.instance.terminals", description="The forkpty router.")
    parser.add_argument("--raw", action="append", default=[], metavar="ADDRESS")
    parser.add_argument("--uwsgi", action="append", default=[], metavar="ADDRESS")
    parser.add_argument("--mode", type=lambda text: int(text, 8), default=DEFAULT_MODE)
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--columns", type=int, default=80)
    parser.add_argument("--command", default=DEFAULT_COMMAND)
    options = parser.parse_args(argv)
    router = Router(options.command, [options.rows, options.columns])
    addresses = [(address, False) for address in options.raw] + [(address, True) for address in options.uwsgi]
    try:
        for address, uwsgi in addresses:
            router.open(open_socket(address, mode=options.mode), uwsgi=uwsgi)
    except (OSError, ValueError) as error:
        print(f"forkpty-router: {error.strerror if isinstance(error, OSError) else error}", file=sys.stderr)
        return 1
    wake, wakeup = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(wakeup)

    def end(*_: object) -> None:
        router.ending = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    try:
        router.serve(wake)
    finally:
        for address, _ in addresses:
            remove_socket_file(address)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
