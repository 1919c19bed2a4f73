"""A process in a pid namespace of its own, and the shepherd outside that stands for it (pid_namespaces(7)).

unshare(2) puts only later children into the new pid namespace, so there must be a fork. The child, pid 1 inside, goes
on being the instance. The parent keeps the pid that the Emperor knows, and does three things: it passes signals on,
it ends as the child has ended (same exit code, or same signal), and the child dies with it. It holds no descriptor
but its output, so the emperor fd and the sockets are the child's alone.
"""

from __future__ import annotations

import os
import resource
import select
import signal
from typing import Final, NoReturn

from imperator.kernel.namespaces import set_parent_death_signal

PASSED_ON: Final = frozenset(
    {
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGURG,
        signal.SIGWINCH,
        signal.SIGCONT,
        signal.SIGTSTP,
    }
)
_SI_KERNEL: Final = 0x80
"""``si_code`` of a signal from the terminal: the child, in the same process group, has had it too (sigaction(2))."""


def fork_into_pid_namespace() -> None:
    """Fork after ``unshare(PIDS)``. Returns in the child only. Raises OSError where there can be no process."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON | {signal.SIGCHLD})
    ours, theirs = os.pipe()
    try:
        child = os.fork()
    except OSError:
        os.close(ours)
        os.close(theirs)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        raise
    if child:
        os.close(ours)
        _shepherd(child, theirs)
    os.close(theirs)
    set_parent_death_signal(signal.SIGKILL)
    with os.fdopen(ours, "rb", buffering=0) as pipe:
        # Nothing is ever written: the end is at hand only where the shepherd died before the line above.
        if select.select([pipe], [], [], 0)[0]:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _shepherd(child: int, pipe: int) -> NoReturn:
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
    status: int | None = None
    while status is None:
        info = signal.sigwaitinfo(PASSED_ON | {signal.SIGCHLD})
        if info.si_signo == signal.SIGCHLD:
            pid, waited = os.waitpid(child, os.WNOHANG)
            status = waited if pid else None
        elif info.si_code != _SI_KERNEL:
            os.kill(child, info.si_signo)
    _end_as(status)


def _end_as(status: int) -> NoReturn:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the child has left the core dump that means something
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
