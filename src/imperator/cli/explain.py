"""``imperator explain FILE [KEY]``: what each option is in the end, and how it came to be that. Starts nothing.

Reading a configuration may run what it names (``exec://``, ``@(…)``), as the instance itself would: this is for one's
own files, or for somebody with no more rights than the owner of the file.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import Final

from imperator.bureau.escape import visible
from imperator.config.catalogue import BY_NAME, INSTANCE_BY_NAME
from imperator.config.errors import ConfigurationError
from imperator.config.formats import format_of
from imperator.config.given import COMMAND_LINE, LANGUAGE, Configuration, Given
from imperator.config.language import load
from imperator.config.variables import Variables

FINE = 0
SOMETHING_WRONG = 1
USAGE = 2

_EPILOG: Final = """\
examples:
  imperator explain blog.ini                       every option, where it comes from, and the steps that made it
  imperator explain blog.ini socket                one option: each step that made it
  imperator explain blog.ini engine                what would serve it, and why
  imperator explain blog.ini -- --set port=8080    with the arguments that it would be started with

exit code: 0, 1 if the configuration is wrong or has no such option, 2 for a usage error.
"""


def main(argv: Sequence[str]) -> int:
    """Run the sub-command; returns its exit code."""
    words = list(argv)
    position = words.index("--") if "--" in words else len(words)
    further = words[position + 1 :]
    try:
        options = _parser().parse_args(words[:position])
    except SystemExit as end:  # --help, or a usage error, already printed
        return end.code if isinstance(end.code, int) else USAGE
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        configuration = _configuration([*further, *_as_emperors_do(options.file)])
    except ConfigurationError as error:
        print(f"imperator explain: {error}", file=sys.stderr)
        return SOMETHING_WRONG
    for note in configuration.notes:
        print(f"{note.where}: {note.text}", file=sys.stderr)
    if options.key is None:
        _explain_all(configuration)
        return _explain_engine(configuration)
    if options.key == "engine":
        return _explain_engine(configuration)
    return _explain_one(configuration, options.key, options.file)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imperator explain",
        description="Shows what each option of a configuration is in the end, and how it came to be that.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a configuration, FILE:SECTION for a section of it")
    parser.add_argument("key", nargs="?", metavar="KEY", help="the option to explain")
    return parser


def _as_emperors_do(file: str) -> list[str]:
    """The file by the option of its format, if its name tells it: only then ``%N`` and its like speak of it."""
    name = file if format_of(file) is not None or ":" not in file else file.rpartition(":")[0]
    form = format_of(name)
    return [file] if form is None else [f"--{form}", file]


def _configuration(argv: Sequence[str]) -> Configuration:
    """As the instance would read it. Raises ConfigurationError."""
    directory = os.getcwd()
    further = Variables(argv, dict(os.environ), directory)
    return load(argv, os.environ, directory, program=sys.argv[0], further=further)


def _explain_all(configuration: Configuration) -> None:
    meant = list(configuration.meant())
    last = {given.key: given for given in meant}
    width = min(max((len(_line(given)) for given in meant), default=0), 60)
    for given in meant:
        counts = last[given.key]
        note = "" if counts is given or _may_repeat(given.key) else f" (without effect: {counts.where} comes later)"
        print(f"{_line(given):{width}}  ; {given.where}{note}")
        for step in _history(given)[1:]:
            print(f"    ; {step}")


def _may_repeat(key: str) -> bool:
    """Has an option all the values that it is given, and not just the last one? Of those that we do not know: yes."""
    option = INSTANCE_BY_NAME.get(key) or BY_NAME.get(key)
    return option is None or option.kind not in ("flag", "string", "integer", "octal")


def _explain_engine(configuration: Configuration) -> int:
    """Which engine would serve it, and why."""
    from imperator.config.instance_loader import instance_settings
    from imperator.instance.choice import choose, installed

    if configuration.last("emperor") is not None:
        return FINE
    try:
        choice = choose(instance_settings(configuration, os.getcwd()), installed())
    except ConfigurationError as error:
        sys.stdout.flush()
        print(f"imperator explain: it could not be served: {error}", file=sys.stderr)
        return SOMETHING_WRONG
    print(f"; engine {choice.engine}: {choice.reason}")
    return FINE


def _explain_one(configuration: Configuration, key: str, file: str) -> int:
    found = [given for given in configuration if given.key == key]
    if not found:
        near = difflib.get_close_matches(key, {given.key for given in configuration}, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        print(f"imperator explain: {file} says nothing of {key}{hint}", file=sys.stderr)
        return SOMETHING_WRONG
    for given in found:
        print(_line(given))
        for step in _history(given):
            print(f"    {step}")
    return FINE


def _line(given: Given) -> str:
    return visible(f"{given.key} = {given.text}")


def _history(given: Given) -> list[str]:
    """Where it was written, as what, and what was put into it, one step a line."""
    lines: list[str] = []
    written = _as_written(given)
    lines.append(f"{given.where}: {visible(written)}" if written else given.where)
    lines += [f"in a file that {file} includes" for file in reversed(given.via)]
    lines += [f"{visible(step.what)}: {visible(step.value)}" for step in given.steps]
    if given.key in LANGUAGE:
        lines.append("acted upon as soon as it was met")
    return lines


def _as_written(given: Given) -> str | None:
    """The line of the file, before any variable was put in."""
    if given.where == COMMAND_LINE or ":" not in given.where:
        return None
    path, _, number = given.where.rpartition(":")
    try:
        with open(path, errors="surrogateescape") as file:
            return next((line.strip() for count, line in enumerate(file, 1) if count == int(number)), None)
    except (OSError, ValueError):  # no file: a command's output, a URL; what it said is in the value
        return None
