"""Which program a vassal is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imperator.court.binary import Binary, NoBinary, binary_of
from imperator.kernel import interpreter


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An interpreter beside which nothing is installed yet."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(interpreter, "places", lambda: [str(tmp_path / "bin")])
    return tmp_path / "bin"


def test_imperator_beside_the_interpreter_whatever_path_holds(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "path" / "imperator")
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    ours = program(elsewhere / "imperator")
    assert binary_of(None) == Binary(str(ours))


def test_the_command_that_was_started_where_none_is_beside_the_interpreter(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``pip install --user``."""
    ours = program(tmp_path / "local" / "imperator")
    monkeypatch.setattr(sys, "argv", [str(ours), "--emperor", "vassals"])
    assert binary_of(None) == Binary(str(ours))


def test_none_at_all_says_what_to_do(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/x/__main__.py"])
    with pytest.raises(NoBinary, match=r"no command imperator in .*install Imperator with .*--binary-path"):
        binary_of(None)


@pytest.mark.parametrize(
    ("head", "reloads_as"),
    [
        ("#!/opt/x/bin/python\nimport sys\nfrom pyuwsgi import run\n", "/opt/x/bin/python"),
        (
            "#!/bin/sh\n'''exec' \"/opt/a b/bin/python3.11\" \"$0\" \"$@\"\n' '''\nimport pyuwsgi\n",
            "/opt/a b/bin/python3.11",
        ),
        ("#!/opt/x/bin/python\nprint('another program')\n", None),
        ("#!/bin/sh\nexec /usr/bin/uwsgi --plugin pyuwsgi\n", None),
        ("\x7fELF pyuwsgi", None),
    ],
)
def test_the_script_of_the_wheel_is_told_what_to_execute_at_a_reload(
    head: str, reloads_as: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path, and by its name alone, which is looked for in PATH."""
    path = program(tmp_path / "uwsgi", head)
    assert binary_of(str(path)) == Binary(str(path), reloads_as)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert binary_of("uwsgi") == Binary("uwsgi", reloads_as)


def test_a_program_that_is_not_there_is_somebody_elses_business() -> None:
    """Whoever executes it says so, with the directory that is missing."""
    assert binary_of("/no/such/program") == Binary("/no/such/program")
