"""What can be said of a vassal's file without running it, for ``imperator check``.

Nothing in the file is executed or fetched: it may be a customer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from imperator.config.errors import ConfigurationError
from imperator.config.formats import ROOT, Entry, parse


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a file."""

    severity: Literal["error", "warning"]
    line: int | None
    text: str


def examine(path: str) -> list[Problem]:
    """Everything that is wrong with the file at ``path``, in its own order. Raises OSError if it cannot be read."""
    text = Path(path).read_text(errors="surrogateescape")
    if not text.strip():
        return [Problem("error", None, "the file is empty")]
    try:
        document = parse(text, path)
    except ConfigurationError as error:
        line = error.where.rpartition(":")[2]
        return [Problem("error", int(line) if line.isdecimal() else None, error.text)]
    entries = document.sections.get(ROOT)
    if entries is None:
        return [Problem("error", None, f"there is no [{ROOT}] section")]
    problems = _unclosed(entries)
    for entry in entries:
        literal = not any(sign in entry.value for sign in "%$@:")
        if entry.key in ("include", "inherit", "chdir") and literal:
            target = Path(path).parent / entry.value
            if not target.exists():
                severity: Literal["error", "warning"] = "error" if entry.key != "chdir" else "warning"
                problems.append(Problem(severity, entry.line, f"{entry.key} = {entry.value}: it is not there"))
    return problems


def _unclosed(entries: list[Entry]) -> list[Problem]:
    """Every ``for`` and ``if-…`` needs its end."""
    open_blocks: list[Entry] = []
    problems: list[Problem] = []
    for entry in entries:
        if entry.key == "for" or entry.key.startswith("if-"):
            open_blocks.append(entry)
        elif entry.key in ("endfor", "end-for", "endif", "end-if"):
            if open_blocks:
                open_blocks.pop()
            else:
                problems.append(Problem("error", entry.line, f"{entry.key} has nothing to end"))
    problems += [Problem("error", block.line, f"{block.key} has no end") for block in open_blocks]
    return problems
