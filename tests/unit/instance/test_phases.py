"""The order of an instance's phases: beside the original's, and what happens where one fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from imperator.config.hook import Hook
from imperator.config.instance_settings import InstanceSettings
from imperator.kernel.interpreter import installed_command

from .enactment import NOBODY, PATIENCE, Enacted, asked, enact, free_port, shell

UP_TO_THE_APPLICATION = ("asap", "pre-jail", "in-jail", "post-jail", "as-root", "as-user", "pre-app", "post-app")
PHASES = (*UP_TO_THE_APPLICATION, "accepting", "accepting-once", "as-user-atexit")

# What a hook tells about the moment it runs in: its phase, its uid, whether the port is bound, where it is, which pid
# files are there.
TELL = """\
port=$(printf %04X $2)
bound=$(grep -c ":$port 00000000:0000 0A" /proc/net/tcp)
echo "HOOK $1 uid=$(id -u) bound=$bound in=${PWD##*/} $(ls $3 | grep pid | tr '\\n' ' ')" >&2
"""


def hooks(place: Path, port: int) -> dict[str, str]:
    """A command for each phase."""
    script = place / "tell.sh"
    script.write_text(TELL)
    return {phase: f"sh {script} {phase} {port} {place}" for phase in PHASES}


def fields(commands: dict[str, str]) -> dict[str, tuple[Hook, ...]]:
    """Each phase has two hooks, for an old spelling, ``exec-as-root``, comes after ``hook-as-root``."""
    return {
        f"hook_{phase.replace('-', '_')}": (shell(command), shell(command.replace(phase, f"{phase}-old", 1)))
        for phase, command in commands.items()
    }


def told(output: str) -> list[str]:
    return [line.strip() for line in output.splitlines() if line.startswith(("HOOK", "the application"))]


def original(place: Path, commands: dict[str, str], *options: str) -> list[str]:
    """What the hooks tell when the real uwsgi runs them."""
    lines = ["[uwsgi]", f"wsgi-file = {place}/app.py", "workers = 1"]
    for phase, command in commands.items():
        lines.append(f"hook-{phase} = exec:{command}")
        if phase.startswith("accepting"):  # the original has no old spelling for these
            lines.append(f"hook-{phase} = exec:{command.replace(phase, f'{phase}-old', 1)}")
        else:
            lines.append(f"exec-{phase} = {command.replace(phase, f'{phase}-old', 1)}")
    lines.append(f"hook-accepting-once = exec:kill -INT `cat {place}/1.pid`")
    lines.append("master = true")
    (place / "original.ini").write_text("\n".join(lines))
    (place / "app.py").write_text(
        "import os\nos.write(2, b'the application is loaded\\n')\ndef application(e, s): pass\n"
    )
    binary = [sys.executable, str(installed_command("uwsgi"))]
    result = subprocess.run(
        [*binary, "--ini", f"{place}/original.ini", *options],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return told(result.stderr)


@pytest.mark.parametrize(
    "given",
    [
        {"pidfile2": "2.pid"},
        {"chown-socket": "nobody"},
        {"unshare": "fs,ipc,uts"},
        {"chdir": "/tmp"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_every_phase_is_where_the_original_has_it(as_root: None, place: Path, given: dict[str, str]) -> None:
    """User, working directory, pid files and the state of the socket are the same at each hook."""
    port = free_port()
    commands = hooks(place, port)
    options = {"uid": str(NOBODY), "gid": str(NOBODY), "pidfile": "1.pid", **given}
    theirs = original(place, commands, f"--http-socket=127.0.0.1:{port}", *(f"--{k}={v}" for k, v in options.items()))
    for file in place.glob("*.pid"):
        file.unlink()
    settings = {key.replace("-", "_"): (value,) if key == "unshare" else value for key, value in options.items()}
    ours = enact(
        place,
        InstanceSettings(
            sockets=(asked(f"127.0.0.1:{port}"),),
            **fields(commands),  # type: ignore[arg-type]
            **settings,  # type: ignore[arg-type]
        ),
    )
    assert ours.code == 0, ours.said
    assert len(theirs) >= 19
    assert told(ours.said) == theirs


def order(enacted: Enacted) -> list[str]:
    return re.findall(r"^HOOK (\S+)", enacted.said, re.MULTILINE)


def test_hooks_run_once_where_the_original_repeats_them(as_root: None, place: Path) -> None:
    """As root and without uid the original runs as-root and as-user four times."""
    commands = hooks(place, free_port())
    ran = order(enact(place, InstanceSettings(**fields(commands))))  # type: ignore[arg-type]
    assert ran.count("as-root") == ran.count("as-user") == 1


def test_who_is_not_root_has_its_own_hooks_run_and_is_told_of_the_others(as_root: None, place: Path) -> None:
    commands = hooks(place, free_port())
    ours = enact(place, InstanceSettings(**fields(commands)), user=NOBODY, group=NOBODY)  # type: ignore[arg-type]
    ran = order(ours)
    assert "as-user" in ran and "as-root" not in ran
    assert f"as-root hooks are not run: this instance was started as uid {NOBODY}" in ours.said
    assert "post-jail hooks are not run" in ours.said


@pytest.mark.parametrize("phase", [*UP_TO_THE_APPLICATION, "accepting", "accepting-once"])
def test_a_hook_that_fails_ends_the_instance(as_root: None, place: Path, phase: str) -> None:
    """In one line, with exit code 1, and after the hooks for the end: as in the original."""
    field = {f"hook_{phase.replace('-', '_')}": (shell("exit 7"),)}
    ours = enact(
        place,
        InstanceSettings(
            unshare=("uts",),
            hook_as_user_atexit=(Hook("print", "the end"),),
            **field,  # type: ignore[arg-type]
        ),
    )
    assert ours.code == 1
    assert f"hook-{phase}: exec:exit 7: ended with 7" in ours.said
    assert "Traceback" not in ours.said
    assert ours.said.count("\nthe end\n") == 1


def test_a_hook_for_the_end_that_fails_is_said_and_the_next_one_run(place: Path) -> None:
    ours = enact(place, InstanceSettings(hook_as_user_atexit=(shell("exit 3"), Hook("print", "the end"))))
    assert ours.code == 0
    assert "hook-as-user-atexit: exec:exit 3: ended with 3" in ours.said
    assert "\nthe end\n" in ours.said


def test_an_action_that_does_not_exist_is_named(place: Path) -> None:
    ours = enact(place, InstanceSettings(hook_asap=(Hook("exce", "true"),)))
    assert ours.code == 1
    assert "hook-asap: exce:true: there is no action 'exce'" in ours.said


def test_a_private_hook_is_not_shown(place: Path) -> None:
    ours = enact(place, InstanceSettings(hook_asap=(Hook("!write", f"{place}/secret swordfish"),)))
    assert (place / "secret").read_text() == "swordfish"
    assert "running a private hook (asap)" in ours.said
    assert "swordfish" not in ours.said


def test_variables_and_umask_are_there_for_the_first_hook(place: Path) -> None:
    settings = InstanceSettings(env=("WINE=red",), umask=0o27, hook_asap=(shell("echo $WINE $(umask) >&2"),))
    assert "\nred 0027\n" in enact(place, settings).said


def test_nothing_half_started_stays(as_root: None, place: Path) -> None:
    """A socket that was bound before a later phase fails is not left behind."""
    path = place / "app.sock"
    settings = InstanceSettings(sockets=(asked(path),), chown_socket="nobody", hook_as_root=(shell("exit 1"),))
    ours = enact(place, settings)
    assert ours.code == 1
    assert f"listening on {path}" in ours.said
    assert not path.exists()


def test_a_hook_may_make_the_directory_of_the_socket(place: Path) -> None:
    path = place / "run" / "app.sock"
    settings = InstanceSettings(sockets=(asked(path),), hook_as_user=(Hook("mkdir", str(path.parent)),), vacuum=True)
    ours = enact(place, settings)
    assert ours.code == 0, ours.said
    assert f"vacuum: {path} removed" in ours.said


def test_directories_are_entered_where_the_options_say(place: Path) -> None:
    (place / "first").mkdir()
    (place / "second").mkdir()
    ours = enact(
        place,
        InstanceSettings(
            chdir=f"{place}/first",
            chdir2=f"{place}/second",
            hook_pre_app=(shell("pwd >&2"),),
            hook_accepting=(shell("pwd >&2"),),
        ),
    )
    assert re.findall(rf"^{place}/(\w+)$", ours.said, re.MULTILINE) == ["first", "second"]


def test_a_directory_that_is_not_there_is_named(place: Path) -> None:
    ours = enact(place, InstanceSettings(chdir=f"{place}/none"))
    assert ours.code == 1
    assert f"chdir = {place}/none: cannot be entered: No such file or directory" in ours.said


def test_a_reload_in_place_goes_through_the_jail_once(as_root: None, place: Path) -> None:
    """And keeps the socket: the same one, still removed by the vacuum at the end."""
    path, port = place / "app.sock", free_port()
    commands = hooks(place, port)
    ours = enact(
        place,
        InstanceSettings(
            sockets=(asked(path), asked(f"127.0.0.1:{port}")),
            uid=str(NOBODY),
            unshare=("uts,pid",),
            vacuum=True,
            pidfile2=f"{place}/app.pid",
            **fields(commands),  # type: ignore[arg-type]
        ),
        "reload",
    )
    assert ours.code == 0, ours.said
    first, second = ours.facts
    assert (first["reload"], second["reload"]) == (False, True)
    assert [one["inode"] for one in first["listening"]] == [one["inode"] for one in second["listening"]]
    assert first["status"]["NSpid"] == second["status"]["NSpid"]
    ran = order(ours)
    for phase in ("pre-jail", "post-jail", "as-root", "as-user"):
        assert ran.count(phase) == 1, phase
    for phase in ("asap", "in-jail", "pre-app", "accepting", "as-user-atexit"):
        assert ran.count(phase) == 2, phase
    assert f"vacuum: {path} removed" in ours.said
