"""``imperator app.ini``: a whole application server, in one process or in several."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from .empire import expect_nobody
from .solo import ACCEPTS, APP, Start, get


def test_one_process_is_one_process(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app")
    instance.expect(ACCEPTS)
    assert get(port) == "one"
    assert get(port, "/pid") == str(instance.pid)
    assert not Path(f"/proc/{instance.pid}/task/{instance.pid}/children").read_text()
    assert instance.end() == 0


def test_a_reload_takes_in_what_has_changed_and_keeps_the_pid(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", text="one")
    instance.expect(ACCEPTS)
    assert get(port) == "one"
    file = instance.directory / "app.py"
    file.write_text(APP.replace("{text}", "two"))
    instance.send(signal.SIGHUP)
    instance.expect("reload: SIGHUP")
    instance.expect(ACCEPTS)
    assert get(port) == "two"
    assert get(port, "/pid") == str(instance.pid)


def test_a_broken_configuration_does_not_end_what_runs(start: Start, port: int, open_path: Path) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py")
    instance.expect(ACCEPTS)
    (open_path / "site.ini").write_text("[uwsgi]\nprocesses = many\n")
    instance.send(signal.SIGHUP)
    instance.expect(r"not reloaded \(SIGHUP\): .*site.ini:2: processes = many: a number was expected")
    assert get(port) == "one"


def test_several_workers_share_a_socket(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "processes = 3")
    pids = {int(instance.log.expect(rf"worker {number}: pid (\d+)")[1]) for number in (1, 2, 3)}
    blocked = [threading.Thread(target=get, args=(port, "/wait?0.5")) for _ in range(2)]
    for thread in blocked:
        thread.start()
    assert int(get(port, "/pid")) in pids
    for thread in blocked:
        thread.join()
    assert instance.end() == 0


def test_a_worker_that_dies_is_replaced(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "processes = 2")
    first = int(instance.log.expect(r"worker 1: pid (\d+)")[1])
    instance.expect("worker 2: pid")
    assert get(port) == "one"
    os.kill(first, signal.SIGKILL)
    instance.expect("worker 1 .*was killed by SIGKILL")
    instance.expect("worker 1: pid")
    assert get(port) == "one"


def test_nobody_outlives_the_master(start: Start, port: int, open_path: Path) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "processes = 2")
    instance.expect("worker 2: pid")
    assert get(port) == "one"
    instance.send(signal.SIGKILL)
    instance.wait()
    expect_nobody(str(open_path))


def test_the_request_that_is_being_answered_is_answered(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "threads = 2")
    instance.expect(ACCEPTS)
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(get(port, "/wait?1")))
    client.start()
    assert get(port) == "one"
    instance.send(signal.SIGTERM)
    assert instance.wait() == 0
    client.join()
    assert answers == ["one"]


def test_cheap_until_somebody_comes(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "cheap = true", "idle = 1")
    instance.expect("listening on")
    assert get(port) == "one"
    instance.expect("no requests: ending the workers")
    instance.expect("asleep until somebody connects")
    assert get(port) == "one"
    instance.expect("somebody connects")


def test_it_dies_of_idleness(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", "die-on-idle = true", "idle = 1")
    instance.expect("no request for 1 s")
    assert instance.wait() == 0


def test_a_touched_file_reloads_it(start: Start, port: int, open_path: Path) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", f"touch-reload = {open_path}/reload.txt")
    instance.expect(ACCEPTS)
    (open_path / "reload.txt").touch()
    instance.expect("reload: .*reload.txt changed")
    instance.expect(ACCEPTS)
    assert get(port) == "one"


def test_nothing_but_a_daemon(start: Start, open_path: Path) -> None:
    sleeper = open_path / "daemon.sh"
    sleeper.write_text("#!/bin/sh\necho the daemon runs\nexec sleep 600\n")
    sleeper.chmod(0o755)
    instance = start(f"attach-daemon = {sleeper}")
    pid = int(instance.log.expect(r"started as pid (\d+)")[1])
    os.kill(pid, signal.SIGKILL)
    instance.expect("was killed by SIGKILL.*next try in 1 s")
    instance.expect("daemon.sh: started as pid")
    assert instance.end() == 0


def test_a_port_that_is_taken(start: Start, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        instance = start(f"http-socket = 127.0.0.1:{port}", "module = app")
        instance.expect(
            rf"site.ini:2: http-socket = 127.0.0.1:{port}: somebody else listens there: .*pid {os.getpid()}"
        )
        assert instance.wait() == 1


def test_a_module_that_is_not_there(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = ap", "need-app = true")
    instance.expect("site.ini:3: .*ap")
    assert instance.wait() == 22


def test_without_need_app_it_answers_500(start: Start, port: int) -> None:
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = ap")
    instance.expect("no application")
    assert get(port) != "one"


def test_options_of_the_environment_and_of_the_command_line(start: Start, port: int) -> None:
    instance = start("http-socket = %(address)", "module = app", environment={"UWSGI_SET": f"address=127.0.0.1:{port}"})
    instance.expect(ACCEPTS)
    assert get(port) == "one"


def test_a_unix_socket_is_removed_with_vacuum(start: Start, open_path: Path) -> None:
    instance = start(f"http-socket = {open_path}/app.sock", "module = app", "vacuum = true", "chmod-socket = 660")
    instance.expect(ACCEPTS)
    assert (open_path / "app.sock").stat().st_mode & 0o777 == 0o660
    answer = subprocess.run(
        ["curl", "-s", "--unix-socket", f"{open_path}/app.sock", "http://app/"], capture_output=True, check=True
    )
    assert answer.stdout == b"one"
    instance.end()
    assert not (open_path / "app.sock").exists()
