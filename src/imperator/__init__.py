"""Imperator: runs many web applications on one server, one vassal for each configuration it finds.

The rooms of this package and the way of the data between them are described in ``docs/design.md``.
"""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """``__version__`` is looked up when somebody asks: that takes longer than all else at the start of a vassal."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("imperator")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0.0.0+source"
