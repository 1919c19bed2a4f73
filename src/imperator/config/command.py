"""A command line as a person writes it into a file: a program and its arguments; a shell only where it takes one."""

from __future__ import annotations

import re
import shlex
from typing import Final

_NEEDS_SHELL: Final = re.compile(r"[|&;<>()$`*?\[\]#~\n]|^\s*\w+=|^\s*exec\s")


def command_of(text: str) -> tuple[str, tuple[str, ...]]:
    """The program and arguments of a ``…-binary-patch-arg``. Raises :class:`ValueError` for a quote without its end.

    ``nginx -g "daemon off;"`` needs no shell, only its quotes. The original gives every line to ``/bin/sh -c``, so
    one that cannot do without (a pipe, a variable, ``cd x && …``) is given to it here too.
    """
    words = shlex.split(text)
    if not words:
        raise ValueError("there is no program in it")
    unquoted = re.sub(r"""\\.|'[^']*'|"(?:[^"\\$`]|\\.)*\"""", "", text)
    if _NEEDS_SHELL.search(unquoted):
        return "/bin/sh", ("-c", text)
    return words[0], tuple(words[1:])
