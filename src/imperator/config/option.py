"""What an option is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from imperator.config.records import record

Kind = Literal["flag", "string", "integer", "octal", "quantity", "list", "hook", "config", "special"]
"""``quantity``: an amount, which ``reads`` reads. ``list``: may be given several times. ``hook``: ``action:argument``,
several times. ``config``: loads a file. ``special``: read by a rule of its own."""

Actor = Literal["emperor", "both", "instance"]
"""Who acts on it: the Emperor, a vassal's instance, or whichever of them it is given to."""


@record
class Option:
    """One option: the same word on the command line, in files, and as ``UWSGI_…`` in the environment."""

    name: str
    kind: Kind
    help: str
    section: str
    actor: Actor = "emperor"
    aliases: tuple[str, ...] = ()
    short: str | None = None
    metavar: str = "VALUE"
    default: str = ""
    reads: Callable[[str], object] | None = None
    """What reads the value (each value of a list), and raises ValueError for one that makes no sense."""
    hook_action: str | None = None
    """An old spelling (``exec-as-emperor``): its value is the argument of this action."""
    field: str | None = None
    """The field of the settings that it fills, where that is not the option's name with ``_`` for ``-``."""

    @property
    def takes_value(self) -> bool:
        return self.kind != "flag"

    @property
    def setting(self) -> str:
        return self.field or self.name.replace("-", "_")
