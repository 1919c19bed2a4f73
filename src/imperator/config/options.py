"""Every option there is, by name: is it one, does it take a value, does it act at once? Ours and uWSGI's together.

This is what the language has to know; what an option means is in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable

from imperator.config import options_uwsgi
from imperator.config.catalogue import BY_NAME, BY_SHORT
from imperator.config.formats import FORMATS


def is_option(name: str) -> bool:
    """Is it an option of ours or of uWSGI's?"""
    return name in BY_NAME or options_uwsgi.is_option(name) or name in FORMATS


def is_immediate(name: str) -> bool:
    """Does it act as soon as it is met, before the options after it?"""
    return options_uwsgi.is_immediate(name) or name in FORMATS


def takes_value(name: str) -> bool:
    """On the command line: is the word after it its value?"""
    if options_uwsgi.is_option(name):
        return options_uwsgi.takes_value(name)
    option = BY_NAME.get(name)
    return option.takes_value if option is not None else name in FORMATS


def arity(name: str) -> options_uwsgi.Arity:
    """The same with a third answer, ``optional``: only what is written together with it, ``--name=value``."""
    return options_uwsgi.arity(name) or ("required" if takes_value(name) else "none")


def name_of_letter(letter: str) -> str | None:
    """``-s`` is ``socket``; ``None``: there is no such letter."""
    own = BY_SHORT.get(letter)
    return own.name if own is not None else options_uwsgi.by_letter(letter)


def unabbreviated(beginning: str, further: Iterable[str] = ()) -> str | None:
    """The only option that begins like this (getopt_long(3)); ``None``: there is none, or more than one.

    ``further``: options that were declared.
    """
    names = {name for name in (*BY_NAME, *options_uwsgi.names(), *FORMATS, *further) if name.startswith(beginning)}
    if beginning in names:
        return beginning
    return names.pop() if len(names) == 1 and len(beginning) > 1 else None
