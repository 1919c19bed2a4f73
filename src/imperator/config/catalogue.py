"""The catalogue: every option, by each of its names. The parser, the help and the manual are made from it."""

from __future__ import annotations

from imperator.config.option import Option
from imperator.config.options_emperor import EMPEROR_OPTIONS, SECTIONS
from imperator.config.options_instance import INSTANCE_OPTIONS, INSTANCE_SECTIONS

__all__ = ["BY_NAME", "BY_SHORT", "EMPEROR_OPTIONS", "INSTANCE_BY_NAME", "INSTANCE_KEYS", "SECTIONS", "suggestion"]

OPTIONS = (*EMPEROR_OPTIONS, *INSTANCE_OPTIONS)
ALL_SECTIONS = (*SECTIONS, *INSTANCE_SECTIONS)


def _by_name(options: tuple[Option, ...]) -> dict[str, Option]:
    return {name: option for option in options for name in (option.name, *option.aliases)}


BY_NAME = _by_name(EMPEROR_OPTIONS)
"""What an Emperor acts on."""
INSTANCE_BY_NAME = _by_name((*(option for option in EMPEROR_OPTIONS if option.actor == "both"), *INSTANCE_OPTIONS))
"""What an instance acts on."""
BY_SHORT: dict[str, Option] = {option.short: option for option in OPTIONS if option.short is not None}

INSTANCE_KEYS = INSTANCE_BY_NAME.keys() - BY_NAME.keys()
"""Keys of an instance that deployment tools also write into an Emperor's file: known, and of no effect there."""


def suggestion(name: str) -> str:
    """``did you mean …?`` for a name that is no option; empty if nothing is near."""
    import difflib

    near = difflib.get_close_matches(name, {**BY_NAME, **INSTANCE_BY_NAME}, n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else ""
