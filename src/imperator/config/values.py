"""A value as it was written, read as what its option expects. All raise ConfigurationError, with place and value."""

from __future__ import annotations

import re
from collections.abc import Iterable

from imperator.config import hook_actions
from imperator.config.errors import ConfigurationError
from imperator.config.given import Given
from imperator.config.hook import Hook
from imperator.config.option import Option

_TRUE = frozenset({"true", "1", "yes", "on", ""})
_FALSE = frozenset({"false", "0", "no", "off"})


def flag(given: Given) -> bool:
    """True or false; the key alone is true."""
    word = given.text.strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ConfigurationError(given.where, f"{given.key} = {given.text}: true or false was expected")


def integer(given: Given) -> int:
    """A whole number."""
    try:
        return int(given.text)
    except ValueError:
        raise ConfigurationError(given.where, f"{given.key} = {given.text}: a number was expected") from None


def octal(given: Given) -> int:
    """A file mode, ``660`` or ``0o660``; nothing at all is 666, as in the original's ``chmod-socket``."""
    text = given.value or "666"
    if not re.fullmatch(r"(0o)?[0-7]{1,5}", text):
        raise ConfigurationError(given.where, f"{given.key} = {text}: a mode in octal was expected, like 660")
    return int(text.removeprefix("0o"), 8)


def hook(given: Given, option: Option) -> Hook:
    """``action:argument``; of an old spelling the value is the argument.

    A private hook's action opens with ``!``; before that of ``as-emperor-setns`` namespaces may be named.
    """
    if option.hook_action is not None:
        return Hook(option.hook_action, given.text, given.where)
    action, colon, argument = given.text.partition(":")
    if not colon:
        raise ConfigurationError(given.where, f"{given.key} = {given.text}: ACTION:ARGUMENT was expected")
    word = action.rpartition(" ")[2].removeprefix("!")
    if word not in hook_actions.HERE and word not in hook_actions.OF_UWSGI:
        text = f"{given.key} = {action}:…: there is no action {word!r}"
        raise ConfigurationError(given.where, text, hook_actions.advice(word))
    return Hook(action, argument, given.where)


def hooks_in_order(old: Iterable[tuple[Given, Option]]) -> list[tuple[Given, Option]]:
    """The old spellings in the order in which they run."""
    return sorted(old, key=lambda one: hook_actions.OLD_ORDER.index(one[1].hook_action or ""))


def quantity(given: Given, option: Option) -> object:
    """Whatever the option's own rule makes of it."""
    assert option.reads is not None
    try:
        return option.reads(given.text)
    except ValueError as error:
        raise ConfigurationError(given.where, f"{given.key} = {given.text}: {error}") from None


def pair(given: Given, form: str, separator: str = "=") -> tuple[str, str]:
    """Two words with a separator between them; ``form`` says for a person what was expected."""
    left, found, right = given.text.partition(separator)
    if not found or not left or not right:
        raise ConfigurationError(given.where, f"{given.key} = {given.text}: {form} was expected")
    return left, right


def choice(given: Given, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if given.text not in choices:
        text = f"{given.key} = {given.text}: one of {', '.join(choices)} was expected"
        raise ConfigurationError(given.where, text)
    return given.text
