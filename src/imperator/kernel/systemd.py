"""What systemd says to its services, and they to it: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3).

A dozen lines of protocol; the libraries on PyPI for it are unkept or need a C library.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

FIRST_LISTEN_FD = 3


class Notifier:
    """Tells the service manager; does nothing where there is none."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        """Takes ``NOTIFY_SOCKET`` and the watchdog's variables out of the environment: they are for this process."""
        address = environment.pop("NOTIFY_SOCKET", None)
        interval = environment.pop("WATCHDOG_USEC", None)
        owner = environment.pop("WATCHDOG_PID", None)
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog: float | None = None
        """Seconds between two WATCHDOG=1 at the most; ``None``: nobody watches."""
        if interval is not None and interval.isdecimal() and (owner is None or owner == str(os.getpid())):
            self.watchdog = int(interval) / 1e6

    def send(self, **variables: str | int) -> None:
        """Send ``KEY=value`` lines. Raises OSError where the manager cannot be reached."""
        if self._address is None:
            return
        message = "\n".join(f"{key}={value}" for key, value in variables.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as sock:
            sock.connect(self._address)
            sock.send(message.encode(errors="surrogateescape"))

    def reloading(self) -> None:
        self.send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)


def take_listening_sockets(environment: MutableMapping[str, str]) -> list[tuple[str, socket.socket]]:
    """The sockets that systemd opened for this process, each with its ``FileDescriptorName``; close-on-exec."""
    pid = environment.pop("LISTEN_PID", None)
    count = environment.pop("LISTEN_FDS", None)
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or count is None or not count.isdecimal():
        return []
    found = []
    for index in range(int(count)):
        fd = FIRST_LISTEN_FD + index
        os.set_inheritable(fd, False)
        name = names[index] if index < len(names) else ""
        found.append((name, socket.socket(fileno=fd)))
    return found
