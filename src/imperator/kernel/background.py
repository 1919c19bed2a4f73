"""A program that has put itself into the background: who it is now, what ends it, and how it is kept from doing so.

Its first process ends with 0, and a descendant in a session of its own goes on, out of reach of whoever started it. It
is found by a socket that it still holds: proc_pid_fd(5). Everything here is slow on a machine with many processes.
"""

from __future__ import annotations

import os
import signal
from typing import Final

_ADVICE: Final = {
    "nginx": 'nginx -g "daemon off;"',
    "apache2": "apache2 -D FOREGROUND",
    "caddy": "caddy run and not caddy start",
    "dnsmasq": "dnsmasq --keep-in-foreground",
    "gunicorn": "gunicorn without --daemon",
    "haproxy": "haproxy -W -db",
    "httpd": "httpd -D FOREGROUND",
    "lighttpd": "lighttpd -D",
    "memcached": "memcached without -d",
    "mysqld": "mysqld without --daemonize",
    "mariadbd": "mariadbd, and not mysqld_safe",
    "php-fpm": "php-fpm --nodaemonize",
    "postgres": "postgres itself and not pg_ctl",
    "redis-server": "redis-server --daemonize no",
    "squid": "squid --foreground",
    "sshd": "sshd -D",
    "stunnel": "foreground = yes",
    "supervisord": "supervisord --nodaemon",
    "unicorn": "unicorn without --daemonize",
    "uwsgi": "uwsgi without daemonize",
    "valkey-server": "valkey-server --daemonize no",
    "varnishd": "varnishd -F",
}


def advice(program: str) -> str:
    """How this program is kept in the foreground, as an example or in general."""
    name = program.rstrip("0123456789.") if program not in _ADVICE else program  # php-fpm8.2
    example = _ADVICE.get(name)
    return f"say {example}" if example else "look for its option 'foreground' or 'no daemon'"


def command_of(pid: int) -> str:
    """The name of a process's program, 15 bytes of it; a child that was not reaped still has one: proc_pid_comm(5)."""
    try:
        with open(f"/proc/{pid}/comm", errors="backslashreplace") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def end_holders(inode: int, number: int = signal.SIGTERM) -> list[int]:
    """Signal each process that has this socket open, and no other one: pidfd_open(2). Returns those that were told.

    Who may not be looked at (another user's) is passed over, and so are we.
    """
    own, target = os.getpid(), f"socket:[{inode}]"
    told = []
    for pid in [int(name) for name in os.listdir("/proc") if name.isdecimal()]:
        if pid == own or not _holds(pid, target):
            continue
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if _holds(pid, target):  # the number has not been given to somebody else meanwhile
                signal.pidfd_send_signal(fd, number)
                told.append(pid)
        except (ProcessLookupError, PermissionError):
            continue
        finally:
            os.close(fd)
    return told


def _holds(pid: int, target: str) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as fds:
            return any(os.readlink(fd) == target for fd in fds)
    except OSError:  # another user's, or it has ended, or it closed one at this moment
        return False
