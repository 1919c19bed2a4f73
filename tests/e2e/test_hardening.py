"""What a vassal cannot do, each option by itself, as another user's process sees it; applications run under all."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from . import web
from .conftest import Reign
from .stage import PATIENCE, Puppet, Stage
from .web import expect_answer, free_port

pytestmark = pytest.mark.usefixtures("as_root")

SOMEBODY = 20001

Start = Callable[..., Puppet]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Not in /tmp, for that is what some of these vassals do not see."""
    path = Path(tempfile.mkdtemp(prefix="imperator-", dir="/var/lib"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def vassal(reign: Reign, stage: Stage, vassals: Path) -> Start:
    """``vassal(*options)``: a tyrant's vassal under these, who belongs to somebody."""

    def start(*options: str | Path) -> Puppet:
        file = vassals / "a.ini"
        file.write_text("[uwsgi]\n")
        os.chown(file, SOMEBODY, SOMEBODY)
        reign("--emperor-tyrant", *options).ready()
        puppet = stage.next("a.ini")
        assert puppet.given["uids"] == [SOMEBODY] * 3
        return puppet

    return start


# -- no_new_privs


def test_a_tyrants_vassal_gains_nothing_by_a_set_user_id_program(vassal: Start, open_path: Path) -> None:
    whoami = open_path / "whoami"
    shutil.copy("/usr/bin/id", whoami)
    whoami.chmod(0o4755)
    puppet = vassal()
    assert puppet.given["status"]["NoNewPrivs"] == "1"
    assert puppet.evaluate(f"subprocess.check_output(['{whoami}', '-u'], text=True)") == f"{SOMEBODY}\n"


def test_no_new_privs_can_be_switched_off(vassal: Start, open_path: Path) -> None:
    whoami = open_path / "whoami"
    shutil.copy("/usr/bin/id", whoami)
    whoami.chmod(0o4755)
    puppet = vassal("--set", "vassal-no-new-privs=false")
    assert puppet.evaluate(f"subprocess.check_output(['{whoami}', '-u'], text=True)") == "0\n"


def test_it_is_off_where_vassals_are_not_strangers(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign()
    assert stage.next("a.ini").given["status"]["NoNewPrivs"] == "0"


# -- seccomp

CALLS = {
    "mount": "libc.mount(None, None, None, 0, None)",
    "umount2": "libc.umount2(b'/nothing', 0)",
    "ptrace": "libc.ptrace(0, 0, 0, 0)",
    "process_vm_readv": "libc.process_vm_readv(os.getpid(), None, 0, None, 0, 0)",
    "bpf": "libc.syscall({'x86_64': 321, 'aarch64': 280}[os.uname().machine], 0, 0, 0)",
    "keyctl": "libc.syscall({'x86_64': 250, 'aarch64': 219}[os.uname().machine], 0, -3, 0)",
    "perf_event_open": "libc.syscall({'x86_64': 298, 'aarch64': 241}[os.uname().machine], 0, 0, 0, 0, 0)",
    "io_uring_setup": "libc.syscall(425, 0, 0)",
    "setns": "libc.setns(-1, 0)",
    "a user namespace": "libc.unshare(0x10000000)",
    "a child in one": "libc.syscall({'x86_64': 56, 'aarch64': 220}[os.uname().machine], 0x10000011, 0, 0, 0, 0)",
}


def test_dangerous_system_calls_fail(vassal: Start) -> None:
    puppet = vassal("--vassal-seccomp", "default")
    assert puppet.given["status"]["Seccomp"] == "2"
    assert {name: puppet.evaluate(f"errno_of({call})") for name, call in CALLS.items()} == dict.fromkeys(CALLS, "EPERM")


def test_without_the_filter_some_of_them_do_not(vassal: Start) -> None:
    """Or the test above would show nothing: the others fail with EPERM for want of a capability."""
    puppet = vassal()
    for name in ("process_vm_readv", "keyctl", "setns", "io_uring_setup"):
        assert puppet.evaluate(f"errno_of({CALLS[name]})") != "EPERM", name
    assert puppet.evaluate(f"errno_of({CALLS['a user namespace']})") == "none"


def test_a_program_in_other_numbers_is_refused(vassal: Start) -> None:
    """x32: the same machine, the same call, another number."""
    if os.uname().machine != "x86_64":
        return
    puppet = vassal("--vassal-seccomp", "default")
    assert puppet.evaluate("errno_of(libc.syscall(0x40000000 | 39))") == "EPERM"


def test_threads_and_children_can_be_made(vassal: Start) -> None:
    """clone3 is "not there", and the C library knows what to do then."""
    puppet = vassal("--vassal-seccomp", "default")
    assert puppet.evaluate("errno_of(libc.syscall(435, 0, 0))") == "ENOSYS"
    assert puppet.evaluate("subprocess.check_output(['echo', 'hello'], text=True)") == "hello\n"
    code = "[t := __import__('threading').Thread(target=print), t.start(), t.join()] and 'joined'"
    assert puppet.evaluate(code) == "joined"


def test_a_filter_needs_no_new_privs(reign: Reign) -> None:
    empire = reign("--vassal-seccomp", "default", "--set", "vassal-no-new-privs=false")
    empire.expect("vassal-no-new-privs = false: vassal-seccomp needs it")
    assert empire.process.wait(PATIENCE) == 1


# -- read-only


def write_to(path: Path | str) -> str:
    return f"open('{path}/new', 'w').close() or 'written'"


def test_nothing_can_be_written_but_what_is_named(vassal: Start, open_path: Path) -> None:
    for name in ("own", "data"):
        (open_path / name).mkdir()
        os.chown(open_path / name, SOMEBODY, SOMEBODY)
    puppet = vassal("--vassal-read-only", "--vassal-writable", open_path / "data")
    assert puppet.evaluate(write_to(open_path / "own")) == "EROFS"
    assert puppet.evaluate(write_to("/tmp")) == "EROFS"
    assert puppet.evaluate(write_to(open_path / "data")) == "written"
    assert (open_path / "data/new").exists()
    assert puppet.evaluate(write_to("/dev/shm")) == "written"
    os.unlink("/dev/shm/new")
    assert puppet.evaluate("open('/dev/null', 'w').write('x')") == "1"
    (open_path / "own/from-outside").touch()  # nobody else's mounts have changed


def test_it_holds_for_root_as_well(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign("--vassal-read-only")
    puppet = stage.next("a.ini")
    assert puppet.given["uids"] == [0, 0, 0]
    assert puppet.given["cwd"] == str(vassals)
    assert puppet.evaluate(write_to(open_path)) == "EROFS"
    assert puppet.evaluate(write_to(".")) == "EROFS"
    assert puppet.evaluate("open('a.ini').read()") == "[uwsgi]\n"


def test_what_was_read_only_stays_so_within_what_is_writable(vassal: Start, open_path: Path) -> None:
    data, inner = open_path / "data", open_path / "data/inner"
    inner.mkdir(parents=True)
    for path in (data, inner):
        os.chown(path, SOMEBODY, SOMEBODY)
    subprocess.run(["mount", "--bind", inner, inner], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", inner], check=True)
        puppet = vassal("--vassal-read-only", "--vassal-writable", data)
        assert puppet.evaluate(write_to(data)) == "written"
        assert puppet.evaluate(write_to(inner)) == "EROFS"
    finally:
        subprocess.run(["umount", inner], check=True)


def test_without_the_right_to_mount_it_is_landlock(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    for name in ("own", "data"):
        (open_path / name).mkdir()
        os.chown(open_path / name, SOMEBODY, SOMEBODY)
    reign("--vassal-read-only", "--vassal-writable", open_path / "data", user=SOMEBODY, group=SOMEBODY)
    puppet = stage.next("a.ini")
    assert puppet.given["status"]["NoNewPrivs"] == "1"
    assert puppet.evaluate(write_to(open_path / "own")) == "EACCES"
    assert puppet.evaluate(write_to("/tmp")) == "EACCES"
    assert puppet.evaluate(f"os.mkdir('{open_path}/own/directory')") == "EACCES"
    assert puppet.evaluate(write_to(open_path / "data")) == "written"
    assert puppet.evaluate(f"os.truncate('{open_path}/data/new', 3)") == "None"
    assert puppet.evaluate("open('/dev/null', 'w').write('x')") == "1"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--vassal-read-only", "--vassal-writable", "/nowhere"), "vassal-writable = /nowhere: there is no such"),
        (("--vassal-read-only", "--vassal-writable", "data"), "vassal-writable = data: an absolute path"),
        (("--vassal-writable", "/tmp"), "vassal-writable is an exception to vassal-read-only"),
    ],
)
def test_exceptions_that_make_no_sense(options: tuple[str, ...], text: str, reign: Reign) -> None:
    empire = reign(*options)
    empire.expect(text)
    assert empire.process.wait(PATIENCE) == 1


@pytest.mark.parametrize("option", ["vassal-private-tmp", "vassal-hidden-proc"])
def test_without_the_right_to_mount_the_others_are_refused(option: str, reign: Reign) -> None:
    empire = reign(f"--{option}", user=SOMEBODY, group=SOMEBODY)
    empire.expect(f"{option} = true: the Emperor may not mount")
    assert empire.process.wait(PATIENCE) == 1


# -- private /tmp


def test_each_vassal_has_a_tmp_of_its_own(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name in ("a.ini", "b.ini"):
        (vassals / name).write_text("[uwsgi]\n")
        os.chown(vassals / name, SOMEBODY, SOMEBODY)
    reign("--emperor-tyrant", "--vassal-private-tmp", "--vassal-read-only")
    a, b = stage.next_of("a.ini", "b.ini")
    for directory in ("/tmp", "/var/tmp"):
        assert a.evaluate(f"os.listdir('{directory}')") == "[]"
        assert a.evaluate(write_to(directory)) == "written"
        assert b.evaluate(f"os.listdir('{directory}')") == "[]"
        assert not os.path.exists(f"{directory}/new")


# -- hidden /proc


def test_nobody_elses_processes_are_seen(vassal: Start) -> None:
    puppet = vassal("--vassal-hidden-proc")
    seen = puppet.evaluate("sorted({os.stat('/proc/' + pid).st_uid for pid in os.listdir('/proc') if pid.isdigit()})")
    assert seen == f"[{SOMEBODY}]"
    assert puppet.evaluate(f"open('/proc/{os.getpid()}/cmdline').read()") == "ENOENT"
    assert Path("/proc/1/cmdline").exists()  # nobody else's /proc has changed


def test_in_a_pid_namespace_it_shows_that_one(vassal: Start) -> None:
    puppet = vassal("--vassal-hidden-proc", "--emperor-use-clone", "pid")
    assert puppet.evaluate("[pid for pid in os.listdir('/proc') if pid.isdigit()]") == "['1']"


# -- all of it

EVERYTHING = (
    "--vassal-seccomp=default",
    "--vassal-no-new-privs",
    "--vassal-read-only",
    "--vassal-private-tmp",
    "--vassal-hidden-proc",
    "--vassal-memory-max=512M",
    "--vassal-pids-max=50",
    "--vassal-cpu-max=2",
)


def expect_workers(address: web.Address, count: int) -> None:
    """Each of them has answered: while one is busy, another one is asked."""
    deadline = time.monotonic() + PATIENCE
    pids: set[str] = set()
    with ThreadPoolExecutor(1) as others:
        while len(pids) < count:
            assert time.monotonic() < deadline, pids
            busy = others.submit(web.http, address, "/wait/0.2")
            pids.add(web.http(address, "/pid").body)
            busy.result()


@pytest.mark.parametrize("engine", ["granian", "gunicorn", "uwsgi"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_application_runs_under_all_of_it(
    engine: str, workers: int, reign: Reign, vassals: Path, open_path: Path
) -> None:
    address = ("127.0.0.1", free_port())
    web.write_application(open_path, "hello")
    run = open_path / "run"
    run.mkdir()
    os.chown(run, SOMEBODY, SOMEBODY)
    file = vassals / "site.ini"
    lines = [f"http-socket = {address[0]}:{address[1]}", f"wsgi-file = {open_path}/app.py", f"engine = {engine}"]
    file.write_text("\n".join(["[uwsgi]", *lines, f"processes = {workers}", "master = true", ""]))
    os.chown(file, SOMEBODY, SOMEBODY)
    empire = reign("--emperor-tyrant", *EVERYTHING, "--vassal-writable", run, binary=None)
    expect_answer(address, "hello")
    expect_answer(address, f"{SOMEBODY} {SOMEBODY} []", "/ids")
    before = empire.expect_state("site.ini", accepting=1, loyal=1)
    expect_workers(address, workers)  # one of uWSGI's that has only just begun does not hear of a reload
    web.write_application(open_path, "again")
    os.utime(file)
    expect_answer(address, "again")
    assert empire.expect_state("site.ini", reloading=False)["pid"] == before["pid"]
    file.unlink()
    empire.expect("site.ini .*removed")
    web.expect_nobody_listens(address)


def test_an_application_that_is_landlocked_runs(reign: Reign, vassals: Path, open_path: Path) -> None:
    address = ("127.0.0.1", free_port())
    web.write_application(open_path, "hello")
    lines = f"http-socket = {address[0]}:{address[1]}", f"wsgi-file = {open_path}/app.py"
    (vassals / "site.ini").write_text("\n".join(["[uwsgi]", *lines, ""]))
    options = ("--vassal-read-only", "--vassal-seccomp", "default")
    reign(*options, binary=None, user=SOMEBODY, group=SOMEBODY)
    expect_answer(address, "hello")
