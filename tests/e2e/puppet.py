"""A vassal on strings: it tells a test what it was given and what happens to it, and does what the test says.

It runs as a script (``stage.py`` makes it executable). It connects to the stage, whose address is in ``PUPPET_STAGE``,
introduces itself, and from then on passes on every byte of the emperor fd and every signal it was told to catch.
Unless told to ``stay`` it ends as an application does when it is told to stop (byte 0 or 2), and when the test is over.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


STOP = (0, 2)


def open_fds() -> dict[str, str]:
    """What is behind each open file descriptor."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the one that listed them
            continue
    return found


def read_packet(fd: int) -> str:
    """The configuration on the config fd: a uwsgi packet."""
    head = b""
    while len(head) < 4:
        head += os.read(fd, 4 - len(head))
    size = int.from_bytes(head[1:3], "little")
    body = b""
    while len(body) < size:
        body += os.read(fd, size - len(body))
    return body.decode()


def description(fds: dict[str, str]) -> dict[str, Any]:
    config = os.environ.get("UWSGI_EMPEROR_FD_CONFIG")
    with open("/proc/self/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "pgid": os.getpgrp(),
        "sid": os.getsid(0),
        "uids": os.getresuid(),
        "gids": os.getresgid(),
        "groups": os.getgroups(),
        "argv": sys.argv,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "fds": fds,
        "status": status,
        "namespaces": {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in os.listdir("/proc/self/ns")},
        "config": read_packet(int(config)) if config else None,
    }


def evaluate(code: str) -> str:
    """An expression's value as text; the name of its error, where it fails."""
    import ctypes
    import errno
    import subprocess

    libc = ctypes.CDLL(None, use_errno=True)

    def errno_of(result: int) -> str:
        return errno.errorcode[ctypes.get_errno()] if result == -1 else "none"

    names = {"ctypes": ctypes, "errno_of": errno_of, "libc": libc, "os": os, "subprocess": subprocess}
    try:
        return str(eval(code, names))
    except OSError as error:
        return errno.errorcode[error.errno or 0]


class Puppet:
    def __init__(self) -> None:
        fds = open_fds()
        address = os.environ["PUPPET_STAGE"]
        self.stage = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stage.connect(address)
        self.emperor = int(os.environ.get("UWSGI_EMPEROR_FD", "-1"))
        self.wakeup, wakeup = os.pipe()
        os.set_blocking(wakeup, False)
        signal.set_wakeup_fd(wakeup)
        self.stays = False
        self.watched: set[int] = set()
        self.tell(hello=description(fds))

    def tell(self, **what: object) -> None:
        self.stage.send(json.dumps(what).encode())

    def play(self) -> None:
        self.watched |= {self.stage.fileno(), self.wakeup}
        if self.emperor >= 0:
            self.watched.add(self.emperor)
        while True:
            for fd in select.select(self.watched, (), ())[0]:
                if fd == self.emperor:
                    data = os.read(self.emperor, 4096)
                    for byte in data:
                        self.tell(byte=byte)
                        if byte in STOP and not self.stays:
                            os._exit(0)
                    if not data:
                        self.tell(end=True)
                        self.watched.discard(fd)
                elif fd == self.wakeup:
                    for number in os.read(fd, 4096):
                        self.tell(signal=number)
                else:
                    message = self.stage.recv(65536)
                    if not message:
                        os._exit(0)  # the test is over
                    self.obey(json.loads(message))

    def obey(self, order: dict[str, Any]) -> None:
        """One order; each is acknowledged once it was carried out, if that can be."""
        match order:
            case {"say": bytes_}:
                os.write(self.emperor, bytes(bytes_))
            case {"exit": code}:
                os._exit(code)
            case {"catch": number}:
                signal.signal(number, lambda *_: None)
            case {"ignore": number}:
                signal.signal(number, signal.SIG_IGN)
            case {"stay": _}:
                self.stays = True
            case {"print": text}:
                os.write(1, text.encode("latin-1"))
            case {"hang_up": _}:
                self.watched.discard(self.emperor)
                os.close(self.emperor)
            case {"config": _}:
                self.tell(config=read_packet(int(os.environ["UWSGI_EMPEROR_FD_CONFIG"])))
            case {"fork": setsid}:
                child = os.fork()
                if child == 0:
                    if setsid:
                        os.setsid()
                    self.stage.close()
                    while True:
                        signal.pause()
                self.tell(forked=child)
            case {"daemon": _}:
                # As a program does that goes into the background: nobody can tell whose it was.
                ours, theirs = os.pipe()
                child = os.fork()
                if child == 0:
                    os.setsid()
                    if os.fork() == 0:
                        self.stage.close()
                        os.write(theirs, str(os.getpid()).encode())
                        for fd in (self.emperor, ours, theirs):
                            os.close(fd)
                        while True:
                            signal.pause()
                    os._exit(0)
                os.waitpid(child, 0)
                self.tell(daemon=int(os.read(ours, 20)))
                os.close(ours)
                os.close(theirs)
            case {"become": uid}:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
            case {"orphan": _}:
                # A grandchild whose parent ends: it becomes the child of process 1, and ends as well.
                ours, theirs = os.pipe()
                child = os.fork()
                if child == 0:
                    if os.fork() == 0:
                        os.write(theirs, str(os.getpid()).encode())
                    os._exit(0)
                os.waitpid(child, 0)
                self.tell(orphaned=int(os.read(ours, 20)))
                os.close(ours)
                os.close(theirs)
            case {"serve": text}:
                listening = socket.socket(fileno=os.dup(0))
                connection, _ = listening.accept()
                connection.sendall(text.encode("latin-1"))
                connection.close()
                listening.close()
                self.tell(served=1)
            case {"flood": fd}:
                if os.fork() == 0:
                    self.stage.close()
                    os.set_blocking(fd, True)
                    while True:
                        os.write(fd, b"yes, yes, yes\n" * 300)
            case {"evaluate": code}:
                self.tell(value=evaluate(code))
            case {"run": argv}:
                os.execv(argv[0], argv)
        self.tell(done=True)


if __name__ == "__main__":
    Puppet().play()
