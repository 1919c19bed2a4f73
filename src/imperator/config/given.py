"""What the configuration language makes of everything it was given: options in order, each with its history.

This is the hand-over from the language (how a value came to be) to the catalogue (what an option means).

These are plain classes, and the modules of the language import as little as they can: all of it is loaded at each start
of each vassal, and ``dataclasses`` alone would cost more than the reading of a file.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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


class Step:
    """One thing that happened to a value on its way: ``what`` was done, and what the ``value`` was after it."""

    __slots__ = ("value", "what")

    def __init__(self, what: str, value: str) -> None:
        self.what = what
        self.value = value


class Given:
    """One option as it was given. ``value`` is ``None`` where only the key was (on the command line)."""

    __slots__ = ("derived", "done", "key", "placeholder", "steps", "value", "via", "where")

    def __init__(
        self,
        key: str,
        value: str | None,
        where: str,
        steps: tuple[Step, ...] = (),
        done: bool = False,
        placeholder: bool = False,
        derived: bool = False,
        via: tuple[str, ...] = (),
    ) -> None:
        self.key = key
        self.value = value
        self.where = where
        """``file:line``, ``command line``, or the name of the environment variable."""
        self.steps = steps
        self.done = done
        """It was acted on as soon as it was met (a file included, a placeholder set): nothing in it is expanded."""
        self.placeholder = placeholder
        """It was set as a placeholder, and is no option even if it is called like one."""
        self.derived = derived
        """A declared option stands for it: it counts, and is not shown."""
        self.via = via
        """The files that included this one's, the outermost first."""

    def __repr__(self) -> str:
        return f"Given({self.key!r}, {self.value!r}, {self.where!r})"

    def with_value(self, value: str | None, *steps: Step) -> Given:
        """The same with another value, and the further steps that made it."""
        steps = (*self.steps, *steps)
        return Given(self.key, value, self.where, steps, self.done, self.placeholder, self.derived, self.via)

    @property
    def text(self) -> str:
        """The value, ``true`` where only the key was given."""
        return "true" if self.value is None else self.value


class Configuration:
    """All options of one instance (or Emperor), in the order in which they were met, expanded."""

    __slots__ = ("consulted", "declared", "files", "given", "notes")

    def __init__(
        self,
        given: list[Given] | None = None,
        files: list[str] | None = None,
        consulted: set[str] | None = None,
        notes: list[Note] | None = None,
    ) -> None:
        self.given = given or []
        self.files = files or []
        """Every file that was read, the first one first: an edit of any of them is an edit of this configuration."""
        self.consulted = consulted or set()
        """The keys that a placeholder spoke of."""
        self.declared: set[str] = set()
        """The options that it has declared for itself (``declare-option``)."""
        self.notes = notes or []
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
