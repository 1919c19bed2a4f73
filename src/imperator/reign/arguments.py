"""The command line of a vassal: the original's, word for word, so any program that understood it still does.

``BINARY [--inherit T]… [--include I]… [--set K=V]… --ini NAME [--inherit T]… [--include I]…``

A vassal that is a section of a file is called ``FILE:SECTION``, which is also how a program is told to read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imperator.reign.wanted import Wanted

_FLAGS = {
    ".xml": "--xml",
    ".ini": "--ini",
    ".yml": "--yaml",
    ".yaml": "--yaml",
    ".js": "--json",
    ".json": "--json",
    ".toml": "--toml",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Livery:
    """What every vassal is dressed with: the binary, and the options that go before and after its own file."""

    binary: str
    wrapper_override: tuple[str, ...] = ()
    wrapper_fallback: tuple[str, ...] = ()
    wrapper_attribute: str | None = None
    inherit_before: tuple[str, ...] = ()
    include_before: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    inherit: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    extra_extensions: tuple[str, ...] = ()
    magic_exec: bool = False

    def binaries(self, wanted: Wanted) -> tuple[str, ...]:
        """The programs to try, first to last."""
        own = wanted.attributes.get(self.wrapper_attribute) if self.wrapper_attribute else None
        return (*self.wrapper_override, own or self.binary, *self.wrapper_fallback)

    def is_always(self, kind: Callable[[str], bool]) -> bool:
        """Whether every program that a vassal may become is of this kind."""
        every = (*self.wrapper_override, self.binary, *self.wrapper_fallback)
        return self.wrapper_attribute is None and all(map(kind, every))

    def arguments(self, wanted: Wanted) -> list[str]:
        """Everything after the program's name."""
        argv: list[str] = []
        for option, values in (
            ("--inherit", self.inherit_before),
            ("--include", self.include_before),
            ("--set", self.set),
        ):
            for value in values:
                argv += (option, value)
        argv += (self._config_flag(wanted.name), self._config_address(wanted))
        for option, values in (("--inherit", self.inherit), ("--include", self.include)):
            for value in values:
                argv += (option, value)
        return argv

    def _config_flag(self, name: str) -> str:
        if any(name.endswith(extension) for extension in self.extra_extensions):
            return "--config"
        return _flag_of(name) or _flag_of(name.rpartition(":")[0]) or "--inherit"

    def _config_address(self, wanted: Wanted) -> str:
        if self.magic_exec and wanted.executable:
            return f"exec://{wanted.name}"
        if wanted.config is not None:
            return f"emperor://{wanted.name}"
        return wanted.name


def _flag_of(name: str) -> str | None:
    return next((flag for extension, flag in _FLAGS.items() if name.endswith(extension)), None)
