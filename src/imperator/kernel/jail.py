"""Namespaces of its own for a process that is just being made: clone(2), namespaces(7).

Loaded by the spawner by its path, like :mod:`.preparation`, before the first clone that needs it. One :class:`Jail` a
process: the spawner calls :meth:`Jail.clone`, the child :meth:`Jail.settle` before anything else. Made by clone and not
by unshare(2), the process is in its pid namespace itself, as process 1, and the Emperor has its pid and its end.

In a user namespace every id stays what it is: root inside has no power outside, and files keep their owners.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Sequence
from typing import Final

NEW_MOUNTS: Final = 0x00020000
NEW_USERS: Final = 0x10000000
EVERY_ID: Final = "0 0 4294967295"

_MS_REC: Final = 0x4000
_MS_PRIVATE: Final = 1 << 18

# PyDLL: see the spawner, also for why there are two.
_libc = ctypes.PyDLL(None, use_errno=True)
_quick = ctypes.PyDLL(None)
_read, _close, _mount, _socket, _ioctl = _quick.read, _quick.close, _quick.mount, _quick.socket, _quick.ioctl
_PRIVATE = (None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
_DATAGRAMS = (2, 2 | 0o2000000, 0)
"""AF_INET, SOCK_DGRAM and SOCK_CLOEXEC."""


class Jail:
    """One process's namespaces. ``flags`` are those of clone(2)."""

    def __init__(
        self,
        flags: int,
        plug: Callable[[int], None] | None = None,
        requests: Sequence[tuple[int, bytes]] = (),
    ) -> None:
        """``plug`` connects a pid's network namespace with ours; it may raise OSError.

        ``requests`` are the ioctls that configure it from the inside (:func:`.interfaces.requests`).
        """
        self.flags = flags
        self._requests = [(number, ctypes.create_string_buffer(content)) for number, content in requests]
        self._said = ctypes.create_string_buffer(200)
        """What came through the gate; empty: nobody has looked."""
        self._plug = plug
        self._gate = os.pipe2(os.O_CLOEXEC) if flags & NEW_USERS or plug is not None else None
        """The child waits at it until its ids are mapped, and its network is plugged in: for a process outside."""

    def clone(self, plain: tuple[int, ...]) -> int:
        """The system call with our flags: 0 in the child, its pid outside, -1 with errno set."""
        number, flags, *rest = plain
        pid: int = _libc.syscall(number, flags | self.flags, *rest)
        if pid and self._gate is not None:
            pid = self._open_gate(pid, *self._gate)
        return pid

    def _open_gate(self, pid: int, reading: int, writing: int) -> int:
        failed = ctypes.get_errno() if pid < 0 else 0
        try:
            if pid > 0:
                what = "the ids of its user namespace cannot be mapped"
                if self.flags & NEW_USERS:
                    for kind in ("uid", "gid"):
                        with open(f"/proc/{pid}/{kind}_map", "w") as file:
                            file.write(EVERY_ID)
                if self._plug is not None:
                    what = "it cannot be plugged into the bridge of vassal-net"
                    self._plug(pid)
                os.write(writing, b"!")
        except OSError as error:
            # It is the Emperor's child and not ours, so the Emperor hears of its end, and why from what it reports.
            os.write(writing, f"{what}: {error.strerror}".encode())
        finally:
            os.close(reading)
            os.close(writing)
        ctypes.set_errno(failed)
        return pid

    def hint(self) -> str:
        """What helps when clone fails."""
        return " (namespaces need root or CAP_SYS_ADMIN, and a kernel and a container that have and allow them)"

    def settle_straight(self) -> bool:
        """In the child: :meth:`settle`, and the requests. With as few pages written to as can be, and as few reasons.

        False: something has failed, and whoever takes the longer way learns what.
        """
        if self._gate is not None:
            reading, writing = self._gate
            _close(writing)
            _read(reading, self._said, 199)
            if self._said.value != b"!":
                return False
        if self.flags & NEW_MOUNTS and _mount(*_PRIVATE):
            return False
        if self._requests:
            control = _socket(*_DATAGRAMS)
            for number, content in self._requests:
                if _ioctl(control, number, content):
                    return False
        return True

    def settle(self) -> None:
        """In the child: wait for the ids, and let no mount made here appear outside. Raises OSError."""
        if self._gate is not None:
            reading, writing = self._gate
            said = self._said.value
            if not said:
                os.close(writing)
                said = os.read(reading, 199)
            os.close(reading)
            if said != b"!":
                raise OSError(0, said.decode() or "the spawner has ended meanwhile")
        if self.flags & NEW_MOUNTS:
            result = _libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
            if result != 0:
                raise OSError(ctypes.get_errno(), "its mounts cannot be made private")
