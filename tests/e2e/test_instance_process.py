"""What an instance's processes are: rights, limits, names, traces, sockets; and what runs beside them."""

from __future__ import annotations

import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from .clients import connect
from .solo import ACCEPTS, Start, free_port, get
from .stage import PATIENCE

ANY = """
import grp, os, pwd, resource, threading
together = threading.Barrier(2)
def application(environ, start_response):
    start_response("200 OK", [])
    return [repr(eval(environ["QUERY_STRING"].replace("%20", " "))).encode()]
"""
NOBODY = 65534


def line(port: int) -> str:
    return f"http-socket = 127.0.0.1:{port}"


def until(what: str, is_so: object) -> None:
    """Returns when ``is_so()`` is true."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"it never came about: {what}"
        time.sleep(0.01)


def test_limits_and_umask(start: Start, port: int) -> None:
    start(
        line(port),
        "module = app",
        "limit-as = 4000",
        "limit-nproc = 12345",
        "limit-nofile = 333",
        "umask = 027",
        app=ANY,
    ).expect(ACCEPTS)
    assert get(port, "/?resource.getrlimit(resource.RLIMIT_AS)") == repr((4000 << 20, 4000 << 20))
    assert get(port, "/?resource.getrlimit(resource.RLIMIT_NPROC)") == repr((12345, 12345))
    assert get(port, "/?resource.getrlimit(resource.RLIMIT_NOFILE)") == repr((333, 333))
    assert get(port, "/?os.umask(0)") == repr(0o027)


def test_uid_and_gid(as_root: None, start: Start, port: int) -> None:
    start(line(port), "module = app", "uid = nobody", "gid = nogroup", app=ANY).expect(ACCEPTS)
    assert get(port, "/?os.getresuid()+os.getresgid()") == repr((NOBODY,) * 6)


def test_a_user_that_is_not_there(start: Start, port: int, open_path: Path) -> None:
    instance = start(f"http-socket = {open_path}/app.sock", "module = app", "uid = nosuchuser")
    instance.expect("uid = nosuchuser: .*nosuchuser")
    assert instance.wait() == 1
    assert not (open_path / "app.sock").exists()


def test_owner_and_mode_of_the_socket(as_root: None, start: Start, open_path: Path) -> None:
    path = open_path / "app.sock"
    start(
        f"http-socket = {path}", "module = app", "uid = nobody", "chown-socket = nobody:nogroup", "chmod-socket = 620"
    ).expect(ACCEPTS)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (NOBODY, NOBODY, 0o620)


def test_pid_files_and_vacuum(start: Start, port: int, open_path: Path) -> None:
    first, second = open_path / "1.pid", open_path / "2.pid"
    instance = start(line(port), "module = app", f"pidfile = {first}", f"pidfile2 = {second}", "vacuum = true")
    instance.expect(ACCEPTS)
    assert first.read_text() == second.read_text() == f"{instance.pid}\n"
    instance.send(signal.SIGHUP)
    instance.expect("reload: SIGHUP")
    assert get(port) == "one"
    assert first.read_text() == f"{instance.pid}\n"
    assert instance.end() == 0
    assert not first.exists()
    assert not second.exists()


def test_several_sockets_and_the_length_of_their_queues(start: Start, open_path: Path) -> None:
    first, second = free_port(), free_port()
    path = f"{open_path}/app.sock"
    instance = start(
        f"http = 127.0.0.1:{first}",
        f"http-socket = 127.0.0.1:{second}",
        f"socket = {path}",
        "protocol = http",
        "module = app",
        "listen = 7",
    )
    instance.expect(ACCEPTS)
    assert get(first) == get(second) == "one"
    with connect(path) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b"".join(iter(lambda: client.recv(4096), b"")).endswith(b"one")
    queues = {text.split()[3]: text.split()[2] for text in listeners().splitlines()[1:]}
    assert queues[f"127.0.0.1:{first}"] == queues[f"127.0.0.1:{second}"] == "7"


def listeners() -> str:
    import subprocess

    return subprocess.run(["ss", "-ltn"], capture_output=True, text=True, check=True).stdout


def test_more_than_the_kernel_lets_wait(start: Start, port: int) -> None:
    instance = start(line(port), "module = app", "listen = 1000000")
    instance.expect("listen = 1000000 is more than net.core.somaxconn allows")
    instance.expect(ACCEPTS)
    assert get(port) == "one"


def test_threads_answer_at_the_same_time(start: Start, port: int) -> None:
    start(line(port), "module = app", "threads = 2", app=ANY).expect(ACCEPTS)
    answers: list[str] = []
    both = [threading.Thread(target=lambda: answers.append(get(port, "/?together.wait(20)"))) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert sorted(answers) == ["0", "1"]


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (("auto-procname = true",), "imperator worker 1"),
        (("procname-prefix = forum-", "auto-procname = true"), "forum-imperator worker 1"),
        (("procname-prefix-spaced = forum", "auto-procname = true"), "forum imperator worker 1"),
        (("procname = site",), "site"),
    ],
)
def test_the_name_in_ps(start: Start, port: int, lines: tuple[str, ...], name: str) -> None:
    instance = start(line(port), "module = app", *lines)
    instance.expect(ACCEPTS)
    assert Path(f"/proc/{instance.pid}/cmdline").read_bytes().rstrip(b"\0").decode() == name


def test_mercy_is_limited(start: Start, port: int) -> None:
    instance = start(line(port), "module = app", "reload-mercy = 1")
    instance.expect(ACCEPTS)
    before = open_connections(instance.pid)
    client = threading.Thread(target=is_cut_off, args=(port,))
    client.start()
    until("the request is there", lambda: open_connections(instance.pid) > before)
    begun = time.monotonic()
    instance.send(signal.SIGHUP)
    instance.expect("the mercy is over")
    assert time.monotonic() - begun >= 0.9
    client.join()
    assert get(port) == "one"


def is_cut_off(port: int) -> None:
    with pytest.raises(OSError):
        get(port, "/wait")


def open_connections(pid: int) -> int:
    return sum(os.readlink(one).startswith("socket:") for one in Path(f"/proc/{pid}/fd").iterdir())


def test_a_second_signal_cuts_short(start: Start, port: int) -> None:
    instance = start(line(port), "module = app")
    instance.expect(ACCEPTS)
    before = open_connections(instance.pid)
    client = threading.Thread(target=is_cut_off, args=(port,))
    client.start()
    until("the request is there", lambda: open_connections(instance.pid) > before)
    instance.send(signal.SIGTERM)
    instance.expect("stop: SIGTERM")
    instance.send(signal.SIGTERM)
    instance.expect("SIGTERM again: not waiting for anybody")
    assert instance.wait() == 0
    client.join()


def test_an_application_that_takes_long_to_load_can_be_stopped(start: Start, port: int, open_path: Path) -> None:
    app = "import threading\nprint('loading', flush=True)\nthreading.Event().wait(600)\n"
    path = open_path / "app.sock"
    instance = start(f"http-socket = {path}", "module = app", f"pidfile = {open_path}/pid", "vacuum = true", app=app)
    instance.expect("^loading")
    instance.send(signal.SIGTERM)
    instance.expect("stop: SIGTERM, before the application was loaded")
    assert instance.wait() == 0
    assert not path.exists()
    assert not (open_path / "pid").exists()


def test_a_file_touched_while_the_application_is_loaded_counts(start: Start, port: int, open_path: Path) -> None:
    touched = open_path / "reload.txt"
    app = f"import pathlib, os\nif not os.environ.get('UWSGI_RELOADS'): pathlib.Path({str(touched)!r}).touch()\n" + ANY
    instance = start(line(port), "module = app", f"touch-reload = {touched}", app=app)
    instance.expect("reload: .*reload.txt changed")
    assert get(port, "/?1") == "1"


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_application_wants_done_at_exit_is_done(
    start: Start, port: int, open_path: Path, processes: int
) -> None:
    left = open_path / "left"
    app = f"import atexit, os\natexit.register(lambda: open({str(left)!r}, 'a').write(f'{{os.getpid()}} '))\n" + ANY
    instance = start(line(port), "module = app", f"processes = {processes}", app=app)
    begun = f"worker {processes}: pid" if processes > 1 else ACCEPTS
    instance.expect(begun)
    worker = get(port, "/?os.getpid()")
    instance.send(signal.SIGHUP)
    instance.expect("reload: SIGHUP")
    instance.expect(begun)
    assert worker in left.read_text().split()


# -- beside it


def test_a_daemon_ends_with_the_instance(start: Start, port: int, open_path: Path) -> None:
    script = open_path / "beside.sh"
    script.write_text(f"#!/bin/sh\necho $$ > {open_path}/beside.pid\nexec sleep 600\n")
    script.chmod(0o755)
    instance = start(line(port), "module = app", f"attach-daemon = {script}")
    instance.expect("beside.sh: started as pid")
    until("the daemon runs", lambda: (open_path / "beside.pid").exists() and (open_path / "beside.pid").read_text())
    pid = int((open_path / "beside.pid").read_text())
    assert get(port) == "one"
    assert instance.end() == 0
    assert not Path(f"/proc/{pid}").exists()


def test_a_smart_daemon_that_runs_already_is_left_alone(start: Start, port: int, open_path: Path) -> None:
    (open_path / "there.pid").write_text(f"{os.getpid()}\n")
    instance = start(line(port), "module = app", f"smart-attach-daemon = {open_path}/there.pid sleep 600")
    instance.expect(f"sleep 600: pid {os.getpid()} of .* runs already: it is left alone")
    assert get(port) == "one"
    assert instance.end() == 0


def test_an_instance_of_one_vassal_at_rest_is_cheap_until_somebody_comes(start: Start, port: int) -> None:
    instance = start(line(port), "module = app", "cheap = true", "processes = 2")
    instance.expect("listening on")
    assert get(port) == "one"
    instance.expect("somebody connects: starting the workers")
    assert instance.end() == 0


def test_heartbeats_come_from_a_worker_that_answers(start: Start, port: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        instance = start(
            line(port),
            "module = app",
            "heartbeat = 1",
            environment={"UWSGI_EMPEROR_FD": str(theirs.fileno())},
            pass_fds=(theirs.fileno(),),
        )
        theirs.close()
        ours.settimeout(PATIENCE)
        heard = b""
        while heard.count(b"\x1a") < 2:
            heard += ours.recv(100)
        assert heard[:2] == b"\x01\x05"
        assert get(port) == "one"
        while b"\x11" not in heard:
            heard += ours.recv(100)
        ours.send(b"\x00")
        assert instance.wait() == 0


# -- what cannot be


ALL_BUT_ONE = {"http-socket": "{path}/app.sock", "module": "app"}


@pytest.mark.parametrize(
    ("wrong", "says", "code"),
    [
        ({"http-socket": "{path}/none/app.sock"}, "site.ini:2: http-socket = .*: there is no directory", 1),
        ({"processes": "many"}, "site.ini:4: processes = many", 1),
        ({"module": "broken"}, "site.ini:3: .*ZeroDivisionError.*broken.py:2 in f: return 1 / 0", 22),
        ({"module": "nowhere"}, "site.ini:3: .*no module nowhere", 22),
        ({"module": "none.py"}, "site.ini:3: .*none.py", 22),
        ({"home": "{path}/none"}, "site.ini:4: home = .*none", 1),
        ({"chdir": "{path}/none"}, "chdir = .*none: cannot be entered", 1),
        ({"logto": "{path}/none/log"}, "logto = .*cannot be opened", 1),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_one_line_says_what_is_wrong_and_nothing_is_left(
    start: Start, open_path: Path, wrong: dict[str, str], says: str, code: int
) -> None:
    (open_path / "broken.py").write_text("def f():\n    return 1 / 0\nf()\n")
    lines = [f"{option} = {value.format(path=open_path)}" for option, value in (ALL_BUT_ONE | wrong).items()]
    instance = start(*lines, "need-app = true", f"pidfile = {open_path}/app.pid", "vacuum = true")
    instance.expect(says)
    assert instance.wait() == code
    assert {one.name for one in open_path.iterdir()} - {"__pycache__"} == {"app.py", "site.ini", "broken.py"}


def test_an_asgi_application_that_cannot_start(start: Start, port: int) -> None:
    app = """
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no database"})
"""
    instance = start(line(port), "module = app", app=app)
    instance.expect("site.ini:3: app:application: the application's lifespan startup failed: no database")
    assert instance.wait() == 22
