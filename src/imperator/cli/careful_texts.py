"""Reading a configuration that may be anybody's, for ``imperator check``: nothing is run, fetched or waited for.

Only plain files are read, and no more of them than a person would write. What else a file names (``exec://``,
``http://``, a descriptor, a host to look up) is noted and not asked: a value that depends on it is
:data:`UNKNOWN`, which says of itself that nothing can be said about it.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration, Given
from imperator.config.note import Note
from imperator.config.texts import Texts, scheme_of

if TYPE_CHECKING:
    from imperator.config.texts import Use
from imperator.config.variables import is_variable

UNKNOWN: Final = "\ufdd0"
"""Stands in a value for what was not looked into: a code point that is no character and never will be."""
LARGEST_FILE: Final = 1 << 20
"""Bytes. The files of people are a hundred times smaller."""
LARGEST_SUM: Final = 8 << 20
"""Bytes of all files that one vassal's takes in, as often as it does."""
MOST_READINGS: Final = 2000
_GENTLY: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

_SPOKEN_OF = re.compile(rb"[$@%]\(([^()\n]*)\)|if-(?:not-)?opt\s*[=>:\"]+\s*([^\s=<\"]+)")
_VARIABLE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


class NotLookedInto(ConfigurationError):
    """Reading ends here, and not because anything is wrong."""


class CarefulTexts(Texts):
    """Reads plain files, and keeps account of them and of what it did not read.

    ``is_stranger``: the reader has fewer rights than the vassal: what it may not read, the vassal perhaps may.
    """

    def __init__(
        self, environ: Mapping[str, str], directory: str, program: str = "", *, is_stranger: bool = False
    ) -> None:
        super().__init__(environ, directory, program)
        self.is_stranger = is_stranger
        self.unread: list[Note] = []
        """What was not looked into."""
        self.unread_options = False
        """Among it is a file of options: nobody knows which."""
        self.spoken_of: set[str] = set()
        """The words inside the brackets of everything that was read, also of what logic has passed over."""
        self._unknown_names: set[str] = set()
        self._bytes = 0
        self._readings = 0

    def allows(self, name: str, where: str, use: Use) -> bool:
        """A plain file, yes. Raises NotLookedInto for one that it is better not to open."""
        if use == "host":
            self._unknown_names.add(name.partition("=")[0])
            self._skip(where, f"resolve = {name}")
            return False
        if name != "-" and scheme_of(name) is None:
            self._refuse_strange(name, where)
            if use == "lines" and self.is_stranger and self._is_refused(name):
                raise self._hidden(name, where)
            return True
        self._skip(where, name)
        self.unread_options = True
        if use == "lines":
            raise NotLookedInto(where, f"not looked into: {name}")
        return False

    def read(self, name: str, where: str) -> bytes:
        """A plain file's text; of everything else UNKNOWN. Raises ConfigurationError."""
        if UNKNOWN in name:
            return UNKNOWN.encode()
        if name == "-" or scheme_of(name) is not None:
            self._skip(where, name)
            return UNKNOWN.encode()
        self._refuse_strange(name, where)
        self._readings += 1
        text = self._plain(name, where)
        self._bytes += len(text)
        if self._readings > MOST_READINGS or self._bytes > LARGEST_SUM:
            raise NotLookedInto(where, f"not looked into any further: {self._readings} files, {self._bytes} bytes")
        for words in _SPOKEN_OF.findall(text):
            self.spoken_of.update(os.fsdecode(b" ".join(words)).split())
        return text

    def further(self, name: str) -> str | None:
        """The value of a placeholder that is set nowhere: not known here, where an Emperor or a host would say it.

        Raises ConfigurationError for what looks like a variable of the vassal and is none.
        """
        return UNKNOWN if name in self._unknown_names or is_variable(name) else None

    @staticmethod
    def _hidden(name: str, where: str) -> NotLookedInto:
        return NotLookedInto(where, f"not looked into: the owner of the file may not read {name}")

    def _is_refused(self, name: str) -> bool:
        try:
            os.close(os.open(os.path.join(self.directory, name), _GENTLY))
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return False

    def _skip(self, where: str, name: str) -> None:
        self.unread.append(Note(where, f"not looked into: {name}"))

    def _refuse_strange(self, name: str, where: str) -> None:
        try:
            found = os.stat(os.path.join(self.directory, name))
        except (OSError, ValueError):
            return  # opening it tells more
        if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
            if found.st_size > LARGEST_FILE:
                size = f"{found.st_size / (1 << 20):.1f} MB"
                raise NotLookedInto(where, f"not looked into: {name} has {size}, which no configuration has")
            return
        raise NotLookedInto(where, f"not looked into: {name} is no regular file")

    def _plain(self, name: str, where: str) -> bytes:
        try:
            with open(os.open(os.path.join(self.directory, name), _GENTLY), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise NotLookedInto(where, f"not looked into: {name} is no regular file")
                text = file.read(LARGEST_FILE + 1)
        except OSError as error:
            if self.is_stranger and error.errno in (errno.EACCES, errno.EPERM):
                raise self._hidden(name, where) from error
            raise ConfigurationError(where, f"cannot read {name}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationError(where, f"cannot read {name!r}: {error}") from error
        if len(text) > LARGEST_FILE:
            raise NotLookedInto(where, f"not looked into: {name} goes on for more than {LARGEST_FILE >> 20} MB")
        return text


def uncertain(configuration: Configuration) -> list[Given]:
    """The options whose values depend on what was not looked into, or on a variable that is not set here."""
    found: dict[int, Given] = {}
    keys: set[str] = set()
    grows = True
    while grows:
        grows = False
        for given in configuration:
            if id(given) not in found and _is_uncertain(given, keys):
                found[id(given)] = given
                keys.add(given.key)
                grows = True
    return list(found.values())


def _is_uncertain(given: Given, keys: set[str]) -> bool:
    if given.value is None:
        return False
    if UNKNOWN in given.value or (not given.done and _VARIABLE.search(given.value)):
        return True
    return bool(keys) and any(not keys.isdisjoint(_words(step.what)) for step in given.steps)


def _words(step: str) -> Iterable[str]:
    """The names in ``%(port + 1) is 81``."""
    return step[2 : step.rfind(") is ")].split() if step.startswith("%(") else ()


def unset_variables(configuration: Configuration, environ: Mapping[str, str]) -> list[Note]:
    """``$(NAME)`` that nothing was put in for."""
    notes = []
    for given in configuration:
        for name in dict.fromkeys(_VARIABLE.findall(given.value or "") if not given.done else ()):
            if name not in environ:
                text = f"{given.key} = {given.text}: {name} is not set in this environment"
                notes.append(Note(given.where, text))
    return notes
