"""`make demo`: an Emperor over examples/vassals/, seen from outside.

Starts it, asks every app for its first page, shows the status table, and stays until Ctrl-C. With
``--check`` it ends by itself: exit code 0 if every app answered, 1 (and the end of the log) if not.
No process outlives it.
"""

from __future__ import annotations

import argparse
import configparser
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PATIENCE = 60.0
"""Seconds that the apps have to answer, all together."""
STOP_PATIENCE = 45.0
"""Seconds that the Emperor has to stop: more than its own mercy of 30."""

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


class DemoFailed(Exception):
    """The demonstration did not work; the text says why."""


@dataclass(frozen=True, slots=True)
class App:
    """One vassal file and the address that it asks for."""

    file: Path
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"


def read_app(file: Path) -> App:
    """The app behind one vassal file: its ``http-socket`` is read as it stands."""
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.read_string(file.read_text())
    host, _, port = parser["uwsgi"]["http-socket"].rpartition(":")
    return App(file, host, int(port))


def is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def vassals_to_use(scratch: Path) -> Path:
    """examples/vassals/ itself, or, where one of its ports is taken, a copy with other ports."""
    original = EXAMPLES / "vassals"
    apps = [read_app(file) for file in sorted(original.glob("*.ini"))]
    taken = {app for app in apps if not is_free(app.host, app.port)}
    if not taken:
        return original
    copy = scratch / "vassals"
    shutil.copytree(original, copy)
    for app in apps:
        text = app.file.read_text().replace("%d../apps", str(EXAMPLES / "apps"))
        if app in taken:
            port = free_port(app.host)
            print(f"Port {app.port} is in use on this machine: {app.file.name} gets {port} instead.")
            text = text.replace(f"{app.host}:{app.port}", f"{app.host}:{port}")
        (copy / app.file.name).write_text(text)
    print(f"The Emperor therefore watches a copy of examples/vassals: {copy}")
    return copy


def prctl(option: int, value: int) -> None:
    """prctl(2). A kernel that refuses costs only the tidiness after a crash, so nothing is made of it."""
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def children() -> list[int]:
    """Every process whose parent we are: the Emperor, and (we are a subreaper) any that lost its own."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # ended while we were looking
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            if parent == os.getpid():
                found.append(int(stat.parent.name))
    return found


def kill_what_is_left() -> int:
    """Kill and reap whatever the Emperor left behind; how many there were."""
    count = 0
    while left := children():
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                count += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    return count


@contextmanager
def emperor(vassals: Path, stats: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running Emperor; at the end it is told to stop, and nothing of it remains."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("UWSGI_", "NOTIFY_", "WATCHDOG_"))
    }
    command = [sys.executable, "-m", "imperator", "--emperor", str(vassals), "--emperor-stats", str(stats)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours; the Emperor is stopped by SIGTERM, once
            preexec_fn=lambda: prctl(PR_SET_PDEATHSIG, signal.SIGTERM),
        )
    try:
        yield process
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # nothing interrupts the tidying up
        process.terminate()
        try:
            process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            print(f"The Emperor did not stop within {STOP_PATIENCE:.0f} s: killed.", file=sys.stderr)
            process.kill()
            process.wait()
        if count := kill_what_is_left():
            raise DemoFailed(f"the Emperor left {count} processes behind (they are gone now)")


def first_page(app: App) -> str:
    """What the app answers; raises OSError while it does not."""
    # No proxy of the environment stands between us and our own machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(app.url, timeout=5) as answer:
        text: str = answer.read().decode()
    return text.strip()


def wait_for_answers(apps: list[App], process: subprocess.Popen[bytes]) -> None:
    """Print each app's answer as it comes."""
    waiting = list(apps)
    reasons: dict[App, str] = {}
    deadline = time.monotonic() + PATIENCE
    while waiting:
        if process.poll() is not None:
            raise DemoFailed(f"the Emperor ended by itself with code {process.returncode}")
        for app in list(waiting):
            try:
                text = first_page(app)
            except (OSError, ValueError) as error:  # HTTPError and URLError are OSErrors
                reasons[app] = str(error)
            else:
                waiting.remove(app)
                print(f"  {app.url:<26} {text}", flush=True)
        if waiting and time.monotonic() > deadline:
            names = "; ".join(f"{app.file.name} at {app.url} ({reasons[app]})" for app in waiting)
            raise DemoFailed(f"no answer within {PATIENCE:.0f} s from {names}")
        time.sleep(0.1)


def show_status(stats: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "imperator", "status", str(stats)], check=False)
    if result.returncode:
        raise DemoFailed(f"`imperator status` ended with code {result.returncode}")


def follow(log: Path, process: subprocess.Popen[bytes]) -> None:
    """Show what the log gains, until somebody interrupts."""
    with log.open("rb") as text:
        text.seek(0, os.SEEK_END)
        while process.poll() is None:
            if new := text.read():
                sys.stdout.buffer.write(new)
                sys.stdout.buffer.flush()
            time.sleep(0.2)
    raise DemoFailed(f"the Emperor ended by itself with code {process.returncode}")


def show_end_of(log: Path, lines: int = 60) -> None:
    if log.exists():
        print(f"--- the last {lines} lines of the Emperor's log", file=sys.stderr)
        for line in log.read_text(errors="replace").splitlines()[-lines:]:
            print(line, file=sys.stderr)


def run(scratch: Path, *, check: bool) -> None:
    vassals = vassals_to_use(scratch)
    stats, log = scratch / "stats.sock", scratch / "emperor.log"
    apps = [read_app(file) for file in sorted(vassals.glob("*.ini"))]
    shown = vassals.relative_to(EXAMPLES.parent) if vassals.is_relative_to(EXAMPLES.parent) else vassals
    try:
        with emperor(vassals, stats, log) as process:
            print(f"imperator --emperor {shown}", flush=True)
            wait_for_answers(apps, process)
            time.sleep(0.5)  # a vassal reports its first request just after it has answered
            show_status(stats)
            if check:
                return
            print(f"Edit, touch, remove or add a file in {shown} and see what happens. The log: {log}")
            print("Ctrl-C stops everything.", flush=True)
            with suppress(KeyboardInterrupt):
                follow(log, process)
            print("\nStopping...", flush=True)
    except DemoFailed:
        show_end_of(log)
        raise


def interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="end as soon as every app has answered")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        with tempfile.TemporaryDirectory(prefix="imperator-demo-") as scratch:
            run(Path(scratch), check=options.check)
    except DemoFailed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.check:
        print("All apps answered.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
