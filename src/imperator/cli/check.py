"""``imperator check``: what would be started, and what is wrong with each file. Starts nothing, changes nothing."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final

from imperator.bureau.escape import visible
from imperator.cli.emperor_file import settings_of
from imperator.cli.findings import Finding, Inspected, Report
from imperator.cli.inspection import Inspector, Place
from imperator.config.settings import EmperorSettings
from imperator.monitors.files import EXTENSIONS

FINE = 0
SOMETHING_WRONG = 1
USAGE = 2

_COLOURS: Final = {"error": "bold red", "warning": "yellow"}
_IGNORED_SHOWN: Final = 10

_EPILOG: Final = """\
examples:
  imperator check /etc/uwsgi/vassals              every file of a directory
  imperator check '/srv/*/uwsgi.ini'              what a pattern matches
  imperator check blog.ini                        one file
  imperator check emperor.ini                     an Emperor's file: all that its "emperor" options name
  imperator check --emperor-tyrant /etc/vassals   as root: can each file's owner get where it has to?
  imperator check DIR --json | jq 'select(.problems != [])'

What stands in a file is never run or fetched (exec://, http://): what depends on it is not judged. As root each file
is read with its owner's rights.

exit code: 0 if nothing is wrong (warnings are not), 1 if something is, 2 for a usage error.
"""


def main(argv: Sequence[str]) -> int:
    """Run the sub-command; returns its exit code."""
    try:
        options = _parser().parse_intermixed_args(argv)
    except SystemExit as end:  # --help, or a usage error, already printed
        return end.code if isinstance(end.code, int) else USAGE
    report = _inspect(options)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        if options.json:
            _print_json(report)
        elif sys.stdout.isatty():
            _print_table(report, verbose=options.verbose)
        else:
            _print_lines(report, verbose=options.verbose)
        sys.stdout.flush()
    except BrokenPipeError:  # "| head": nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return SOMETHING_WRONG if report.count("error") else FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imperator check",
        description="Shows what an Emperor would start, and what is wrong with each file. Starts nothing.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "places", nargs="+", metavar="DIR | FILE | PATTERN", help="as for --emperor; or an Emperor's file"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line for each file")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="name the options that only the real uWSGI acts on, too"
    )
    parser.add_argument(
        "--emperor-extra-extension",
        "--extra-extension",
        action="append",
        default=[],
        metavar="EXT",
        help="a further ending of valid names",
    )
    parser.add_argument(
        "--emperor-tyrant", "--tyrant", action="store_true", help="vassals run as the owners of their files"
    )
    parser.add_argument("--binary-path", metavar="PROGRAM", help="the program to run vassals with (default: imperator)")
    return parser


def _inspect(options: argparse.Namespace) -> Report:
    """Look at everything that the command line names, an Emperor's files with their own settings."""
    own = EmperorSettings(
        emperor=tuple(options.places),
        emperor_extra_extension=tuple(options.emperor_extra_extension),
        emperor_tyrant=options.emperor_tyrant,
        binary_path=options.binary_path,
    )
    report = Report()
    plain: list[Place] = []
    for text in options.places:
        settings = settings_of(text) if text.endswith(EXTENSIONS) and os.path.isfile(text) else None
        if settings is None:
            plain.append(Place(text))
            continue
        if options.emperor_tyrant:
            settings = dataclasses.replace(settings, emperor_tyrant=True)
        _look(settings, [Place(value, expected=False) for value in settings.emperor], report)
        report.general += [Finding("warning", note.where, note.text) for note in settings.notes]
    if plain:
        _look(own, plain, report)
    return report


def _look(settings: EmperorSettings, places: list[Place], report: Report) -> None:
    from imperator.court.binary import NoBinary, ourselves
    from imperator.court.charter import livery_of

    binary = settings.emperor_wrapper or settings.binary_path
    own_python = binary is None
    if binary is None:
        try:
            binary = ourselves().path
        except NoBinary as error:
            report.general.append(Finding("error", "imperator", str(error)))
            binary = "imperator"
    elif shutil.which(binary) is None:
        text = "is not there" if not os.path.exists(binary) else "may not be executed"
        report.general.append(Finding("error", binary, f"{text}: no vassal would start"))
    try:
        with contextlib.chdir(settings.chdir or "."):
            inspector = Inspector(
                livery_of(settings, binary), report, settings, start_directory=os.getcwd(), own_python=own_python
            )
            inspector.look_at_all(places)
    except OSError as error:
        report.general.append(Finding("error", f"chdir = {settings.chdir}", error.strerror or str(error)))


# -- printing


def _summary(report: Report) -> str:
    usable = sum(vassal.usable for vassal in report.vassals)
    errors, warnings = report.count("error"), report.count("warning")
    text = f"{usable} of {len(report.vassals)} would be started"
    found = [
        f"{count} {word}{'' if count == 1 else 's'}"
        for count, word in ((errors, "error"), (warnings, "warning"))
        if count
    ]
    return f"{text}; {', '.join(found) or 'nothing is wrong'}"


def _ignored(report: Report) -> str | None:
    names = [os.path.basename(path.rstrip("/")) for path in report.ignored]
    if not names:
        return None
    more = f" and {len(names) - _IGNORED_SHOWN} more" if len(names) > _IGNORED_SHOWN else ""
    return f"ignored, because of their endings: {', '.join(names[:_IGNORED_SHOWN])}{more}"


def _starts(vassal: Inspected) -> str:
    return f"{vassal.command} (in {vassal.directory}{f', as {vassal.user}' if vassal.user else ''})"


def _remarks(vassal: Inspected, *, verbose: bool) -> list[str]:
    """What is nothing wrong, and worth knowing to some."""
    return [f"for the real uWSGI only: {', '.join(vassal.uwsgi_only)}"] if verbose and vassal.uwsgi_only else []


def _told(report: Report) -> Callable[[Finding], bool]:
    """Whether a finding comes for the first time: of a file that many include it is told once."""
    waiting = set(report.findings())

    def is_new(finding: Finding) -> bool:
        new = finding in waiting
        waiting.discard(finding)
        return new

    return is_new


def _print_lines(report: Report, *, verbose: bool) -> None:
    """``file:line: severity: text``, as compilers have it."""
    is_new = _told(report)
    for finding in filter(is_new, report.general):
        print(visible(f"{_place(finding)}: {finding.severity}: {finding.text}"))
    for vassal in report.vassals:
        for finding in filter(is_new, vassal.findings):
            print(visible(f"{_place(finding)}: {finding.severity}: {finding.text}"))
        if vassal.usable:
            print(visible(f"{vassal.path}: note: would start {_starts(vassal)}"))
        for remark in _remarks(vassal, verbose=verbose):
            print(visible(f"{vassal.path}: note: {remark}"))
    ignored = _ignored(report)
    if ignored is not None:
        print(visible(f"note: {ignored}"))
    print(_summary(report))


def _place(finding: Finding) -> str:
    return finding.path if finding.line is None else f"{finding.path}:{finding.line}"


def _print_json(report: Report) -> None:
    for finding in report.general:
        print(json.dumps({"file": None, "place": finding.path, "problems": [_problem(finding, finding.path)]}))
    for vassal in report.vassals:
        row = {
            "file": vassal.path,
            "name": vassal.name,
            "place": vassal.place,
            "directory": vassal.directory,
            "user": vassal.user or None,
            "usable": vassal.usable,
            "command": vassal.command or None,
            "uwsgi_only": vassal.uwsgi_only,
            "problems": [_problem(finding, vassal.path) for finding in vassal.findings],
        }
        print(json.dumps(row))
    for path in report.ignored:
        print(json.dumps({"file": path, "ignored": True, "problems": []}))


def _problem(finding: Finding, path: str) -> dict[str, Any]:
    """``file`` only where it is another than the vassal's own: one that it includes."""
    elsewhere = {} if finding.path == path else {"file": finding.path}
    return {"severity": finding.severity, **elsewhere, "line": finding.line, "text": finding.text}


def _print_table(report: Report, *, verbose: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False)

    def problem(finding: Finding, path: str) -> Text:
        line = "" if finding.line is None else f"line {finding.line}: "
        place = line if finding.path == path else f"{_place(finding)}: "
        return Text.assemble((f"{finding.severity}: ", _COLOURS[finding.severity]), visible(f"{place}{finding.text}"))

    is_new = _told(report)
    for finding in filter(is_new, report.general):
        console.print(Text.assemble(visible(finding.path) + ": ", problem(finding, finding.path)))
    if report.vassals:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        for heading in ("file", "would start", "problems"):
            table.add_column(heading, overflow="fold")
        for vassal in report.vassals:
            starts = Text(visible(_starts(vassal))) if vassal.usable else Text("nothing", style="red")
            for remark in _remarks(vassal, verbose=verbose):
                starts.append(f"\n{visible(remark)}", style="dim")
            problems = Text("\n").join([problem(finding, vassal.path) for finding in filter(is_new, vassal.findings)])
            fine = Text("as above", style="yellow") if vassal.findings else Text("none", style="green")
            table.add_row(Text(visible(vassal.path)), starts, problems or fine)
        console.print(table)
    ignored = _ignored(report)
    if ignored is not None:
        console.print(Text(visible(ignored), style="dim"))
    console.print(_summary(report))
