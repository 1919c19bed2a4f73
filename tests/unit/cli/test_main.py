"""The command itself: what it ends with, what it falls back to, and how little it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPERATOR = Path(sys.executable).with_name("imperator")


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([IMPERATOR, *arguments], cwd=directory, capture_output=True, text=True, timeout=60)


def test_show_config_loads_next_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(
        "[uwsgi]\nset-ph = a=1\nmodule = %(a + 1)$(HOME)%n\nfor = a b\nenv = %(_)\nendfor =\n"
    )
    program = (
        "import sys; before = set(sys.modules)\n"
        "from imperator.cli.main import main\n"
        "main(['--show-config', '--ini', 'x.ini'])\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('imperator.')))\n"
        "print('imperator.config.catalogue' in sys.modules)"
    )
    said = subprocess.check_output([sys.executable, "-S", "-c", "import site; site.main()\n" + program], cwd=tmp_path)
    loaded, has_catalogue = said.decode().splitlines()[-2:]
    assert set(loaded.split()) <= {"__future__", "imperator", "pwd", "grp", "time", "errno"}
    assert has_catalogue == "False"


def test_exit(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nexit = 3\n")
    done = run(tmp_path, "--ini", "x.ini")
    assert done.returncode == 3
    assert done.stderr == "imperator: x.ini:2: exit = 3: the configuration wants no instance\n"


@pytest.mark.parametrize("wrong", ["processes = -1", "include = nope.ini", "exit = 1"])
def test_the_fallback_of_a_configuration_that_is_wrong(tmp_path: Path, wrong: str) -> None:
    (tmp_path / "x.ini").write_text(f"[uwsgi]\nfallback-config = safe.ini\n{wrong}\n")
    (tmp_path / "safe.ini").write_text("[uwsgi]\nshow-config = true\nmodule = safe\n")
    done = run(tmp_path, "--ini", "x.ini")
    assert done.returncode == 0
    assert "safe.ini is tried instead (fallback-config)" in done.stderr
    assert "\nmodule = safe\n" in done.stdout


def test_no_fallback_after_any_other_code(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nfallback-config = safe.ini\nexit = 2\n")
    (tmp_path / "safe.ini").write_text("[uwsgi]\nshow-config = true\n")
    assert run(tmp_path, "--ini", "x.ini").returncode == 2
