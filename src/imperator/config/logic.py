"""Logic in a configuration: ``for…`` and ``if-…`` decide about each option after them, until an ``end…``.

A decision is made anew for each option (``if-opt`` may change its mind halfway), and there is no nesting: that is how
the original does it (core/config.c). ``%(_)`` in a value is what the logic speaks of.
"""

from __future__ import annotations

import glob
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from imperator.config.errors import ConfigurationError
from imperator.config.given import CONDITION_ALIASES, CONDITIONS, ENDS, LOOPS, Given, Step

BUILT_IN_PLUGINS = frozenset({"python", "python3", "http", "asgi", "rsgi"})
"""What a configuration may ask for with ``if-plugin`` and find: it is there without being loaded."""


class Logic:
    """The block that is open, if one is."""

    def __init__(self, environ: Mapping[str, str], directory: str, first_value: Callable[[str], str | None]) -> None:
        self._environ = environ
        self._directory = directory
        self._first_value = first_value
        self._block: Given | None = None
        self._running = False

    @staticmethod
    def begins(key: str) -> bool:
        """Is it the beginning of a block?"""
        key = CONDITION_ALIASES.get(key, key)
        return key in LOOPS or key in CONDITIONS

    def starts(self, given: Given) -> bool:
        """Open the block that this option begins, if it does. Raises ConfigurationError for one inside another."""
        if not self.begins(given.key):
            return False
        if self._block is not None:
            text = f"{given.key} inside {self._block.key} (of {self._block.where}): logic cannot be nested"
            raise ConfigurationError(given.where, text, f"end the {self._block.key} first")
        self._block = given
        return True

    @contextmanager
    def running(self) -> Iterator[None]:
        """While what was decided on is taken in, nothing is decided about it again."""
        self._running = True
        try:
            yield
        finally:
            self._running = False

    def decide(self, given: Given) -> list[Given] | None:
        """What becomes of an option inside a block; ``None``: it is in none."""
        if self._running:
            return None
        if given.key in ENDS:
            self._block = None
        if self._block is None:
            return None
        return [self._with(given, value) for value in self._subjects(self._block)]

    @staticmethod
    def _with(given: Given, subject: str) -> Given:
        if given.value is None or "%(_)" not in given.value:
            return replace(given)
        value = given.value.replace("%(_)", subject)
        return replace(given, value=value, steps=(*given.steps, Step(f"%(_) is {subject}", value)))

    def _subjects(self, block: Given) -> list[str]:
        """What ``%(_)`` is, once for each time that the option is taken in."""
        key, argument = CONDITION_ALIASES.get(block.key, block.key), block.value or ""
        match key:
            case "for":
                return [word for word in argument.split(" ") if word]
            case "for-glob":
                found = sorted(glob.glob(os.path.join(self._directory, argument)))
                return [self._as_written(path, argument) for path in found] or [argument]
            case "for-times":
                number = re.match(r"\s*-?\d+", argument)
                return [str(count) for count in range(1, (int(number[0]) if number else 0) + 1)]
            case "for-readline":
                return self._lines(block, argument)
            case _:
                negated = key.startswith("if-not-")
                what = key.removeprefix("if-not-").removeprefix("if-")
                holds, subject = self._test(what, argument)
                return [subject] if holds != negated else []

    def _as_written(self, path: str, pattern: str) -> str:
        mark = "/" if os.path.isdir(path) else ""
        shown = path if pattern.startswith("/") else os.path.relpath(path, self._directory)
        return shown + mark

    def _lines(self, block: Given, path: str) -> list[str]:
        try:
            with open(os.path.join(self._directory, path), errors="surrogateescape", newline="\n") as file:
                return [line.removesuffix("\n") for line in file]
        except OSError as error:
            raise ConfigurationError(block.where, f"for-readline = {path}: {error.strerror}") from error

    def _test(self, what: str, argument: str) -> tuple[bool, str]:
        """Whether a condition holds, and what ``%(_)`` is then."""
        path = os.path.join(self._directory, argument)
        match what:
            case "opt" | "env":
                name, separator, wanted = argument.partition("=")
                value = self._first_value(name) if what == "opt" else self._environ.get(name)
                return value is not None and (not separator or value == wanted), value or ""
            case "reload":
                return "UWSGI_RELOADS" in self._environ, "%(_)"
            case "hostname":
                return socket.gethostname() == argument, argument
            case "hostname-match":
                return re.search(argument, socket.gethostname()) is not None, argument
            case "plugin":
                return argument in BUILT_IN_PLUGINS, argument
            case "file":
                return os.path.isfile(path), argument
            case "dir":
                return os.path.isdir(path), argument
            case _:
                return os.path.exists(path), argument
