"""What an instance leaves behind while it runs, and takes away at its end."""

from __future__ import annotations

import fcntl
import re
import socket
import stat
from pathlib import Path

import pytest

from imperator.config.hook import Hook
from imperator.config.instance_settings import InstanceSettings

from .enactment import NOBODY, asked, enact, finish, shell, start

# -- pid files


def test_pid_files_before_and_after_the_drop(as_root: None, place: Path) -> None:
    settings = InstanceSettings(uid="nobody", pidfile=f"{place}/1.pid", pidfile2=f"{place}/2.pid")
    [facts] = enact(place, settings).facts
    assert (place / "1.pid").read_text() == (place / "2.pid").read_text() == f"{facts['pid']}\n"
    assert [(place / name).stat().st_uid for name in ("1.pid", "2.pid")] == [0, NOBODY]


def test_a_pid_file_that_cannot_be_written(place: Path) -> None:
    ours = enact(place, InstanceSettings(pidfile=f"{place}/none/1.pid"))
    assert ours.code == 1
    assert f"pidfile = {place}/none/1.pid: cannot be written: No such file or directory" in ours.said


def test_a_pid_file_is_not_written_through_a_link(place: Path) -> None:
    """Whoever owns its directory could have root overwrite any file."""
    (place / "precious").write_text("gold")
    (place / "1.pid").symlink_to("precious")
    ours = enact(place, InstanceSettings(pidfile=f"{place}/1.pid"))
    assert ours.code == 1
    assert (place / "precious").read_text() == "gold"


# -- vacuum


def test_vacuum_takes_everything_away(place: Path) -> None:
    sockets = (asked(place / "1.sock"), asked("2.sock", line=3))
    settings = InstanceSettings(
        sockets=sockets, vacuum=True, pidfile="1.pid", pidfile2="2.pid", chdir2="/", hook_as_user_atexit=(shell("ls"),)
    )
    ours = enact(place, settings)
    for name in ("1.sock", "2.sock", "1.pid", "2.pid"):
        assert f"vacuum: {place}/{name} removed" in ours.said
    assert sorted(path.name for path in place.iterdir()) == ["settings.pickle"]


def test_without_vacuum_everything_stays(place: Path) -> None:
    enact(place, InstanceSettings(sockets=(asked(place / "1.sock"),), pidfile="1.pid"))
    assert {path.name for path in place.iterdir()} >= {"1.sock", "1.pid"}


def test_a_pid_file_that_somebody_else_has_written_stays(place: Path) -> None:
    settings = InstanceSettings(vacuum=True, pidfile="1.pid", hook_accepting=(Hook("write", "1.pid 1"),))
    enact(place, settings)
    assert (place / "1.pid").read_text() == "1"


def test_what_may_not_be_removed_is_said(as_root: None, place: Path) -> None:
    place.chmod(0o755)
    ours = enact(place, InstanceSettings(uid="nobody", vacuum=True, pidfile=f"{place}/1.pid"))
    assert ours.code == 0
    assert f"vacuum: {place}/1.pid cannot be removed: Permission denied (uid {NOBODY})" in ours.said


# -- the log


def test_a_log_before_and_one_after_the_drop(as_root: None, place: Path) -> None:
    settings = InstanceSettings(uid="nobody", logto=f"{place}/1.log", logto2=f"{place}/2.log")
    enact(place, settings)
    first, second = place / "1.log", place / "2.log"
    assert (first.stat().st_uid, second.stat().st_uid) == (0, NOBODY)
    assert f"running as uid {NOBODY}" in first.read_text()
    assert "the application is loaded" in second.read_text()


def test_what_commands_print_is_in_it(place: Path) -> None:
    enact(place, InstanceSettings(logto="app.log", hook_pre_app=(shell("echo out; echo error >&2"),)))
    assert {"out", "error"} <= set((place / "app.log").read_text().splitlines())


def test_a_log_is_appended_to_or_truncated(place: Path) -> None:
    log = place / "app.log"
    log.write_text("old\n")
    enact(place, InstanceSettings(logto="app.log"))
    assert log.read_text().startswith("old\n")
    enact(place, InstanceSettings(logto="app.log", log_truncate=True))
    assert "old" not in log.read_text()


def test_owner_and_mode_of_the_log(as_root: None, place: Path) -> None:
    enact(
        place,
        InstanceSettings(uid="nobody", gid="nogroup", logto="app.log", logfile_chown=True, logfile_chmod=0o664),
    )
    found = (place / "app.log").stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o664)


def test_a_log_that_cannot_be_opened(place: Path) -> None:
    ours = enact(place, InstanceSettings(logto=f"{place}/none/app.log"))
    assert ours.code == 1
    assert f"logto = {place}/none/app.log: cannot be opened: No such file or directory" in ours.said


def test_a_log_over_udp(place: Path) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(10)
        enact(place, InstanceSettings(logto=f"127.0.0.1:{sock.getsockname()[1]}", hook_in_jail=(Hook("print", "ave"),)))
        assert b"ave" in sock.recv(1000) + sock.recv(1000) + sock.recv(1000)


def test_a_log_that_has_grown_is_rotated(place: Path) -> None:
    """The last line of the old file says so; nothing is lost, and nobody has to be told of the new one."""
    ours = enact(place, InstanceSettings(logto="app.log", log_maxsize=1000), "log")
    assert ours.code == 0, (place / "app.log").read_text()
    [backup] = place.glob("app.log.*")
    assert re.fullmatch(r"app\.log\.\d{10}", backup.name)
    assert backup.read_text().rstrip().endswith(f"rotating it to {backup}")
    lines = [int(word) for word in re.findall(r"^line (\d+)", backup.read_text() + _read(place), re.MULTILINE)]
    assert lines == list(range(200))


def _read(place: Path) -> str:
    return (place / "app.log").read_text()


def test_the_backups_name(place: Path) -> None:
    enact(place, InstanceSettings(logto="app.log", log_maxsize=1000, log_backupname=f"{place}/old.log"), "log")
    assert "line 0 " in (place / "old.log").read_text()
    assert "line 199 " in _read(place)


def test_a_log_that_somebody_moved_away_is_opened_anew(place: Path) -> None:
    """As logrotate does."""
    settings = InstanceSettings(logto="app.log", hook_accepting=(shell("mv app.log moved.log"),))
    enact(place, settings, "log")
    assert "line 0 " in (place / "moved.log").read_text()
    assert "line 199 " in _read(place)


def test_two_processes_rotate_once(place: Path) -> None:
    enact(place, InstanceSettings(logto="app.log", log_maxsize=1000), "log", "twice")
    [backup] = place.glob("app.log.*")
    words = re.findall(r"^line (\d+)", backup.read_text() + _read(place), re.MULTILINE)
    assert sorted(int(word) for word in words) == sorted([*range(200), *range(200)])


def test_while_another_process_rotates_nobody_else_does(place: Path) -> None:
    with (place / "app.log").open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        enact(place, InstanceSettings(logto="app.log", log_maxsize=1000), "log")
    assert list(place.glob("app.log.*")) == []
    assert "line 199 " in _read(place)


def test_a_log_that_cannot_be_rotated_goes_on(as_root: None, place: Path) -> None:
    place.chmod(0o755)
    settings = InstanceSettings(uid="nobody", logto="app.log", log_maxsize=1000)
    ours = enact(place, settings, "log")
    assert ours.code == 0
    assert _read(place).count("cannot be rotated: Permission denied; it goes on growing") == 1
    assert "line 199 " in _read(place)


# -- the name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"auto_procname": True}, "imperator worker 1"),
        ({"auto_procname": True, "processes": 2}, "imperator master"),
        ({"procname": "forum"}, "forum"),
        ({"procname_prefix": "rome ", "auto_procname": True}, "rome imperator worker 1"),
        ({"procname": "forum", "procname_prefix": "rome ", "procname_append": " x"}, "rome forum x"),
    ],
)
def test_the_name_in_ps(place: Path, given: dict[str, object], expected: str) -> None:
    process = start(place, InstanceSettings(**given), "wait")  # type: ignore[arg-type]
    assert process.stdout is not None
    process.stdout.readline()
    assert Path(f"/proc/{process.pid}/cmdline").read_bytes().rstrip(b"\0").decode() == expected
    finish(process)


def test_without_the_options_the_name_stays(place: Path) -> None:
    process = start(place, InstanceSettings(), "wait")
    assert process.stdout is not None
    process.stdout.readline()
    assert b"enact.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    finish(process)
