"""The configuration language: from a command line, an environment and files to options in order, expanded.

The order is the original's (core/uwsgi.c, ``uwsgi_setup``), and it matters:

1. ``UWSGI_…`` variables, then the command line, are taken in from left to right. An *immediate* option acts as soon as
   it is met: ``ini``, ``include`` and the like take in a whole file on the spot, ``set`` adds an option, ``for`` and
   ``if-…`` decide about the options after them until ``end…``.
2. Of everything that is not done with by then, ``$(…)`` is replaced, then ``@(…)``, then ``%(…)``.
3. Options act in their order, and from the first one again whenever one has added others. Only now ``inherit`` takes in
   its file, and nothing in that is expanded any more.

Magic variables (``%n``) have been put into a file's text before any of this. Nothing here knows what an option means,
apart from those of the language itself.
"""

from __future__ import annotations

import os

from imperator.config.custom import CustomOptions
from imperator.config.errors import ConfigurationError, ExitAsked
from imperator.config.expansion import Expansion
from imperator.config.formats import FORMATS, ROOT, format_of, parse, section
from imperator.config.given import COMMAND_LINE, LANGUAGE, Configuration, Given, Step
from imperator.config.logic import BUILT_IN_PLUGINS, Logic
from imperator.config.magic import Magic
from imperator.config.numbers import is_refused, leading_number
from imperator.config.options import (
    arity,
    is_immediate,
    is_of_uwsgi,
    is_option,
    name_of_letter,
    suggestion,
    unabbreviated,
)
from imperator.config.texts import Texts, scheme_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_NOT_OPTIONS = frozenset(
    {
        "UWSGI_RELOADS",
        "UWSGI_VASSALS_DIR",
        "UWSGI_EMPEROR_FD",
        "UWSGI_EMPEROR_FD_CONFIG",
        "UWSGI_BROODLORD_NUM",
        "UWSGI_EMPEROR_PROXY",
        "UWSGI_JAIL_PID",
        "UWSGI_ORIGINAL_PROC_NAME",
    }
)
"""What processes tell each other in the environment. (``UWSGI_BINARY_PATH`` is an option.)"""
_PLACEHOLDERS = frozenset({"set-placeholder", "set-ph"})
_CONTEXTS = frozenset({"blacklist", "end-blacklist", "whitelist", "end-whitelist"})
_NOT_TRUE = frozenset({"false", "off", "no", "0"})
_DEEPEST = 64
"""How many files may be open inside each other before it is called a cycle."""


def load(
    argv: Sequence[str],
    environ: Mapping[str, str],
    directory: str,
    *,
    program: str = "",
    further: Callable[[str], str | None] = lambda name: None,
    texts: Texts | None = None,
) -> Configuration:
    """Everything that a process started in ``directory`` was given. Raises ConfigurationError.

    ``further``: the values of placeholders that are set nowhere (see :mod:`imperator.config.variables`). ``texts``:
    what reads for it, where not everything may be read.
    """
    language = _Language(environ, directory, program, further, texts or Texts(environ, directory, program))
    try:
        language.environment()
        language.command_line(argv)
        language.expand()
        language.configure()
    except ConfigurationError as error:
        fallback = language.configuration.last("fallback-config")
        error.fallback = fallback.value if fallback is not None else None
        raise
    return language.configuration


class _Language:
    def __init__(
        self,
        environ: Mapping[str, str],
        directory: str,
        program: str,
        further: Callable[[str], str | None],
        texts: Texts,
    ) -> None:
        self.configuration = Configuration()
        self._environ = environ
        self._directory = directory
        self._texts = texts
        self._magic = Magic(directory, program)
        self._logic = Logic(environ, directory, self._first_value)
        self._expansion = Expansion(environ, self._texts, self._first_value, further)
        self._custom = CustomOptions()
        self._first: dict[str, Given] = {}
        """The first of each key: what a placeholder speaks of."""
        self._open: list[str] = []
        """The files that are being taken in, each by the one before it."""
        self._ways: dict[int, list[str]] = {}
        """For each ``inherit`` (by its place) the files that were open where it stands."""
        self._last_files: dict[str, str] = {}
        """By format: the file that ``ini = :section`` speaks of."""
        self._injected: dict[str, list[str]] = {"inject-before": [], "inject-after": []}
        self._blacklist: frozenset[str] = frozenset()
        self._whitelist: frozenset[str] | None = None
        self._strict = False
        self._count = 0
        """How many options there are that ``--show-config`` shows."""
        self._position: int | None = None
        """The option after the one that acts now; ``None``: they are still being taken in."""

    # -- what there is to take in

    def environment(self) -> None:
        for name, value in self._environ.items():
            if name.startswith("UWSGI_") and name not in _NOT_OPTIONS:
                self._add(Given(name.removeprefix("UWSGI_").lower().replace("_", "-"), value, name))

    def command_line(self, argv: Sequence[str]) -> None:
        """getopt_long(3): options and files may be mixed; a file named without an option comes after all options."""
        words = list(argv)
        files: list[str] = []
        while words:
            word = words.pop(0)
            if word == "--":
                files += words
                break
            if not word.startswith("-") or word == "-":
                files.append(word)
            elif word.startswith("--"):
                self._long_option(word, words)
            else:
                self._short_options(word, words)
        for file in files:
            if not file.startswith("["):
                self._take_in(file, COMMAND_LINE, None, sets_twins=False)

    def _long_option(self, word: str, words: list[str]) -> None:
        written, separator, value = word[2:].partition("=")
        name = unabbreviated(written, self._custom.names())
        if name is None:
            hint = suggestion(written) or "try --help"
            raise ConfigurationError(COMMAND_LINE, f"there is no option --{written}", hint)
        kind = self._arity(name)
        if separator:
            if kind == "none":
                raise ConfigurationError(COMMAND_LINE, f"--{name} takes no value", f"say --set {name}={value}")
            self._add(Given(name, value, COMMAND_LINE))
        elif kind == "required":
            self._add(Given(name, self._next(words, word), COMMAND_LINE))
        else:
            self._add(Given(name, None, COMMAND_LINE))

    def _arity(self, name: str) -> str:
        if is_option(name):
            return arity(name)
        return "required" if self._custom.takes_value(name) else "none"

    def _short_options(self, word: str, words: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            name = name_of_letter(letter)
            if name is None:
                raise ConfigurationError(COMMAND_LINE, f"there is no option -{letter}", "try --help")
            kind = arity(name)
            if kind == "none" or (kind == "optional" and not letters):
                self._add(Given(name, None, COMMAND_LINE))
                continue
            self._add(Given(name, letters or self._next(words, f"-{letter}"), COMMAND_LINE))
            break

    @staticmethod
    def _next(words: list[str], option: str) -> str:
        if not words:
            raise ConfigurationError(COMMAND_LINE, f"{option} needs a value")
        return words.pop(0)

    # -- one option

    def _first_value(self, key: str) -> str | None:
        self.configuration.consulted.add(key)
        given = self._first.get(key)
        return None if given is None else given.value

    def _is_option(self, name: str) -> bool:
        return is_option(name) or name in self._custom

    def _add(self, given: Given) -> None:
        """Take in one option, unless logic decides otherwise."""
        self._refuse_forbidden(given)
        decided = self._logic.decide(given)
        if decided is None:
            self._keep(given)
            return
        self._logic.running = True
        for each in decided:
            self._refuse_forbidden(each)
            self._keep(each)
        self._logic.running = False

    def _refuse_forbidden(self, given: Given) -> None:
        if given.key.lower() in self._blacklist:
            raise ConfigurationError(given.where, f"{given.key} is forbidden here by a blacklist")
        if self._whitelist is not None and given.key.lower() not in self._whitelist:
            raise ConfigurationError(given.where, f"{given.key} is forbidden here: it is not on the whitelist")

    def _keep(self, given: Given) -> None:
        if given.key == "inherit":
            self._ways[id(given)] = list(self._open)
        self.configuration.given.append(given)
        self._count += 1
        self._first.setdefault(given.key, given)
        if given.placeholder:
            if is_of_uwsgi(given.key) or given.key in self._custom:
                text = f"{given.key} cannot be a placeholder: it is an option"
                raise ConfigurationError(given.where, text, "choose another name")
            given.done = True
        elif self._logic.begins(given.key) or is_immediate(given.key) or given.key in self._custom:
            given.done = True
            self._act(given)
        else:
            self._refuse_unknown(given)

    def _refuse_unknown(self, given: Given) -> None:
        if self._strict and not self._is_option(given.key):
            hint = suggestion(given.key) or "set-ph sets placeholders"
            raise ConfigurationError(given.where, f"strict: there is no option {given.key}", hint)

    def _act(self, given: Given) -> None:
        """What an option of the language does."""
        key, value = given.key, given.text
        if self._logic.starts(given):
            if key == "for-readline":
                self._texts.allows(value, given.where, "lines")
        elif key in ("include", "config", "inherit") or key in FORMATS:
            # A file that is loaded as such, by its format, sets the upper-case twins; an included one does not.
            form = FORMATS.get(key) or (format_of(value) or "ini" if key == "config" else None)
            self._take_in(value, given.where, form, sets_twins=key not in ("include", "inherit"), by=given)
        elif key == "set" or key in _PLACEHOLDERS:
            name, separator, value = value.partition("=")
            if not separator:
                raise ConfigurationError(given.where, f"{key} = {value or name}: NAME=VALUE was expected")
            steps = (*given.steps, Step(f"{key} = {given.text}", value))
            self._add(Given(name, value, given.where, steps, placeholder=key in _PLACEHOLDERS, via=given.via))
        elif key == "strict":
            self._strict = value.lower() not in _NOT_TRUE
        elif key in _CONTEXTS:
            self._context(key, value)
        elif key in self._injected:
            self._injected[key].append(value)
        elif key in ("declare-option", "declare-option2"):
            self.configuration.declared.add(self._custom.declare(given))
        elif key == "resolve":
            if self._texts.allows(value, given.where, "host"):
                self._keep(self._expansion.resolved(given))
        elif not is_option(key):
            for each in self._custom.stands_for(given):
                each.done = self._position is None
                self._manage(each)
        else:
            self._refuse(given)

    def _manage(self, given: Given) -> bool:
        """Let an option act that is in no file, or has waited until everything was there; ``False``: it is none."""
        self._refuse_unknown(given)
        if not self._is_option(given.key):
            return False
        if given.derived and given.key not in LANGUAGE and is_option(given.key):
            there = self.configuration.given
            there.insert(len(there) if self._position is None else self._position, given)
        self._act(given)
        return True

    @staticmethod
    def _refuse(given: Given) -> None:
        """What the original ends at, whatever else there is."""
        if given.key == "exit":
            raise ExitAsked(given.where, 1 if given.value is None else leading_number(given.value) & 0xFF)
        if given.key in ("need-plugin", "need-plugins"):
            for name in filter(None, given.text.split(",")):
                if name not in BUILT_IN_PLUGINS:
                    raise ConfigurationError(given.where, f"{given.key} = {name}: there is no such plugin")
        if given.value is not None and is_refused(given.key, given.value):
            raise ConfigurationError(given.where, f"{given.key} = {given.value}: cannot be less than 0")

    def _context(self, key: str, value: str) -> None:
        names = frozenset(word for word in value.lower().split(" ") if word)
        match key:
            case "blacklist":
                self._blacklist = names
            case "whitelist":
                self._whitelist = names
            case "end-blacklist":
                self._blacklist = frozenset()
            case "end-whitelist":
                self._whitelist = None

    # -- one file

    def _take_in(self, name: str, where: str, form: str | None, *, sets_twins: bool, by: Given | None = None) -> None:
        """Take in a file, ``file:section`` or ``:section`` of the file before. ``form``: its format, if it is said."""
        head, asked = self._split(name)
        form = form or format_of(head) or (None if head else "ini")
        if form is None:
            known = " ".join(sorted({f".{ending}" for ending in FORMATS}))
            text = f"{name}: its format is not known from its name (the endings are {known})"
            raise ConfigurationError(where, text, "say --ini, --yaml, … before it")
        if form == "xml" and name.endswith(":"):
            raise ConfigurationError(where, f"{name}: the id after the colon is missing")
        path = head or self._last_files.get(form, "")
        if not path:
            raise ConfigurationError(where, f"{name}: there is no file before this that it could be a section of")
        identity = f"{path}:{asked or ROOT}"
        if identity in self._open or len(self._open) >= _DEEPEST:
            raise ConfigurationError(where, f"{name} includes itself", " → ".join([*self._open, identity]))
        is_first = self._magic.enter(head, asked, sets_twins=sets_twins)
        self._last_files[form] = path
        if not self._texts.allows(path, where, "options"):
            return
        text = self._text(path, where)
        if path not in self.configuration.files:
            self.configuration.files.append(path)
        found = section(text, path, form, asked)
        self._open.append(identity)
        if not found.is_there:
            self._note_missing(path, asked or ROOT, text, form)
        for entry in found.entries:
            self._add(Given(entry.key, entry.value, f"{path}:{entry.line}", via=tuple(self._open[:-1])))
        self._open.pop()
        self.configuration.notes += found.notes
        if head != name and found.forgets_itself and by is not None:
            by.value = path
        elif is_first:
            self._magic.values["O"] = name

    def _text(self, path: str, where: str) -> str:
        """The text with its magic variables put in, and what is to be injected into every text."""
        before, after = (
            b"".join(self._texts.read(each, where) for each in self._injected[key]) for key in self._injected
        )
        content = before + self._texts.read(path, where) + after
        return self._magic.put_into(content).decode(errors="surrogateescape")

    def _note_missing(self, path: str, asked: str, text: str, form: str) -> None:
        """No error: an empty file is a vassal whose options all come from elsewhere."""
        try:
            there = list(parse(text, path, form).sections)
        except ConfigurationError as error:
            there = []
            self._note(error.where, error.text)
        others = ", ".join(f"[{name}]" for name in there if name)
        text = f"there is no [{asked}] section, so nothing of it counts" + (f"; there is {others}" if others else "")
        self._note(path, text)

    def _note(self, where: str, text: str) -> None:
        from imperator.config.note import Note

        self.configuration.notes.append(Note(where, text))

    def _split(self, name: str) -> tuple[str, str | None]:
        """The file and its section: what stands after the last colon, unless only the whole is a file's name."""
        head, colon, asked = name.rpartition(":")
        if not colon or (scheme_of(name) is not None and "/" in asked):
            return name, None
        if scheme_of(name) is None and head and not self._exists(head) and self._exists(name):
            return name, None
        return head, asked or None

    def _exists(self, name: str) -> bool:
        return os.path.exists(os.path.join(self._directory, name))

    # -- afterwards

    def expand(self) -> None:
        self._expansion.expand(self.configuration.given)

    def configure(self) -> None:
        """Let all options act that have waited: templates, what was declared late. Others are only looked at."""
        managed: set[int] = set()
        self._position = 0
        while self._position < len(self.configuration.given):
            given = self.configuration.given[self._position]
            self._position += 1
            if given.done or given.derived or id(given) in managed:
                continue
            count = self._count
            if given.key == "inherit":
                given.done = True
                self._open = self._ways.get(id(given), [])
            if self._manage(given):
                managed.add(id(given))
            self._open = []
            if self._count != count:
                self._position = 0
        self.configuration.notes += self._texts.notes
