"""What a vassal is given: the same by the original and by us, one after the other, over the same files."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from .conftest import Reign
from .empire import IMPERATOR, Empire
from .stage import Puppet, Stage

ORIGINAL = (str(Path(sys.executable).with_name("uwsgi")),)

IGNORED_BY_PYTHON = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
THE_C_LIBRARYS_OWN = 0b11 << (32 - 1)  # signals 32 and 33: it lets no program change what it inherited

Both = Callable[..., list[dict[str, Puppet]]]


@pytest.fixture
def both(reign: Reign, stage: Stage) -> Iterator[Both]:
    """``both(names, *options)``: the vassals of these names as the original starts them, and as we do."""

    def run(names: Sequence[str], *options: str | Path, **other: Any) -> list[dict[str, Puppet]]:
        found = []
        for program in (ORIGINAL, IMPERATOR):
            empire: Empire = reign(*options, program=program, **other)
            found.append({name: stage.next(name) for name in names})
            empire.stop()
            for puppet in found[-1].values():
                puppet.expect_gone()
        return found

    yield run


def arguments(puppet: Puppet) -> list[str]:
    """Without the program, which the puppet's interpreter replaces."""
    return puppet.argv[1:]


def variables(puppet: Puppet) -> dict[str, str]:
    """Those of the protocol; the number of an fd is nobody's business but its variable has to be there."""
    return {
        name: "a number" if name.startswith("UWSGI_EMPEROR_FD") else value
        for name, value in puppet.environ.items()
        if name.startswith("UWSGI") or name == "NOTIFY_SOCKET"
    }


def kinds(puppet: Puppet) -> list[str]:
    """What is behind its file descriptors, without its output and what its interpreter opened."""
    fds = {fd: target for fd, target in puppet.fds.items() if fd not in (1, 2)}
    return sorted(re.sub(r"\d+", "n", target) for target in fds.values())


def test_the_arguments_of_each_format(both: Both, vassals: Path) -> None:
    files = {"a.ini": "[uwsgi]\n", "b.xml": "<uwsgi/>\n", "c.yaml": "uwsgi: {}\n", "d.yml": "uwsgi: {}\n"}
    files |= {"e.json": '{"uwsgi": {}}\n', "f.js": '{"uwsgi": {}}\n'}
    for name, text in files.items():
        (vassals / name).write_text(text)
    original, ours = both(list(files))
    for name in files:
        assert arguments(ours[name]) == arguments(original[name])
    assert arguments(ours["a.ini"]) == ["--ini", "a.ini"]


@pytest.mark.parametrize(
    "options",
    [
        ["--vassals-inherit", "/etc/t.ini"],
        ["--vassals-include", "/etc/i.ini", "--vassals-include", "/etc/j.ini"],
        ["--vassals-inherit-before", "/etc/t.ini", "--vassals-include-before", "/etc/i.ini"],
        ["--vassal-set", "a=b", "--vassal-set", "c=d e"],
        ["--vassals-include=/i1", "--vassals-inherit=/t1", "--vassal-set=k=v", "--vassals-include-before=/i0"],
        ["--emperor-extra-extension", ".conf"],
    ],
    ids=lambda options: " ".join(options)[:60],
)
def test_the_arguments_with_options(both: Both, vassals: Path, options: list[str]) -> None:
    name = "a.conf" if ".conf" in options else "a.ini"
    (vassals / name).write_text("[uwsgi]\n")
    original, ours = both([name], *options)
    assert arguments(ours[name]) == arguments(original[name])


def test_a_pattern_names_its_files_as_it_finds_them(both: Both, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    pattern = f"{vassals}/*.ini"
    for source in (pattern, f"glob://{pattern}"):
        original, ours = both([str(vassals / "a.ini")], emperor=source, directory=Path("/usr"))
        here, there = (each[str(vassals / "a.ini")] for each in (ours, original))
        assert arguments(here) == arguments(there)
        assert here.given["cwd"] == there.given["cwd"] == "/usr"


def test_where_it_starts_and_what_it_belongs_to(both: Both, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    original, ours = both(["a.ini"])
    here, there = ours["a.ini"], original["a.ini"]
    assert here.given["cwd"] == there.given["cwd"] == str(vassals)
    assert here.given["sid"] == here.given["pgid"] == here.pid  # the original's share the Emperor's session
    assert int(here.given["status"]["SigBlk"], 16) == 0
    assert int(here.given["status"]["SigIgn"], 16) & ~(IGNORED_BY_PYTHON | THE_C_LIBRARYS_OWN) == 0


def test_the_environment(both: Both, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    environment = {"UWSGI_VASSAL_PROCESSES": "3", "UWSGI_RELOADS": "7", "NOTIFY_SOCKET": "/no/such/socket", "MINE": "1"}
    original, ours = both(["a.ini"], environment=environment)
    here, there = ours["a.ini"], original["a.ini"]
    # The original has its own name in it too, and its renaming of UWSGI_VASSAL_X hits the neighbouring variable.
    assert variables(here) == {"UWSGI_EMPEROR_FD": "a number", "UWSGI_PROCESSES": "3"}
    assert variables(there)["UWSGI_EMPEROR_FD"] == "a number"
    assert not {"UWSGI_RELOADS", "NOTIFY_SOCKET", "UWSGI_VASSAL_PROCESSES"} & variables(there).keys()
    assert here.environ["MINE"] == there.environ["MINE"] == "1"


def test_the_file_descriptors(both: Both, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    original, ours = both(["a.ini"])
    here, there = ours["a.ini"], original["a.ini"]
    assert here.fds[0] == there.fds[0] == "/dev/null"
    assert kinds(here) == kinds(there)
    assert here.fds[int(here.environ["UWSGI_EMPEROR_FD"])].startswith("socket:")


def test_the_wrappers(both: Both, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    nothing, puppet = "/no/such", stage.binary
    for options in (
        ["--emperor-wrapper", puppet],
        ["--emperor-wrapper-override", nothing, "--emperor-wrapper-override", puppet, "--emperor-wrapper", nothing],
        ["--emperor-wrapper", nothing, "--emperor-wrapper-fallback", nothing, "--emperor-wrapper-fallback", puppet],
    ):
        original, ours = both(["a.ini"], *options, binary=nothing)
        assert arguments(ours["a.ini"]) == arguments(original["a.ini"])


def test_an_attribute_names_the_program(reign: Reign, stage: Stage, vassals: Path) -> None:
    """``emperor-wrapper-attr`` is the original's 2.1: there is nothing in 2.0 to compare with."""
    (vassals / "a.ini").write_text(f"[uwsgi]\n[emperor]\nrun = {stage.binary}\n")
    (vassals / "b.ini").write_text("[uwsgi]\n")
    options = ["--emperor-wrapper-attr", "run", "--emperor-collect-attr", "run"]
    empire = reign(*options, "--emperor-wrapper", "/no/such", binary=None)
    assert arguments(stage.next("a.ini")) == ["--ini", "a.ini"]
    empire.expect("b.ini .*/no/such is not there")


def test_magic_exec(both: Both, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("#!/bin/sh\necho '[uwsgi]'\n")
    file.chmod(0o755)
    (vassals / "b.ini").write_text("[uwsgi]\n")
    original, ours = both(["exec://a.ini", "b.ini"], "--emperor-magic-exec")
    for name in ("exec://a.ini", "b.ini"):
        assert arguments(ours[name]) == arguments(original[name])


def test_attributes_choose_the_directory(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """``emperor-chdir-attr`` is the original's 2.1: there is nothing in 2.0 to compare with."""
    for name, section in (("a.ini", "[emperor]\nplace = /usr\n"), ("b.ini", "[emperor]\nplace = /no/such\n")):
        (vassals / name).write_text(f"[uwsgi]\n{section}")
    empire = reign("--emperor-collect-attr", "place", "--emperor-chdir-attr", "place")
    assert stage.next("a.ini").given["cwd"] == "/usr"
    empire.expect("b.ini .*emperor-chdir-attr: cannot enter /no/such: No such file")
    assert empire.vassal("a.ini")["attrs"] == [{"place": "/usr"}]


def test_nothing_of_the_emperors_is_left_open(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    for name in ("a.ini", "b.ini", "c.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    with open(open_path / "inherited", "w") as file:
        reign("--emperor-stats", open_path / "stats", pass_fds=[file.fileno()])
        for puppet in stage.next_of("a.ini", "b.ini", "c.ini"):
            assert set(puppet.fds) == {0, 1, 2, 3}
