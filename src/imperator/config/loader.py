"""An Emperor's configuration: command line, files and environment, turned into settings.

Options are applied in the order in which they are met, the command line first and then the files that it names; of
an option that has one value the last one counts. ``UWSGI_…`` variables come before all.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from imperator.config.catalogue import BY_NAME, BY_SHORT, INSTANCE_KEYS, suggestion
from imperator.config.errors import ConfigurationError
from imperator.config.formats import ROOT, parse
from imperator.config.option import Option
from imperator.config.settings import EmperorSettings, Hook, Note

COMMAND_LINE = "command line"
_CONFIGS = frozenset({"ini", "xml", "yaml", "yml", "json", "toml", "config", "include", "inherit"})
_LOGIC = re.compile(r"for|endfor|end-for|if-.*|endif|end-if")
_PLACEHOLDER = re.compile(r"%\(([^)]*)\)")
_ENVIRONMENT = re.compile(r"\$\(([^)]*)\)")
_AT_FILE = re.compile(r"@\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class _Given:
    """One option as it was given."""

    where: str
    key: str
    value: str


def load_emperor(argv: Sequence[str], environ: Mapping[str, str], directory: str) -> EmperorSettings:
    """The settings of an Emperor that was started in ``directory``. Raises ConfigurationError."""
    reader = _Reader(environ, directory)
    for name, value in environ.items():
        if name.startswith("UWSGI_") and not name.startswith("UWSGI_VASSAL_"):
            key = name.removeprefix("UWSGI_").lower().replace("_", "-")
            if key in BY_NAME:
                reader.given.append(_Given(name, key, value))
    reader.command_line(argv)
    return _Builder(reader.expanded()).settings()


class _Reader:
    """Collects what was given, from everywhere, in order."""

    def __init__(self, environ: Mapping[str, str], directory: str) -> None:
        self.environ = environ
        self.directory = directory
        self.given: list[_Given] = []
        self._open: list[str] = []

    def command_line(self, argv: Sequence[str]) -> None:
        words = list(argv)
        files: list[str] = []
        while words:
            word = words.pop(0)
            if not word.startswith("-"):
                files.append(word)
                continue
            name, separator, value = word.lstrip("-").partition("=")
            option = BY_NAME.get(name) if word.startswith("--") else BY_SHORT.get(name)
            if name in _CONFIGS and word.startswith("--"):
                files.append(value if separator else self._next(words, word))
                continue
            if name in ("set", "set-ph", "set-placeholder"):
                self.given.append(_Given(COMMAND_LINE, "set", value if separator else self._next(words, word)))
                continue
            if option is None and name in INSTANCE_KEYS:
                raise ConfigurationError(COMMAND_LINE, f"{word} is an instance's option", "put it into a vassal's file")
            if option is None:
                raise ConfigurationError(COMMAND_LINE, f"there is no option {word}", suggestion(name) or "try --help")
            if not separator:
                value = self._next(words, word) if option.takes_value else "true"
            self.given.append(_Given(COMMAND_LINE, option.name, value))
        for file in files:
            self.file(file, COMMAND_LINE)

    @staticmethod
    def _next(words: list[str], option: str) -> str:
        if not words:
            raise ConfigurationError(COMMAND_LINE, f"{option} needs a value")
        return words.pop(0)

    def file(self, name: str, where: str) -> None:
        """Read a file, or ``file:section``, and whatever it includes."""
        path, section = name, ROOT
        if ":" in name and not os.path.exists(os.path.join(self.directory, name)):
            path, _, section = name.rpartition(":")
        if not path and self._open:
            path = self._open[-1].rpartition(":")[0]
        full = os.path.join(self.directory, path)
        identity = f"{full}:{section}"
        if identity in self._open:
            raise ConfigurationError(where, f"{name} includes itself", " → ".join([*self._open, identity]))
        try:
            text = Path(full).read_text(errors="surrogateescape")
        except OSError as error:
            raise ConfigurationError(where, f"cannot read {path}: {error.strerror}") from error
        document = parse(_magic(text, full, path, self.directory), path)
        entries = document.sections.get(section)
        if entries is None:
            raise ConfigurationError(path, f"there is no [{section}] section")
        self._open.append(identity)
        for entry in entries:
            place = f"{path}:{entry.line}"
            if _LOGIC.fullmatch(entry.key):
                text = f"{entry.key}: logic is not understood in an Emperor's own file yet"
                raise ConfigurationError(place, text, "write out what it stands for, or give it on the command line")
            if entry.key in _CONFIGS:
                self.file(self._variables(entry.value, place), place)
            else:
                self.given.append(_Given(place, entry.key, entry.value))
        self._open.pop()

    def _variables(self, value: str, where: str) -> str:
        value = _ENVIRONMENT.sub(lambda match: self.environ.get(match[1], ""), value)
        return _AT_FILE.sub(lambda match: self._at_file(match[1], where), value)

    def _at_file(self, path: str, where: str) -> str:
        try:
            return Path(self.directory, path).read_text(errors="surrogateescape").rstrip("\n")
        except OSError as error:
            raise ConfigurationError(where, f"@({path}): {error.strerror}") from error

    def expanded(self) -> list[_Given]:
        """What was given, with variables, files and placeholders put in."""
        values: dict[str, str] = {}
        for given in self.given:
            key, value = given.key, self._variables(given.value, given.where)
            if key in ("set", "set-ph", "set-placeholder"):
                key, _, value = value.partition("=")
            values[key] = value
        used: set[str] = set()

        def placeholder(match: re.Match[str]) -> str:
            used.add(match[1])
            return values.get(match[1], match[0])

        result = []
        for given in self.given:
            value = _PLACEHOLDER.sub(placeholder, self._variables(given.value, given.where))
            if given.key in ("set", "set-ph", "set-placeholder"):
                key, _, value = value.partition("=")
                if key not in BY_NAME:
                    continue
                given = _Given(given.where, key, value)
            result.append(_Given(given.where, given.key, value))
        return [given for given in result if given.key in BY_NAME or given.key not in used]


def _magic(text: str, full: str, given: str, directory: str) -> str:
    """The magic variables of a file, put into its text."""
    real = os.path.abspath(full)
    stem, extension = os.path.splitext(os.path.basename(real))
    folder = os.path.dirname(real)
    values = {
        "p": real,
        "o": given,
        "s": os.path.basename(real),
        "n": stem,
        "e": extension[1:],
        "d": folder.rstrip("/") + "/",
        "c": os.path.basename(folder),
        "v": directory,
        "h": socket.gethostname(),
        "k": str(os.cpu_count() or 1),
        "u": str(os.getuid()),
        "g": str(os.getgid()),
    }
    values |= {key.upper(): value for key, value in values.items() if key in "psndeoc"}
    return re.sub(r"%([a-zA-Z])", lambda match: values.get(match[1], match[0]), text)


class _Builder:
    """Turns options into the settings' fields, and says what was of no use."""

    def __init__(self, given: list[_Given]) -> None:
        self._given = given
        self._values: dict[str, Any] = {}
        self._notes: list[Note] = []
        self._instances: list[_Given] = []
        """Keys that mean something to an instance only."""
        self._types = {field.name: str(field.type) for field in fields(EmperorSettings)}

    def settings(self) -> EmperorSettings:
        late = []
        for given in self._given:
            option = BY_NAME.get(given.key)
            if option is None:
                self._note(given)
            elif option.hook_action is not None:
                late.append((given, option))
            else:
                self._apply(given, option)
        for given, option in late:  # the old spellings run after the hooks
            self._apply(given, option)
        if self._instances:
            keys = ", ".join(dict.fromkeys(given.key for given in self._instances))
            text = f"for an instance and not for an Emperor, so without effect here: {keys}"
            self._notes.append(Note(self._instances[0].where, text))
        return EmperorSettings(**self._values, notes=tuple(self._notes))

    def _note(self, given: _Given) -> None:
        if given.key in INSTANCE_KEYS:
            self._instances.append(given)
            return
        text = f"{given.key} is no option of an Emperor, and no placeholder uses it: ignored"
        hint = suggestion(given.key)
        self._notes.append(Note(given.where, text + (f" ({hint})" if hint else "")))

    def _apply(self, given: _Given, option: Option) -> None:
        name, value = option.setting, given.value
        match option.kind:
            case "list":
                self._values[name] = (*self._values.get(name, ()), value)
            case "hook":
                action, argument = option.hook_action, value
                if action is None:
                    action, _, argument = value.partition(":")
                self._values[name] = (*self._values.get(name, ()), Hook(action, argument))
            case "flag":
                self._values[name] = self._flag(given)
            case "integer" | "octal":
                try:
                    self._values[name] = int(value, 8 if option.kind == "octal" else 10)
                except ValueError:
                    raise ConfigurationError(given.where, f"{given.key} = {value}: a number was expected") from None
            case _:
                self._string(given, option, name)

    @staticmethod
    def _flag(given: _Given) -> bool:
        if given.value.lower() in ("true", "1", "yes", "on", ""):
            return True
        if given.value.lower() in ("false", "0", "no", "off"):
            return False
        raise ConfigurationError(given.where, f"{given.key} = {given.value}: true or false was expected")

    def _string(self, given: _Given, option: Option, name: str) -> None:
        choices = option.metavar.split("|") if "|" in option.metavar else None
        if choices is not None and given.value not in choices:
            if given.where != COMMAND_LINE and option.actor == "both":
                self._notes.append(Note(given.where, f"{given.key} with this value is an instance's: ignored here"))
                return
            text = f"{given.key} = {given.value}: one of {', '.join(choices)} was expected"
            raise ConfigurationError(given.where, text)
        self._values[name] = given.value
