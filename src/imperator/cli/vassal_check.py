"""What can be said of a vassal's configuration without being the vassal: read as it would read it, and run nothing.

This works in a process of its own (:mod:`imperator.cli.apart`). What depends on something that was not looked into is
not judged.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from imperator.cli.access import Person
from imperator.cli.addresses import Claim, claims_of
from imperator.cli.careful_texts import CarefulTexts, NotLookedInto, uncertain, unset_variables
from imperator.cli.findings import Severity
from imperator.cli.templates import does_nothing
from imperator.cli.vassal_paths import look_at_paths
from imperator.cli.vassal_python import look_at_python
from imperator.cli.vassal_surroundings import Surroundings
from imperator.config import options_uwsgi
from imperator.config.catalogue import BY_NAME, INSTANCE_BY_NAME
from imperator.config.errors import ConfigurationError
from imperator.config.formats import FORMATS, parse
from imperator.config.given import COMMAND_LINE, CONDITION_ALIASES, CONDITIONS, ENDS, LOOPS, Configuration, Given
from imperator.config.instance_loader import Reading, read_instance
from imperator.config.instance_settings import InstanceSettings
from imperator.config.language import load
from imperator.instance.choice import Installed, NoEngine, choose, installed
from imperator.monitors.sections import vassals_in

MOST_FINDINGS: Final = 50
"""Of one file: who has more knows enough."""
_LONGEST_TEXT: Final = 600
_MOST_SUGGESTIONS: Final = 20
_NEGATIVE: Final = "cannot be less than 0"
_NEEDED_PLUGINS: Final = frozenset({"need-plugin", "need-plugins"})
_DAEMONIZING: Final = frozenset({"daemonize", "daemonize2"})
_SUB_EMPERORS: Final = frozenset({"emperor", "vassals", "imperial-monitor-list"})
_WITH_FORMATS: Final = frozenset({"log_format", "env", "hook_as_user"})
"""Fields whose values may hold ``%(…)`` that is no placeholder."""

Say = Callable[[Severity, str, str], None]
"""Severity, place (``file:line``) and text of one finding."""


@dataclass(frozen=True, slots=True)
class Question:
    """One vassal: how it would be started, and by whom."""

    path: str
    """As a person knows the file."""
    file: str
    """The file as the vassal's command line has it."""
    arguments: list[str]
    directory: str
    """Where it would be started."""
    uid: int
    gid: int
    initgroups: bool
    """As whom it would be started."""
    is_stranger: bool
    """The file is not read with the rights that the vassal would have, but with its owner's."""
    own_python: bool
    """The vassal's program is of this Python."""
    on_demand: bool = False
    """The Emperor has on-demand vassals: this may be one, with a socket that its file says nothing of."""
    sections: bool | None = False
    """``emperor-sections``, for a file that may be divided: perhaps it is not one vassal but several."""


@dataclass(slots=True)
class Answer:
    """What was found."""

    findings: list[tuple[Severity, str, int | None, str]] = field(default_factory=list)
    """Severity, file, line, text."""
    claims: list[Claim] = field(default_factory=list)
    """The addresses that it would listen on."""
    files: list[str] = field(default_factory=list)
    """The real paths of the files that it takes in, its own excepted."""
    looks_like_template: bool = False
    uwsgi_only: list[str] = field(default_factory=list)
    sections: list[str] = field(default_factory=list)
    """The sections that are vassals: then nothing else was looked at, and each of them is to be asked about."""


def warm_up(environ: Mapping[str, str]) -> None:
    """Import and look up what every vassal needs, once, for all processes that are forked afterwards.

    They may be somebody's who could not import it: it may be where only root gets to.
    """
    for form, text in (("ini", ""), ("toml", ""), ("yaml", "a: b"), ("json", "{}"), ("xml", "<uwsgi/>")):
        parse(text, "", form)
    person = Person(os.geteuid(), os.getegid(), initgroups=True)
    arguments = ["--module", "os", "--mount", "/=x:y", "--http-socket", "127.0.0.1:0"]
    look_at(Question("/", "", arguments, "/", person.uid, person.gid, True, False, True), environ)
    _installed()


def answer(question: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """JSON to JSON, for the process apart."""
    return dataclasses.asdict(look_at(Question(**question), environ))


def understood(answer: Mapping[str, Any]) -> Answer:
    """The other way round."""
    fields = dict(answer)
    fields["claims"] = [Claim(**claim) for claim in answer["claims"]]
    fields["findings"] = [tuple(finding) for finding in answer["findings"]]
    return Answer(**fields)


def look_at(question: Question, environ: Mapping[str, str]) -> Answer:
    """Everything about one vassal."""
    return _Look(question, environ).answer()


class _Look:
    def __init__(self, question: Question, environ: Mapping[str, str]) -> None:
        self._question = question
        self._environ = environ
        self._texts = CarefulTexts(environ, question.directory, is_stranger=question.is_stranger)
        self._answer = Answer()
        self._omitted = 0

    def answer(self) -> Answer:
        if self._question.sections is not False:
            self._answer.sections = self._sections(self._question.sections)
            if self._answer.sections:
                return self._answer
        configuration = self._load()
        if configuration is not None:
            self._judge(configuration)
        for note in self._texts.unread:
            self._say("warning", note.where, note.text)
        found = self._answer.findings = list(dict.fromkeys(self._answer.findings))
        found.sort(key=lambda finding: (finding[1] != self._question.path, finding[1], finding[2] or 0))
        if len(found) > MOST_FINDINGS:
            text = f"and {len(found) - MOST_FINDINGS} more findings"
            worst: Severity = "error" if any(finding[0] == "error" for finding in found) else "warning"
            found[MOST_FINDINGS:] = [(worst, self._question.path, None, text)]
        return self._answer

    def _sections(self, wish: bool | None) -> list[str]:
        """Which sections the Emperor would make vassals of; none: the file is one vassal."""
        file = self._question.file
        reader = CarefulTexts(self._environ, self._question.directory)
        try:
            return vassals_in(parse(reader.read(file, file).decode(errors="surrogateescape"), file), wish) or []
        except (ConfigurationError, ValueError, RecursionError):
            return []  # then it is one vassal, of which the same is about to be told

    def _load(self) -> Configuration | None:
        question, texts = self._question, self._texts
        try:
            return load(question.arguments, self._environ, question.directory, further=self._texts.further, texts=texts)
        except NotLookedInto as error:
            self._say("warning", error.where, error.text)
        except ConfigurationError as error:
            self._say_error(error)
        except RecursionError:
            self._say("error", question.file, "it is nested too deeply to be read")
        except (ValueError, OverflowError, re.error) as error:  # what the language did not expect to be written
            self._say("error", question.file, f"it cannot be read: {error}")
        return None

    # -- where a finding belongs

    def _say(self, severity: Severity, where: str, text: str) -> None:
        path, line = self._place(where)
        if path is None:
            about_itself = where == COMMAND_LINE and self._question.file in text
            path, text = self._question.path, text if about_itself else f"{self._origin(where)}: {text}"
        if len(text) > _LONGEST_TEXT:
            text = text[:_LONGEST_TEXT] + "…"
        self._answer.findings.append((severity, path, line, text))

    @staticmethod
    def _origin(where: str) -> str:
        return "by the Emperor's options" if where == COMMAND_LINE else f"by the environment variable {where}"

    def _say_error(self, error: ConfigurationError) -> None:
        self._say("error", error.where, error.text + (f" ({error.hint})" if error.hint else ""))

    def _place(self, where: str) -> tuple[str | None, int | None]:
        """The file and line of ``file:line``; no file: the Emperor's options, or the environment."""
        if where == COMMAND_LINE:
            return None, None
        path, _, number = where.rpartition(":")
        if not number.isdecimal():
            path, number = where, ""
        line = int(number) if number else None
        if path == self._question.file:
            return self._question.path, line
        if path.startswith("UWSGI_") and line is None:
            return None, None
        beside = self._question.path.removesuffix(self._question.file)  # the directory, as a person knows it
        return os.path.normpath(os.path.join(beside, path)), line

    # -- what there is to say

    def _judge(self, configuration: Configuration) -> None:
        reading, unsure = self._read(configuration)
        for error in reading.errors:
            self._say_error(error)
        self._say_notes(configuration, reading)
        self._unclosed(configuration)
        self._unknown(reading.unknown, configuration)
        self._values(configuration, unsure)
        self._only_uwsgi(reading)
        names = {given.key for given in unsure}
        person = Person(self._question.uid, self._question.gid, self._question.initgroups)
        around = Surroundings(
            reading.settings,
            configuration,
            self._question.directory,
            self._environ,
            person,
            frozenset(names),
            self._question.is_stranger,
        )
        look_at_paths(around, self._say)
        if not around.is_elsewhere and not self._texts.unread_options:
            look_at_python(around, self._say, own_python=self._question.own_python)
        for claim in claims_of(around, self._say):
            path, line = self._place(claim.path)
            self._answer.claims.append(dataclasses.replace(claim, path=path or COMMAND_LINE, line=line))
        self._answer.files = [
            os.path.realpath(os.path.join(self._question.directory, path))
            for path in configuration.files
            if path != self._question.file
        ]
        self._answer.looks_like_template = (
            does_nothing(configuration, reading.settings, self._question.file) and not self._texts.unread_options
        )
        is_certain = not (unsure or reading.errors or self._texts.unread_options)
        if is_certain and not self._answer.looks_like_template:
            self._engine(reading.settings, configuration)

    def _read(self, configuration: Configuration) -> tuple[Reading, list[Given]]:
        """The settings, made of what is certain; and what is not."""
        unsure = uncertain(configuration)
        unsure += [given for given in configuration if "\0" in given.text and given not in unsure]
        for note in unset_variables(configuration, self._environ):
            self._say("warning", note.where, note.text)
        if unsure:
            doubtful = {id(given) for given in unsure}
            given = [given for given in configuration if id(given) not in doubtful]
            configuration = Configuration(given, configuration.files, configuration.consulted, configuration.notes)
        return read_instance(configuration, self._question.directory), unsure

    def _say_notes(self, configuration: Configuration, reading: Reading) -> None:
        """What the language and the settings have to say, except of files that were not looked into."""
        for note in dict.fromkeys((*configuration.notes, *reading.settings.notes)):
            self._say("warning", note.where, note.text)

    def _unclosed(self, configuration: Configuration) -> None:
        """Every ``for`` and ``if-…`` needs its end."""
        block: Given | None = None
        for given in configuration:
            key = CONDITION_ALIASES.get(given.key, given.key)
            if given.done and (key in LOOPS or key in CONDITIONS):
                block = given
            elif key in ENDS and block is None:
                self._say("warning", given.where, f"{given.key} has nothing to end: logic cannot be nested")
            elif key in ENDS:
                block = None
        if block is not None:
            text = f"{block.key} has no end, so it decides about everything that comes after it: write endif or endfor"
            self._say("warning", block.where, text)

    def _unknown(self, unknown: Sequence[Given], configuration: Configuration) -> None:
        told: set[tuple[str, str]] = set()
        for given in unknown:
            if given.where.startswith("UWSGI_") or given.key in self._texts.spoken_of:
                continue
            once = (given.key, given.where.rpartition(":")[0])
            if once in told:
                continue
            told.add(once)
            hint = nearest(given.key) if len(told) <= _MOST_SUGGESTIONS else None
            text = f"{given.key} is no option, and no placeholder uses it"
            self._say("warning", given.where, text + (f": did you mean {hint}?" if hint else ": it has no effect"))

    def _values(self, configuration: Configuration, unsure: Sequence[Given]) -> None:
        """What is odd about single values, whichever program acts on them."""
        doubtful = {id(given) for given in unsure}
        for given in configuration.meant():
            if "\0" in given.text:
                self._say("error", given.where, f"{given.key} = {given.text}: it holds a null character")
            if id(given) in doubtful:
                continue
            option = INSTANCE_BY_NAME.get(given.key)
            if option is not None and option.setting not in _WITH_FORMATS and not given.done:
                for name in _placeholders(given.text):
                    self._say(
                        "warning", given.where, f"{given.key} = {given.text}: nothing sets the placeholder {name}"
                    )
            if given.value == "" and options_uwsgi.arity(given.key) == "required":
                self._say("warning", given.where, f"{given.key} has no value")
            elif option is not None and option.kind == "integer" and given.text.strip().startswith("-"):
                self._say("error", given.where, f"{given.key} = {given.text}: {_NEGATIVE}")

    def _engine(self, settings: InstanceSettings, configuration: Configuration) -> None:
        """Whether Imperator would find an engine that can do all this."""
        question = self._question
        if not question.own_python or question.on_demand or "LISTEN_FDS" in self._environ:
            return
        if any(given.key in _SUB_EMPERORS for given in configuration):
            return
        try:
            choose(settings, _installed())
        except NoEngine as error:
            where = error.where if self._place(error.where)[1] is not None else question.file
            self._say("error", where, f"{error.text}" + (f" ({error.hint})" if error.hint else ""))

    def _only_uwsgi(self, reading: Reading) -> None:
        for what, where in reading.settings.uwsgi_only:
            key = what.partition(" ")[0]
            path, line = self._place(where)
            place = where if path is None else f"line {line}" if path == self._question.path else f"{path}:{line}"
            self._answer.uwsgi_only.append(f"{what} ({place})")
            if key in _NEEDED_PLUGINS:
                text = f"{what}: it is not built in, and a uwsgi that cannot load it does not start"
                self._say("warning", where, text)
            elif key in _DAEMONIZING:
                text = f"{key}: a vassal must stay with its Emperor, so this only says where the log goes: write logto"
                self._say("warning", where, text)


@lru_cache(maxsize=1)
def _installed() -> Installed:
    return installed()


def _placeholders(value: str) -> Iterator[str]:
    """``%(name)`` that is still in a value at the end: nobody has set it."""
    for part in value.split("%(")[1:]:
        name, bracket, _ = part.partition(")")
        if bracket and name and all(sign.isalnum() or sign in "-_." for sign in name):
            yield name


@lru_cache(maxsize=4096)
def nearest(key: str) -> str | None:
    """The option that was perhaps meant: ours or uWSGI's."""
    names = sorted({*INSTANCE_BY_NAME, *BY_NAME, *FORMATS, *LOOPS, *CONDITIONS, *options_uwsgi.names()})
    near = difflib.get_close_matches(key[:64].lower().replace("_", "-"), names, n=1, cutoff=0.75)
    return near[0] if near else None
