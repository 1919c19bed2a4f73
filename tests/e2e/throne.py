"""The test in the Emperor's place: it holds the other end of an instance's emperor fd, and of its requests.

An application of :class:`Court` answers ``/`` with its text, ``/pid`` with its process, ``/env/NAME`` with a variable;
at ``/hold`` it calls on the test, which sees that the request has begun, and ends it when it likes. Everything is
awaited.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from imperator.reign.protocol import FromVassal, ToVassal

from .empire import IMPERATOR, MARK, Log
from .stage import PATIENCE

WSGI = """
import os, socket

def application(environ, start_response):
    text = "{text}"
    if environ["PATH_INFO"].endswith("/pid"):
        text = str(os.getpid())
    if environ["PATH_INFO"].startswith("/env/"):
        text = os.environ[environ["PATH_INFO"].removeprefix("/env/")]
    if environ["PATH_INFO"].startswith("/hold"):
        with socket.socket(socket.AF_UNIX) as test:
            test.connect("{desk}")
            test.recv(1)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(text)))])
    return [text.encode()]
"""
ASGI = """
import asyncio, os

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({{"type": message["type"] + ".complete"}})
            if message["type"] == "lifespan.shutdown":
                return
    text = "{text}"
    if scope["path"] == "/pid":
        text = str(os.getpid())
    if scope["path"] == "/hold":
        reader, writer = await asyncio.open_unix_connection("{desk}")
        await reader.read(1)
        writer.close()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(text)).encode())]
    await send({{"type": "http.response.start", "status": 200, "headers": headers}})
    await send({{"type": "http.response.body", "body": text.encode()}})
"""


class Held:
    """A request that is being answered, and waits."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def release(self) -> None:
        self._connection.close()


class Instance:
    """A running instance whose Emperor is the test."""

    def __init__(self, arguments: Sequence[str], directory: Path, mark: str, **more: object) -> None:
        environment: Mapping[str, str] = more.pop("environment", {})  # type: ignore[assignment]
        pass_fds: tuple[int, ...] = more.pop("pass_fds", ())  # type: ignore[assignment]
        program: Sequence[str] = more.pop("program", IMPERATOR)  # type: ignore[assignment]
        self._throne, theirs = socket.socketpair()
        self._throne.settimeout(PATIENCE)
        with theirs:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [*program, *arguments],
                env={
                    **os.environ,
                    MARK: mark,
                    "UWSGI_EMPEROR_FD": str(theirs.fileno()),
                    "PYTHONDONTWRITEBYTECODE": "1",  # a module cached in the second of its change would stay
                    **environment,
                },
                cwd=directory,
                pass_fds=(theirs.fileno(), *pass_fds),
                **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **more},  # type: ignore[call-overload]
            )
        self.log = Log(self.process.stdout)
        self.config: ConfigFd | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect(self, *said: FromVassal) -> None:
        """The next things it says, heartbeats between them left out. It gets its configuration when it asks."""
        for expected in said:
            heard = self.hear()
            while heard in (FromVassal.HEARTBEAT, FromVassal.WANTS_CONFIG) and heard is not expected:
                if heard is FromVassal.WANTS_CONFIG and self.config is not None:
                    self.config.answer()
                heard = self.hear()
            assert heard is expected, f"{heard!r} and not {expected!r}:\n" + "\n".join(self.log.lines[-30:])

    def hear(self, timeout: float = PATIENCE) -> FromVassal | None:
        """What it says next; ``None``: it has gone. Raises TimeoutError."""
        self._throne.settimeout(timeout)
        byte = self._throne.recv(1)
        return FromVassal(byte[0]) if byte else None

    def is_silent(self, seconds: float) -> bool:
        """Says nothing for so long, from now on."""
        try:
            self.hear(seconds)
        except TimeoutError:
            return True
        return False

    def say(self, order: ToVassal) -> None:
        self._throne.sendall(bytes((order,)))

    def abandon(self) -> None:
        """The Emperor dies."""
        self._throne.close()

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def end(self) -> int:
        if self.process.poll() is None:
            self.send(signal.SIGINT)
        return self.wait()

    def send(self, number: int) -> None:
        self.process.send_signal(number)


class ConfigFd:
    """The Emperor's end of a config fd."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._ours, self.theirs = socket.socketpair()
        self.lines = lines
        self.asked = 0
        self._send()

    def answer(self) -> None:
        self.asked += 1
        self._send()

    def _send(self) -> None:
        text = "\n".join(["[uwsgi]", *self.lines, ""]).encode()
        self._ours.sendall(struct.pack("<BHB", 115, len(text), 0) + text)


class Court:
    """Where instances are started: a directory with an application, and the desk that held requests come to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.mark = str(directory)
        self._desk = socket.socket(socket.AF_UNIX)
        self._desk.bind(f"{directory}/desk")
        self._desk.listen(16)
        self._desk.settimeout(PATIENCE)
        self.instances: list[Instance] = []
        self.write("one")

    def write(self, text: str) -> None:
        """Put an application there that answers with this text."""
        desk = f"{self.directory}/desk"
        for name, source in (("app.py", WSGI), ("asgi_app.py", ASGI)):
            new = self.directory / f"{name}.new"
            new.write_text(source.format(text=text, desk=desk))
            new.rename(self.directory / name)

    def configure(self, *lines: str, name: str = "site.ini") -> Path:
        file = self.directory / name
        new = file.with_suffix(".new")
        new.write_text("\n".join(["[uwsgi]", *lines, ""]))
        new.rename(file)
        return file

    def start(self, *lines: str, **more: object) -> Instance:
        """An instance with these lines in its file."""
        file = self.configure(*lines)
        instance = Instance(["--ini", file.name], self.directory, self.mark, **more)
        self.instances.append(instance)
        return instance

    def start_with_sockets(self, sockets: Sequence[socket.socket], *lines: str) -> Instance:
        """The same, with these sockets as systemd hands them over: at fd 3 and following, told by ``LISTEN_FDS``."""
        numbers = [sock.fileno() for sock in sockets]
        # The shell becomes the instance, and only there is the pid known that the sockets are for.
        moves = "".join(f" {target}<&{number}" for target, number in enumerate(numbers, 3))
        shell = f'export LISTEN_PID=$$ LISTEN_FDS={len(numbers)}; exec "$@"{moves}'
        return self.start(*lines, program=["/bin/bash", "-c", shell, "-", *IMPERATOR], pass_fds=tuple(numbers))

    def start_with_config(self, *lines: str) -> tuple[Instance, ConfigFd]:
        """One whose configuration the Emperor holds: it comes over the config fd, now and at each reload."""
        config = ConfigFd(lines)
        with config.theirs:
            fd = config.theirs.fileno()
            environment = {"UWSGI_EMPEROR_FD_CONFIG": str(fd)}
            arguments = ["--config", "emperor://site"]
            instance = Instance(arguments, self.directory, self.mark, environment=environment, pass_fds=(fd,))
        instance.config = config
        self.instances.append(instance)
        return instance, config

    def held(self) -> Held:
        """The next request that has begun at ``/hold``."""
        return Held(self._desk.accept()[0])

    def close(self) -> None:
        self._desk.close()


class Raising(threading.Thread):
    """A thread whose exception comes out of :meth:`join`. It is started at once."""

    def __init__(self, work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001 (join raises it)
            self._error = error

    def join(self, timeout: float | None = PATIENCE) -> None:
        super().join(timeout)
        assert not self.is_alive(), "it does not end"
        if self._error is not None:
            raise self._error
