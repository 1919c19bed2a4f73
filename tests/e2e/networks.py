"""Network namespaces for tests: the test, and so every Emperor that it starts, is in one of its own.

The kernel keeps a thread's namespace, and a socket's: whatever is made inside :func:`inside` belongs there for ever.
"""

from __future__ import annotations

import ctypes
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from imperator.kernel.interfaces import raise_interface
from imperator.kernel.namespaces import NETWORK

from .stage import PATIENCE

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Network:
    """A network namespace, as long as it is open."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def of(cls, pid: int) -> Network:
        return cls(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    @classmethod
    def new(cls) -> Network:
        """One with ``lo`` and nothing else."""
        with here().kept() as before:
            _check(_libc.unshare(NETWORK))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                raise_interface(control, "lo")
            made = here()
            _check(_libc.setns(before.fd, NETWORK))
        return made

    @contextmanager
    def kept(self) -> Iterator[Network]:
        try:
            yield self
        finally:
            os.close(self.fd)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is in it."""
        with here().kept() as before:
            _check(_libc.setns(self.fd, NETWORK))
            try:
                yield
            finally:
                _check(_libc.setns(before.fd, NETWORK))

    def endpoint(self, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket that belongs there."""
        with self.inside():
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(PATIENCE)
        return made

    def listen(self, address: str) -> socket.socket:
        listening = self.endpoint()
        listening.bind((address, 0))
        listening.listen()
        return listening

    def interfaces(self) -> set[str]:
        with self.inside():
            return {name for _, name in socket.if_nameindex()}

    def expect_interfaces(self, *names: str) -> None:
        """Wait until these are all that there are: the kernel removes them with their namespaces, a moment later."""
        deadline = time.monotonic() + PATIENCE
        while (there := self.interfaces()) != set(names):
            assert time.monotonic() < deadline, f"interfaces: {there}"
            time.sleep(0.01)


def here() -> Network:
    """That of this thread."""
    return Network(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))


def talk(client: socket.socket, listening: socket.socket) -> str:
    """Connect, send something and back; returns the address from which the other side saw it come."""
    client.connect(listening.getsockname())
    accepted, (source, _) = listening.accept()
    with client, accepted:
        client.sendall(b"to you")
        assert accepted.recv(100) == b"to you"
        accepted.sendall(b"and back")
        assert client.recv(100) == b"and back"
    return str(source)
