"""Logic in a configuration: ``for…`` and ``if-…`` decide about each option after them, until an ``end…``.

A decision is made anew for each option (``if-opt`` may change its mind halfway), and there is no nesting: that is how
the original does it (core/config.c). ``%(_)`` in a value is what the logic speaks of.
"""

from __future__ import annotations

import os

from imperator.config.errors import ConfigurationError
from imperator.config.given import CONDITION_ALIASES, CONDITIONS, ENDS, LOOPS, Given, Step
from imperator.config.numbers import leading_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_PLUGINS = """
pyuwsgi gevent stats_pusher_statsd nagios rrdtool carbon corerouter fastrouter http ugreen syslog rsyslog
logsocket router_uwsgi router_redirect router_basicauth zergpool redislog mongodblog router_rewrite
router_http logfile router_cache rawrouter router_static sslrouter cheaper_busyness transformation_tofile
transformation_gzip transformation_chunked transformation_offload router_memcached router_redis router_hash
router_expires router_metrics transformation_template stats_pusher_socket python spooler symcall ping signal
cache rpc python3 asgi rsgi
"""
BUILT_IN_PLUGINS = frozenset(_PLUGINS.split())
"""What a configuration may ask for with ``if-plugin`` and find: what the original's wheel has, and what we are."""

_LONGEST_LINE = 1023
"""Bytes: of a longer line ``for-readline`` makes several."""


class Logic:
    """The block that is open, if one is."""

    def __init__(self, environ: Mapping[str, str], directory: str, first_value: Callable[[str], str | None]) -> None:
        self._environ = environ
        self._directory = directory
        self._first_value = first_value
        self._block: Given | None = None
        self.running = False
        """What was decided on is being taken in: nothing is decided about it again."""

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

    def decide(self, given: Given) -> list[Given] | None:
        """What becomes of an option inside a block; ``None``: it is in none."""
        if self.running:
            return None
        if given.key in ENDS:
            self._block = None
        if self._block is None:
            return None
        return [self._with(given, value) for value in self._subjects(self._block)]

    @staticmethod
    def _with(given: Given, subject: str | None) -> Given:
        if subject is None or given.value is None or "%(_)" not in given.value:
            return given.with_value(given.value)
        value = given.value.replace("%(_)", subject)
        return given.with_value(value, Step(f"%(_) is {subject}", value))

    def _subjects(self, block: Given) -> Sequence[str | None]:
        """What ``%(_)`` is (``None``: it stays), once for each time that the option is taken in."""
        key, argument = CONDITION_ALIASES.get(block.key, block.key), block.value or ""
        match key:
            case "for":
                return [word for word in argument.split(" ") if word]
            case "for-glob":
                return self._matches(argument) or [argument]
            case "for-times":
                return [str(count) for count in range(1, leading_number(argument) + 1)]
            case "for-readline":
                return self._lines(argument)
            case _:
                negated = key.startswith("if-not-")
                what = key.removeprefix("if-not-").removeprefix("if-")
                holds, subject = self._test(what, argument)
                return [subject] if holds != negated else []

    def _matches(self, pattern: str) -> list[str]:
        """glob(3) with GLOB_MARK: a backslash takes the next character as it is, a directory ends in a slash."""
        import glob
        import re

        pattern = re.sub(r"\\(.)", lambda match: glob.escape(match[1]), pattern)
        found = glob.glob(pattern, root_dir=self._directory)
        marked = (
            path if path.endswith("/") or not os.path.isdir(os.path.join(self._directory, path)) else f"{path}/"
            for path in found
        )
        return sorted(marked, key=os.fsencode)

    def _lines(self, path: str) -> list[str]:
        """fgets(3) into 1024 bytes; no file, no lines."""
        try:
            with open(os.path.join(self._directory, path), "rb") as file:
                lines = list(iter(lambda: file.readline(_LONGEST_LINE), b""))
        except OSError:
            return []
        return [os.fsdecode(line.partition(b"\0")[0].rstrip(b"\r\n")) for line in lines]

    def _matches_host(self, pattern: str) -> bool:
        """As the manual says; in the original no pattern ever matches."""
        import re

        try:
            return re.search(pattern, os.uname().nodename) is not None
        except re.error as error:
            where = self._block.where if self._block is not None else ""
            raise ConfigurationError(where, f"{pattern}: no regular expression: {error}") from error

    def _test(self, what: str, argument: str) -> tuple[bool, str | None]:
        """Whether a condition holds, and what ``%(_)`` is then."""
        path = os.path.join(self._directory, argument) if argument else ""
        match what:
            case "opt" | "env":
                name, separator, wanted = argument.partition("=")
                value = self._first_value(name) if what == "opt" else self._environ.get(name)
                return value is not None and (not separator or value == wanted), value
            case "reload":
                return "UWSGI_RELOADS" in self._environ, None
            case "hostname":
                return os.uname().nodename == argument, argument
            case "hostname-match":
                return self._matches_host(argument), argument
            case "plugin":
                return argument in BUILT_IN_PLUGINS, argument
            case "file":
                return os.path.isfile(path), argument
            case "dir":
                return os.path.isdir(path), argument
            case _:
                return os.path.exists(path), argument
