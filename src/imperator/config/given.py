"""What the configuration language makes of everything it was given: options in order, each with its history.

This is the hand-over from the language (how a value came to be) to the catalogue (what an option means).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from imperator.config.note import Note

COMMAND_LINE = "command line"

LOOPS = frozenset({"for", "for-glob", "for-times", "for-readline"})
CONDITIONS = frozenset(
    f"if-{negated}{what}"
    for negated in ("", "not-")
    for what in ("opt", "env", "reload", "hostname", "hostname-match", "exists", "plugin", "file", "dir")
)
CONDITION_ALIASES = {
    "ifenv": "if-env",
    "ifexists": "if-exists",
    "ifplugin": "if-plugin",
    "ifdir": "if-dir",
    "if-directory": "if-dir",
}
ENDS = frozenset({"end", "endfor", "endif", "end-if", "end-for"})
LANGUAGE = frozenset(
    {
        *(LOOPS | CONDITIONS | ENDS),
        *CONDITION_ALIASES,
        *(
            "ini",
            "xml",
            "xmlconfig",
            "yaml",
            "yml",
            "yaml-config",
            "json",
            "js",
            "toml",
            "config",
            "include",
            "inherit",
        ),
        *("set", "set-placeholder", "set-ph", "declare-option", "declare-option2", "resolve", "strict"),
        *(
            "inject-before",
            "inject-after",
            "blacklist",
            "end-blacklist",
            "whitelist",
            "end-whitelist",
            "show-config",
            "no-server",
        ),
    }
)
"""The words of the language itself: they say how to read, and nothing about what to run."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a value on its way: ``what`` was done, and what the ``value`` was after it."""

    what: str
    value: str


@dataclass(slots=True)
class Given:
    """One option as it was given. ``value`` is ``None`` where only the key was (on the command line)."""

    key: str
    value: str | None
    where: str
    """``file:line``, ``command line``, or the name of the environment variable."""
    steps: tuple[Step, ...] = ()
    done: bool = False
    """It was acted on as soon as it was met (a file was included, a placeholder set): nothing in it is expanded."""
    placeholder: bool = False
    """It was set as a placeholder, and is no option even if it is called like one."""
    derived: bool = False
    """A declared option stands for it: it counts, and is not shown."""
    via: tuple[str, ...] = ()
    """The files that included this one's, the outermost first."""

    @property
    def text(self) -> str:
        """The value, ``true`` where only the key was given."""
        return "true" if self.value is None else self.value


@dataclass(slots=True)
class Configuration:
    """All options of one instance (or Emperor), in the order in which they were met, expanded."""

    given: list[Given] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    """Every file that was read, the first one first: an edit of any of them is an edit of this configuration."""
    consulted: set[str] = field(default_factory=set)
    """The keys that a placeholder spoke of."""
    notes: list[Note] = field(default_factory=list)
    """What a person should know and what is no error."""

    def __iter__(self) -> Iterator[Given]:
        return iter(self.given)

    def meant(self) -> Iterator[Given]:
        """The options that are not the language's own: what is left to act on."""
        return (given for given in self._acting() if given.key not in LANGUAGE and not given.placeholder)

    def _acting(self) -> Iterator[Given]:
        """In the order in which they act: what a declared option stands for has acted when that was met."""
        yield from (given for given in self.given if given.derived and given.done)
        yield from (given for given in self.given if not (given.derived and given.done))

    def last(self, key: str) -> Given | None:
        """The last of this key, which is the one that counts where an option has one value."""
        return next((given for given in reversed(list(self._acting())) if given.key == key), None)

    def values(self, key: str) -> list[str]:
        """Every value of this key."""
        return [given.text for given in self._acting() if given.key == key]
