"""What is measured of one instance: both sides in turns, for the machine may be another one a minute later.

A benchmark takes a directory for its files, the sides to measure and a number of rounds, and returns medians.
"""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.emperors import as_installed
from bench.goals import Figures
from bench.instances import COMMANDS, free_port, living
from bench.load import requests_per_second
from bench.nginx import nginx

Results = dict[str, Figures]

LOAD_SECONDS = 2.0
_DJANGO = Path(__file__).parent.parent / "examples" / "apps" / "django_app"
_HELLO = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""


def in_turns(measure: Callable[[str], Figures], names: Sequence[str], rounds: int) -> Results:
    """A B, B A, A B …: whoever comes first has no advantage. The medians; one round before them counts for nothing."""
    samples: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for number in range(-1, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            for key, value in measure(name).items():
                if number >= 0:
                    samples[name].setdefault(key, []).append(value)
    return {name: {key: statistics.median(all_) for key, all_ in ours.items()} for name, ours in samples.items()}


def _hello(root: Path, socket: str, *, logged: bool = False) -> Path:
    (root / "app.py").write_text(_HELLO)
    file = root / "hello.ini"
    silent = "" if logged else "disable-logging = true\n"
    file.write_text(f"[uwsgi]\n{socket}\nwsgi-file = app.py\nprocesses = 1\n{silent}")
    return file


def _both_ways(name: str, file: Path, port: int) -> Figures:
    figures = {}
    with living(name, file) as instance:
        instance.first_answer(("127.0.0.1", port))
        for way, keep_alive in (("kept", True), ("closed", False)):
            before = instance.cpu_seconds()
            speed = requests_per_second(f"http://127.0.0.1:{port}/", LOAD_SECONDS, keep_alive=keep_alive)
            figures[f"{way}/s"] = speed
            figures[f"{way} CPU µs"] = (instance.cpu_seconds() - before) / (speed * LOAD_SECONDS) * 1e6
    return figures


def hello(root: Path, names: Sequence[str], rounds: int) -> Results:
    """Requests a second over ``http-socket``: the client would keep its connections; it closes each.

    The original closes each connection of an ``http-socket``, whatever the client would like.
    """
    port = free_port()
    file = _hello(root, f"http-socket = 127.0.0.1:{port}")
    return in_turns(lambda name: _both_ways(name, file, port), names, rounds)


def hello_logged(root: Path, names: Sequence[str], rounds: int) -> Results:
    """The same with the request log, which both write by default: to a file."""
    port = free_port()
    file = _hello(root, f"http-socket = 127.0.0.1:{port}", logged=True)
    return in_turns(lambda name: _both_ways(name, file, port), names, rounds)


def hello_http11(root: Path, names: Sequence[str], rounds: int) -> Results:
    """``hello`` over ``http11-socket``, where the original keeps connections too (and each keeps a process busy)."""
    port = free_port()
    file = _hello(root, f"http11-socket = 127.0.0.1:{port}")
    return in_turns(lambda name: _both_ways(name, file, port), names, rounds)


def behind_nginx(root: Path, names: Sequence[str], rounds: int) -> Results:
    """Requests a second of a client that keeps its connections to a real nginx; the uwsgi protocol behind it."""
    port = free_port()
    application = root / "app.sock"
    file = _hello(root, f"socket = {application}")

    def measure(name: str) -> Figures:
        application.unlink(missing_ok=True)
        with nginx(root / "nginx", port, application), living(name, file) as instance:
            instance.first_answer(("127.0.0.1", port))
            return {"requests/s": requests_per_second(f"http://127.0.0.1:{port}/", LOAD_SECONDS, keep_alive=True)}

    return in_turns(measure, names, rounds)


def _django(root: Path, port: int) -> Path:
    file = root / "django.ini"
    file.write_text(
        f"[uwsgi]\nchdir = {_DJANGO}\nmodule = website.wsgi:application\n"
        f"http-socket = 127.0.0.1:{port}\nprocesses = 1\nneed-app = true\n"
    )
    return file


def django(root: Path, names: Sequence[str], rounds: int) -> Results:
    """A small Django application: the time from exec to the first answer, and the memory after it."""
    port = free_port()
    file = _django(root, port)

    def measure(name: str) -> Figures:
        with living(name, file) as instance:
            took = instance.first_answer(("127.0.0.1", port))
            return {
                "first 200 ms": took * 1e3,
                "CPU ms": instance.cpu_seconds() * 1e3,
                "PSS MB": instance.memory(),
                "processes": len(instance.pids()),
            }

    return in_turns(measure, names, rounds)


def show_config(root: Path, names: Sequence[str], rounds: int) -> Results:
    """Wall time of ``--show-config`` on a file of 50 lines that uses placeholders, magic variables and conditions."""
    lines = ["[uwsgi]", "set-ph = site=example.org", "set-ph = how-many=4", "processes = %(how-many)"]
    for number in range(9):
        lines += [
            f"set-ph = part{number}=%(site)/{number}",
            f"if-not-file = /nowhere/{number}",
            f"env = PART_{number}=%(part{number})",
            f"pythonpath = %d%n/{number}",
            "endif =",
        ]
    lines += ["http-socket = 127.0.0.1:8000"]
    file = root / "fifty.ini"
    file.write_text("\n".join(lines) + "\n")

    def measure(name: str) -> Figures:
        only_show = ["--no-server"] if name == "original" else []
        command = [COMMANDS[name], "--show-config", *only_show, "--ini", str(file)]
        started = time.monotonic()
        silent = subprocess.DEVNULL
        subprocess.run(command, check=True, env=as_installed(), stdout=silent, stderr=silent)
        return {"ms": (time.monotonic() - started) * 1e3}

    return in_turns(measure, names, rounds)
