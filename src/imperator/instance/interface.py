"""Which interface a Python callable speaks: WSGI, ASGI or RSGI.

The rules:

* what an object declares counts before what it looks like: ``__rsgi__`` is RSGI;
* a coroutine function cannot be WSGI, and a plain function of two arguments can be nothing else;
* where a callable could be several (``*args``), and is no coroutine function, it is taken as WSGI: the options come
  from uWSGI, where there is nothing else. A coroutine function of two or three arguments is taken as ASGI.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from imperator.config.instance_settings import Interface
from imperator.config.records import record


@record
class Guess:
    """What a callable looks like. ``interface`` is ``None`` where it can be no application, ``sure`` is not a guess."""

    interface: Interface | None
    reason: str
    sure: bool = True


def guess(found: object) -> Guess:
    """Which interface an object speaks, from what it declares and from how it can be called."""
    if hasattr(found, "__rsgi__") and not inspect.isclass(found):
        return Guess("rsgi", "it has __rsgi__", sure=False)
    try:
        signature = inspect.signature(cast("Callable[..., Any]", found))
    except (TypeError, ValueError):
        return Guess("wsgi", "it does not say how it is called: taken as WSGI, as uWSGI does", sure=False)
    two, three = takes(signature, 2), takes(signature, 3)
    if _is_coroutine_function(found):
        if three:
            return Guess("asgi", "it is a coroutine function of (scope, receive, send)", sure=not two)
        return Guess("rsgi" if two else None, "it is a coroutine function of (scope, protocol)", sure=True)
    if two:
        named = list(signature.parameters)[:2]
        if not three or named[0] in ("environ", "env", "environment"):
            return Guess("wsgi", "it is called with (environ, start_response)")
        return Guess("wsgi", "it is no coroutine function: taken as WSGI, as uWSGI does", sure=False)
    if three:
        return Guess("asgi", "it is called with (scope, receive, send)", sure=False)
    return Guess(None, f"it is called with {signature}")


def takes(signature: inspect.Signature, count: int) -> bool:
    """Whether a call with so many positional arguments would fit."""
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _is_coroutine_function(found: object) -> bool:
    while hasattr(found, "func") and hasattr(found, "keywords"):  # functools.partial
        found = found.func
    if inspect.isclass(found):
        return False
    return inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(getattr(found, "__call__", None))  # noqa: B004
