"""The scribe: a small process that reads the output of every vassal and passes it on to the Emperor.

It runs as a script of its own, ``python -I -S scribe.py SOCKET``. The Emperor sends it the read ends of the vassals'
pipes; it sends back what they say, ``(serial, bytes)`` a message, and ``(serial, b"")`` at the end of each. So the
Emperor needs no file descriptor for a vassal's output, and a vassal that floods its log cannot flood the Emperor: one
that says more than its budget is not read until the next period, which slows down that vassal and nobody else.

Rules: it decides nothing else, changes nothing in what it passes on, and imports as little as it can.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PERIOD = 0.25
"""Seconds after which every vassal has its whole budget again."""
BUDGET = 256 * 1024
"""Bytes of one vassal's output that are read in a period: a megabyte a second."""
AT_ONCE = 16384
MSG_CMSG_CLOEXEC = 0x40000000
MOST_FDS = 253


class Scribe:
    """Every pipe, and how much it has said in this period."""

    def __init__(self, sock: int) -> None:
        self.emperor = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, sock)
        self.serials: dict[int, int] = {}
        self.said: dict[int, int] = {}
        """Bytes in this period, of those who spoke."""
        self.silenced: list[int] = []
        self.poll = select.epoll()
        self.poll.register(sock, select.EPOLLIN)

    def serve(self) -> NoReturn:
        period_ends = 0.0
        while True:
            timeout = max(period_ends - time.monotonic(), 0.0) if self.silenced else -1
            for fd, _ in self.poll.poll(timeout):
                if fd == self.emperor.fileno():
                    self.receive()
                else:
                    self.read(fd)
            now = time.monotonic()
            if now >= period_ends:
                period_ends = now + PERIOD
                self.said.clear()
                for fd in self.silenced:
                    self.poll.register(fd, select.EPOLLIN)
                self.silenced.clear()

    def receive(self) -> None:
        try:
            data, ancillary, _, _ = self.emperor.recvmsg(65536, socket.CMSG_SPACE(4 * MOST_FDS), MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            os._exit(0)
        fds: list[int] = []
        for _, _, payload in ancillary:
            fds += memoryview(payload)[: len(payload) // 4 * 4].cast("i").tolist()
        for serial, fd in zip(marshal.loads(data), fds, strict=False):
            os.set_blocking(fd, False)
            self.serials[fd] = serial
            self.poll.register(fd, select.EPOLLIN)

    def read(self, fd: int) -> None:
        try:
            data = os.read(fd, AT_ONCE)
        except BlockingIOError:
            return
        serial = self.serials[fd]
        if not data:
            self.poll.unregister(fd)
            os.close(fd)
            del self.serials[fd]
            self.said.pop(fd, None)
        else:
            said = self.said[fd] = self.said.get(fd, 0) + len(data)
            if said > BUDGET:
                self.poll.unregister(fd)
                self.silenced.append(fd)
        try:
            self.emperor.send(marshal.dumps((serial, data)))
        except (BrokenPipeError, ConnectionResetError):
            os._exit(0)


def main(argv: list[str]) -> NoReturn:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    os.set_inheritable(int(argv[1]), False)
    Scribe(int(argv[1])).serve()


if __name__ == "__main__":
    main(sys.argv)
