"""``imperator check`` on real directories: what would be started, and what is wrong with each file."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from imperator.cli.access import Person, obstacle
from imperator.cli.check import main

GOOD = "[uwsgi]\nmaster = true\nsocket = 127.0.0.1:0\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away: needs root")


@pytest.fixture
def vassals(tmp_path: Path) -> Path:
    directory = tmp_path / "vassals"
    directory.mkdir()
    return directory


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def problems(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in lines(capsys) if ": error: " in line or ": warning: " in line]


def test_what_would_be_started(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    assert main([str(vassals)]) == 0
    note, end = lines(capsys)
    assert note.startswith(f"{vassals}/blog.ini: note: would start /")
    assert note.endswith(f"/imperator --ini blog.ini (in {vassals})")
    assert end == "1 of 1 would be started; nothing is wrong"


def test_other_files_are_ignored_and_named(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("blog.ini", "blog.ini~", "README"):
        (vassals / name).write_text(GOOD)
    assert main([str(vassals)]) == 0
    assert "note: ignored, because of their endings: README, blog.ini~" in lines(capsys)


def test_an_extension_of_ones_own(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.conf").write_text(GOOD)
    assert main([str(vassals), "--emperor-extra-extension", ".conf"]) == 0
    assert "imperator --config blog.conf" in lines(capsys)[0]


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda path: path.write_text(""), "error: is empty"),
        (lambda path: path.mkdir(), "error: is a directory: a vassal's configuration must be a regular file"),
        (lambda path: os.mkfifo(path), "error: is no regular file: a vassal's configuration must be a regular file"),
        (lambda path: path.symlink_to("/gone"), "error: a symbolic link to /gone, which does not exist"),
        (lambda path: path.symlink_to(path), "error: a symbolic link that leads to itself"),
    ],
)
def test_what_is_no_configuration(
    make: object, complaint: str, vassals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(vassals / "blog.ini")  # type: ignore[operator]
    assert main([str(vassals)]) == 1
    found, end = lines(capsys)
    assert found == f"{vassals}/blog.ini: {complaint}"
    assert end == "0 of 1 would be started; 1 error"


def test_a_file_that_one_may_not_read(vassals: Path) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    (vassals / "blog.ini").chmod(0)
    check = [sys.executable, "-m", "imperator", "check", str(vassals)]
    if os.geteuid() == 0:  # without its capabilities root, too, may read only what the mode lets it
        check = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *check]
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert found.returncode == 1, found.stderr
    assert found.stdout.splitlines()[0] == f"{vassals}/blog.ini: error: you may not read it"


def test_a_name_that_is_too_long(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "x" * 251 + ".ini"
    (vassals / name).write_text(GOOD)
    assert main([str(vassals)]) == 1
    assert problems(capsys)[0].endswith("error: the name is 255 bytes long; 254 is the most: rename it")


def test_a_broken_file_is_told_with_its_line(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text("[uwsgi]\nmaster = true\nfor = 1 2 3\n")
    code = main([str(vassals)])
    found = problems(capsys)
    assert found
    assert found[0].startswith(f"{vassals}/blog.ini:")
    assert code == (1 if any(": error: " in line for line in found) else 0)


def test_toml_is_read_but_not_by_uwsgi(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.toml").write_text("[uwsgi]\nmaster = true\nsocket = '127.0.0.1:0'\n")
    assert main([str(vassals)]) == 0
    assert any("warning: the uwsgi engine cannot read TOML yet" in line for line in problems(capsys))


def test_the_same_name_in_two_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for directory in ("one", "two"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "blog.ini").write_text(GOOD)
    assert main([str(tmp_path / "one"), str(tmp_path / "two")]) == 1
    (found,) = problems(capsys)
    assert found.startswith(f"{tmp_path}/two/blog.ini: error: {tmp_path}/one/blog.ini has the same name")


def test_a_pattern(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for app in ("blog", "shop"):
        (tmp_path / app).mkdir()
        (tmp_path / app / "uwsgi.ini").write_text(GOOD)
    assert main(["*/uwsgi.ini"]) == 0
    blog, shop, _ = lines(capsys)
    assert blog.endswith(f"imperator --ini blog/uwsgi.ini (in {tmp_path})")
    assert shop.endswith(f"imperator --ini shop/uwsgi.ini (in {tmp_path})")
    assert main(["*/nothing.ini"]) == 0
    assert lines(capsys)[0] == "*/nothing.ini: warning: matches nothing at the moment"


def test_a_single_file(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    (vassals / "broken.ini").write_text("")
    assert main([str(vassals / "blog.ini")]) == 0
    assert lines(capsys)[0].endswith(f"imperator --ini blog.ini (in {vassals})")


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "gone")]) == 1
    assert lines(capsys)[0] == f"{tmp_path}/gone: error: there is no such file or directory"
    assert main([f"dir://{tmp_path}/gone"]) == 1
    assert lines(capsys)[0] == f"dir://{tmp_path}/gone: error: No such file or directory"


def test_a_source_that_is_no_place_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pg://dbname=x;SELECT 1"]) == 0
    assert "warning: not looked into" in lines(capsys)[0]


def test_an_emperors_file(tmp_path: Path, vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    (vassals / "shop.conf").write_text(GOOD)
    (tmp_path / "emperor.ini").write_text(
        f"[uwsgi]\nemperor = {vassals}\nemperor = {tmp_path}/not-yet\nemperor-extra-extension = .conf\n"
    )
    assert main([str(tmp_path / "emperor.ini")]) == 0
    found = lines(capsys)
    assert f"{tmp_path}/not-yet: warning: matches nothing at the moment" in found
    assert found[-1] == "2 of 2 would be started; 1 warning"


def test_a_program_that_is_not_there(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    assert main(["--binary-path", "/no/such/uwsgi", str(vassals)]) == 1
    assert lines(capsys)[0] == "/no/such/uwsgi: error: is not there: no vassal would start"


def test_json_lines(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    (vassals / "empty.ini").write_text("")
    (vassals / "README").write_text("")
    assert main(["--json", str(vassals)]) == 1
    blog, empty, readme = (json.loads(line) for line in lines(capsys))
    assert (blog["name"], blog["usable"], blog["problems"]) == ("blog.ini", True, [])
    assert blog["command"].endswith("imperator --ini blog.ini")
    assert empty["problems"] == [{"severity": "error", "line": None, "text": "is empty"}]
    assert readme["ignored"] is True


def test_a_name_cannot_forge_a_line(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / os.fsdecode(b"a\nb\x1b[2J\xff.ini")).write_text("")
    assert main([str(vassals)]) == 1
    assert lines(capsys)[0] == rf"{vassals}/a\nb\x1b[2J\xff.ini: error: is empty"


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "imperator check /etc/uwsgi/vassals" in capsys.readouterr().out
    assert main([]) == 2


def test_a_terminal_gets_a_table(vassals: Path) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    (vassals / "empty.ini").write_text("")
    (vassals / "README").write_text("")
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "250"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "imperator", "check", str(vassals)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    text = b""
    try:
        while data := os.read(master, 65536):
            text += data
    except OSError:  # EIO: the program has ended
        pass
    os.close(master)
    assert process.wait(20) == 1
    assert b"\x1b[1;31merror: \x1b[0mis empty" in text
    assert b"\x1b[2mignored, because of their endings: README\x1b[0m" in text
    assert b"1 of 2 would be started; 1 error" in text


# -- tyrant mode


@as_root
def test_tyrant_refuses_what_belongs_to_root(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "blog.ini").write_text(GOOD)
    assert main(["--emperor-tyrant", str(vassals)]) == 1
    assert "tyrant mode refuses a configuration that belongs to root (uid 0, gid 0)" in problems(capsys)[0]


@as_root
def test_tyrant_names_the_directory_that_stops_a_user(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = vassals / "blog.ini"
    file.write_text(GOOD)
    os.chown(file, 54321, 54321)
    vassals.parent.chmod(0o700)
    assert main(["--emperor-tyrant", "--binary-path", "/bin/sh", str(vassals)]) == 1
    found = problems(capsys)
    assert any("uid 54321 may not enter /" in line and "chmod o+x it" in line for line in found)


@as_root
def test_tyrant_sees_that_a_user_may_not_read_his_file(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = vassals / "blog.ini"
    file.write_text(GOOD)
    os.chown(file, 54321, 54321)
    file.chmod(0o044)
    main(["--emperor-tyrant", str(vassals)])
    assert any("uid 54321 may not read it (mode 0044)" in line for line in problems(capsys))


def test_the_first_directory_that_stops_somebody(tmp_path: Path) -> None:
    stranger = Person(54321, 54321)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "a").chmod(0o700)
    own = Person(os.geteuid() or 1, os.getegid() or 1)
    found = obstacle(inner, stranger)
    assert found is not None
    assert "uid 54321 may not enter" in found
    assert str(own)


def test_groups_and_owners_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    file.chmod(0o640)
    found = file.stat()
    assert Person(found.st_uid or 54321, found.st_gid + 1).may(found, os.R_OK) == (found.st_uid != 0)
    assert Person(found.st_uid + 1, found.st_gid).may(found, os.R_OK)
    assert not Person(found.st_uid + 1, found.st_gid).may(found, os.W_OK)
    assert not Person(found.st_uid + 1, found.st_gid + 1).may(found, os.R_OK)


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv(1) is not installed")
def test_the_kernel_agrees() -> None:
    """For each mode: what is said of another user is what that user finds."""
    with tempfile.TemporaryDirectory() as scratch:
        Path(scratch).chmod(0o711)
        directory = Path(scratch) / "d"
        directory.mkdir()
        person = Person(54321, 54321)
        if obstacle(Path(scratch), person) is not None:
            pytest.skip("the directory for temporary files is closed to others")
        command = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "/bin/sh", "-c", 'cd "$0"']
        for mode in (0o700, 0o710, 0o701, 0o770, 0o077, 0o007, 0o000):
            for owner, group in ((54321, 54321), (1, 54321), (1, 1)):
                os.chown(directory, owner, group)
                directory.chmod(mode)
                ended = subprocess.run([*command, str(directory)], stderr=subprocess.DEVNULL, check=False)
                assert (obstacle(directory, person) is None) == (ended.returncode == 0), (oct(mode), owner, group)
