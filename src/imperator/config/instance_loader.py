"""An instance's configuration, turned into settings.

Each option of the catalogue either fills a field by its kind, or has a rule of its own below (kind ``special``). What
only the real uWSGI knows is kept apart with its place, for whoever chooses the engine. No option is swallowed.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from typing import Any

from imperator.config import hook_actions, options_uwsgi, values
from imperator.config.catalogue import BY_NAME, INSTANCE_BY_NAME, suggestion
from imperator.config.command import command_of
from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration, Given
from imperator.config.instance_settings import (
    BinaryPatch,
    CronJob,
    Daemon,
    InstanceSettings,
    Mount,
    Protocol,
    SocketAsked,
    Terminals,
)
from imperator.config.note import Note
from imperator.config.option import Option
from imperator.config.records import changed, record

_BUILT_IN = frozenset({"python", "python3", "http", "asgi", "0"})
"""Plugins that a file may name and that need no loading."""
_PROTOCOLS: dict[str, Protocol] = {
    "socket": "uwsgi",
    "uwsgi-socket": "uwsgi",
    "http-socket": "http",
    "http11-socket": "http",
    "http": "http",
}
_ALSO_OF_UWSGI = frozenset({"cgroup", "cgroup-opt", "cgroup-dir-mode"})
"""What our Emperor acts on, and of instances only uWSGI's."""
_OF_EMPEROR = frozenset({"emperor", "vassal"})
"""How the options begin that mean nothing to an instance, and nothing wrong either."""


@record
class Reading:
    """What could be made of a configuration, and what could not."""

    settings: InstanceSettings
    """Without the options that are wrong. Of its notes those about unknown keys are missing."""
    errors: tuple[ConfigurationError, ...]
    unknown: tuple[Given, ...]
    """What is no option, and spoken of by no placeholder."""


def instance_settings(configuration: Configuration, directory: str) -> InstanceSettings:
    """The settings that a configuration means, where it is an instance's. Raises ConfigurationError."""
    reading = read_instance(configuration, directory)
    if reading.errors:
        raise reading.errors[0]
    notes = (*reading.settings.notes, *(_note_of_unknown(given) for given in reading.unknown))
    return changed(reading.settings, notes=notes)


def read_instance(configuration: Configuration, directory: str) -> Reading:
    """The same for somebody who wants to know everything that is wrong."""
    return _Builder(configuration, directory).reading()


def _note_of_unknown(given: Given) -> Note:
    if given.where.startswith("UWSGI_"):
        return Note(given.where, "no option is called like this environment variable: ignored")
    hint = suggestion(given.key)
    text = f"{given.key} is no option, and no placeholder uses it: ignored" + (f" ({hint})" if hint else "")
    return Note(given.where, text)


class _Builder:
    def __init__(self, configuration: Configuration, directory: str) -> None:
        self._configuration = configuration
        self._directory = directory
        self._values: dict[str, Any] = {}
        self._notes: list[Note] = list(configuration.notes)
        self._errors: list[ConfigurationError] = []
        self._unknown_keys: list[Given] = []
        self._uwsgi_only: list[tuple[str, str]] = []
        self._rules: dict[str, Callable[[Given], None]] = {
            "sockets": self._socket,
            "mount": self._mount,
            "static_map": lambda given: self._append("static_map", values.pair(given, "/PATH=DIRECTORY")),
            "rlimits": self._rlimit,
            "unshare": self._unshare,
            "unshare2": self._unshare,
            "procname_prefix": lambda given: self._set("procname_prefix", given.text + " "),
            "daemons": self._daemon,
            "cron": self._cron,
            "terminals": self._terminals,
            "privileged_binary_patch": self._binary_patch,
            "unprivileged_binary_patch": self._binary_patch,
        }

    def reading(self) -> Reading:
        late: list[tuple[Given, Option]] = []
        for given in self._configuration.meant():
            option = INSTANCE_BY_NAME.get(given.key)
            if option is None:
                self._unknown(given)
            elif option.hook_action is not None:
                late.append((given, option))
            else:
                self._try(given, option)
        for given, option in values.hooks_in_order(late):  # the old spellings run after the hooks
            self._try(given, option)
        protocol = self._values.get("protocol")
        if protocol is not None:
            self._plain_sockets_speak(protocol)
        settings = InstanceSettings(**self._values, uwsgi_only=tuple(self._uwsgi_only), notes=tuple(self._notes))
        return Reading(settings, tuple(self._errors), tuple(self._unknown_keys))

    def _try(self, given: Given, option: Option) -> None:
        try:
            self._apply(given, option)
        except ConfigurationError as error:
            self._errors.append(error)

    def _unknown(self, given: Given) -> None:
        key = given.key
        if given.where.startswith("UWSGI_VASSAL_"):
            return  # for the vassals of whoever has set it
        if options_uwsgi.is_option(key) and (key not in BY_NAME or key in _ALSO_OF_UWSGI):
            self._uwsgi_only.append((key, given.where))
        elif key in BY_NAME or key.partition("-")[0] in _OF_EMPEROR:
            self._notes.append(
                Note(given.where, f"{key} is for an Emperor and not for an instance: without effect here")
            )
        elif key not in self._configuration.consulted and key not in self._configuration.declared:
            self._unknown_keys.append(given)

    # -- by kind

    def _set(self, field: str, value: object) -> None:
        self._values[field] = value

    def _append(self, field: str, value: object) -> None:
        self._values[field] = (*self._values.get(field, ()), value)

    def _apply(self, given: Given, option: Option) -> None:
        name = option.setting
        match option.kind:
            case "special":
                self._rules[name](given)
            case "hook":
                self._hook(given, option)
            case "flag":
                self._set(name, values.flag(given))
            case "integer":
                self._set(name, values.integer(given))
            case "octal":
                self._set(name, values.octal(given))
            case "list" if name == "plugins":
                self._plugins(given)
            case "list" if name == "pythonpath":
                for path in self._paths(given.text):
                    self._append(name, path)
            case "list":
                self._append(name, given.text)
            case _:
                self._string(given, option)

    def _string(self, given: Given, option: Option) -> None:
        name = option.setting
        if given.key in ("asgi", "rsgi"):
            self._set("module", given.text)
            self._set("interface", given.key)
        elif "|" in option.metavar:
            self._set(name, values.choice(given, tuple(option.metavar.split("|"))))
        else:
            self._set(name, given.text)

    def _hook(self, given: Given, option: Option) -> None:
        hook = values.hook(given, option)
        if hook.action.removeprefix("!") in hook_actions.OF_UWSGI:
            self._uwsgi_only.append((f"{given.key} = {given.text}", given.where))
        else:
            self._append(option.setting, hook)

    def _paths(self, pattern: str) -> list[str]:
        if not glob.has_magic(pattern):
            return [pattern]
        return sorted(glob.glob(os.path.join(self._directory, pattern))) or [pattern]

    # -- by rules of their own

    def _socket(self, given: Given) -> None:
        asked = SocketAsked(given.text, _PROTOCOLS[given.key], given.key, given.where)
        self._append("sockets", asked)

    def _plain_sockets_speak(self, protocol: str) -> None:
        spoken: dict[str, Protocol] = {"http": "http", "http11": "http", "uwsgi": "uwsgi", "raw": "raw"}
        given = self._configuration.last("protocol")
        assert given is not None
        if protocol not in spoken:
            self._uwsgi_only.append((f"protocol = {protocol}", given.where))
            return
        self._values["sockets"] = tuple(
            SocketAsked(asked.address, spoken[protocol], asked.option, asked.where)
            if asked.option == "socket"
            else asked
            for asked in self._values.get("sockets", ())
        )

    def _mount(self, given: Given) -> None:
        path, application = values.pair(given, "/PATH=MODULE")
        self._append("mount", Mount(path, application, given.where))

    def _rlimit(self, given: Given) -> None:
        self._append("rlimits", (given.key.removeprefix("limit-").upper(), values.integer(given)))

    def _unshare(self, given: Given) -> None:
        for word in given.text.replace(",", " ").split():
            self._append(given.key, word)

    def _daemon(self, given: Given) -> None:
        if given.key.endswith("2"):
            self._uwsgi_only.append((given.key, given.where))
        elif given.key == "attach-daemon":
            self._append("daemons", Daemon(given.text, given.key, given.where))
        else:
            pidfile, command = values.pair(given, "PIDFILE COMMAND", " ")
            self._append("daemons", Daemon(command, given.key, given.where, pidfile))

    def _terminals(self, given: Given) -> None:
        uwsgi = given.key in ("forkpty-urouter", "forkptyurouter")
        self._append("terminals", Terminals(given.text, uwsgi, given.key, given.where))

    def _cron(self, given: Given) -> None:
        words = given.text.split(None, 5)
        try:
            minute, hour, day, month, weekday = (int(word) for word in words[:5])
            command = words[5]
        except (ValueError, IndexError):
            text = f"cron = {given.text}: MINUTE HOUR DAY MONTH WEEKDAY COMMAND was expected"
            raise ConfigurationError(given.where, text) from None
        self._append("cron", CronJob(minute, hour, day, month, weekday, command, given.where))

    def _binary_patch(self, given: Given) -> None:
        field = given.key.removesuffix("-arg").replace("-", "_")
        if not given.key.endswith("-arg"):
            self._set(field, BinaryPatch(given.text, None, given.key, given.where))
            return
        try:
            program, arguments = command_of(given.text)
        except ValueError as error:
            raise ConfigurationError(given.where, f"{given.key} = {given.text}: {error}") from error
        self._set(field, BinaryPatch(program, arguments, given.key, given.where))

    def _plugins(self, given: Given) -> None:
        for name in given.text.replace(",", " ").split():
            if name.removeprefix("lib") not in _BUILT_IN and not name.startswith("python"):
                self._uwsgi_only.append((f"{given.key} = {name}", given.where))
