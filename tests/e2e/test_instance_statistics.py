"""``stats``: what an instance tells about its workers, in the original's words."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from .solo import ACCEPTS, Start, free_port, get
from .stage import PATIENCE


def read(address: int | str) -> bytes:
    with socket.socket(socket.AF_INET if isinstance(address, int) else socket.AF_UNIX) as reader:
        reader.settimeout(PATIENCE)
        reader.connect(("127.0.0.1", address) if isinstance(address, int) else address)
        return b"".join(iter(lambda: reader.recv(65536), b""))


def of_original(directory: Path) -> dict[str, Any]:
    """The document of the real uWSGI."""
    http, stats = free_port(), free_port()
    command = ["uwsgi", "--http-socket", f"127.0.0.1:{http}", "--wsgi-file", "app.py", "--stats", f"127.0.0.1:{stats}"]
    command[0] = str(Path(sys.executable).parent / "uwsgi")
    with subprocess.Popen(
        command, cwd=directory, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as original:
        try:
            assert original.stderr is not None
            while "Stats server enabled" not in original.stderr.readline():
                assert original.poll() is None
            document: dict[str, Any] = json.loads(read(stats))
            return document
        finally:
            os.killpg(original.pid, signal.SIGKILL)  # its worker would outlive it, and spin


def test_every_key_of_the_original_is_there_with_its_type(start: Start, port: int, open_path: Path) -> None:
    stats = free_port()
    instance = start(f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", f"stats = 127.0.0.1:{stats}")
    instance.expect(ACCEPTS)
    assert get(port) == "one"
    ours, theirs = json.loads(read(stats)), of_original(open_path)

    def compare(ours: Any, theirs: Any, where: str) -> None:
        assert type(ours) is type(theirs), where
        if isinstance(theirs, dict):
            assert theirs.keys() <= ours.keys(), where
            for key in theirs:
                compare(ours[key], theirs[key], f"{where}.{key}")
        elif isinstance(theirs, list) and theirs and not where.endswith("locks"):
            compare(ours[0], theirs[0], where)

    compare(ours, theirs, "")


@pytest.mark.parametrize("processes", [1, 2])
def test_requests_are_counted(start: Start, port: int, processes: int) -> None:
    stats = free_port()
    lines = f"stats = 127.0.0.1:{stats}", f"processes = {processes}", "threads = 2"
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", *lines)
    instance.expect(f"worker {processes}: pid" if processes > 1 else ACCEPTS)
    for _ in range(5):
        assert get(port) == "one"
    found = json.loads(read(stats))
    workers = found["workers"]
    assert [worker["id"] for worker in workers] == list(range(1, processes + 1))
    assert sum(worker["requests"] for worker in workers) == 5
    assert sum(worker["tx"] for worker in workers) > 5 * len("one")
    assert found["pid"] == instance.pid
    assert {worker["pid"] for worker in workers} - {instance.pid} or processes == 1
    assert all(worker["rss"] > 1 << 20 for worker in workers)
    assert found["sockets"][0]["name"] == f"127.0.0.1:{port}"


def test_what_is_being_answered_is_seen(start: Start, port: int) -> None:
    stats = free_port()
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", f"stats = 127.0.0.1:{stats}")
    instance.expect(ACCEPTS)
    client = threading.Thread(target=get, args=(port, "/wait?1"))
    client.start()
    worker: dict[str, Any] = {}
    while worker.get("status") != "busy" and client.is_alive():
        worker = json.loads(read(stats))["workers"][0]
    client.join()
    assert worker["cores"][0]["in_request"] == 1
    assert worker["cores"][0]["req_info"]["uri"] == "/wait"
    assert json.loads(read(stats))["workers"][0]["status"] == "idle"


def test_over_http_and_on_a_unix_socket_that_goes_with_the_instance(start: Start, port: int, open_path: Path) -> None:
    path = f"{open_path}/stats.sock"
    instance = start(f"http-socket = 127.0.0.1:{port}", "module = app", f"stats = {path}", "stats-http = true")
    instance.expect(ACCEPTS)
    head, _, body = read(path).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK")
    assert json.loads(body)["workers"][0]["pid"] == instance.pid
    assert instance.end() == 0
    assert not Path(path).exists()


def test_an_address_that_is_taken_ends_the_instance_before_it_began(start: Start, open_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        instance = start(
            f"http-socket = {open_path}/app.sock",
            "module = app",
            f"stats = 127.0.0.1:{number}",
            f"pidfile = {open_path}/app.pid",
            "vacuum = true",
        )
        instance.expect(rf"stats = 127.0.0.1:{number}: .*in use")
        assert instance.wait() == 1
    assert not (open_path / "app.sock").exists()
    assert not (open_path / "app.pid").exists()
