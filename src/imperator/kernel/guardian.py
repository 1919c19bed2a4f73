"""The guardian: a small process that kills every vassal when the Emperor dies, in whatever way.

It runs as a script of its own, ``python -I -S guardian.py LIFELINE``. The Emperor sends it a pidfd of every process
over the lifeline; when the Emperor's end closes, the Emperor is dead, and the guardian kills the whole process group of
whatever still lives, and ends. That covers what PR_SET_PDEATHSIG (prctl(2)) does not: the kernel forgets that setting
when a process changes its credentials, and it never held for the vassal's own children.

Rules: it decides nothing, it trusts no pid (a pidfd proves whose it is), and it imports as little as it can.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import marshal
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
"""pidfd_send_signal(2), Linux 6.9."""
MSG_CMSG_CLOEXEC = 0x40000000
MOST_FDS = 253
"""SCM_MAX_FD of unix(7)."""


class Guardian:
    """Everyone it watches, and the lifeline."""

    def __init__(self, lifeline: int) -> None:
        self.lifeline = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, lifeline)
        self.guarded: dict[int, int] = {}
        """pidfd → pid."""
        self.poll = select.epoll()
        self.poll.register(lifeline, select.EPOLLIN)

    def serve(self) -> NoReturn:
        while True:
            for fd, _ in self.poll.poll():
                if fd == self.lifeline.fileno():
                    self.receive()
                else:  # that process has ended
                    self.poll.unregister(fd)
                    del self.guarded[fd]
                    os.close(fd)

    def receive(self) -> None:
        try:
            data, ancillary, _, _ = self.lifeline.recvmsg(65536, socket.CMSG_SPACE(4 * MOST_FDS), MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        if not data:
            self.avenge()
        fds: list[int] = []
        for _, _, payload in ancillary:
            fds += memoryview(payload)[: len(payload) // 4 * 4].cast("i").tolist()
        for pid, pidfd in zip(marshal.loads(data), fds, strict=False):
            self.guarded[pidfd] = pid
            self.poll.register(pidfd, select.EPOLLIN)

    def avenge(self) -> NoReturn:
        """The Emperor is dead: nobody outlives it."""
        for pidfd, pid in self.guarded.items():
            try:
                signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, PIDFD_SIGNAL_PROCESS_GROUP)
            except ProcessLookupError:
                continue
            except OSError:
                self.kill_the_old_way(pidfd, pid)
        os._exit(0)

    @staticmethod
    def kill_the_old_way(pidfd: int, pid: int) -> None:
        """Before Linux 6.9. The group first: while the process lives, the number is its own."""
        try:
            signal.pidfd_send_signal(pidfd, 0)
            os.killpg(pid, signal.SIGKILL)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except OSError as error:
            os.write(2, f"imperator: killing {pid}: {error}\n".encode())


def main(argv: list[str]) -> NoReturn:
    # What is meant for the Emperor must not end its guardian first.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    os.set_inheritable(int(argv[1]), False)
    Guardian(int(argv[1])).serve()


if __name__ == "__main__":
    main(sys.argv)
