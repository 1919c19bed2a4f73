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
import errno
import marshal
import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

PIDFD_SIGNAL_PROCESS_GROUP = 1 << 2
"""pidfd_send_signal(2), Linux 6.9."""
MSG_CMSG_CLOEXEC = 0x40000000
MOST_FDS = 253
"""SCM_MAX_FD of unix(7)."""


MEMORY = 2.0
"""Seconds for which the dead are remembered. When the Emperor dies, those who die of it (PR_SET_PDEATHSIG) may do so
before the lifeline has closed, for the kernel ends the Emperor's threads one by one; and their children are to follow.
"""
MOST_REMEMBERED = 1000
LAST_PATIENCE = 5.0
"""Seconds for whoever is in a control group to end."""


class Guardian:
    """Everyone it watches, and the lifeline."""

    def __init__(self, lifeline: int) -> None:
        self.lifeline = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, lifeline)
        self.guarded: dict[int, int] = {}
        """pidfd → pid."""
        self.dead: dict[int, tuple[int, float]] = {}
        """pidfd → pid, and when to forget it: the oldest first."""
        self.groups: list[str] = []
        """The control groups that all vassals are below, also those who have left their process group: directories."""
        self.poll = select.epoll()
        self.poll.register(lifeline, select.EPOLLIN)

    def serve(self) -> NoReturn:
        while True:
            oldest = next(iter(self.dead.values()), None)
            timeout = -1 if oldest is None else max(oldest[1] - time.monotonic(), 0.0)
            for fd, _ in self.poll.poll(timeout):
                if fd == self.lifeline.fileno():
                    self.receive()
                else:  # that process has ended
                    self.poll.unregister(fd)
                    self.dead[fd] = (self.guarded.pop(fd), time.monotonic() + MEMORY)
            self.forget()

    def forget(self) -> None:
        now = time.monotonic()
        for fd, (_, until) in list(self.dead.items()):
            if until > now and len(self.dead) <= MOST_REMEMBERED:
                return
            del self.dead[fd]
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
        message = marshal.loads(data)
        if isinstance(message, dict):
            self.groups = message["groups"]
            return
        for pid, pidfd in zip(message, fds, strict=False):
            self.guarded[pidfd] = pid
            self.poll.register(pidfd, select.EPOLLIN)

    def avenge(self) -> NoReturn:
        """The Emperor is dead: nobody outlives it."""
        refused = set()
        for pidfd, pid in [*((pidfd, pid) for pidfd, (pid, _) in self.dead.items()), *self.guarded.items()]:
            try:
                kill_group(pidfd, pid)
            except PermissionError:
                refused.add(pid)
        if refused:
            kill_as_their_users(refused)
        if self.groups:
            clear_groups(self.groups)
        os._exit(0)


def kill_group(pidfd: int, pid: int) -> None:
    """SIGKILL what is left of the process group that a process leads, or has led until a moment ago.

    Raises PermissionError where none of them may be signalled.
    """
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL, None, PIDFD_SIGNAL_PROCESS_GROUP)
    except ProcessLookupError:
        return
    except PermissionError:
        raise
    except OSError:
        kill_group_by_number(pidfd, pid)


def clear_groups(directories: list[str]) -> None:
    """End whoever is in these control groups, and remove them. What fails, the next Emperor does at its start."""
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # there is no package here (-I)
    import cgroup  # type: ignore[import-not-found]

    try:
        cgroup.clear(directories, LAST_PATIENCE)
        cgroup.remove(directories, LAST_PATIENCE)
        for directory in directories:
            os.rmdir(os.path.dirname(directory))
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBUSY, errno.EACCES):
            os.write(2, f"imperator: control groups are left behind: {error}\n".encode())


def kill_as_their_users(groups: set[int]) -> None:
    """A tyrant that is not root may not signal its vassals, but it may be anybody (CAP_SETUID): so be their users."""
    own = os.geteuid()
    for name in os.listdir("/proc"):
        if not name.isdecimal():
            continue
        try:
            pidfd = os.pidfd_open(int(name))
        except OSError:
            continue  # it has ended
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                group = int(file.read().rpartition(b")")[2].split()[2])
            if group in groups:
                os.setresuid(-1, real_user_of(name), -1)
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            continue
        except OSError as error:
            os.write(2, f"imperator: pid {name} could not be killed ({error}): cap = kill is needed\n".encode())
        finally:
            os.close(pidfd)
            os.setresuid(-1, own, -1)


def real_user_of(pid: str) -> int:
    """proc_pid_status(5). Raises OSError where it has ended."""
    with open(f"/proc/{pid}/status", "rb") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(b"Uid:"))


def kill_group_by_number(pidfd: int, pid: int) -> None:
    """The same before Linux 6.9.

    The number of a group is given to nobody else while one of the group lives, nor before its leader was reaped. If all
    of that is over and somebody else has the number already, then there is a process with it.
    """
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        if os.path.exists(f"/proc/{pid}"):
            return
    for send in (
        lambda: os.killpg(pid, signal.SIGKILL),
        lambda: signal.pidfd_send_signal(pidfd, signal.SIGKILL),  # it may have left its group
    ):
        try:
            send()
        except ProcessLookupError:
            continue


def main(argv: list[str]) -> NoReturn:
    # What is meant for the Emperor must not end its guardian first.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD, signal.SIGKILL, signal.SIGSTOP})
    os.set_inheritable(int(argv[1]), False)
    Guardian(int(argv[1])).serve()


if __name__ == "__main__":
    main(sys.argv)
