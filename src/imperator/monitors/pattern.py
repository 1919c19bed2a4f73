"""``glob://PATTERN``: every configuration file that a pattern matches. Vassals are called as their paths were globbed.

They start where the Emperor was started, as a relative pattern does.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from imperator.monitors.api import MonitorOptions
from imperator.monitors.filemonitor import FileMonitor
from imperator.monitors.files import file_of, is_vassal_name
from imperator.monitors.interests import ANY, News
from imperator.monitors.routes import Step, route
from imperator.reign.names import SourceName


@dataclass(frozen=True, slots=True)
class _Level:
    """A directory in which one component of the pattern is looked for."""

    shown: str
    """The directory as the pattern spells it."""
    component: str
    is_last: bool


class GlobMonitor(FileMonitor):
    """One pattern; directories that match a wildcard in its middle are picked up as they appear."""

    def __init__(self, argument: str, options: MonitorOptions) -> None:
        super().__init__(SourceName(argument), options)
        self._pattern = argument
        self._start = options.start_directory
        self._levels: dict[str, _Level] = {}

    def territory(self) -> list[Step]:
        """Every directory that a component of the pattern is looked for in, and the routes to them."""
        self._levels = {}
        steps: list[Step] = []
        components = [part for part in self._pattern.split("/") if part]
        shown = ["/" if self._pattern.startswith("/") else ""]
        for depth, component in enumerate(components):
            is_last = depth == len(components) - 1
            has_magic = glob.has_magic(component)
            for prefix in shown:
                place = os.path.realpath(os.path.join(self._start, prefix))
                self._levels[place] = _Level(prefix, component, is_last)
                steps.append((place, ANY if has_magic else component))
                if os.path.islink(os.path.join(self._start, prefix).rstrip("/")):
                    steps += route(os.path.join(self._start, prefix))
            below = (os.path.join(prefix, component) for prefix in shown)
            if has_magic:
                below = (match for pattern in below for match in sorted(glob.glob(pattern, root_dir=self._start)))
            shown = [match for match in below if os.path.isdir(os.path.join(self._start, match))]
        return steps

    def entries(self) -> Iterator[tuple[str, str]]:
        for match in sorted(glob.glob(self._pattern, root_dir=self._start)):
            if is_vassal_name(match, self.options):
                yield match, self.path_of(match)

    def name_of(self, news: News) -> str | None:
        level = self._levels.get(news.directory)
        if not news.name or level is None:
            return None
        name = news.name
        extension = self.options.on_demand_extension
        if level.is_last and extension is not None and name.endswith(extension):
            name = file_of(name.removesuffix(extension), self.options)
        if not fnmatchcase(name, level.component):
            return ""
        if not level.is_last:
            return None  # a directory came or went
        shown = os.path.join(level.shown, name)
        return shown if is_vassal_name(shown, self.options) else ""

    def path_of(self, name: str) -> str:
        return os.path.join(self._start, name)

    def directory_of(self, name: str) -> str:
        return self._start

    def places(self) -> list[str]:
        return [place for place, level in self._levels.items() if level.is_last]
