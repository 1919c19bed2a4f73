"""``imperator explain FILE [KEY]``: what each option is in the end, where it was written, and what made it that."""

from __future__ import annotations

from pathlib import Path

import pytest

from imperator.cli.explain import FINE, SOMETHING_WRONG, USAGE, main

BLOG = """\
[uwsgi]
set-ph = base=/srv/$(SITE)
include = common.ini
socket = %(base)/%n.sock
processes = %(cores * 2)
processes = 3
for = a b
env = %(_)=1
endfor =
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SITE", "anna")
    (tmp_path / "blog.ini").write_text(BLOG)
    (tmp_path / "common.ini").write_text("[uwsgi]\ncores = 4\nchdir = %v\n")
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_one_option_with_each_step_that_made_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blog.ini", "socket"]) == FINE
    assert lines(capsys) == [
        "socket = /srv/$(SITE)/blog.sock",
        "blog.ini:4: socket = %(base)/%n.sock",
        "%(base) is /srv/$(SITE): /srv/$(SITE)/blog.sock",
    ]


def test_every_option_with_its_file_and_line(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    assert main(["blog.ini"]) in (FINE, SOMETHING_WRONG)  # whether it can be served is another question
    said = lines(capsys)
    assert f"chdir = {directory} ; common.ini:3" in said
    assert said[said.index(f"chdir = {directory} ; common.ini:3") + 1] == "; in a file that blog.ini:uwsgi includes"
    assert "env = a=1 ; blog.ini:8" in said
    assert said[said.index("env = a=1 ; blog.ini:8") + 1] == "; %(_) is a: a=1"
    assert "env = b=1 ; blog.ini:8" in said


def test_what_a_later_one_has_overtaken(capsys: pytest.CaptureFixture[str]) -> None:
    main(["blog.ini"])
    said = lines(capsys)
    assert "processes = 8 ; blog.ini:5 (without effect: blog.ini:6 comes later)" in said
    assert "processes = 3 ; blog.ini:6" in said
    assert not [line for line in said if line.startswith("env") and "without effect" in line]


def test_every_value_of_a_repeated_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blog.ini", "env"]) == FINE
    assert [line for line in lines(capsys) if line.startswith("env =")] == ["env = a=1", "env = b=1"]


def test_with_the_arguments_that_it_would_be_started_with(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blog.ini", "socket", "--", "--set-ph", "base=/run"]) == FINE
    assert lines(capsys)[0] == "socket = /run/blog.sock"


def test_a_section(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    (directory / "two.yaml").write_text("uwsgi:\n  module: one\ntwo:\n  module: other\n  env: N=%N\n")
    assert main(["two.yaml:two", "env"]) == FINE
    assert lines(capsys)[:2] == ["env = N=two", "two.yaml:5: env: N=%N"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.json", '{\n "uwsgi": {\n  "module": "app",\n  "env": [\n   "A=1",\n   "env"]\n }\n}\n'),
        ("x.toml", '[uwsgi]\nmodule = "app"\n\nenv = ["A=1"]\n'),
        ("x.xml", "<uwsgi>\n<module>app</module>\n\n<env>A=1</env>\n</uwsgi>\n"),
    ],
)
def test_the_line_in_every_format(capsys: pytest.CaptureFixture[str], directory: Path, name: str, text: str) -> None:
    (directory / name).write_text(text)
    assert main([name, "env"]) == FINE
    assert lines(capsys)[1].startswith(f"{name}:4: ")


def test_a_declared_option(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    (directory / "x.ini").write_text("[uwsgi]\ndeclare-option = site=chdir=/srv/$1;module=$1.wsgi\nsite = shop\n")
    assert main(["x.ini", "module"]) == FINE
    assert lines(capsys) == [
        "module = shop.wsgi",
        "x.ini:3: site = shop",
        "site = shop was declared to mean chdir=/srv/$1;module=$1.wsgi: shop.wsgi",
    ]


def test_variables_of_ours(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    (directory / "x.ini").write_text("[uwsgi]\nenv = NAME=%(vassal.name)\n")
    assert main(["x.ini", "env"]) == FINE
    assert lines(capsys)[0] == "env = NAME=x.ini"


def test_an_option_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blog.ini", "sockt"]) == SOMETHING_WRONG
    assert "blog.ini says nothing of sockt (did you mean socket?)" in capsys.readouterr().err


def test_a_cycle_shows_its_way(capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    (directory / "a.ini").write_text("[uwsgi]\ninclude = b.ini\n")
    (directory / "b.ini").write_text("[uwsgi]\nmodule = app\ninclude = a.ini\n")
    assert main(["a.ini"]) == SOMETHING_WRONG
    assert "b.ini:3: a.ini includes itself (a.ini:uwsgi → b.ini:uwsgi → a.ini:uwsgi)" in capsys.readouterr().err


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == USAGE
    assert "usage: imperator explain" in capsys.readouterr().err
