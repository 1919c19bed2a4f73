"""The catalogue: every option, by each of its names. The parser, the help and the manual are made from it."""

from __future__ import annotations

import difflib

from imperator.config.option import Option
from imperator.config.options_emperor import EMPEROR_OPTIONS, SECTIONS

__all__ = ["BY_NAME", "BY_SHORT", "EMPEROR_OPTIONS", "INSTANCE_KEYS", "SECTIONS", "suggestion"]

BY_NAME: dict[str, Option] = {name: option for option in EMPEROR_OPTIONS for name in (option.name, *option.aliases)}
BY_SHORT: dict[str, Option] = {option.short: option for option in EMPEROR_OPTIONS if option.short is not None}

_INSTANCE_KEYS = """
asgi attach-daemon auto-procname buffer-size cache2 callable cap cheap cheaper chroot chown-socket cron daemonize
die-on-idle die-on-term disable-logging enable-threads file harakiri heartbeat hook-emperor-lost hook-emperor-reload
hook-emperor-stop home http http-socket idle import lazy lazy-apps limit-as log-x-forwarded-for master max-requests
memory-report module mount need-app no-orphans plugin plugins post-buffering processes procname-prefix
procname-prefix-spaced protocol pythonpath single-interpreter smart-attach-daemon socket stats static-map strict
thunder-lock threads touch-reload uwsgi-socket vacuum virtualenv wsgi wsgi-file workers worker-reload-mercy
"""
INSTANCE_KEYS = frozenset(_INSTANCE_KEYS.split())
"""Keys of an instance that deployment tools also write into an Emperor's file: known, and of no effect there."""


def suggestion(name: str) -> str:
    """``did you mean …?`` for a name that is no option; empty if nothing is near."""
    near = difflib.get_close_matches(name, [*BY_NAME, *INSTANCE_KEYS], n=1, cutoff=0.75)
    return f"did you mean {near[0]}?" if near else ""
