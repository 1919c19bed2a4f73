"""Configurations that nobody would write, each read by both: what the corpus does not think of.

The pieces are chosen so that they have to do with each other: few names, few values, all the signs that mean something.
``IMPERATOR_EXAMPLES`` says how many of each format (otherwise few, and always the same); what is found goes into the
corpus.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .oracle import Case, Refused, Shown, ask_in_process, ask_uwsgi
from .test_corpus import compare

EXAMPLES = int(os.environ.get("IMPERATOR_EXAMPLES", "0"))
ENVIRONMENT = {"ONE": "1", "WORD": "word", "A": "%(a)", "LOOKS": "$(ONE)", "FILE": "line.txt", "UWSGI_VASSAL_X": "y"}
FILES = {
    "line.txt": "one line\n",
    "lines.txt": "first\nsecond %n\n\n  fourth\r\n",
    "also.ini": "[uwsgi]\na = also\nalso = %n%x\n[two]\ntwo = %(a)\nini = :uwsgi\n",
    "also.yaml": "uwsgi:\n  a: also\n  yaml: %n%x\n",
    "also.json": '{"uwsgi": {"a": ["also", 2], "json": "%n%x"}}',
    "also.xml": "<uwsgi><a>also</a><xml-too>%n%x</xml-too></uwsgi>",
    "rest.ini": "[uwsgi]\nrest = %(a) %n\nset = late=$(ONE)\n",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated")
    for name, text in FILES.items():
        (path / name).write_text(text)
    (path / "sub").mkdir()
    return path


NAMES = ("a", "b", "c", "k-1", "module", "chdir")
OPTIONS = (*NAMES, "env", "processes", "master", "pythonpath", "touch-reload", "listen", "app", "late")

names = st.sampled_from(NAMES)
numbers = st.one_of(st.integers(-3, 9).map(str), st.sampled_from(["010", "x7", "9223372036854775807", "3000000000"]))
blanks = st.sampled_from(["", "", " ", "\t", "  "])
magic = st.sampled_from("dDeEnNsSpPoOcCxXvhVku g0123 9%[(z".replace(" ", "")).map(lambda letter: f"%{letter}")
operators = st.sampled_from(["+", "-", "*", "/", "++", "--", "", "a", "b", "2"])


def _pipeline(words: Sequence[str]) -> str:
    return "%(" + " ".join(words) + ")"


pipelines = st.lists(st.one_of(names, operators, numbers), min_size=1, max_size=5).map(_pipeline)
environment = st.sampled_from(["$(ONE)", "$(WORD)", "$(NOPE)", "$(A)", "$(LOOKS)", "$(FILE)", "$()", "$(O", "$"])
texts = st.sampled_from(["@(line.txt)", "@($(FILE))", "@(exec://echo said)", "@(data", "@()", "@", "@(%(f))"])
plain = st.text(alphabet="ab1 .=:;#()_/$%@-\"'é", max_size=6)
pieces = st.one_of(plain, plain, numbers, magic, environment, texts, pipelines, names.map("%({})".format))
values = st.lists(pieces, max_size=4).map("".join)


def _once(beginnings: st.SearchStrategy[tuple[str, str]]) -> st.SearchStrategy[list[tuple[str, str]]]:
    """A block of logic, with options in it, which mostly ends."""
    ends = st.sampled_from(["endif", "endfor", "end", "end-if", "end-for", "end", "endif", "b"])
    inside = st.lists(st.tuples(st.sampled_from(OPTIONS), st.one_of(values, st.just("%(_)x%(_)"))), max_size=3)
    return st.tuples(beginnings, inside, ends).map(lambda block: [block[0], *block[1], (block[2], "")])


words = st.lists(st.one_of(names, numbers), max_size=3).map(" ".join)
loops = st.one_of(
    st.tuples(st.just("for"), words),
    st.tuples(st.just("for-times"), numbers.filter(lambda number: len(number) < 4)),
    st.tuples(st.just("for-glob"), st.sampled_from(["*.txt", "./l*", "nope*", "su?", "[ls]*", "also.\\ini"])),
    st.tuples(st.just("for-readline"), st.sampled_from(["lines.txt", "nope.txt"])),
)
negation = st.sampled_from(["if-", "if-not-"])
assignments = st.tuples(st.sampled_from([*NAMES, "HOME", "ONE", "NOPE"]), st.sampled_from(["", "=", "=1", "=a"]))
conditions = st.one_of(
    st.tuples(negation, st.sampled_from(["opt", "env"]), assignments.map("".join)),
    st.tuples(negation, st.sampled_from(["exists", "file", "dir"]), st.sampled_from(["line.txt", "sub", "nope", ""])),
    st.tuples(negation, st.just("plugin"), st.sampled_from(["python", "nope"])),
    st.tuples(negation, st.just("hostname"), st.sampled_from(["%h", "nope"])),
    st.tuples(negation, st.just("reload"), st.just("")),
).map(lambda condition: (condition[0] + condition[1], condition[2]))
settings_of = st.tuples(
    st.sampled_from(["set", "set-placeholder", "set-ph"]),
    st.tuples(st.sampled_from([*NAMES, "p", "q", "f"]), st.just("="), values).map("".join),
)
includes = st.sampled_from(
    [
        *(("include", name) for name in FILES if "." in name and not name.endswith("txt")),
        *(("inherit", name) for name in ("rest.ini", "also.yaml", "also.json")),
        ("ini", "also.ini"),
        ("ini", "also.ini:two"),
        ("ini", "also.ini:nope"),
        ("ini", ":two"),
        ("ini", "nope.ini"),
        ("yaml", "also.yaml:uwsgi"),
        ("json", "also.json"),
        ("inject-before", "line.txt"),
        ("inject-after", "rest.ini"),
    ]
)
declared = st.sampled_from(
    [
        ("declare-option", "app=set=a=$1;set=b=[$2]"),
        ("declare-option", "app=module=$1;env=X=$2"),
        ("declare-option", "late=set=late=$1"),
        ("declare-option2", "late=set=b=$1"),
        ("app", "x y"),
        ("app", ""),
        ("late", "z"),
    ]
)
strictness = st.sampled_from(
    [
        ("strict", "true"),
        ("strict", "false"),
        ("blacklist", "a B"),
        ("end-blacklist", ""),
        ("whitelist", "a b module end-whitelist"),
        ("end-whitelist", ""),
    ]
)
ordinary = st.tuples(st.one_of(names, names, st.sampled_from(OPTIONS)), values)
Options = list[tuple[str, str]]


def _joined(parts: Sequence[Options]) -> Options:
    return [option for part in parts for option in part]


options = st.lists(
    st.one_of(
        *[st.lists(ordinary, min_size=1, max_size=3)] * 4,
        _once(loops),
        _once(conditions),
        settings_of.map(lambda option: [option]),
        settings_of.map(lambda option: [option]),
        includes.map(lambda option: [option]),
        declared.map(lambda option: [option]),
        strictness.map(lambda option: [option]),
    ),
    max_size=6,
).map(_joined)

# -- the formats

lines_of_ini = st.sampled_from(["", "; note", "# note", "  ", "=", "= x", "a", "a b", "[", "]", " a = 1", "a\t=\t1"])


@st.composite
def inis(draw: st.DrawFn) -> str:
    lines = []
    for name in draw(st.lists(st.sampled_from(["uwsgi", "uwsgi", "uwsgi", "two", "", "uwsgi "]), max_size=3)):
        lines.append(draw(blanks) + f"[{name}]")
        for key, value in draw(options):
            left, right = draw(blanks), draw(blanks)
            lines.append(f"{key}{left}={right}{value}" if value or draw(st.booleans()) else key)
            if draw(st.integers(0, 9)) == 0:
                lines.append(draw(lines_of_ini))
    return draw(st.sampled_from(["\n", "\n", "\r\n"])).join(lines) + draw(st.sampled_from(["\n", ""]))


def _yaml(given_options: Options) -> str:
    return "uwsgi:\n" + "".join(f"  {key}: {value}\n" for key, value in given_options)


def _xml(given_options: Options) -> str:
    lines = (f"<{key}>{value}</{key}>" if value else f"<{key}/>" for key, value in given_options)
    return "<uwsgi>\n" + "\n".join(lines) + "\n</uwsgi>\n"


def _json(given_options: Options) -> str:
    values_of: dict[str, list[str]] = {}
    for key, value in given_options:
        values_of.setdefault(key, []).append(value)
    return json.dumps(
        {"uwsgi": {key: several if len(several) > 1 else several[0] for key, several in values_of.items()}}
    )


def _is_plain_in_xml(value: str) -> bool:
    """No entities; and no other XML file, after which the original forgets the rest (decisions.py)."""
    return value == escape(value) and not value.endswith(".xml")


plain_yaml = options.map(lambda some: [(key, value) for key, value in some if value.strip() and "#" not in value])
plain_xml = options.map(lambda some: [option for option in some if _is_plain_in_xml(option[1])])
TEXTS = {
    "x.ini": inis(),
    "x.yaml": plain_yaml.map(_yaml),
    "x.xml": plain_xml.map(_xml),
    "x.json": options.map(_json),
}
FEW = {"x.ini": 300, "x.yaml": 100, "x.xml": 100, "x.json": 100}


@pytest.mark.parametrize("name", TEXTS)
def test_both_understand_the_same(directory: Path, name: str) -> None:
    option = f"--{name.partition('.')[2]}"

    @settings(
        max_examples=EXAMPLES or FEW[name],
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(TEXTS[name])
    def both(text: str) -> None:
        if text.endswith("%"):
            return  # the original reads beyond the end (decisions.py)
        (directory / name).write_bytes(text.encode())
        case = Case(directory, (option, name), ENVIRONMENT)
        theirs = ask_uwsgi(case)
        if isinstance(theirs, Refused) and (theirs.code < 0 or "backtrace" in theirs.why):
            return  # it has crashed, or would never have ended
        difference = compare(theirs, ask_in_process(case))
        assert difference is None, f"{difference}\n--- of\n{text}"

    both()


def test_what_is_generated_is_mostly_understood(directory: Path) -> None:
    """If the original refused nearly everything, the comparison would not say much."""
    understood = 0

    @settings(max_examples=100, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(TEXTS["x.ini"])
    def count(text: str) -> None:
        nonlocal understood
        (directory / "x.ini").write_bytes(text.encode())
        understood += isinstance(ask_uwsgi(Case(directory, ("--ini", "x.ini"), ENVIRONMENT)), Shown)

    count()
    assert understood > 50
