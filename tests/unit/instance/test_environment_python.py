"""Virtualenvs, ``pythonpath`` and ``env``, in a Python that is running already.

Each test runs an interpreter of its own, since what is tested changes one for good.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

SOURCES = str(Path(__file__).parents[3] / "src")
OURS = f"{sys.version_info.major}.{sys.version_info.minor}"
OTHER = "3.6"
START = f"""
import json, os, sys
sys.path.append({SOURCES!r})
from imperator.instance.blame import CannotLoad
from imperator.instance.environment_python import *
def enter_or_say(home):
    try:
        return enter(home, "app.ini:3")
    except CannotLoad as problem:
        return problem.line
"""


def run(code: str, cwd: Path, *flags: str) -> Any:
    """What a fresh interpreter makes of ``code``: its ``result``, which goes through JSON."""
    program = START + code + "\nprint('\\n' + json.dumps(result))"
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A virtualenv with a package of its own."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    packages = packages_of(home)
    (packages / "only_there.py").write_text("VALUE = 'from the virtualenv'\n")
    return home


def packages_of(home: Path) -> Path:
    return home / "lib" / f"python{OURS}" / "site-packages"


class TestVirtualenv:
    def test_its_packages_can_be_imported(self, home: Path, tmp_path: Path) -> None:
        code = f"enter({str(home)!r}, 'app.ini:3')\nimport only_there\nresult = only_there.VALUE"
        assert run(code, tmp_path) == "from the virtualenv"

    def test_python_says_it_is_in_it(self, home: Path, tmp_path: Path) -> None:
        code = (
            f"entered = enter({str(home)!r}, 'app.ini:3')\n"
            "result = [sys.prefix, sys.exec_prefix, sys.executable, entered.own_executable, sys.base_prefix]"
        )
        inside = [str(home), str(home), str(home / "bin" / "python")]
        assert run(code, tmp_path) == [*inside, sys.executable, sys.base_prefix]

    def test_may_be_relative(self, home: Path, tmp_path: Path) -> None:
        assert run("enter('venv', 'app.ini:3')\nresult = sys.prefix", tmp_path) == str(home)

    def test_its_packages_come_before_ours_and_after_python_s_own(self, home: Path, tmp_path: Path) -> None:
        path = run(f"enter({str(home)!r}, 'app.ini:3')\nresult = sys.path", tmp_path)
        theirs = path.index(str(packages_of(home)))
        library = path.index(os.path.dirname(os.__file__))
        import pytest as installed

        ours = path.index(str(Path(installed.__file__).parents[1]))
        assert library < theirs < ours

    def test_pth_files_are_processed(self, home: Path, tmp_path: Path) -> None:
        (tmp_path / "project").mkdir()
        (tmp_path / "project" / "editable.py").write_text("")
        (packages_of(home) / "project.pth").write_text(
            f"{tmp_path / 'project'}\nimport os; os.environ['SEEN'] = 'by the .pth file'\n"
        )
        code = (
            f"entered = enter({str(home)!r}, 'app.ini:3')\nimport editable\n"
            "result = [os.environ['SEEN'], entered.packages]"
        )
        seen, packages = run(code, tmp_path)
        assert seen == "by the .pth file"
        assert packages == [str(packages_of(home)), str(tmp_path / "project")]

    def test_what_we_imported_and_it_has_too_is_forgotten(self, home: Path, tmp_path: Path) -> None:
        (packages_of(home) / "yaml.py").write_text("VERSION = 'theirs'\n")
        code = (
            "import yaml\nours = yaml\n"
            f"entered = enter({str(home)!r}, 'app.ini:3')\nimport yaml\n"
            "result = [entered.forgotten, yaml.VERSION, ours.safe_load('a: 1'), 'yaml.loader' in sys.modules]"
        )
        assert run(code, tmp_path) == [["yaml"], "theirs", {"a": 1}, False]

    def test_what_it_does_not_have_is_kept(self, home: Path, tmp_path: Path) -> None:
        code = (
            f"import yaml\nentered = enter({str(home)!r}, 'app.ini:3')\n"
            "result = [entered.forgotten, 'yaml' in sys.modules]"
        )
        assert run(code, tmp_path) == [[], True]

    def test_our_own_is_nothing_new(self, tmp_path: Path) -> None:
        code = "before = list(sys.path)\nenter(sys.prefix, 'app.ini:3')\nresult = before == sys.path"
        assert run(code, tmp_path) is True

    def test_with_the_system_s_packages(self, home: Path, tmp_path: Path) -> None:
        base = tmp_path / "base"
        (base / "bin").mkdir(parents=True)
        system = base / "lib" / f"python{OURS}" / "site-packages"
        system.mkdir(parents=True)
        text = f"home = {base}/bin\ninclude-system-site-packages = true\nversion = {OURS}.0\n"
        (home / "pyvenv.cfg").write_text(text)
        code = f"result = enter({str(home)!r}, 'app.ini:3').packages"
        assert run(code, tmp_path) == [str(packages_of(home)), str(system)]


class TestVirtualenvRefused:
    def said(self, home: Path, tmp_path: Path) -> str:
        line = run(f"result = enter_or_say({str(home)!r})", tmp_path)
        assert isinstance(line, str)
        assert line.startswith(f"app.ini:3: virtualenv = {home}: ")
        return line.removeprefix(f"app.ini:3: virtualenv = {home}: ")

    def test_of_another_python(self, tmp_path: Path) -> None:
        home = tmp_path / "old"
        (home / "lib" / f"python{OTHER}" / "site-packages").mkdir(parents=True)
        (home / "bin").mkdir()
        (home / "bin" / f"python{OTHER}").write_text("")
        (home / "pyvenv.cfg").write_text(f"version_info = {OTHER}.9.final.0\n")
        assert self.said(home, tmp_path) == (
            f"it is of Python {OTHER}, and this Imperator runs on Python {OURS}: install Imperator for "
            f"{home}/bin/python{OTHER} and run it with that, or have a server of that version run the application "
            f"(engine = uwsgi with a binary-path built for {OTHER}, or engine = binary)"
        )

    def test_of_another_python_that_does_not_say_so(self, tmp_path: Path) -> None:
        home = tmp_path / "old"
        (home / "lib" / f"python{OTHER}" / "site-packages").mkdir(parents=True)
        assert self.said(home, tmp_path).startswith(f"it is of Python {OTHER}, and this Imperator")

    def test_that_is_not_there(self, tmp_path: Path) -> None:
        home = tmp_path / "gone"
        assert self.said(home, tmp_path) == f"{home} is not there (python3 -m venv {home} makes one)"

    def test_that_is_none(self, tmp_path: Path) -> None:
        home = tmp_path / "empty"
        home.mkdir()
        assert self.said(home, tmp_path) == (f"there is no Python in it (no lib/python{OURS}): is it a virtualenv?")

    def test_that_lost_its_packages(self, home: Path, tmp_path: Path) -> None:
        packages_of(home).rename(tmp_path / "moved")
        assert self.said(home, tmp_path).startswith(f"it is incomplete, there is no {packages_of(home)}: make it anew")

    def test_nothing_is_changed(self, tmp_path: Path) -> None:
        code = "before = (sys.prefix, list(sys.path))\nenter_or_say('/gone')\nresult = before == (sys.prefix, sys.path)"
        assert run(code, tmp_path) is True


class TestPath:
    def test_the_last_pythonpath_comes_first_and_the_working_directory_after_them(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        code = "set_path(['one', '/srv/two'])\nresult = sys.path[:3]"
        assert run(code, tmp_path) == ["/srv/two", str(tmp_path / "one"), str(tmp_path)]

    def test_globs_are_expanded(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            (tmp_path / "lib" / name).mkdir(parents=True)
        code = "result = [set_path(['lib/*']), set_path(['none/*'])]"
        here = str(tmp_path)
        expanded = [f"{here}/lib/b", f"{here}/lib/a", here]
        assert run(code, tmp_path) == [expanded, [f"{here}/none/*", here]]

    def test_a_module_there_is_found_before_one_that_is_installed(self, tmp_path: Path) -> None:
        (tmp_path / "lib").mkdir()
        (tmp_path / "lib" / "flask.py").write_text("")
        code = "set_path(['lib'])\nimport flask\nresult = flask.__file__"
        assert run(code, tmp_path) == str(tmp_path / "lib" / "flask.py")

    def test_it_stays_first_when_a_virtualenv_is_entered(self, home: Path, tmp_path: Path) -> None:
        code = f"set_path(['/srv/one'])\nenter({str(home)!r}, 'app.ini:3')\nresult = sys.path[:2]"
        assert run(code, tmp_path) == ["/srv/one", str(tmp_path)]

    def test_a_working_directory_that_is_gone(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        assert run(f"os.rmdir({str(gone)!r})\nresult = set_path([])", gone) == ["."]

    def test_arguments(self, tmp_path: Path) -> None:
        code = "set_arguments()\nfirst = list(sys.argv)\nset_arguments('--debug  x')\nresult = [first, sys.argv]"
        assert run(code, tmp_path) == [["uwsgi"], ["uwsgi", "--debug", "x"]]


class TestEnvironment:
    def test_is_set_and_unset(self, tmp_path: Path) -> None:
        code = (
            "os.environ.update(GONE='1', ALSO_GONE='1')\n"
            "set_environment(['A=1', 'B=x=y', 'EMPTY=', 'GONE'], ['ALSO_GONE', 'NEVER_WAS'])\n"
            "result = [os.environ.get(key) for key in ('A', 'B', 'EMPTY', 'GONE', 'ALSO_GONE')]"
        )
        assert run(code, tmp_path) == ["1", "x=y", "", None, None]

    def test_is_there_for_programs_that_are_started(self, tmp_path: Path) -> None:
        code = (
            "import subprocess\nset_environment(['A=1'])\n"
            "result = subprocess.check_output(['printenv', 'A'], text=True)"
        )
        assert run(code, tmp_path) == "1\n"

    def test_without_a_name_is_refused(self, tmp_path: Path) -> None:
        code = (
            "from imperator.config.errors import ConfigurationError\n"
            "try:\n    set_environment(['=x'])\nexcept ConfigurationError as error:\n    result = str(error)"
        )
        assert run(code, tmp_path) == "env: '=x' is no KEY=VALUE"
