"""``imperator status``: every vassal of a running Emperor, and why it is as it is."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from imperator.cli.reading import NoAnswer, choose_emperor, fetch, looks_like_address
from imperator.cli.rows import GOOD_STATES, HEADINGS, WITH_USAGE, Row, row_of, state_of, summary, troubles

ALL_WELL = 0
SOMETHING_DOWN = 1
CANNOT_TELL = 2

_COLOURS: Final = {
    "running": "green",
    "asleep": "blue",
    "suspended": "blue",
    "waiting": "yellow",
    "failed": "bold red",
}
_CHANGING: Final = "cyan"
"""Of queued, spawning, stopping: on its way to another state."""

_LARGEST_TABLE: Final = 1000
"""Rows. More of them are printed plainly: a drawn table of 10,000 would take seconds."""

_EPILOG: Final = """\
examples:
  imperator status                        the Emperor that you started (root: the one that runs)
  imperator status blog.ini shop.ini      only these two
  imperator status 127.0.0.1:9191         by the address of its --emperor-stats
  imperator status http://host:9191       the same with --stats-http
  imperator status /run/imperator/stats   a UNIX socket
  imperator status --watch                again every 2 seconds, until Ctrl-C
  imperator status --json | jq '.vassals[] | select(.state == "failed") | .id'

exit code: 0 if every vassal runs, sleeps or is suspended; 1 if one is not, or a source cannot be read;
2 if there is no answer.
"""


def main(argv: Sequence[str]) -> int:
    """Run the sub-command; returns its exit code."""
    try:
        options = _parser().parse_intermixed_args(argv)
    except SystemExit as end:  # --help, or a usage error, already printed
        return end.code if isinstance(end.code, int) else CANNOT_TELL
    what: list[str] = options.what
    address = what.pop(0) if what and looks_like_address(what[0]) else None
    if address is not None and options.pid is not None:
        print("imperator status: say an address or --pid, not both", file=sys.stderr)
        return CANNOT_TELL
    try:
        if options.watch is None:
            return _show(address, options.pid, what, options.json)
        return _watch(address, options.pid, what, options.json, options.watch)
    except BrokenPipeError:  # "| head": nobody reads any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_TELL


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="imperator status",
        description="Shows every vassal of a running Emperor: its state, and why it is as it is.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="ADDRESS | NAME",
        help="first, if at all, the address of the statistics (host:port, http://…, a UNIX socket, @abstract); "
        "then names of vassals",
    )
    parser.add_argument("--pid", type=int, metavar="PID", help="the Emperor with this process number, of several")
    parser.add_argument("--json", action="store_true", help="the statistics document itself")
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=2.0,
        metavar="SECONDS",
        help="show it again and again (every 2 seconds; put it last, or write --watch=SECONDS)",
    )
    return parser


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds <= 86400:
        raise argparse.ArgumentTypeError("from 0.1 to 86400 seconds")
    return seconds


def _watch(address: str | None, pid: int | None, names: list[str], as_json: bool, interval: float) -> int:
    code = CANNOT_TELL
    try:
        while True:
            if sys.stdout.isatty() and not as_json:
                print("\x1b[H\x1b[2J", end="")
            code = _show(address, pid, names, as_json)
            sys.stdout.flush()
            time.sleep(interval)
    except KeyboardInterrupt:
        return code


def _show(address: str | None, pid: int | None, names: list[str], as_json: bool) -> int:
    try:
        document = _read(address, pid)
        _select(document, names)
    except NoAnswer as error:
        print(f"imperator status: {error}", file=sys.stderr)
        return CANNOT_TELL
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        now = document.get("time") or time.time()
        rows = [row_of(vassal, now) for vassal in document["vassals"]]
        as_table = sys.stdout.isatty() and len(rows) <= _LARGEST_TABLE
        (_print_table if as_table else _print_plain)(rows, summary(document))
    sys.stdout.flush()
    well = all(state_of(vassal) in GOOD_STATES for vassal in document["vassals"])
    return ALL_WELL if well and (names or not troubles(document)) else SOMETHING_DOWN


def _read(address: str | None, pid: int | None) -> dict[str, Any]:
    if address is not None:
        return fetch(address)
    emperor = choose_emperor(pid)
    return fetch(emperor.address, emperor.uid)


def _select(document: dict[str, Any], names: list[str]) -> None:
    """Keep only the named vassals. Raises :class:`NoAnswer` for a name that there is not."""
    if not names:
        return
    by_name = {vassal["id"]: vassal for vassal in document["vassals"]}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise NoAnswer(f"no vassal (and no socket) is called {', '.join(missing)}; the Emperor has {_some(by_name)}")
    document["vassals"] = [by_name[name] for name in dict.fromkeys(names)]


def _some(names: dict[str, Any], most: int = 8) -> str:
    shown = ", ".join(list(names)[:most]) or "none"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _print_plain(rows: list[Row], lines: list[str]) -> None:
    with_usage = any(row.uses for row in rows)
    headings = WITH_USAGE if with_usage else HEADINGS
    table = [headings, *(row.cells(with_usage) for row in rows)]
    widths = [max(len(cells[column]) for cells in table) for column in range(len(headings))]
    for cells in table if rows else []:
        print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    print("\n".join(["", *lines] if rows else lines))


def _print_table(rows: list[Row], lines: list[str]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False)
    if rows:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
        with_usage = any(row.uses for row in rows)
        for heading in WITH_USAGE if with_usage else HEADINGS:
            number = heading in ("pid", "respawns")
            wraps = heading in ("vassal", "uses", "last exit", "why")
            table.add_column(heading, justify="right" if number else "left", no_wrap=not wraps, overflow="fold")
        for row in rows:
            name, state, *rest = (Text(cell) for cell in row.cells(with_usage))
            state.stylize(_COLOURS.get(row.state, _CHANGING))
            table.add_row(name, state, *rest)
        console.print(table)
    for line in lines:
        console.print(Text(line, style="red" if line.startswith("source in trouble") else ""))
