"""Every end-to-end test gets a stage, a directory for vassals, and Emperors that leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .empire import MARK, Empire, expect_nobody, processes_with
from .solo import APP, Solo, Start, free_port
from .stage import Stage
from .throne import Court

Reign = Callable[..., Empire]


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that every user may enter (pytest's own are only for the user who runs it)."""
    path = Path(tempfile.mkdtemp(prefix="imperator-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def stage(open_path: Path) -> Iterator[Stage]:
    stage = Stage(open_path)
    yield stage
    stage.close()


@pytest.fixture
def vassals(open_path: Path) -> Path:
    """An empty directory for the vassals' files."""
    directory = open_path / "vassals"
    directory.mkdir()
    return directory


@pytest.fixture
def reign(stage: Stage, vassals: Path) -> Iterator[Reign]:
    """``reign()`` starts an Emperor over ``vassals`` whose vassals are puppets; ``reign(*options)`` with options.

    ``reign(..., emperor=None)`` leaves ``--emperor`` out, ``binary=None`` the ``--binary-path``; ``environment`` adds
    variables; whatever else goes to :class:`Empire`. At the end it is stopped, its log must hold no traceback, and
    no process of the test may be left.
    """
    empires: list[Empire] = []

    def start(
        *options: str | Path,
        emperor: str | Path | None = vassals,
        binary: str | Path | None = stage.binary,
        environment: dict[str, str] | None = None,
        **other: Any,
    ) -> Empire:
        arguments = [*options]
        if emperor is not None:
            arguments += ["--emperor", emperor]
        if binary is not None:
            arguments += ["--binary-path", binary]
        empire = Empire(arguments, {MARK: stage.address, **(environment or {})}, **other)
        empires.append(empire)
        return empire

    yield start
    try:
        for empire in empires:
            if empire.process.poll() is None:
                empire.send(signal.SIGTERM)
        stage.close()  # the puppets that would not listen to the Emperor see that the play is over
        for empire in empires:
            empire.process.wait(40)
            empire.log.wait_for_end()
            assert not empire.log.find("^Traceback"), "\n".join(empire.log.lines)
        expect_nobody(stage.address)
    finally:
        for empire in empires:
            empire.process.kill()
            empire.process.wait()
        for pid in processes_with(stage.address):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def start(open_path: Path) -> Iterator[Start]:
    """``start(*lines)`` starts an instance with these lines in its file, beside ``app.py``; all end with the test.

    None may leave a traceback of ours in the log, or a process behind.
    """
    instances: list[Solo] = []
    mark = str(open_path)

    def begin(*lines: str, app: str = APP, text: str = "one", **more: Any) -> Solo:
        (open_path / "app.py").write_text(app.replace("{text}", text))
        file = open_path / "site.ini"
        file.write_text("\n".join(["[uwsgi]", *lines, ""]))
        instances.append(Solo(file, mark=mark, **more))
        return instances[-1]

    yield begin
    try:
        for instance in instances:
            instance.end()
            assert not instance.log.find("^Traceback"), "\n".join(instance.log.lines)
        expect_nobody(mark)
    finally:
        for instance in instances:
            instance.process.kill()
            instance.process.wait()


@pytest.fixture
def as_root() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can do this")


@pytest.fixture
def court(open_path: Path) -> Iterator[Court]:
    """Where instances live whose Emperor is the test. All end with it, and leave nobody behind."""
    court = Court(open_path)
    yield court
    try:
        court.close()
        for instance in court.instances:
            instance.end()
            instance.log.wait_for_end()
            assert not instance.log.find("^Traceback"), "\n".join(instance.log.lines)
        expect_nobody(court.mark)
    finally:
        for instance in court.instances:
            instance.abandon()
            instance.process.kill()
            instance.process.wait()
        for pid in processes_with(court.mark):
            os.kill(pid, signal.SIGKILL)
