"""Fetching the statistics of an Emperor: by address, or of whichever runs here, through its private socket.

Works with the original's Emperor too: it is the same document, with fewer keys.
"""

from __future__ import annotations

import json
import os
import re
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imperator.bureau.server import peer_uid
from imperator.kernel.sockets import parse_address

TIMEOUT: Final = 10.0
"""Seconds without a byte before an Emperor counts as mute."""
_HTTP: Final = "http://"
_HOST_AND_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^/:@\s]*):\d{1,5}")
_PRIVATE: Final = re.compile(r"@(imperator/(\d+)/(\d+)(?:\.[0-9a-f]+)?)")
_LISTENS: Final = 0x10000
"""The flag of a listening socket in /proc/net/unix (``__SO_ACCEPTCON``)."""


class NoAnswer(Exception):
    """The statistics cannot be had; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class RunningEmperor:
    """One Emperor's private socket, as its name tells: not believed before it was connected to."""

    address: str
    uid: int
    pid: int


def looks_like_address(text: str) -> bool:
    """Is it an address, and not a vassal's name? A path is one if a socket is there."""
    if text.startswith(("@", _HTTP)) or _HOST_AND_PORT.fullmatch(text):
        return True
    try:
        return stat.S_ISSOCK(os.stat(text).st_mode)
    except (OSError, ValueError):
        return False


def find_emperors(proc: Path = Path("/proc")) -> list[RunningEmperor]:
    """The Emperors on this machine (in this network namespace) that we may ask: our own, or all if we are root."""
    own = os.geteuid()
    found = []
    for line in (proc / "net" / "unix").read_text(errors="surrogateescape").splitlines()[1:]:
        fields = line.split(None, 7)
        match = _PRIVATE.fullmatch(fields[7]) if len(fields) == 8 else None
        if match is None or not int(fields[3], 16) & _LISTENS:
            continue
        uid, pid = int(match[2]), int(match[3])
        if own in (0, uid):
            found.append(RunningEmperor("@" + match[1], uid, pid))
    return sorted(found, key=lambda emperor: emperor.pid)


def choose_emperor(pid: int | None = None) -> RunningEmperor:
    """The one Emperor that is meant. Raises :class:`NoAnswer` if there is none, or more than one."""
    running = find_emperors()
    emperors = [emperor for emperor in running if pid in (None, emperor.pid)]
    if len(emperors) == 1:
        return emperors[0]
    known = "".join(f"\n  --pid {emperor.pid}  (uid {emperor.uid})" for emperor in running)
    if emperors:
        raise NoAnswer(f"more than one Emperor runs here; say which one:{known}")
    if pid is not None:
        raise NoAnswer(f"no Emperor with pid {pid}; " + (f"there are:{known}" if running else "there is none at all"))
    whose = "" if os.geteuid() == 0 else " of yours (another user's can be asked by the address of its --emperor-stats)"
    raise NoAnswer(f"no Emperor{whose} is running here; start one with: imperator --emperor DIRECTORY")


def fetch(address: str, owner: int | None = None) -> dict[str, Any]:
    """The document behind an address. Raises :class:`NoAnswer`.

    ``owner``: the uid that must be at the other end (of a UNIX socket); any user may bind an abstract name.
    """
    plain, _, path = address.removeprefix(_HTTP).partition("/") if address.startswith(_HTTP) else (address, "", "")
    try:
        where = parse_address(plain)
    except ValueError as error:
        raise NoAnswer(str(error)) from error
    with socket.socket(where.family, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT)
        try:
            sock.connect(where.where)
            if owner is not None and peer_uid(sock) != owner:
                raise NoAnswer(f"{address} belongs to uid {peer_uid(sock)}, not to {owner}: somebody took the name")
            if address.startswith(_HTTP):
                sock.sendall(f"GET /{path} HTTP/1.0\r\nHost: {plain}\r\n\r\n".encode())
            text = _read_all(sock)
        except (OSError, UnicodeError) as error:  # UnicodeError: no host name at all
            raise NoAnswer(f"{address} does not answer: {_explain(error)}") from error
    return _parse(address, text)


def _explain(error: OSError | UnicodeError) -> str:
    if isinstance(error, TimeoutError):
        return f"nothing came for {TIMEOUT:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _read_all(sock: socket.socket) -> bytes:
    parts = []
    while part := sock.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def _parse(address: str, text: bytes) -> dict[str, Any]:
    if not text:
        raise NoAnswer(f"{address} closed the connection without a word: only the Emperor's user and root may ask it")
    if text.startswith(b"HTTP/"):
        _, _, text = text.partition(b"\r\n\r\n")
    try:
        document = json.loads(text.decode(errors="surrogateescape"))
    except ValueError as error:
        raise NoAnswer(f"{address} answers, but not with an Emperor's statistics") from error
    if not isinstance(document, dict) or "vassals" not in document:
        raise NoAnswer(f"{address} answers, but not with an Emperor's statistics")
    return document
