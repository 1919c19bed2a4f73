"""Asks the real ``uwsgi`` and Imperator what they understand of the same configuration, and compares.

Both run in the same directory, with the same command line and the same environment. What is compared is the block that
``--show-config`` prints, from ``;uWSGI instance configuration`` to ``;end of configuration``, byte for byte; the time
(``%t``, ``%T``) is the only thing in it that may differ. Where one of them shows no block, both must refuse.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from imperator.config.errors import ConfigurationError
from imperator.config.language import load
from imperator.config.show import show_config

from . import original
from .original import PATIENCE

UWSGI = Path(sys.executable).with_name("uwsgi")
IMPERATOR = Path(sys.executable).with_name("imperator")

_BEGIN, _END = ";uWSGI instance configuration\n", ";end of configuration\n"
_FIRST = ["--show-config", "--no-server"]


@dataclass(frozen=True, slots=True)
class Case:
    """One question to both. ``directory`` is where they run; the names in ``argv`` start there."""

    directory: Path
    argv: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    fds: tuple[int, ...] = ()
    """Descriptors that both inherit."""

    def environment(self) -> dict[str, str]:
        """Nothing of the environment of the tests, so that ``UWSGI_…`` and ``$(…)`` are what the case says."""
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/home/somebody"} | dict(self.environ)


@dataclass(frozen=True, slots=True)
class Shown:
    """The block."""

    text: str


@dataclass(frozen=True, slots=True)
class Refused:
    """No block. ``why`` is what was said instead; it does not count in a comparison, ``code`` does."""

    code: int
    why: str = field(compare=False)


Answer = Shown | Refused


def ask_uwsgi(case: Case) -> Answer:
    """What the original says. ``Refused(-N)``: signal N ended it (it ran for ever, or crashed)."""
    if case.stdin is not None or case.fds:
        return ask_uwsgi_process(case)
    question = {
        "argv": [*_FIRST, *case.argv],
        "directory": str(case.directory),
        "environ": dict(case.environment()),
    }
    helper = _original()
    assert helper.stdin is not None and helper.stdout is not None
    helper.stdin.write(json.dumps(question) + "\n")
    helper.stdin.flush()
    answer = json.loads(helper.stdout.readline())
    return _read(answer["output"], answer["code"])


def ask_uwsgi_process(case: Case) -> Answer:
    """The same, of a process that was started for this case alone."""
    return _run([str(UWSGI), *_FIRST, *case.argv], case)


@cache
def _original() -> subprocess.Popen[str]:
    """It ends with the tests, whose end closes its standard input."""
    return subprocess.Popen(
        [sys.executable, original.__file__, _END], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def ask_command(case: Case) -> Answer:
    """What ``imperator --show-config`` says."""
    return _run([str(IMPERATOR), *_FIRST, *case.argv], case)


def ask_in_process(case: Case) -> Answer:
    """What Imperator's language says, without a process of its own (a hundred times faster)."""
    program = os.path.realpath(sys.executable)
    try:
        configuration = load([*_FIRST, *case.argv], case.environment(), str(case.directory), program=program)
    except ConfigurationError as error:
        return Refused(1, str(error))
    return Shown(_without_times(show_config(configuration)))


def _run(command: Sequence[str], case: Case) -> Answer:
    with ExitStack() as stack:
        process = stack.enter_context(
            subprocess.Popen(
                command,
                cwd=case.directory,
                env=case.environment(),
                stdin=subprocess.DEVNULL if case.stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=case.fds,
                preexec_fn=original.limit,
            )
        )
        try:
            output, _ = process.communicate(case.stdin, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
    return _read(output.decode(errors="surrogateescape"), process.returncode)


def _read(said: str, code: int) -> Answer:
    begin, end = said.find(_BEGIN), said.rfind(_END)
    if begin >= 0 and end >= 0:
        return Shown(_without_times(said[begin : end + len(_END)]))
    return Refused(code, said[-2000:])


def _without_times(text: str) -> str:
    """With ``<seconds>`` and ``<microseconds>`` for what is close to the time that it is now."""
    now = time.time()

    def named(match: re.Match[str]) -> str:
        digits = match[0]
        seconds = int(digits) / (1_000_000 if len(digits) == 16 else 1)
        if abs(seconds - now) > PATIENCE * 2:
            return digits
        return "<microseconds>" if len(digits) == 16 else "<seconds>"

    return re.sub(r"(?<!\d)(\d{16}|\d{10})(?!\d)", named, text)
