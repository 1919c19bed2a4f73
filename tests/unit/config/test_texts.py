"""Where texts come from: a file, and each scheme that the original knows."""

from __future__ import annotations

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration
from imperator.config.language import load

TEXT = "[uwsgi]\nmodule = app\n[two]\nmodule = other\n"


def module(configuration: Configuration) -> str:
    given = configuration.last("module")
    assert given is not None
    return given.text


def read(name: str, directory: Path, environ: dict[str, str] | None = None, program: str = "") -> str:
    return module(load(["--ini", name], environ or {}, str(directory), program=program))


def test_a_file(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(TEXT)
    assert read("x.ini", tmp_path) == "app"
    assert read(f"{tmp_path}/x.ini:two", Path("/")) == "other"


def test_a_command(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nmodule = $WHICH\n")
    assert (
        read("exec://cat x.ini | sed s/.WHICH/$WHICH/", tmp_path, {"WHICH": "app", "PATH": os.environ["PATH"]}) == "app"
    )


def test_a_command_that_fails_is_noted(tmp_path: Path) -> None:
    configuration = load(["--ini", "exec://printf '[uwsgi]\\nmodule = app\\n'; exit 3"], os.environ, str(tmp_path))
    assert module(configuration) == "app"
    assert [note.text for note in configuration.notes][-1].endswith("exit 3: ended with 3")


def test_a_descriptor(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(TEXT)
    with open(tmp_path / "x.ini") as file:
        assert read(f"fd://{file.fileno()}", tmp_path) == "app"


def test_a_descriptor_that_is_not_open_is_noted(tmp_path: Path) -> None:
    notes = load(["--ini", "fd://987654"], {}, str(tmp_path)).notes
    assert "cannot read file descriptor 987654: Bad file descriptor" in [note.text for note in notes]


def test_standard_input(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("imperator")
    shown = subprocess.check_output([program, "--show-config", "--ini", "-"], input=TEXT, cwd=tmp_path, text=True)
    assert "\nmodule = app\n" in shown


@pytest.mark.parametrize(("slot", "expected"), [("0", "last"), ("1", "first")])
def test_what_is_appended_to_the_program(tmp_path: Path, slot: str, expected: str) -> None:
    program = tmp_path / "program"
    parts = [f"[uwsgi]\nmodule = {name}\n".encode() for name in ("first", "last")]
    program.write_bytes(b"\x7fELF" + b"".join(part + len(part).to_bytes(8, "little") for part in parts))
    assert read(f"data://{slot}", tmp_path, program=str(program)) == expected


def test_nothing_is_appended(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(bytes(64))
    with pytest.raises(ConfigurationError, match="nothing is appended to"):
        read("data://0", tmp_path, program=str(tmp_path / "program"))


def test_the_emperor_sends_it(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"\x73" + len(TEXT).to_bytes(2, "little") + b"\0" + TEXT.encode())
        environ = {"UWSGI_EMPEROR_FD_CONFIG": str(ours.fileno())}
        assert read("emperor://shop.ini", tmp_path, environ) == "app"


def test_there_is_no_emperor(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="only by a vassal whose Emperor holds its configuration"):
        read("emperor://shop.ini", tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "x.ini").write_text(TEXT)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(tmp_path))  # type: ignore[arg-type]

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_web_server(tmp_path: Path, server: str) -> None:
    assert read(f"{server}/x.ini", tmp_path) == "app"
    assert read(f"{server}/x.ini:two", tmp_path) == "other"
    with pytest.raises(ConfigurationError, match=r"nope\.ini: .*not found"):
        read(f"{server}/nope.ini", tmp_path)


def test_the_environment(tmp_path: Path) -> None:
    assert module(load([], {"UWSGI_MODULE": "app"}, str(tmp_path))) == "app"


def test_schemes_of_the_originals_own_binary(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"sym://x: .*keep the text in a file"):
        read("sym://x", tmp_path)
