"""How many CGI variables a request has, and how many bytes they take in a packet of the uwsgi protocol.

Requests are alike: which of the names are CGI's is remembered for each set of names, for to look at every name again
would be what costs most about a line of the request log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

MOST = 64
"""Sets of names that are remembered: clients choose the names of headers."""


class _Names(NamedTuple):
    """CGI's among a set of names."""

    many: int
    size: int
    """Bytes without the values."""
    values: Callable[[dict[str, Any]], Iterable[str]]


_known: dict[tuple[str, ...], _Names] = {}


def cgi_size(variables: dict[str, Any]) -> tuple[int, int]:
    """The number, and the bytes. CGI's are the names in capitals whose value is text."""
    names = tuple(variables)
    known = _known.get(names) or _remember(names, variables)
    try:
        return known.many, known.size + len("".join(known.values(variables)))
    except TypeError:  # one of them is no text this time: the application has put it there
        return _plainly(variables)


def _remember(names: tuple[str, ...], variables: dict[str, Any]) -> _Names:
    found = [name for name in names if type(variables[name]) is str and name.isupper()]
    # An itemgetter of one name would not give a tuple.
    values = itemgetter(*found) if len(found) > 1 else lambda all_: [all_[name] for name in found]
    if len(_known) >= MOST:
        _known.clear()
    _known[names] = new = _Names(len(found), sum(map(len, found)) + 4 * len(found), values)
    return new


def _plainly(variables: dict[str, Any]) -> tuple[int, int]:
    found = [(name, value) for name, value in variables.items() if type(value) is str and name.isupper()]
    return len(found), sum(len(name) + len(value) + 4 for name, value in found)
