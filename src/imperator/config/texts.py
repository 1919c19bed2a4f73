"""Where the text of a configuration comes from: a file, or ``scheme://…``.

The schemes are the original's: ``http exec fd data emperor`` and ``-`` for standard input. Nothing of a text is looked
at here. Reading may run a command or wait for a server: this is for the process that the configuration is for, never
for an Emperor on behalf of somebody else.
"""

from __future__ import annotations

import os

from imperator.config.errors import ConfigurationError
from imperator.config.numbers import leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from imperator.config.note import Note

    Use = Literal["options", "lines", "host"]
    """What a text is wanted for: a file of options, the lines of ``for-readline``; or a host's address."""

SCHEMES = ("http", "https", "exec", "fd", "data", "emperor")
_FOREIGN_SCHEMES = ("sym", "section", "call", "callint")
"""The original's that speak of symbols inside its own binary."""
HTTP_TIMEOUT = 10.0
"""Seconds without a byte from the server."""
EMPEROR_TIMEOUT = 5.0
"""Seconds that the original waits for each part of a configuration from the Emperor."""


def scheme_of(name: str) -> str | None:
    """The scheme that a name begins with; ``None``: it is a file."""
    scheme, separator, _ = name.partition("://")
    return scheme if separator and scheme in (*SCHEMES, *_FOREIGN_SCHEMES) else None


class Texts:
    """Reads texts for one process. ``directory``: where relative names start. ``program``: what ``data://`` is in."""

    def __init__(self, environ: Mapping[str, str], directory: str, program: str = "") -> None:
        self.environ = environ
        self.directory = directory
        self.program = program
        self.notes: list[Note] = []
        """What went wrong and is no error, as in the original: it goes on with what it has."""
        self._from_emperor: bytes | None = None

    def allows(self, name: str, where: str, use: Use) -> bool:
        """May this be asked for? Everything may, here. Where a stricter reader says no, it counts for nothing."""
        return True

    def read(self, name: str, where: str) -> bytes:
        """The text called ``name``. Raises ConfigurationError, which tells ``where`` it was asked for."""
        if name == "-":
            return self._descriptor("0", where)
        scheme = scheme_of(name)
        if scheme is None:
            return self._file(name, where)
        rest = name.partition("://")[2]
        match scheme:
            case "http" | "https":
                return self._http(name, where)
            case "exec":
                return self._command(rest, where)
            case "fd":
                return self._descriptor(rest, where)
            case "data":
                return self._appended(rest, where)
            case "emperor":
                if self._from_emperor is None:
                    self._from_emperor = self._emperor(where)
                return self._from_emperor
            case _:
                text = f"{name}: {scheme}:// reads from inside uWSGI's own binary"
                raise ConfigurationError(where, text, "keep the text in a file")

    def _note(self, where: str, text: str) -> None:
        from imperator.config.note import Note

        self.notes.append(Note(where, text))

    def _file(self, name: str, where: str) -> bytes:
        try:
            with open(os.path.join(self.directory, name), "rb") as file:
                return file.read()
        except OSError as error:
            raise ConfigurationError(where, f"cannot read {name}: {error.strerror}") from error

    def _descriptor(self, number: str, where: str) -> bytes:
        """What is left to read: of a pipe that was read before, nothing."""
        try:
            with open(leading_number(number), "rb", closefd=False) as file:
                return file.read()
        except OSError as error:
            self._note(where, f"cannot read file descriptor {number}: {error.strerror}")
            return b""

    def _command(self, command: str, where: str) -> bytes:
        """What a shell command prints, also if it fails."""
        import subprocess

        try:
            ended = subprocess.run(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                cwd=self.directory,
                env=dict(self.environ),
                check=False,
            )
        except OSError as error:
            raise ConfigurationError(where, f"exec://{command}: {error.strerror}") from error
        if ended.returncode != 0:
            self._note(where, f"exec://{command}: ended with {ended.returncode}")
        return ended.stdout

    @staticmethod
    def _http(url: str, where: str) -> bytes:
        import urllib.error
        import urllib.request

        try:
            with urllib.request.urlopen(url, timeout=HTTP_TIMEOUT) as answer:
                return bytes(answer.read())
        except (OSError, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise ConfigurationError(where, f"{url}: {reason}") from error

    def _appended(self, slot: str, where: str) -> bytes:
        """Texts appended to the program's own file: each followed by its length in 8 bytes, the last one is slot 0."""
        try:
            with open(self.program, "rb") as file:
                end = file.seek(0, os.SEEK_END)
                for _ in range(int(slot) + 1):
                    file.seek(end - 8)
                    size = int.from_bytes(file.read(8), "little")
                    end -= 8 + size
                    if size == 0 or end < 0:
                        break
                else:
                    file.seek(end)
                    return file.read(size)
        except (OSError, ValueError) as error:
            raise ConfigurationError(where, f"data://{slot}: {error}") from error
        raise ConfigurationError(where, f"data://{slot}: nothing is appended to {self.program} in this place")

    def _emperor(self, where: str) -> bytes:
        """A uwsgi packet on the config fd: modifier1 115, the size in 16 bits, modifier2; then the text.

        An Emperor of our own has eight more bits of the size in modifier2, which is 0 otherwise. It is sent once when
        the vassal is started, and whenever the vassal asks for it: byte 2 on the emperor fd.
        """
        try:
            fd = int(self.environ["UWSGI_EMPEROR_FD_CONFIG"])
        except (KeyError, ValueError):
            text = "emperor:// can be read only by a vassal whose Emperor holds its configuration"
            raise ConfigurationError(where, text) from None
        import select

        if "UWSGI_RELOADS" in self.environ or not select.select([fd], [], [], 0)[0]:
            self._ask_emperor(where)
        header = self._exactly(fd, 4, where)
        size = int.from_bytes(header[1:4], "little")
        if size == 0:
            raise ConfigurationError(where, "the Emperor sent an empty configuration")
        return self._exactly(fd, size, where)

    def _ask_emperor(self, where: str) -> None:
        try:
            os.write(int(self.environ["UWSGI_EMPEROR_FD"]), b"\2")
        except (KeyError, ValueError, OSError) as error:
            raise ConfigurationError(where, f"the Emperor cannot be asked for the configuration: {error}") from None

    @staticmethod
    def _exactly(fd: int, size: int, where: str) -> bytes:
        import select

        parts: list[bytes] = []
        while size:
            ready, _, _ = select.select([fd], [], [], EMPEROR_TIMEOUT)
            part = os.read(fd, size) if ready else b""
            if not part:
                raise ConfigurationError(where, "the Emperor did not send the configuration")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
