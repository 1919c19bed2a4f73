"""``imperator check`` looks at anybody's files: nothing in them is run, fetched or waited for, least of all as root."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imperator.cli.access import Person, owner_if_stranger
from imperator.cli.apart import Apart, GaveUp
from imperator.cli.check import main

STRANGER = 54321
HTTP = "[uwsgi]\nhttp-socket = 127.0.0.1:0\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to lay down")


@pytest.fixture
def vassals() -> Iterator[Path]:
    """A directory that everybody may enter, as pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="check-") as name:
        Path(name).chmod(0o755)
        (Path(name) / "app.py").touch()
        yield Path(name)


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    main([str(path)])
    return capsys.readouterr().out


# -- nothing is run and nothing fetched


@pytest.mark.parametrize(
    "line",
    [
        "module = @(exec://touch {trace})",
        "env = A=@(exec://touch {trace})",
        "ini = exec://touch {trace}; echo",
        "include = exec://touch {trace}.ini",
        "inherit = exec://touch {trace}",
        "emperor = @(exec://touch {trace})",
        "for-readline = exec://touch {trace}",
        "if-exists = exec://touch {trace}",
        "hook-asap = exec:touch {trace}",
        "exec-asap = touch {trace}",
        "symcall = system",
        "import = touch",
    ],
)
@pytest.mark.parametrize("named", ["directory", "file", "emperor"])
def test_no_command_is_run(line: str, named: str, vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither of a vassal's file in a directory, nor of one that is named, nor of one that may be an Emperor's."""
    trace = vassals / "trace"
    (vassals / "touch.py").write_text(f"open({str(trace)!r}, 'w')\n")
    file = vassals / "a.ini"
    more = f"emperor = {vassals}/*.ini\n" if named == "emperor" else "module = app\n"
    file.write_text(f"{HTTP}{more}{line.format(trace=trace)}\n")
    out = check(vassals if named == "directory" else file, capsys)
    assert not list(vassals.glob("trace*"))
    assert "would be started" in out


@pytest.mark.parametrize(
    "line", ["env = A=@({url})", "ini = {url}/x.ini", "for-readline = {url}", "resolve = a={host}"]
)
def test_nobody_is_asked(line: str, vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for file in ("a.ini", "emperor.ini"):
            more = f"emperor = {vassals}/none\n" if file == "emperor.ini" else "module = app\n"
            text = line.format(url=f"http://127.0.0.1:{port}", host="check.invalid")
            (vassals / file).write_text(f"{HTTP}{more}{text}\n")
            out = check(vassals / file, capsys)
            assert "not looked into: " in out
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_an_emperors_file_is_an_emperors_all_the_same(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "a.ini").write_text(HTTP + "module = json\n")
    file = vassals / "emperor.skel.ini"
    file.write_text(f"[uwsgi]\nemperor = {vassals}/a.ini\nemperor-tyrant = @(exec://echo true)\nfoo = 1\n")
    out = check(file, capsys)
    assert f"{file}:3: warning: not looked into: exec://echo true" in out
    assert f"{file}:4: warning: foo is no option of an Emperor" in out
    assert "1 of 1 would be started" in out


def test_what_depends_on_it_is_not_judged(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "a.ini").write_text(
        HTTP
        + "where = @(exec://pwd)\nchdir = %(where)/sub\nmodule = not_here\nport = @(exec://echo 80)\nstats = :%(port)\n"
    )
    out = check(vassals, capsys)
    assert [line for line in out.splitlines() if ": error: " in line or ": warning: " in line] == [
        f"{vassals}/a.ini:3: warning: not looked into: exec://pwd",
        f"{vassals}/a.ini:6: warning: not looked into: exec://echo 80",
    ]


# -- nothing is waited for


def test_a_file_that_is_a_pipe_or_a_device(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(vassals / "pipe.skel")
    for name in (f"{vassals}/pipe.skel", "/dev/zero"):
        (vassals / "a.ini").write_text(f"{HTTP}module = app\nini = {name}\nenv = A=@({name})\n")
        assert f"{name} is no regular file" in check(vassals, capsys)


def test_a_file_that_is_no_configuration_by_its_size(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (vassals / "big.skel").open("wb") as file:
        file.truncate(1 << 40)
    (vassals / "a.ini").write_text(f"{HTTP}module = app\nini = big.skel\n")
    assert "big.skel has 1048576.0 MB, which no configuration has" in check(vassals, capsys)


def test_one_that_takes_in_itself_or_nests_without_end(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\nini = a.ini\n")
    (vassals / "b.json").write_text('{"uwsgi":' * 5000 + "1" + "}" * 5000)
    out = check(vassals, capsys)
    assert "a.ini:2: error: a.ini includes itself" in out
    assert "b.json: error: it is nested too deeply to be read" in out


# -- a process apart


def test_what_takes_too_long_is_given_up() -> None:
    def forever(question: object) -> object:
        while question == "spin":
            pass
        while question == "sleep":
            time.sleep(60)
        return question

    for question, limits, reason in (
        ("spin", {"seconds": 0.2}, r"more than 0\.2 seconds of the processor"),
        ("sleep", {"patience": 0.2}, r"nothing came of it in 0\.2 seconds"),
    ):
        apart = Apart(forever, **limits)
        try:
            with pytest.raises(GaveUp, match=reason):
                apart.ask(question, None)
        finally:
            apart.close()
    apart = Apart(forever, seconds=0.2)
    try:
        with pytest.raises(GaveUp):
            apart.ask("spin", None)
        assert apart.ask("and the next one", None) == "and the next one"
    finally:
        apart.close()


def test_what_bursts_is_given_up() -> None:
    def burst(question: object) -> object:
        if question == "memory":
            return len(bytearray(1 << 40))
        if question == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if question == "mistake":
            raise ZeroDivisionError("mine")
        return question

    apart = Apart(burst)
    try:
        for question, reason in (
            ("memory", "512 MB"),
            ("kill", "ended with -9"),
            ("mistake", "ZeroDivisionError: mine"),
        ):
            with pytest.raises(GaveUp, match=reason):
                apart.ask(question, None)
        assert apart.ask("and the next one", None) == "and the next one"
    finally:
        apart.close()


def test_nothing_of_it_is_left() -> None:
    apart = Apart(lambda question: [os.getpid(), os.listdir("/proc/self/fd")])
    pid, descriptors = apart.ask(None, None)
    assert len(descriptors) <= 6, "three, two pipes and the one that lists them"
    apart.close()
    assert not Path(f"/proc/{pid}").exists()


# -- with whose rights


@as_root
def test_a_users_file_is_read_as_that_user(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = vassals / "secret.skel"
    secret.write_text("[uwsgi]\ntop-secret = 1\nroot:$6$hash\n")
    secret.chmod(0o600)
    file = vassals / "a.ini"
    for line in (f"ini = {secret}", f"env = A=@({secret})", f"for-readline = {secret}"):
        file.write_text(f"{HTTP}module = app\n{line}\nenv = B=%(_)\nendfor =\n")
        os.chown(file, STRANGER, STRANGER)
        for place in (vassals, file):
            out = check(place, capsys)
            assert f"not looked into: the owner of the file may not read {secret}" in out
            assert "top-secret" not in out
            assert "$6$" not in out


@as_root
def test_what_the_vassal_may_see_and_its_files_owner_may_not(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An Emperor without tyrant mode starts everything as root: what is hidden from the owner is there all the same."""
    hidden = vassals / "hidden"
    hidden.mkdir(mode=0o700)
    (hidden / "shop.py").touch()
    file = vassals / "a.ini"
    file.write_text(f"{HTTP}chdir = {hidden}\nmodule = shop\nlogto = {hidden}/log\n")
    os.chown(file, STRANGER, STRANGER)
    out = check(vassals, capsys)
    assert "error" not in out
    assert f"a.ini:5: warning: logto = {hidden}/log: not looked at: the owner of the file may not get to " in out
    file.write_text(f"{HTTP}chdir = {hidden}/gone\nwsgi-file = x.py\n")
    assert "error" not in check(vassals, capsys)


@as_root
def test_in_tyrant_mode_nobody_sees_more_than_the_owner(vassals: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hidden = vassals / "hidden"
    hidden.mkdir(mode=0o700)
    file = vassals / "a.ini"
    file.write_text(f"{HTTP}chdir = {hidden}\nmodule = app\n")
    os.chown(file, STRANGER, STRANGER)
    main(["--emperor-tyrant", "--binary-path", "/bin/sh", str(vassals)])
    assert f"a.ini:3: error: chdir = {hidden}: uid {STRANGER} may not enter {hidden}" in capsys.readouterr().out


@as_root
def test_whose_rights_are_taken(vassals: Path) -> None:
    file, link = vassals / "a.ini", vassals / "b.ini"
    file.touch()
    assert owner_if_stranger(str(file)) is None
    os.chown(file, STRANGER, 4)  # of a group with more rights, as in a set-group-ID directory
    assert owner_if_stranger(str(file)) == Person(STRANGER, 65534, initgroups=True)
    nobody = pwd.getpwnam("nobody")
    os.chown(file, nobody.pw_uid, 4)
    assert owner_if_stranger(str(file)) == Person(nobody.pw_uid, nobody.pw_gid, initgroups=True)
    os.chown(file, 0, 0)
    link.symlink_to(file)
    os.lchown(link, STRANGER, STRANGER)
    assert owner_if_stranger(str(link)) == Person(STRANGER, 65534, initgroups=True)
