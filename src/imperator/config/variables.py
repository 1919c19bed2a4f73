"""Variables with a dot: ``%(vassal.port)``, ``%(attr.KEY)``, ``%(cgroup.memory)`` and the like.

They stand where placeholders do and are looked up only if a file speaks of them, and only after the placeholders that
are set: a ``vassal.port`` of one's own wins. What begins like one of them and is none is an error.

What only the Emperor knows comes in the environment (:data:`MONITOR`, :data:`ATTRIBUTES`). The user is the one that the
process runs as when it reads its configuration, which is before ``uid`` is applied.
"""

from __future__ import annotations

import os
import pwd

from imperator.config.errors import ConfigurationError
from imperator.config.formats import FORMATS, format_of, parse
from imperator.config.options import name_of_letter, takes_value, unabbreviated
from imperator.config.texts import scheme_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping, Sequence
    from typing import Final

MONITOR: Final = "IMPERATOR_MONITOR"
"""The source that wants the vassal, as it may be shown to a person."""
ATTRIBUTES: Final = "IMPERATOR_ATTRIBUTES"
"""What ``emperor-collect-attr`` picked up, as a JSON object."""
PORT: Final = "IMPERATOR_PORT"
"""``HASH:PORT``, for the same process after a reload: what listens there may be a program that it has started."""

_PREFIXES: Final = ("vassal.", "cgroup.", "attr.")
NAMES: Final = (
    *("vassal.name", "vassal.hash", "vassal.port", "vassal.monitor"),
    *("vassal.uid", "vassal.gid", "vassal.owner", "vassal.home"),
    *("cgroup.memory", "cgroup.cores"),
)
"""All but the attributes."""
_LOADS: Final = frozenset({*FORMATS, "config"})


def is_variable(name: str) -> bool:
    """Is it a variable of a vassal? Raises ConfigurationError for what begins like one and is none."""
    if not name.startswith(_PREFIXES):
        return False
    if name in NAMES or name.removeprefix("vassal.").startswith("attr."):
        return True
    raise ConfigurationError(f"%({name})", "there is no such variable", f"there are {' '.join(NAMES)} vassal.attr.KEY")


class Variables:
    """The variables of the process that was given ``argv`` in ``directory``: called with a name, it tells the value.

    ``is_taken`` says whether another process has a port; ``None``: nobody looks, and the first choice is told.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: MutableMapping[str, str],
        directory: str,
        is_taken: Callable[[int], bool] | None = None,
    ) -> None:
        self._environ = environ
        self._directory = directory
        self._option, self._given = _configuration_of(argv)
        self._is_taken = is_taken
        self._known_attributes: dict[str, str] | None = None
        self._meanings: dict[str, Callable[[], object]] = {
            "vassal.name": lambda: self._name,
            "vassal.hash": lambda: self._hash,
            "vassal.port": self._port,
            "vassal.monitor": lambda: environ.get(MONITOR, ""),
            "vassal.uid": os.getuid,
            "vassal.gid": os.getgid,
            "vassal.owner": self._owner,
            "vassal.home": self._home,
            "cgroup.memory": self._memory,
            "cgroup.cores": self._cores,
        }

    def __call__(self, name: str) -> str | None:
        """The value; ``None``: it is no variable of ours. Raises ConfigurationError for one that there is not."""
        if not is_variable(name):
            return None
        if name in NAMES:
            return str(self._meanings[name]())
        return self._attribute(name, name.removeprefix("vassal.").removeprefix("attr."))

    # -- who it is

    @property
    def _name(self) -> str:
        """The vassal's name: how the Emperor calls it."""
        is_wrapped = scheme_of(self._given) in ("emperor", "exec")
        return self._given.partition("://")[2] if is_wrapped else self._given

    @property
    def _identity(self) -> str:
        """What no other vassal of this machine has: the file's path, with the section; or a name that is no file's."""
        if scheme_of(self._given) in (None, "exec"):
            return os.path.normpath(os.path.join(self._directory, self._name))
        return self._name

    @property
    def _hash(self) -> str:
        from imperator.config.ports import digest

        return digest(self._identity)[:8]

    def _port(self) -> int:
        from imperator.config.ports import port_for

        hash_, _, port = self._environ.get(PORT, "").partition(":")
        if hash_ == self._hash and port.isdecimal():
            return int(port)
        try:
            found = port_for(self._identity, self._is_taken or (lambda _: False))
        except LookupError as error:
            raise ConfigurationError("%(vassal.port)", str(error)) from error
        if self._is_taken is not None:
            self._environ[PORT] = f"{self._hash}:{found}"
        return found

    # -- whose it is

    @staticmethod
    def _owner() -> str:
        try:
            return pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            return str(os.getuid())

    @staticmethod
    def _home() -> str:
        try:
            return pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            text = f"uid {os.getuid()} has no home: there is no such user in the passwd database"
            raise ConfigurationError("%(vassal.home)", text) from None

    # -- what is said of it

    def _attribute(self, name: str, key: str) -> str:
        value = self._attributes.get(key)
        if value is None:
            there = f"there are {' '.join(self._attributes)}" if self._attributes else "there are none"
            hint = f"{there}; they come from the [emperor] section of the vassal's file, or from its source"
            raise ConfigurationError(f"%({name})", f"there is no attribute {key}", hint)
        return value

    @property
    def _attributes(self) -> dict[str, str]:
        if self._known_attributes is None:
            self._known_attributes = {**self._attributes_of_file(), **self._attributes_told()}
        return self._known_attributes

    def _attributes_of_file(self) -> dict[str, str]:
        """The ``[emperor]`` section of our own file: it is there without an Emperor, too."""
        if not self._given or self._given == "-" or scheme_of(self._given) is not None:
            return {}
        path = os.path.join(self._directory, self._given)
        if not os.path.exists(path):
            path = path.rpartition(":")[0]
        try:
            with open(path, "rb") as file:
                text = file.read().decode(errors="surrogateescape")
        except OSError as error:
            raise ConfigurationError(self._given, f"cannot be read: {error.strerror}") from error
        form = FORMATS.get(self._option) or format_of(path) or "ini"
        return {entry.key: entry.value for entry in parse(text, path, form).sections.get("emperor", ())}

    def _attributes_told(self) -> dict[str, str]:
        import json

        try:
            told = json.loads(self._environ.get(ATTRIBUTES, "{}"))
        except ValueError as error:
            raise ConfigurationError(ATTRIBUTES, f"no JSON: {error}") from error
        return {str(key): str(value) for key, value in told.items()} if isinstance(told, dict) else {}

    # -- what it may use

    @staticmethod
    def _memory() -> int:
        from imperator.config.cgroup import memory

        return memory()

    @staticmethod
    def _cores() -> int:
        from imperator.config.cgroup import cores

        return cores()


def variables_of_process(argv: Sequence[str], directory: str | None = None) -> Variables:
    """Of this process, which was started in ``directory`` (``None``: where it is now).

    If it is going to be the instance, and does not only show it, nobody else has its port.
    """

    def is_taken(port: int) -> bool:
        from imperator.config import ports

        return ports.is_taken(port) or not ports.claim(port)

    shows = any(name == "show-config" for name, _ in _options(argv))
    return Variables(argv, os.environ, os.getcwd() if directory is None else directory, None if shows else is_taken)


def _configuration_of(argv: Sequence[str]) -> tuple[str, str]:
    """The option that loads the vassal's own file, and what it was given; both are empty if there is none."""
    given = list(_options(argv))
    own = [(name, value) for name, value in given if name in _LOADS]
    own += [(name, value) for name, value in given if name == "inherit" and scheme_of(value) == "emperor"]
    own += [(name, value) for name, value in given if not name and not value.startswith("[")]
    own += [(name, value) for name, value in given if name == "inherit"]  # how a name without an ending is given
    return own[0] if own else ("", "")


def _options(argv: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option with its value; a file named without one has an empty name. What is wrong is not said here."""
    words = iter(argv)
    for word in words:
        if word.startswith("--") and word != "--":
            written, separator, value = word[2:].partition("=")
            name = unabbreviated(written) or "?"
            yield (name, value if separator or not takes_value(name) else next(words, ""))
        elif word.startswith("-") and len(word) > 1 and word != "--":
            yield from _letters(word[1:], words)
        elif word != "--":
            yield "", word


def _letters(letters: str, words: Iterator[str]) -> Iterator[tuple[str, str]]:
    for position, letter in enumerate(letters):
        name = name_of_letter(letter) or "?"
        if takes_value(name):
            yield name, letters[position + 1 :] or next(words, "")
            return
        yield name, "true"
