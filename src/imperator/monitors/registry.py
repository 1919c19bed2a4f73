"""Finds the monitor for a source: by its scheme, among the built-in ones and those that other packages add."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from importlib.metadata import entry_points

from imperator.monitors.api import Monitor, MonitorOptions
from imperator.monitors.directory import DirectoryMonitor
from imperator.monitors.pattern import GlobMonitor

GROUP = "imperator.monitors"

Factory = Callable[[str, MonitorOptions], Monitor]

_BUILT_IN: dict[str, Factory] = {"dir": DirectoryMonitor, "glob": GlobMonitor}


class UnknownScheme(ValueError):
    """Nobody watches such a source."""


def known_schemes() -> list[str]:
    """Every scheme that some monitor takes."""
    return sorted({*_BUILT_IN, *(point.name for point in entry_points(group=GROUP))})


def build_monitor(value: str, options: MonitorOptions) -> Monitor:
    """The monitor for one ``emperor = …`` value. Raises :class:`UnknownScheme`.

    Without a scheme it is a pattern if it has a wildcard or is a file, and else a directory (which may come later).
    """
    scheme, separator, argument = value.partition("://")
    if not separator:
        path = os.path.join(options.start_directory, value)
        is_pattern = glob.has_magic(value) or os.path.isfile(path)
        return (GlobMonitor if is_pattern else DirectoryMonitor)(value, options)
    if scheme in _BUILT_IN:
        return _BUILT_IN[scheme](argument, options)
    for point in entry_points(group=GROUP):
        if point.name == scheme:
            factory: Factory = point.load()
            return factory(argument, options)
    known = ", ".join(f"{name}://" for name in known_schemes())
    raise UnknownScheme(f"emperor = {value}: no monitor for {scheme}://; known are {known}")
