"""What people tell an Emperor: options, files of options, signals, commands."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import IMPERATOR
from .stage import Stage


def order(address: str | tuple[str, int], **fields: str) -> None:
    """One datagram to a command socket, put together as the manual says."""
    parts = [part.encode() for pair in fields.items() for part in pair]
    body = b"".join(struct.pack("<H", len(part)) + part for part in parts)
    send(address, struct.pack("<BHB", 0, len(body), 0) + body)


def send(address: str | tuple[str, int], data: bytes) -> None:
    with socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(data, address)


def run(*arguments: str | Path, **other: str) -> subprocess.CompletedProcess[str]:
    command = [*IMPERATOR, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env={**os.environ, **other})


# -- the configuration of the Emperor itself


FORMATS = {
    "ini": "[uwsgi]\nemperor = {vassals}\nbinary-path = {binary}\nvassal-set = from=ini\n",
    "yaml": "uwsgi:\n  emperor: {vassals}\n  binary-path: {binary}\n  vassal-set: from=yaml\n",
    "json": '{{"uwsgi": {{"emperor": "{vassals}", "binary-path": "{binary}", "vassal-set": "from=json"}}}}\n',
    "xml": "<uwsgi><emperor>{vassals}</emperor><binary-path>{binary}</binary-path>\n"
    "<vassal-set>from=xml</vassal-set></uwsgi>\n",
    "toml": '[uwsgi]\nemperor = "{vassals}"\nbinary-path = "{binary}"\nvassal-set = "from=toml"\n',
}


@pytest.mark.parametrize("named", [True, False], ids=["--FORMAT FILE", "FILE"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_file_of_options(form: str, named: bool, reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    file = open_path / f"emperor.{form}"
    file.write_text(FORMATS[form].format(vassals=vassals, binary=stage.binary))
    reign(*([f"--{form}", file] if named else [file]), emperor=None, binary=None)
    assert stage.next("a.ini").argv[1:] == ["--set", f"from={form}", "--ini", "a.ini"]


def test_options_in_the_environment(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign(
        emperor=None, binary=None, environment={"UWSGI_EMPEROR": str(vassals), "UWSGI_BINARY_PATH": str(stage.binary)}
    )
    stage.next("a.ini")


def test_a_mistake_is_told_with_its_place(open_path: Path) -> None:
    file = open_path / "emperor.ini"
    file.write_text(f"[uwsgi]\nemperor = {open_path}\nemperor-throttle = soon\n")
    done = run("--ini", file)
    assert done.returncode == 1
    assert f"{file}:3" in done.stderr
    assert "emperor-throttle" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_gets_a_suggestion() -> None:
    done = run("--emperor", "/tmp", "--emperor-trottle", "3")
    assert done.returncode == 1
    assert "did you mean emperor-throttle?" in done.stderr


def test_an_emperors_file_with_an_instances_keys_gets_one_note(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    file = open_path / "emperor.ini"
    log = open_path / "emperor.log"
    file.write_text(
        f"[uwsgi]\nemperor = {vassals}\nbinary-path = {stage.binary}\nsocket = /tmp/x.sock\nthreads = 2\n"
        f"enable-threads = true\nlog-maxsize = 100000\nlogto = {log}\nmaster = true\n"
    )
    empire = reign("--ini", file, emperor=None, binary=None)
    stage.next("a.ini")
    empire.stop()
    notes = [line for line in log.read_text().splitlines() if "socket" in line and "threads" in line]
    assert len(notes) == 1, log.read_text()


def test_nothing_to_reign_over() -> None:
    done = run()
    assert done.returncode == 2
    assert "--emperor DIRECTORY" in done.stderr


def test_help_and_version() -> None:
    assert "imperator --emperor /etc/uwsgi/vassals" in run("--help").stdout
    assert run("--version").stdout.strip()


def test_the_pid_file_and_the_name(reign: Reign, vassals: Path, open_path: Path) -> None:
    pid_file = open_path / "emperor.pid"
    empire = reign("--emperor-pidfile", pid_file, "--emperor-procname", "the emperor of tests").ready()
    assert pid_file.read_text() == f"{empire.pid}\n"
    assert Path(f"/proc/{empire.pid}/cmdline").read_bytes().rstrip(b"\0") == b"the emperor of tests"
    empire.stop()
    assert not pid_file.exists()


def test_another_user(as_root: None, reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    open_path.chmod(0o1777)
    socket_file = open_path / "stats.sock"
    empire = reign("--uid", "54321", "--gid", "54321", "--emperor-stats", socket_file)
    puppet = stage.next("a.ini")
    assert puppet.given["uids"] == puppet.given["gids"] == [54321] * 3
    assert set(puppet.given["groups"]) <= {54321}
    assert socket_file.stat().st_uid == 54321
    empire.stop()
    assert not socket_file.exists()


def test_another_user_who_may_not_remove_the_socket(
    as_root: None, reign: Reign, vassals: Path, open_path: Path
) -> None:
    directory = open_path / "root"
    directory.mkdir(mode=0o755)
    empire = reign("--uid", "54321", "--gid", "54321", "--emperor-stats", directory / "stats.sock").ready()
    assert empire.stop() == 0
    empire.expect("stats.sock is left behind: Permission denied for uid 54321")


# -- signals


def test_hup_reloads_all(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name in ("a.ini", "b.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    empire = reign()
    puppets = stage.next_of("a.ini", "b.ini")
    for puppet in puppets:
        puppet.say(1, 5, 17)
        empire.expect_state(puppet.name, loyal=1)
    empire.send(signal.SIGHUP)
    assert [puppet.expect_byte() for puppet in puppets] == [1, 1]


def test_urg_empties_the_blacklist(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-throttle", "60000")
    stage.next("a.ini").exit(1)
    empire.expect_state("a.ini", state="waiting")
    empire.send(signal.SIGURG)
    stage.next("a.ini", timeout=5)
    assert empire.statistics()["blacklist"] == []


def test_usr1_tells_of_every_vassal(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    empire.send(signal.SIGUSR1)
    empire.expect(rf"a\.ini .*running.*pid {puppet.pid}")


def test_winch_looks_now(reign: Reign, vassals: Path) -> None:
    empire = reign().ready()
    empire.send(signal.SIGWINCH)
    assert empire.vassals_known() == set()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGQUIT])
def test_the_signals_that_end_it(number: signal.Signals, reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign()
    puppet = stage.next("a.ini")
    puppet.say(17)
    puppet.stay()
    empire.send(number)
    assert puppet.expect_byte() == 0
    empire.send(number)
    empire.expect("Ragnarok.* vassals left: 1;")
    puppet.exit(0)
    assert empire.process.wait(10) == 0


# -- commands


@pytest.mark.parametrize("kind", ["unix", "udp"])
def test_orders(kind: str, reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address: str | tuple[str, int] = ("127.0.0.1", port) if kind == "udp" else str(open_path / "command")
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-command-socket", address if isinstance(address, str) else f"127.0.0.1:{port}").ready()
    puppet = stage.next("a.ini")
    puppet.say(1, 5, 17)
    empire.expect_state("a.ini", loyal=1)
    order(address, cmd="respawn", vassal="a.ini")
    assert puppet.expect_byte() == 1
    puppet.say(5)
    order(address, command="stop", vassal="a.ini")
    assert puppet.expect_byte() == 0
    empire.expect_state("a.ini", state="suspended", suspended=1)
    order(address, cmd="spawn", vassal="a.ini")
    stage.next("a.ini")
    order(address, cmd="log", msg="hello\nfrom outside")
    empire.expect("hello.*from outside")
    order(address, cmd="stop", vassal="nobody.ini")
    empire.expect("nobody.ini")
    for nonsense in (b"", b"x", b"\0\xff\xff\0", os.urandom(500), struct.pack("<BHBH", 0, 2, 0, 9)):
        send(address, nonsense)
    order(address, cmd="explode", vassal="a.ini")
    empire.expect("no command 'explode'")
    assert empire.vassal("a.ini")["state"] == "running"


def test_nobody_starts_before_the_command(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    for name in ("a.ini", "b.ini", "c.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    address = str(open_path / "command")
    options = ["--emperor-command-socket", address, "--emperor-wait-for-command"]
    empire = reign(*options, "--emperor-wait-for-command-ignore", "c.ini").ready()
    stage.next("c.ini")
    stage.nobody_appears(0.3)
    assert empire.vassal("a.ini")["state"] == "suspended"
    order(address, cmd="spawn", vassal="b.ini")
    stage.next("b.ini")
    stage.nobody_appears(0.2)


def test_only_the_owner_may_command(reign: Reign, open_path: Path) -> None:
    address = open_path / "command"
    reign("--emperor-command-socket", address).ready()
    assert address.stat().st_mode & 0o777 == 0o600


# -- asking


def test_status_in_a_table_and_as_json(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    (vassals / "bad.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-stats", open_path / "stats", "--emperor-throttle", "60000").ready()
    good, bad = stage.next_of("a.ini", "bad.ini")
    good.say(1, 5, 17)
    bad.exit(7)
    empire.expect_state("a.ini", loyal=1)
    empire.expect_state("bad.ini", state="waiting")
    for address in (["--pid", str(empire.pid)], [str(open_path / "stats")]):
        table = run("status", *address, COLUMNS="160")
        assert table.returncode in (0, 1), table.stderr
        assert "a.ini" in table.stdout
        assert "exited with code 7" in table.stdout
        assert "\x1b" not in table.stdout
    document = json.loads(run("status", "--json", "--pid", str(empire.pid)).stdout)
    assert {vassal["id"] for vassal in document["vassals"]} == {"a.ini", "bad.ini"}


def test_status_of_nobody() -> None:
    done = run("status", "--pid", "1")
    assert done.returncode != 0
    assert "no Emperor" in done.stderr


def test_check_tells_what_is_wrong_before_it_happens(vassals: Path) -> None:
    (vassals / "good.ini").write_text("[uwsgi]\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\n")
    before = run("check", vassals)
    assert before.returncode == 1
    assert f"{vassals}/good.ini:3: error: wsgi-file = app.py: {vassals}/app.py is not there" in before.stdout
    (vassals / "app.py").write_text("def application(environ, start_response): ...\n")
    mended = run("check", vassals)
    assert mended.returncode == 0, mended.stdout
    assert mended.stdout.endswith("1 of 1 would be started; nothing is wrong\n")
    (vassals / "bad.ini").write_text("[uwsgi\nsocket = x\n")
    broken = run("check", vassals)
    assert broken.returncode == 1
    assert f"{vassals}/bad.ini:1: warning: the section '[uwsgi' has no closing bracket" in broken.stdout
    assert "1 of 2 would be started; 1 error" in broken.stdout
