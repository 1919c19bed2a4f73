"""The hooks of an instance: the same file given to the real uwsgi and to us, and what both do with it."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from imperator.config.hook_actions import HERE, OF_UWSGI
from imperator.kernel.hooks import ACTIONS

from .conftest import Reign
from .solo import free_port, get
from .stage import PATIENCE

OURS = (sys.executable, str(Path(sys.executable).with_name("imperator")))
THEIRS = (sys.executable, str(Path(sys.executable).with_name("uwsgi")))
RELOADS_AS = {"UWSGI_BINARY_PATH": sys.executable}
"""The original of the wheel does not know what it is: see ``court/binary.py``."""
BOTH = {"the original": THEIRS, "ours": OURS}
NOBODY = 65534
PHASES = (
    "asap",
    "pre-jail",
    "in-jail",
    "post-jail",
    "as-root",
    "as-user",
    "pre-app",
    "post-app",
    "accepting",
    "accepting-once",
    "as-user-atexit",
)
OLD = {phase for phase in PHASES if not phase.startswith("accepting")}
"""Those that have an old spelling, ``exec-as-root``."""
NEVER_FATAL = ("as-user-atexit", "emperor-stop", "emperor-reload", "emperor-lost")


class House:
    """Where one program, the original or ours, is given a file and leaves its traces."""

    def __init__(self, directory: Path, program: Sequence[str], port: int) -> None:
        self.directory = directory
        self.program = program
        self.port = port
        directory.mkdir()
        directory.chmod(0o777)
        (directory / "app.py").write_text("def application(environ, start_response): ...\n")
        self.trace = directory / "trace"
        self.trace.touch()
        self.trace.chmod(0o666)

    def write(self, lines: Sequence[str]) -> None:
        """``{here}`` is this directory, ``{trace}`` a file that every user may append to."""
        every = ["[uwsgi]", f"http-socket = 127.0.0.1:{self.port}", "wsgi-file = app.py", *lines, ""]
        text = "\n".join(every).replace("{here}", str(self.directory)).replace("{trace}", str(self.trace))
        (self.directory / "site.ini").write_text(text)

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.program, "--ini", "site.ini"],
            cwd=self.directory,
            env={**{key: value for key, value in os.environ.items() if key[:6] != "UWSGI_"}, **RELOADS_AS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, until: str | None, number: int = signal.SIGINT) -> tuple[int, str]:
        """Run until this is in the trace, then end it; ``None``: until it ends by itself. Exit code and output."""
        process = self.start()
        try:
            if until is not None:
                self.expect(until, process)
                process.send_signal(number)
            said, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
            process.wait()
        return process.returncode, said

    def expect(self, line: str, process: subprocess.Popen[str], times: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.traced().count(line) < times:
            if process.poll() is not None:
                raise AssertionError(f"ended with {process.returncode}: {process.stdout.read()}")  # type: ignore[union-attr]
            assert time.monotonic() < deadline, f"no {line!r} in {self.traced()}"
            time.sleep(0.01)

    def traced(self) -> list[str]:
        return self.trace.read_text().splitlines()


@pytest.fixture
def houses(open_path: Path) -> dict[str, House]:
    """The original's and ours."""
    port = free_port()
    return {name: House(open_path / name.replace(" ", "_"), program, port) for name, program in BOTH.items()}


@pytest.fixture
def house(houses: dict[str, House]) -> House:
    """Ours."""
    return houses["ours"]


def every_phase() -> list[str]:
    """Two hooks for each phase, and before them its old spelling, which runs after them nevertheless."""
    lines = []
    for phase in PHASES:
        if phase in OLD:
            lines.append(f"exec-{phase} = echo {phase} old $(id -u) >> {{trace}}")
        lines += [f"hook-{phase} = exec:echo {phase} {number} $(id -u) >> {{trace}}" for number in ("one", "two")]
    return lines


RIGHTS = [f"uid = {NOBODY}", f"gid = {NOBODY}", "unshare = uts"]


# -- the order


@pytest.mark.parametrize(
    "more",
    [[], ["lazy-apps = true"], ["chdir = {here}", "vacuum = true"]],
    ids=lambda more: more[0] if more else "plain",
)
def test_one_worker_has_the_original_s_order(as_root: None, more: list[str], houses: dict[str, House]) -> None:
    """With ``master``: without it the original has no ``accepting-once``."""
    for house in houses.values():
        once = "hook-accepting-once = exec:echo accepts >> {trace}"
        house.write([*RIGHTS, "master = true", *more, *every_phase(), once])
        house.run("accepts")
    original, ours = (house.traced() for house in houses.values())
    assert len(original) == 3 * len(PHASES) - 2 + 1
    assert ours == original


def test_several_workers_have_the_original_s_order(as_root: None, houses: dict[str, House]) -> None:
    """``accepting`` in each of them, at any time, and ``accepting-once`` too: it only is not repeated by a respawn."""
    for house in houses.values():
        house.write([*RIGHTS, "master = true", "workers = 3", *every_phase()])
        process = house.start()
        house.expect(f"accepting-once two {NOBODY}", process, times=3)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    original, ours = (house.traced() for house in houses.values())
    assert Counter(ours) == Counter(original)
    assert [line for line in ours if "accepting" not in line] == [line for line in original if "accepting" not in line]


def test_a_respawned_worker_accepts_but_not_once(as_root: None, houses: dict[str, House]) -> None:
    for house in houses.values():
        house.write(
            [
                *RIGHTS,
                "master = true",
                "workers = 2",
                "hook-accepting = exec:echo accepting $PPID >> {trace}",
                "hook-accepting-once = exec:echo once >> {trace}",
            ]
        )
        process = house.start()
        house.expect("once", process, times=2)
        worker = next(line.split()[1] for line in house.traced() if line.startswith("accepting"))
        os.kill(int(worker), signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE
        while sum(line.startswith("accepting") for line in house.traced()) < 3:
            assert time.monotonic() < deadline, house.traced()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
        assert house.traced().count("once") == 2, house.traced()


def test_a_reload_has_the_original_s_order(as_root: None, houses: dict[str, House]) -> None:
    """What belongs to the jail and to root is not gone through again."""
    for house in houses.values():
        house.write([*RIGHTS, "master = true", *every_phase()])
        process = house.start()
        house.expect(f"accepting-once two {NOBODY}", process)
        process.send_signal(signal.SIGHUP)
        house.expect(f"accepting-once two {NOBODY}", process, times=2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    original, ours = (house.traced() for house in houses.values())
    assert ours == original


def test_the_old_spellings_mount_unmount_and_execute_in_this_order(as_root: None, houses: dict[str, House]) -> None:
    """However they are mixed in the file: otherwise there would be nothing to unmount here."""
    for house in houses.values():
        mounted = "echo $(grep -c ' {here}/disk ' /proc/self/mounts) >> {trace}"
        house.write(
            [
                f"uid = {NOBODY}",  # as root the original goes through this phase several times
                "unshare = fs",
                f"exec-post-jail = {mounted}",
                "umount-post-jail = {here}/disk",
                "mount-post-jail = tmpfs none {here}/disk",
                "mount-post-jail = tmpfs none {here}/disk",
                "hook-asap = mkdir:{here}/disk",
                f"hook-post-jail = exec:{mounted}",
                "hook-accepting = exec:echo accepts >> {trace}",
            ]
        )
        house.run("accepts")
        assert house.traced() == ["0", "1", "accepts"]


def test_a_worker_that_is_replaced_is_no_new_instance(houses: dict[str, House]) -> None:
    """Even where it is the only one, and the whole instance with it: only what is about its application runs again."""
    house = houses["ours"]
    app = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'ave']\n"
    (house.directory / "app.py").write_text(app)
    house.write(["max-requests = 1", *(f"hook-{phase} = exec:echo {phase} >> {{trace}}" for phase in PHASES)])
    process = house.start()
    house.expect("accepting-once", process)
    assert get(house.port) == "ave"
    house.expect("accepting", process, times=2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    counted = Counter(house.traced())
    twice = {"pre-app", "post-app", "accepting"}
    assert {phase for phase in counted if counted[phase] == 2} - {"as-root", "as-user"} == twice
    assert counted["as-user-atexit"] == counted["accepting-once"] == counted["asap"] == 1


# -- a hook that fails


@pytest.mark.parametrize("phase", PHASES)
def test_where_one_fails_the_same_happens_as_in_the_original(
    as_root: None, phase: str, houses: dict[str, House]
) -> None:
    """Which hooks run after it, and the exit code. (Not where the original hangs: ``accepting-once``, there.)"""
    results = []
    for name, house in houses.items():
        house.write(
            [
                *RIGHTS,
                f"hook-{phase} = exec:exit 7",
                *every_phase(),
                "exec-as-user-atexit = echo the end >> {trace}",
            ]
        )
        if phase == "accepting-once" and name != "ours":
            continue
        fatal = phase not in NEVER_FATAL
        code, _ = house.run(None if fatal else f"accepting two {NOBODY}")
        traced = [line for line in house.traced() if not line.startswith("accepting-once")]
        assert traced[-1] == "the end"
        assert fatal != any(line.startswith(phase + " ") for line in traced)
        assert code == 1 or not fatal
        results.append(traced)
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("more", [[], ["workers = 2"], ["workers = 2", "lazy-apps = true"]], ids=len)
def test_the_line_for_the_person(as_root: None, phase: str, more: list[str], house: House) -> None:
    """One, with file and line, however many workers there are; and nothing is left of the instance."""
    house.write(
        [
            *RIGHTS,
            f"hook-{phase} = exec:exit 7",
            "hook-accepting = exec:echo accepts >> {trace}",
            *more,
            "attach-daemon = sleep 1000",
        ]
    )
    fatal = phase not in NEVER_FATAL
    code, said = house.run(None if fatal else "accepts")
    assert code == (1 if fatal else 0), said
    assert f"site.ini:7: hook-{phase}: exec:exit 7: ended with 7" in said
    assert "Traceback" not in said


def test_an_old_spelling_that_fails(as_root: None, houses: dict[str, House]) -> None:
    codes = []
    for house in houses.values():
        house.write(["exec-as-root = exit 7", "exec-as-root = echo not any more >> {trace}"])
        codes.append(house.run(None)[0])
        assert house.traced() == []
    assert codes == [1, 1]


def test_an_action_that_does_not_exist(houses: dict[str, House]) -> None:
    """We say so before anything has begun; the original when the phase has come."""
    for house in houses.values():
        house.write(["hook-as-user = exce:true"])
        code, said = house.run(None)
        assert code == 1
    assert "site.ini:4: hook-as-user = exce:…: there is no action 'exce' (did you mean exec?)" in said


def test_a_hook_without_a_colon(houses: dict[str, House]) -> None:
    for house in houses.values():
        house.write(["hook-as-user = true"])
        code, said = house.run(None)
        assert code == 1
    assert "site.ini:4: hook-as-user = true: ACTION:ARGUMENT was expected" in said


# -- what they do


def test_the_words_that_the_configuration_knows_are_those_that_there_are() -> None:
    assert HERE == ACTIONS
    assert not HERE & OF_UWSGI


EVERY_ACTION = [
    "exec:echo one >> {trace}",
    "safeexec:echo two >> {trace}; exit 3",
    "mkdir:{here}/made",
    "cd:{here}/made",
    "exec:echo ${PWD##*/} >> {trace}",
    "chdir:{here}",
    "print:a line for the log",
    "log:another one",
    "write:{here}/written one two",
    "writen:{here}/line one  two",
    "append:{here}/line three",
    "appendn:{here}/line four",
    "appendn:{here}/empty-line",
    "creat:{here}/made/a",
    "create:{here}/made/b",
    "write:{here}/made/c something",
    "creat:{here}/made/c",
    "writefifo:{here}/fifo nobody reads this",
    "write:{here}/removed x",
    "unlink:{here}/removed",
    "chmod:{here}/written 640",
    "chown:{here}/written nobody nogroup",
    f"chown2:{{here}}/line {NOBODY} 0",
    "sticky:{here}/made",
    "putenv:GREETING=ave = vale",
    "exec:echo $GREETING >> {trace}",
    "putenv:GREETING",
    "exec:echo no ${GREETING:-greeting} >> {trace}",
    "hostname:hooked",
    "exec:hostname >> {trace}",
    "wait_for_fs:{here}/made",
    "wait_for_file:{here}/line",
    "wait_for_dir:{here}/made",
    "wait_for_socket:{here}/socket",
    "mount:tmpfs none {here}/made noexec,nosuid size=64k,mode=700",
    "write:{here}/made/hidden x",
    "exec:grep -o ' {here}/made tmpfs [a-z,]*noexec' /proc/self/mounts | sed 's/.* //' >> {trace}",
    "mount:none {here} {here}/made bind",
    "exec:ls {here}/made/written | wc -l >> {trace}",
    "umount:{here}/made",
    "mkdir:{here}/made/below",
    "mount:tmpfs none {here}/made/below",
    "umount:{here}/made rec",
    "mount:tmpfs none {here}/made ro",
    "exec:touch {here}/made/no || echo read only >> {trace}",
    "umount:{here}/made detach",
    "!exec:echo secret >> {trace}",
]


def snapshot(house: House) -> dict[str, tuple[str, int, int, bytes]]:
    """Everything that is in a house: mode, owner, content."""
    found = {}
    for path in sorted(house.directory.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) and path.name != "site.ini" else b""
        name = str(path.relative_to(house.directory))
        found[name] = (stat.filemode(status.st_mode), status.st_uid, status.st_gid, content)
    return {name: what for name, what in found.items() if "__pycache__" not in name}


def test_every_action_does_what_it_does_in_the_original(as_root: None, houses: dict[str, House]) -> None:
    assert {line.removeprefix("!").partition(":")[0] for line in EVERY_ACTION} >= HERE - {"exit", "spinningfifo"}
    for house in houses.values():
        os.mkfifo(house.directory / "fifo")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(house.directory / "socket"))
            listening.listen()
            hooks = [f"hook-post-jail = {line}" for line in EVERY_ACTION]
            house.write(
                [f"uid = {NOBODY}", "unshare = fs,uts", *hooks, "hook-accepting = exec:echo accepts >> {trace}"]
            )
            _, said = house.run("accepts")
            assert "a line for the log" in said and "another one" in said
            assert "echo secret" not in said
    original, ours = (snapshot(house) for house in houses.values())
    assert ours == original


def test_a_pipe_that_somebody_reads(house: House) -> None:
    """``writefifo`` writes it; ``spinningfifo`` waits until somebody does."""
    fifo = house.directory / "fifo"
    house.write(["hook-asap = spinningfifo:{here}/fifo one,", "hook-asap = writefifo:{here}/fifo two"])
    process = house.start()
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY)
    try:
        heard = b""
        while not heard.endswith(b"two"):
            heard += os.read(reader, 100)
        assert heard == b"one,two"
    finally:
        os.close(reader)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("code", [0, 13])
@pytest.mark.parametrize("phase", ["pre-jail", "as-user", "pre-app"])
def test_a_hook_that_ends_the_instance(as_root: None, phase: str, code: int, houses: dict[str, House]) -> None:
    """With its exit code, and after what is to be done at the end."""
    for house in houses.values():
        house.write(
            [
                *RIGHTS,
                f"hook-{phase} = exit:{code}",
                f"hook-{phase} = exec:echo not any more >> {{trace}}",
                "hook-as-user-atexit = exec:echo the end >> {trace}",
            ]
        )
        assert house.run(None)[0] == code
        assert house.traced() == ["the end"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_who_is_told_to_stop_during_a_hook_ends_in_good_order(number: int, house: House) -> None:
    house.write(
        [
            "pidfile = pid",
            "vacuum = true",
            "hook-as-user = exec:echo now >> {trace}; exec sleep 1000",
            "hook-as-user-atexit = exec:echo the end >> {trace}",
        ]
    )
    code, said = house.run("now", number)
    assert code == 0
    assert f"stop: {signal.Signals(number).name}, while it was starting" in said
    assert "Traceback" not in said
    assert house.traced() == ["now", "the end"]
    assert not (house.directory / "pid").exists()


MISTAKES = [
    "cd:{here}/none",
    "mkdir:{here}",
    "write:{here}/file",
    "write:{here}/none/file text",
    "append:{here}/file",
    "creat:{here}/none/file",
    "chmod:{here}/none 600",
    "chmod:{here}/app.py",
    "unlink:{here}/none",
    "chown:{here}/app.py nobody",
    "chown:{here}/app.py nobody no-such-group",
    "chown2:{here}/app.py nobody nogroup",
    "sticky:{here}/none",
    "writefifo:{here}/none text",
    "mount:tmpfs none",
    "mount:tmpfs none {here}/none",
    "mount:tmpfs none {here} funny",
    "umount:{here}",
    "umount:{here} funny",
    "exec:exit 3",
]


@pytest.mark.parametrize("hook", MISTAKES)
def test_what_cannot_be_done_is_as_fatal_as_in_the_original(as_root: None, hook: str, houses: dict[str, House]) -> None:
    for house in houses.values():
        house.write(["unshare = fs", f"hook-post-jail = {hook}", "hook-as-user-atexit = exec:echo the end >> {trace}"])
        code, said = house.run(None)
        assert code == 1
        assert house.traced() == ["the end"]
    assert "site.ini:5: hook-post-jail: " in said
    assert "Errno" not in said


def test_what_is_waited_for_in_vain(house: House) -> None:
    house.write(["hook-asap = wait_for_file:{here}/none 1"])
    code, said = house.run(None)
    assert code == 1
    assert (
        f"site.ini:4: hook-asap: wait_for_file:{house.directory}/none 1: {house.directory}/none did not appear" in said
    )


# -- the manual's page

JAIL = """
import os, socket
def application(environ, start_response):
    start_response("200 OK", [])
    pids = [name for name in os.listdir("/proc") if name.isdecimal()]
    return [f"{socket.gethostname()} {os.getuid()} {len(pids)}".encode()]
"""


def test_the_manuals_vassal_in_a_jail(as_root: None, reign: Reign, house: House, vassals: Path) -> None:
    """Its host name, its own /proc in which nobody else is to be seen, its user: as on the page."""
    (house.directory / "app.py").write_text(JAIL)
    (vassals / "site.ini").write_text(
        f"""[uwsgi]
unshare = fs,ipc,pid,uts
; set the hostname
exec-as-root = hostname foobar
; umount /proc and remount to hide processes
; as we are in the 'fs' namespace umounting /proc does not interfere with the main one
exec-as-root = umount /proc
exec-as-root = mount -t proc none /proc
; drop privileges
uid = {NOBODY}
gid = {NOBODY}
http-socket = 127.0.0.1:{house.port}
chdir = {house.directory}
module = app
"""
    )
    empire = reign(binary=None)
    empire.expect("site.ini .*accepts requests")
    hostname, uid, processes = get(house.port).split()
    assert (hostname, uid) == ("foobar", str(NOBODY))
    assert int(processes) < 5
    assert os.uname().nodename != "foobar"
    assert str(empire.pid) in os.listdir("/proc")


# -- what the Emperor says


def write_vassal(house: House, vassals: Path) -> Path:
    """A vassal's file, with hooks for all that an Emperor can say."""
    phases = ("emperor-stop", "emperor-reload", "emperor-lost")
    lines = [f"hook-{phase} = exec:echo {phase} {number} >> {{trace}}" for phase in phases for number in (1, 2)]
    fails = [f"hook-{phase} = exec:exit 7" for phase in phases]
    accepting = "hook-accepting = exec:echo accepts >> {trace}"
    house.write([f"chdir = {house.directory}", *fails, *lines, accepting, "master = true"])
    new = vassals / "site.new"
    new.write_text((house.directory / "site.ini").read_text())
    return new.rename(vassals / "site.ini")


def expect_traced(house: House, *lines: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while house.traced() != list(lines):
        assert time.monotonic() < deadline, house.traced()
        time.sleep(0.02)


@pytest.mark.parametrize("whose", BOTH)
def test_stop_and_reload_have_their_hooks(whose: str, reign: Reign, houses: dict[str, House], vassals: Path) -> None:
    """One that fails changes nothing."""
    house = houses[whose]
    file = write_vassal(house, vassals)
    empire = reign(binary=house.program[1], environment=RELOADS_AS)
    expect_traced(house, "accepts")
    empire.expect("site.ini .*accepts requests")
    write_vassal(house, vassals)
    reloaded = ("accepts", "emperor-reload 1", "emperor-reload 2", "accepts")
    expect_traced(house, *reloaded)
    file.unlink()
    empire.expect("site.ini .*removed")
    assert house.traced() == [*reloaded, "emperor-stop 1", "emperor-stop 2"]
    if whose == "ours":
        assert empire.log.find("site.ini:6: hook-emperor-reload: exec:exit 7: ended with 7")
        assert empire.log.find("site.ini:5: hook-emperor-stop: exec:exit 7: ended with 7")


@pytest.mark.parametrize("whose", BOTH)
def test_an_emperor_that_is_lost(whose: str, houses: dict[str, House]) -> None:
    """One that lets go of its vassals without a word. (Ours would end them first: see its guardian.)"""
    house = houses[whose]
    once = "hook-emperor-lost = exec:echo lost >> {trace}"
    house.write(["master = true", once, "hook-accepting = exec:echo accepts >> {trace}"])
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(
            [*house.program, "--ini", "site.ini"],
            cwd=house.directory,
            env={**os.environ, "UWSGI_EMPEROR_FD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stderr=subprocess.PIPE,
            text=True,
        )
    house.expect("accepts", process)
    ours.close()
    process.communicate(timeout=PATIENCE)
    assert house.traced() == ["accepts", "lost"]
