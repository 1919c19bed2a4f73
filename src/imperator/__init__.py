"""Imperator: runs many web applications on one server, one vassal for each configuration it finds.

The rooms of this package and the way of the data between them are described in ``docs/design.md``.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("imperator")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0.0.0+source"
