"""A configuration as ini text for the real uWSGI, so that it understands exactly what was understood here.

* Every option in its order, with its final value. What is ours alone is left out, and so are the words of the language
  (includes, conditions): they have been acted on. Placeholders stay, an application may read them (``uwsgi.opt``).
* uWSGI expands what it reads: ``%`` is doubled. What would be changed all the same (``$(`` or ``@(`` in a final value,
  blanks at its ends, a line break) is written as ``@(exec://printf …)`` in octal: that is the only place of its
  language where any byte can stand.
* A socket that is open already is ``fd://N``. That holds through uWSGI's own reloads: it keeps its sockets' numbers.

As a program (``python -m imperator.instance.uwsgi_text ARGUMENTS``) it prints the text for an instance with these
arguments: a uWSGI that is no wheel reads it anew at each of its reloads.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from imperator.config import options_uwsgi
from imperator.config.catalogue import BY_NAME, INSTANCE_BY_NAME
from imperator.config.given import LANGUAGE, Configuration, Given

HANDED: Final = "IMPERATOR_HANDED"
"""In the environment of the program: the open sockets, as ``{"option = address": fd}``."""

_CHANGED: Final = re.compile(r"\A[ \t\r]|[ \t\r]\Z|[\n\r]|\$\(|@\(")
_ROUTERS: Final = frozenset({"http", "https", "http-to-https", "fastrouter", "rawrouter", "sslrouter"})
"""Their sockets uWSGI does not keep through a reload."""


def text_for_uwsgi(configuration: Configuration, handed: Mapping[str, int]) -> str:
    """``handed``: sockets that are open, by ``option = address``; one without an option by its number, ``fd://N``."""
    lines = ["[uwsgi]"]
    for given in configuration:
        if given.placeholder:
            lines.append(f"set-placeholder = {_escaped(given.key)}={_value(given.text)}")
        elif given.key not in LANGUAGE and given.key != "binary-path" and not is_ours(given.key):
            lines.append(f"{_escaped(given.key)} = {_value_of(given, handed)}")
    lines += [f"socket = {name}" for name in handed if name.startswith("fd://")]
    return "\n".join(lines) + "\n"


def is_ours(key: str) -> bool:
    """Does only Imperator know this option?"""
    return (key in INSTANCE_BY_NAME or key in BY_NAME) and not options_uwsgi.is_option(key)


def _value_of(given: Given, handed: Mapping[str, int]) -> str:
    fd = handed.get(f"{given.key} = {given.text}")
    if fd is not None:
        return f"fd://{fd}"
    # An immediate option is not expanded, so there is nothing to be saved from (and no way to).
    return _escaped(given.text) if given.done else _value(given.text)


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _value(text: str) -> str:
    if not _CHANGED.search(text):
        return _escaped(text)
    # One line break at the end is taken away by @(…).
    data = os.fsencode(text + "\n" if text.endswith(("\n", "\r")) else text)
    octal = "".join(chr(byte) if chr(byte).isalnum() and byte < 128 else f"\\0{byte:03o}" for byte in data)
    return f"@(exec://printf %%b '{octal}')"


def main(arguments: Sequence[str]) -> int:
    """Print the text."""
    from imperator.config.errors import ConfigurationError
    from imperator.config.language import load
    from imperator.config.variables import variables_of_process

    handed: dict[str, int] = json.loads(os.environ.pop(HANDED, "{}"))
    if os.environ.get("UWSGI_RELOADS", "0") != "0":
        handed = {name: fd for name, fd in handed.items() if name.partition(" = ")[0] not in _ROUTERS}
    own = list(arguments)
    try:
        configuration = load(own, os.environ, os.getcwd(), further=variables_of_process(own))
    except ConfigurationError as error:
        print(f"imperator: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(os.fsencode(text_for_uwsgi(configuration, handed)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
