"""``dir://PATH``: every configuration file of one directory. Vassals are called as their files, and start in it."""

from __future__ import annotations

import os
from collections.abc import Iterator

from imperator.monitors.api import MonitorOptions
from imperator.monitors.filemonitor import FileMonitor, Unreadable
from imperator.monitors.files import file_of, is_vassal_name
from imperator.monitors.interests import ANY, News
from imperator.monitors.routes import Step, route
from imperator.reign.names import SourceName


class DirectoryMonitor(FileMonitor):
    """One directory, which need not be there yet, may go away and come back, and may be behind symlinks."""

    def __init__(self, argument: str, options: MonitorOptions) -> None:
        super().__init__(SourceName(argument), options)
        self._path = os.path.normpath(os.path.join(options.start_directory, argument))
        self._real = self._path

    def territory(self) -> list[Step]:
        steps = route(self._path)
        self._real = os.path.realpath(self._path)
        return [*steps, (self._real, ANY)] if os.path.isdir(self._real) else steps

    def entries(self) -> Iterator[tuple[str, str]]:
        self._real = os.path.realpath(self._path)
        try:
            with os.scandir(self._real) as listing:
                names = [entry.name for entry in listing if is_vassal_name(entry.name, self.options)]
        except FileNotFoundError:
            raise Unreadable(f"{self._path} is not there (yet); its vassals go on, and it is watched for") from None
        except NotADirectoryError:
            raise Unreadable(f"{self._path} is no directory") from None
        except OSError as error:
            raise Unreadable(f"{self._path} cannot be read: {error.strerror}") from error
        names.sort()
        for name in names:
            yield name, os.path.join(self._real, name)

    def name_of(self, news: News) -> str | None:
        if not news.name:
            return None
        extension = self.options.on_demand_extension
        name = news.name
        if extension is not None and name.endswith(extension):
            name = file_of(name.removesuffix(extension), self.options)
        if is_vassal_name(name, self.options):
            return name
        # A step on the way to the directory has the key of the territory as well: was it replaced?
        on_the_way = news.directory != self._real and self._is_another()
        return None if on_the_way else ""

    def _is_another(self) -> bool:
        """The path leads to another directory than the one that is watched."""
        return os.path.realpath(self._path) != self._real or not os.path.isdir(self._real)

    def path_of(self, name: str) -> str:
        return os.path.join(self._real, name)

    def directory_of(self, name: str) -> str:
        return self._real

    def places(self) -> list[str]:
        return [self._real]
