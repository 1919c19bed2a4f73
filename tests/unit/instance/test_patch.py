"""Becoming another program: what it is given, and what is said when it cannot be."""

from __future__ import annotations

import re
import signal
import socket
import sys
from pathlib import Path

import pytest

from imperator.config.command import command_of
from imperator.config.instance_settings import BinaryPatch, InstanceSettings

from .enactment import NOBODY, asked, enact, finish, free_port, listener, shell, start

PROBE = """\
import json, os, socket, sys
count = int(os.environ.get("LISTEN_FDS", 0))
socks = [socket.socket(fileno=fd) for fd in range(3, 3 + count)]
print(json.dumps({
    "argv": sys.argv[1:],
    "uid": os.getuid(),
    "meant for this process": os.environ.get("LISTEN_PID") == str(os.getpid()),
    "names": os.environ.get("LISTEN_FDNAMES"),
    "addresses": [str(sock.getsockname()) for sock in socks],
    "listening": [sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for sock in socks],
    "blocking": [os.get_blocking(sock.fileno()) for sock in socks],
    "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")),
    "stdin": os.readlink("/proc/self/fd/0"),
    "first": os.readlink("/proc/self/fd/3") if count else None,
    "emperor": os.environ.get("UWSGI_EMPEROR_FD"),
    "said to the emperor": os.write(int(os.environ.get("UWSGI_EMPEROR_FD", 1)), b"\\n"),
    "ignored": [line for line in open("/proc/self/status") if line.startswith("SigIgn")],
    "cwd": os.getcwd(),
}), flush=True)
"""


@pytest.fixture
def probe(place: Path) -> Path:
    """A program that tells what it was given."""
    path = place / "probe"
    path.write_text(f"#!{sys.executable}\n{PROBE}")
    path.chmod(0o755)
    return path


def patch(program: str | Path, *arguments: str, kind: str = "unprivileged") -> BinaryPatch:
    """With the arguments, or with the instance's own."""
    option = f"{kind}-binary-patch"
    return BinaryPatch(str(program), arguments or None, option + ("-arg" if arguments else ""), "app.ini:5")


# -- when, and with which arguments


@pytest.mark.parametrize(("kind", "uid"), [("privileged", 0), ("unprivileged", NOBODY)])
@pytest.mark.parametrize("arguments", [(), ("-g", "daemon off;")])
def test_the_program_has_the_rights_and_arguments_of_the_option(
    as_root: None, place: Path, probe: Path, kind: str, uid: int, arguments: tuple[str, ...]
) -> None:
    settings = InstanceSettings(
        uid="nobody",
        privileged_binary_patch=patch(probe, *arguments, kind=kind) if kind == "privileged" else None,
        unprivileged_binary_patch=patch(probe, *arguments) if kind == "unprivileged" else None,
    )
    [facts] = enact(place, settings, arguments=["--ini", "app.ini"]).facts
    assert facts["uid"] == uid
    assert facts["argv"] == (list(arguments) or ["--ini", "app.ini"])


def test_before_the_jail_or_after_the_user_hooks(as_root: None, place: Path) -> None:
    """As in the original; what comes later does not happen."""
    given = {
        f"hook_{phase}": (shell(f"echo HOOK {phase} >&2"),)
        for phase in ("pre_jail", "in_jail", "as_root", "as_user", "pre_app", "as_user_atexit")
    }
    true = "/bin/true"
    early = enact(place, InstanceSettings(privileged_binary_patch=patch(true, kind="privileged"), **given))  # type: ignore[arg-type]
    assert re.findall(r"^HOOK (\w+)", early.said, re.MULTILINE) == ["pre_jail"]
    late = enact(place, InstanceSettings(unprivileged_binary_patch=patch(true), **given))  # type: ignore[arg-type]
    assert re.findall(r"^HOOK (\w+)", late.said, re.MULTILINE) == ["pre_jail", "in_jail", "as_root", "as_user"]


def test_who_is_not_root_is_patched_too(as_root: None, place: Path, probe: Path) -> None:
    """The original passes over the option in silence, as it does in tyrant mode."""
    settings = InstanceSettings(unprivileged_binary_patch=patch(probe))
    [facts] = enact(place, settings, user=NOBODY, group=NOBODY).facts
    assert facts["uid"] == NOBODY


# -- sockets


@pytest.mark.parametrize("kind", ["privileged", "unprivileged"])
def test_the_sockets_are_inherited_and_announced(as_root: None, place: Path, probe: Path, kind: str) -> None:
    port = free_port()
    sockets = (asked(f"127.0.0.1:{port}"), asked(place / "app.sock", "socket"))
    settings = InstanceSettings(
        sockets=sockets,
        uid="nobody",
        privileged_binary_patch=patch(probe, kind=kind) if kind == "privileged" else None,
        unprivileged_binary_patch=patch(probe),
    )
    [facts] = enact(place, settings).facts
    assert facts["meant for this process"]
    assert facts["names"] == "http-socket:socket"
    assert facts["addresses"] == [f"('127.0.0.1', {port})", f"{place}/app.sock"]
    assert facts["listening"] == [1, 1]
    assert facts["blocking"] == [True, True]
    assert facts["fds"] == [0, 1, 2, 3, 4]


def test_connections_that_wait_are_served(place: Path) -> None:
    """Those that came before the program was there."""
    server = (
        "import socket; sock = socket.socket(fileno=3); print('{}', flush=True); client, _ = sock.accept(); "
        "client.sendall(b'ave')"
    )
    port = free_port()
    settings = InstanceSettings(
        sockets=(asked(f"127.0.0.1:{port}"),), unprivileged_binary_patch=patch(sys.executable, "-c", server)
    )
    process = start(place, settings)
    assert process.stdout is not None
    process.stdout.readline()
    with socket.create_connection(("127.0.0.1", port)) as client:
        assert client.recv(10) == b"ave"
    assert finish(process).code == 0


def test_an_on_demand_socket_is_the_standard_input_as_well(place: Path, probe: Path) -> None:
    with listener() as sock:
        settings = InstanceSettings(protocol="raw", unprivileged_binary_patch=patch(probe))
        [facts] = enact(place, settings, stdin=sock).facts
    assert facts["stdin"] == facts["first"]
    assert facts["stdin"].startswith("socket:")


def test_without_sockets_nothing_is_announced(place: Path, probe: Path) -> None:
    [facts] = enact(place, InstanceSettings(unprivileged_binary_patch=patch(probe))).facts
    assert (facts["names"], facts["addresses"], facts["fds"]) == (None, [], [0, 1, 2])


def test_the_emperor_fd_makes_room_and_stays_named(place: Path, probe: Path) -> None:
    ours, theirs = socket.socketpair()
    move = f"import os, sys; os.dup2({theirs.fileno()}, 3); os.execv(sys.argv[1], sys.argv[1:])"
    settings = InstanceSettings(sockets=(asked(f"127.0.0.1:{free_port()}"),), unprivileged_binary_patch=patch(probe))
    with ours, theirs:
        [facts] = enact(
            place,
            settings,
            prefix=[sys.executable, "-c", move],
            pass_fds=[theirs.fileno()],
            environment={"UWSGI_EMPEROR_FD": "3", "PATH": "/bin:/usr/bin"},
        ).facts
        assert ours.recv(10) == b"\n"
    assert int(facts["emperor"]) > 3
    assert facts["listening"] == [1]
    assert int(facts["emperor"]) in facts["fds"]


def test_no_signal_is_left_ignored(place: Path, probe: Path) -> None:
    """Python ignores SIGPIPE, and a program would inherit that; this one is Python, so the shell has to tell."""
    settings = InstanceSettings(unprivileged_binary_patch=patch("/bin/sh", "-c", "grep SigIgn /proc/self/status >&2"))
    said = enact(place, settings).said
    assert int(said.rpartition("SigIgn:")[2], 16) & ~ignored_by_somebody_before_us() == 0


def ignored_by_somebody_before_us() -> int:
    """Whatever started the tests may have had reasons of its own: all but what Python ignores by itself."""
    status = Path("/proc/self/status").read_text()
    ours = 1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1)
    return int(status.partition("SigIgn:")[2].split()[0], 16) & ~ours


# -- a program that cannot be


def test_one_that_is_not_there(place: Path) -> None:
    ours = enact(place, InstanceSettings(unprivileged_binary_patch=patch(place / "none")))
    assert ours.code == 1
    assert (
        f"app.ini:5: unprivileged-binary-patch = {place}/none: cannot execute {place}/none: No such file or directory"
        in ours.said
    )


def test_one_that_is_not_in_path(place: Path) -> None:
    ours = enact(place, InstanceSettings(unprivileged_binary_patch=patch("no-such-program")))
    assert ours.code == 1
    assert "cannot execute no-such-program: No such file or directory (looked for in PATH)" in ours.said


def test_one_that_may_not_be_executed(as_root: None, place: Path, probe: Path) -> None:
    probe.chmod(0o644)
    ours = enact(place, InstanceSettings(uid="nobody", unprivileged_binary_patch=patch(probe)))
    assert ours.code == 1
    assert f"{probe}: Permission denied: uid {NOBODY} may not execute {probe}" in ours.said


def test_one_whose_interpreter_is_not_there(place: Path, probe: Path) -> None:
    probe.write_text("#!/opt/none/bin/python\n")
    ours = enact(place, InstanceSettings(unprivileged_binary_patch=patch(probe)))
    assert ours.code == 1
    assert "its interpreter: /opt/none/bin/python is not there" in ours.said


def test_one_that_is_no_program(place: Path, probe: Path) -> None:
    probe.write_text("veni, vidi, vici\n")
    ours = enact(place, InstanceSettings(unprivileged_binary_patch=patch(probe)))
    assert ours.code == 1
    assert "Exec format error (neither a program for this machine nor a script that opens with #!)" in ours.said


# -- the command of the -arg forms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('nginx -g "daemon off;"', ("nginx", ("-g", "daemon off;"))),
        ("nginx -g 'daemon off;' -c /etc/nginx.conf", ("nginx", ("-g", "daemon off;", "-c", "/etc/nginx.conf"))),
        ("/usr/bin/node server.js --port=80", ("/usr/bin/node", ("server.js", "--port=80"))),
        (r"program a\ b", ("program", ("a b",))),
        ('program "say \\"ave\\""', ("program", ('say "ave"',))),
    ],
)
def test_quotes_need_no_shell(text: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert command_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "cd /srv && ./server",
        "exec ./server $PORT",
        "PORT=80 ./server",
        './server "$PORT"',
        "./server > log",
        "./server `hostname`",
        "./server *.conf",
    ],
)
def test_what_needs_a_shell_gets_one(text: str) -> None:
    """The original gives every command to it."""
    assert command_of(text) == ("/bin/sh", ("-c", text))


@pytest.mark.parametrize(("text", "reason"), [("nginx -g 'daemon", "No closing quotation"), ("  ", "no program")])
def test_what_cannot_be_read(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        command_of(text)
