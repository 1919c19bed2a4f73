"""Each file in ``corpus`` shows one thing of the configuration language, and must mean the same to both.

``corpus/cases.toml`` has what needs more than a file: command lines, environments, standard inputs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from .decisions import DECISIONS
from .oracle import Answer, Case, Refused, Shown, ask_command, ask_in_process, ask_uwsgi, ask_uwsgi_process

CORPUS = Path(__file__).with_name("corpus")
FORMATS = {".ini": "--ini", ".xml": "--xml", ".yaml": "--yaml", ".yml": "--yaml", ".json": "--json", ".js": "--json"}


@dataclass(frozen=True)
class Question:
    """A case as the corpus tells it; ``{…}`` in the words of the command line are still to be filled in."""

    argv: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    stdin: str | None = None
    fd: str | None = None


def _questions() -> dict[str, Question]:
    """All of them by name: the file's, or the one that it has in ``cases.toml``."""
    found = {}
    for path in sorted(CORPUS.rglob("*")):
        name = str(path.relative_to(CORPUS))
        if path.suffix in FORMATS and not name.startswith("parts/"):
            found[name] = Question([FORMATS[path.suffix], name])
    told: dict[str, dict[str, Any]] = tomllib.loads((CORPUS / "cases.toml").read_text(encoding="utf-8"))
    return found | {name: Question(**values) for name, values in told.items()}


QUESTIONS = _questions()


@dataclass(frozen=True)
class Place:
    """Where the questions are asked: a copy of the corpus, and a server that gives its files."""

    directory: Path
    server: str

    def ask(self, question: Question, ask: Callable[[Case], Answer]) -> Answer:
        with ExitStack() as stack:
            words = {"{directory}": str(self.directory), "{server}": self.server}
            fds: tuple[int, ...] = ()
            if question.fd is not None:
                fd = os.open(self.directory / question.fd, os.O_RDONLY)
                stack.callback(os.close, fd)
                fds = (fd,)
                words["{fd}"] = str(fd)
            if "{pipe}" in question.argv:
                words["{pipe}"] = stack.enter_context(self._pipe())
            argv = question.argv
            for word, meaning in words.items():
                argv = [each.replace(word, meaning) for each in argv]
            stdin = None if question.stdin is None else (self.directory / question.stdin).read_bytes()
            return ask(Case(self.directory, tuple(argv), question.environ, stdin, fds))

    @contextmanager
    def _pipe(self) -> Iterator[str]:
        """A named pipe that somebody writes a configuration to: the same for both, for its inode shows."""
        path = self.directory / "pipe.ini"
        if not path.exists():
            os.mkfifo(path)
        writer = subprocess.Popen(["/bin/sh", "-c", "cat parts/magic.ini > pipe.ini"], cwd=self.directory)
        try:
            yield path.name
        finally:
            writer.kill()
            writer.wait()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    directory = tmp_path_factory.mktemp("corpus") / "corpus"
    shutil.copytree(CORPUS, directory, symlinks=True)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=str(directory))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield Place(directory, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()


def compare(theirs: Answer, ours: Answer) -> str | None:
    """What differs, for a person to read; ``None``: they agree. Why something is refused may be told differently."""
    if isinstance(theirs, Refused) and isinstance(ours, Refused):
        return None
    if theirs == ours:
        return None
    return f"\n--- uwsgi\n{_told(theirs)}\n--- imperator\n{_told(ours)}"


def _told(answer: Answer) -> str:
    return answer.text if isinstance(answer, Shown) else f"refused ({answer.code}): {answer.why}"


@pytest.mark.parametrize("name", sorted(QUESTIONS))
def test_the_same_is_understood(place: Place, name: str) -> None:
    question = QUESTIONS[name]
    ask_imperator = ask_in_process if question.stdin is None else ask_command
    difference = compare(place.ask(question, ask_uwsgi), place.ask(question, ask_imperator))
    if name in DECISIONS:
        assert difference is not None, f"no longer a difference: {DECISIONS[name]}"
    else:
        assert difference is None, difference


COMMAND = [
    "ini/repeated_keys.ini",
    "xml/elements.xml",
    "yaml/scalars.yaml",
    "json/strings.json",
    "placeholders/sum.ini",
    "logic/for.ini",
    "includes/every_format.ini",
    "strictness/unknown_key.ini",
    "includes/missing.ini",
    "name-with-section",
    "positional-files",
    "options/exit.ini",
    "options/exit_well.ini",
    "option-unknown",
    "options-by-letters-together",
    "environment-before-the-command-line",
    "descriptor",
]
"""Asked about through the command, too: what the process adds to the language is the same for all."""


@pytest.mark.parametrize("name", COMMAND)
def test_the_command_says_the_same(place: Place, name: str) -> None:
    theirs, ours = place.ask(QUESTIONS[name], ask_uwsgi), place.ask(QUESTIONS[name], ask_command)
    assert compare(theirs, ours) is None, compare(theirs, ours)
    if isinstance(theirs, Refused) and isinstance(ours, Refused):
        assert ours.code == theirs.code
        assert "Traceback" not in ours.why


@pytest.mark.parametrize("name", COMMAND)
def test_the_original_says_the_same_however_it_is_started(place: Place, name: str) -> None:
    """Forked from one that was loaded before, or started for this question alone."""
    assert place.ask(QUESTIONS[name], ask_uwsgi) == place.ask(QUESTIONS[name], ask_uwsgi_process)


def test_decisions_are_about_something() -> None:
    assert not set(DECISIONS) - set(QUESTIONS)


def test_the_corpus_is_large() -> None:
    assert len(QUESTIONS) >= 400
