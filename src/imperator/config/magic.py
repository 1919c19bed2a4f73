"""Magic variables: ``%n`` and the like, put into the text of a file before anything else looks at it.

A ``%`` and the letter after it are always replaced, by nothing if the letter means nothing; ``%%`` is one ``%``;
``%(`` is left for the placeholders. Upper-case twins speak of the first file that was loaded as such, not of an
included one (manual: "Magic variables").
"""

from __future__ import annotations

import grp
import os
import pwd
import time

from imperator.config.texts import scheme_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "2.0.30"
"""``%V``: the uWSGI whose language this is; files compare it."""

_TWINS = "odspcenxij"


def djb33x(data: bytes) -> int:
    """Bernstein's hash with exclusive or, 32 bits: what the original uses for ``%j``."""
    value = 5381
    for byte in data:
        signed = byte if byte < 128 else byte | 0xFFFFFF00  # a char of C
        value = ((value << 5) + value & 0xFFFFFFFF) ^ signed
    return value


def _cores() -> str:
    return str(os.cpu_count() or 1)


class Magic:
    """The variables of one process; :meth:`enter` makes them speak of another file."""

    def __init__(self, directory: str, program: str) -> None:
        self._directory = directory
        self._twins_set = False
        now = time.time()
        self.values: dict[str, str] = {
            "v": directory,
            "h": os.uname().nodename,
            "t": str(int(now)),
            "T": str(int(now * 1_000_000)),
            "V": VERSION,
            "k": _cores(),
            "[": "\033",
            "%": "%",
            "(": "%(",
            "b": program,
        }
        uid, gid = os.getuid(), os.getgid()
        self.values["u"], self.values["g"] = str(uid), str(gid)
        try:
            self.values["U"] = pwd.getpwuid(uid).pw_name
        except KeyError:
            self.values["U"] = str(uid)
        try:
            self.values["G"] = grp.getgrgid(gid).gr_name
        except KeyError:
            self.values["G"] = str(gid)

    def enter(self, name: str, section: str | None, *, sets_twins: bool) -> bool:
        """Speak of the file ``name`` from now on. A ``scheme://`` changes ``%o`` alone, ``:section`` only ``%x``.

        ``True``: it is the file that the twins speak of.
        """
        self.values["o"] = name
        if scheme_of(name) is not None or name == "-":
            return False
        if name:
            self._speak_of(name)
        self.values["x"] = section or ""
        if sets_twins and not self._twins_set:
            self._twins_set = True
            for letter in _TWINS:
                self.values[letter.upper()] = self.values.get(letter, "")
            return True
        return False

    def _speak_of(self, name: str) -> None:
        joined = os.path.join(self._directory, name)
        path = joined if os.path.islink(joined) else os.path.realpath(joined)
        folder, _, last = path.rpartition("/")
        components = [part for part in folder.split("/") if part]
        stem, dot, ending = last.rpartition(".")
        try:
            inode = str(os.lstat(path).st_ino)
        except OSError:  # it is about to be read, and that error tells more
            inode = self.values.get("i", "")
        self.values |= {
            "p": path,
            "s": last,
            "d": folder + "/",
            "n": stem if dot else last,
            "e": ending if dot else "",
            "c": components[-1] if components else "",
            "i": inode,
            "j": djb33x(os.fsencode(path)).to_bytes(4, "little").hex().upper(),
        }
        for number in range(10):
            self.values[str(number)] = components[number] if number < len(components) else ""

    def put_into(self, text: bytes) -> bytes:
        """The text with every variable replaced."""
        if b"%" not in text:
            return text
        table = _encoded(self.values)
        before, *pieces = text.split(b"%")
        result = [before]
        position = 0
        while position < len(pieces):
            piece = pieces[position]
            if piece:
                result += (table.get(piece[:1], b""), piece[1:])
            elif position + 1 < len(pieces):  # %%
                position += 1
                result += (b"%", pieces[position])
            else:  # the last character of all
                result.append(b"%")
            position += 1
        return b"".join(result)


def _encoded(values: Mapping[str, str]) -> dict[bytes, bytes]:
    return {key.encode(): os.fsencode(value) for key, value in values.items()}
