"""The configuration language: from a command line, an environment and files to options in order, expanded.

The order is the original's (core/uwsgi.c, ``uwsgi_setup``), and it matters:

1. ``UWSGI_…`` variables, then the command line, are taken in from left to right. An *immediate* option acts as soon as
   it is met: ``ini``, ``include`` and the like take in a whole file on the spot, ``set`` adds an option, ``for`` and
   ``if-…`` decide about the options after them until ``end…``.
2. Of everything that is not done with by then, ``$(…)`` is replaced, then ``@(…)``, then ``%(…)``.
3. Options act in their order. Only now ``inherit`` takes in its file, and nothing in that is expanded any more.

Magic variables (``%n``) have been put into a file's text before any of this. Nothing here knows what an option means,
apart from those of the language itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from imperator.config.catalogue import suggestion
from imperator.config.custom import CustomOptions
from imperator.config.errors import ConfigurationError
from imperator.config.expansion import Expansion
from imperator.config.formats import FORMATS, ROOT, format_of, parse
from imperator.config.given import COMMAND_LINE, Configuration, Given
from imperator.config.logic import Logic
from imperator.config.magic import Magic
from imperator.config.note import Note
from imperator.config.options import is_immediate, is_option, name_of_letter, takes_value, unabbreviated
from imperator.config.texts import Texts, scheme_of

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
_PLACEHOLDERS = frozenset({"set-placeholder", "set-ph"})
_CONTEXTS = frozenset({"blacklist", "end-blacklist", "whitelist", "end-whitelist"})
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
    language.environment()
    language.command_line(argv)
    language.expand()
    language.inherit()
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
        self._last_file: str | None = None
        self._blacklist: frozenset[str] = frozenset()
        self._whitelist: frozenset[str] | None = None
        self._strict = False

    # -- what there is to take in

    def environment(self) -> None:
        for name, value in self._environ.items():
            if name.startswith("UWSGI_") and name not in _NOT_OPTIONS and not name.startswith("UWSGI_VASSAL_"):
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
        name = written if is_option(written) else unabbreviated(written)
        if name is None:
            hint = suggestion(written) or "try --help"
            raise ConfigurationError(COMMAND_LINE, f"there is no option --{written}", hint)
        if separator:
            self._add(Given(name, value, COMMAND_LINE))
        elif takes_value(name):
            self._add(Given(name, self._next(words, word), COMMAND_LINE))
        else:
            self._add(Given(name, None, COMMAND_LINE))

    def _short_options(self, word: str, words: list[str]) -> None:
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            name = name_of_letter(letter)
            if name is None:
                raise ConfigurationError(COMMAND_LINE, f"there is no option -{letter}", "try --help")
            if not takes_value(name):
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

    def _add(self, given: Given) -> None:
        """Take in one option, unless logic decides otherwise."""
        self._refuse_forbidden(given)
        decided = self._logic.decide(given)
        if decided is None:
            self._keep(given)
            return
        with self._logic.running():
            for each in decided:
                self._keep(each)

    def _refuse_forbidden(self, given: Given) -> None:
        if given.key in self._blacklist:
            raise ConfigurationError(given.where, f"{given.key} is forbidden here by a blacklist")
        if self._whitelist is not None and given.key not in self._whitelist:
            raise ConfigurationError(given.where, f"{given.key} is forbidden here: it is not on the whitelist")

    def _keep(self, given: Given) -> None:
        self.configuration.given.append(given)
        self._first.setdefault(given.key, given)
        if given.placeholder:
            if is_option(given.key):
                text = f"{given.key} cannot be a placeholder: it is an option"
                raise ConfigurationError(given.where, text, "choose another name")
            given.done = True
        elif self._logic.starts(given) or is_immediate(given.key):
            given.done = True
            self._act(given)
        elif self._strict and not is_option(given.key):
            raise ConfigurationError(
                given.where,
                f"strict: there is no option {given.key}",
                suggestion(given.key) or "set-ph sets placeholders",
            )

    def _act(self, given: Given) -> None:
        """What an immediate option of the language does."""
        key, value = given.key, given.text
        if key in ("include", "config") or key in FORMATS:
            # A file that is loaded as such, by its format, sets the upper-case twins; an included one does not.
            form = FORMATS.get(key) or (format_of(value) or "ini" if key == "config" else None)
            self._take_in(value, given.where, form, sets_twins=key != "include")
        elif key == "set" or key in _PLACEHOLDERS:
            name, separator, value = value.partition("=")
            if not separator:
                raise ConfigurationError(given.where, f"{key} = {value or name}: NAME=VALUE was expected")
            self._keep(Given(name, value, given.where, placeholder=key in _PLACEHOLDERS))
        elif key == "strict":
            self._strict = True
        elif key in _CONTEXTS:
            self._context(key, value)
        elif key == "declare-option":
            self._custom.declare(given)
        elif key == "resolve":
            if self._texts.allows(value, given.where, "host"):
                self._keep(self._expansion.resolved(given))
        elif key == "for-readline":
            self._texts.allows(value, given.where, "lines")

    def _context(self, key: str, value: str) -> None:
        names = frozenset(value.split())
        match key:
            case "blacklist":
                self._blacklist = names
            case "whitelist":
                self._whitelist = names | {"end-whitelist"}
            case "end-blacklist":
                self._blacklist = frozenset()
            case "end-whitelist":
                self._whitelist = None

    # -- one file

    def _take_in(self, name: str, where: str, form: str | None, *, sets_twins: bool) -> None:
        """Take in a file, ``file:section`` or ``:section`` of the file before. ``form``: its format, if it is said."""
        path, section = self._split(name)
        form = form or format_of(path or self._last_file or "")
        if form is None:
            known = " ".join(sorted({f".{ending}" for ending in FORMATS}))
            text = f"{name}: its format is not known from its name (the endings are {known})"
            raise ConfigurationError(where, text, "say --ini, --yaml, … before it")
        identity = f"{path or self._last_file}:{section or ROOT}"
        if identity in self._open or len(self._open) >= _DEEPEST:
            raise ConfigurationError(where, f"{name} includes itself", " → ".join([*self._open, identity]))
        self._magic.enter(path, section, sets_twins=sets_twins)
        if not path and self._last_file is None:
            raise ConfigurationError(where, f"{name}: there is no file before this that it could be a section of")
        path = path or str(self._last_file)
        self._last_file = path
        if not self._texts.allows(path, where, "options"):
            return
        content = self._magic.put_into(self._texts.read(path, where))
        if path not in self.configuration.files:
            self.configuration.files.append(path)
        document = parse(content.decode(errors="surrogateescape"), path, form)
        self._open.append(identity)
        entries = document.sections.get(section or ROOT)
        if entries is None:
            self._note(path, section or ROOT, document.sections)
        for entry in entries or ():
            self._add(Given(entry.key, entry.value, f"{path}:{entry.line}", via=tuple(self._open[:-1])))
        self._open.pop()

    def _note(self, path: str, section: str, there: Iterable[str]) -> None:
        """No error: an empty file is a vassal whose options all come from elsewhere."""
        others = ", ".join(f"[{name}]" for name in there if name)
        text = f"there is no [{section}] section, so nothing of it counts" + (f"; there is {others}" if others else "")
        self.configuration.notes.append(Note(path, text))

    def _split(self, name: str) -> tuple[str, str | None]:
        """The file and its section: what stands after the last colon, unless there is a file called like that."""
        head, colon, section = name.rpartition(":")
        if not colon or (scheme_of(name) is not None and "/" in section):
            return name, None
        if scheme_of(name) is None and head and os.path.exists(os.path.join(self._directory, name)):
            return name, None
        return head, section or None

    # -- afterwards

    def expand(self) -> None:
        self._expansion.expand(self.configuration.given)

    def inherit(self) -> None:
        """The options that only act once all are there: templates, and options that were declared."""
        position = 0
        while position < len(self.configuration.given):
            given = self.configuration.given[position]
            position += 1
            if given.done:
                continue
            if given.key == "inherit":
                given.done = True
                self._take_in(given.text, given.where, None, sets_twins=False)
            elif given.key == "declare-option2":
                given.done = True
                self._custom.declare(given)
            else:
                self.configuration.given[position:position] = self._custom.stands_for(given)
