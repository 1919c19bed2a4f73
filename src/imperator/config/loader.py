"""An Emperor's configuration: command line, files and environment, turned into settings.

The language is that of every configuration (:mod:`imperator.config.language`); of an option that has one value the last
one counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imperator.config import hook_actions, values
from imperator.config.catalogue import BY_NAME, INSTANCE_KEYS, suggestion
from imperator.config.errors import ConfigurationError
from imperator.config.given import COMMAND_LINE, Configuration, Given
from imperator.config.hook import Hook
from imperator.config.language import load
from imperator.config.note import Note
from imperator.config.option import Option
from imperator.config.settings import EmperorSettings


def load_emperor(argv: Sequence[str], environ: Mapping[str, str], directory: str) -> EmperorSettings:
    """The settings of an Emperor that was started in ``directory``. Raises ConfigurationError."""
    return emperor_settings(load(argv, environ, directory))


def emperor_settings(configuration: Configuration) -> EmperorSettings:
    """The settings that a configuration means, where it is an Emperor's. Raises ConfigurationError."""
    return _Builder(configuration).settings()


class _Builder:
    """Turns options into the settings' fields, and says what was of no use."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._values: dict[str, Any] = {}
        self._notes: list[Note] = list(configuration.notes)
        self._instances: list[Given] = []
        """Keys that mean something to an instance only."""

    def settings(self) -> EmperorSettings:
        late: list[tuple[Given, Option]] = []
        for given in self._configuration.meant():
            option = BY_NAME.get(given.key)
            if option is None:
                self._note(given)
            elif option.hook_action is not None:
                late.append((given, option))
            else:
                self._apply(given, option)
        for given, option in values.hooks_in_order(late):  # the old spellings run after the hooks
            self._apply(given, option)
        if self._instances:
            keys = ", ".join(dict.fromkeys(given.key for given in self._instances))
            text = f"for an instance and not for an Emperor, so without effect here: {keys}"
            self._notes.append(Note(self._instances[0].where, text))
        return EmperorSettings(**self._values, notes=tuple(self._notes))

    def _note(self, given: Given) -> None:
        if given.key in self._configuration.declared or given.where.startswith("UWSGI_VASSAL_"):
            return  # it has acted already; it is for the vassals
        if given.key in INSTANCE_KEYS:
            self._instances.append(given)
        elif given.key not in self._configuration.consulted:
            text = f"{given.key} is no option of an Emperor, and no placeholder uses it: ignored"
            hint = suggestion(given.key)
            self._notes.append(Note(given.where, text + (f" ({hint})" if hint else "")))

    def _apply(self, given: Given, option: Option) -> None:
        name = option.setting
        match option.kind:
            case "list":
                value = given.text if option.reads is None else values.quantity(given, option)
                self._values[name] = (*self._values.get(name, ()), value)
            case "quantity":
                self._values[name] = values.quantity(given, option)
            case "hook":
                self._values[name] = (*self._values.get(name, ()), self._hook(given, option))
            case "flag":
                self._values[name] = values.flag(given)
            case "integer":
                self._values[name] = values.integer(given)
            case "octal":
                self._values[name] = values.octal(given)
            case _:
                self._string(given, option, name)

    @staticmethod
    def _hook(given: Given, option: Option) -> Hook:
        hook = values.hook(given, option)
        if hook.action.removeprefix("!") in hook_actions.OF_UWSGI:
            text = f"{given.key} = {given.text}: only the real uWSGI has the action {hook.action!r}"
            raise ConfigurationError(given.where, text, hook_actions.advice(""))
        return hook

    def _string(self, given: Given, option: Option, name: str) -> None:
        if "|" not in option.metavar:
            self._values[name] = given.text
            return
        choices = tuple(option.metavar.split("|"))
        if given.text not in choices and given.where != COMMAND_LINE and option.actor == "both":
            self._notes.append(Note(given.where, f"{given.key} with this value is an instance's: ignored here"))
        else:
            self._values[name] = values.choice(given, choices)
