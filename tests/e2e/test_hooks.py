"""Hooks at the turns of a vassal's life, on-demand sockets, tyrants, and a configuration that no file holds."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from .conftest import Reign
from .queue_source import queue_source
from .stage import PATIENCE, Stage


def expect_lines(file: Path, *expected: str) -> None:
    """Wait until a file has these lines, in this order."""
    deadline = time.monotonic() + PATIENCE
    while (lines := file.read_text().splitlines() if file.exists() else []) != list(expected):
        assert time.monotonic() < deadline, lines
        time.sleep(0.02)


# -- hooks


def test_every_phase_in_its_order(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    trace = open_path / "trace"
    phases = ["emperor-start", "as-emperor-before-vassal", "as-vassal-before-drop", "as-vassal"]
    options: list[str] = []
    for phase in phases:
        options += [
            f"--hook-{phase}",
            f"appendn:{trace} {phase} one",
            f"--hook-{phase}",
            f"appendn:{trace} {phase} two",
        ]
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign(*options)
    stage.next("a.ini")
    expect_lines(trace, *(f"{phase} {number}" for phase in phases for number in ("one", "two")))


def test_what_hooks_are_told(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    trace = open_path / "trace"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    tell = f"exec:echo $UWSGI_VASSAL_CONFIG $UWSGI_VASSAL_PID $UWSGI_VASSAL_UID $UWSGI_VASSALS_DIR >> {trace}"
    reign("--hook-as-emperor", tell)
    puppet = stage.next("a.ini")
    expect_lines(trace, f"a.ini {puppet.pid} {os.getuid()} {vassals}")


def test_the_start_and_the_stop_hook(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    trace, program = open_path / "trace", open_path / "hook"
    program.write_text(f'#!/bin/sh\necho "$0 $* $UWSGI_VASSALS_DIR" >> {trace}\n')
    program.chmod(0o755)
    stop = open_path / "stop"
    stop.symlink_to(program)
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    reign("--vassals-start-hook", program, "--vassals-stop-hook", stop)
    puppet = stage.next("a.ini")
    puppet.say(17)
    file.unlink()
    puppet.expect_gone()
    expect_lines(trace, f"{program} a.ini {vassals}", f"{stop} a.ini {vassals}")


@pytest.mark.parametrize("phase", ["as-emperor-before-vassal", "as-vassal-before-drop", "as-vassal"])
def test_a_hook_that_fails_is_named_and_the_vassal_tried_again(
    phase: str, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    flag = open_path / "flag"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign(f"--hook-{phase}", f"exec:test -e {flag}", "--emperor-throttle", "200")
    empire.expect(f"a.ini .*{phase}.*test -e {flag}.*ended with 1")
    flag.touch()
    stage.next("a.ini")


@pytest.mark.parametrize("phase", ["as-emperor", "as-emperor-setns"])
def test_a_hook_that_fails_when_the_vassal_is_there_changes_nothing(
    phase: str, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    """It is named with its place in the file, and the next one runs, as in the original."""
    trace, config = open_path / "trace", open_path / "emperor.ini"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    config.write_text(f"[uwsgi]\nhook-{phase} = exec:exit 7\nhook-{phase} = appendn:{trace} next\n")
    empire = reign("--ini", config)
    puppet = stage.next("a.ini")
    empire.expect(f"a.ini .*{phase}: {config}:2: exec:exit 7: ended with 7")
    expect_lines(trace, "next")
    assert puppet.alive


@pytest.mark.parametrize("phase", ["as-vassal", "as-vassal-before-drop", "as-emperor-before-vassal"])
def test_the_line_of_a_hook_that_keeps_a_vassal_from_starting(
    phase: str, reign: Reign, vassals: Path, open_path: Path
) -> None:
    config = open_path / "emperor.ini"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    config.write_text(f"[uwsgi]\nhook-{phase} = !write:{open_path}/none/file password\n")
    empire = reign("--ini", config)
    where = f"{open_path}/none/file: No such file or directory"
    empire.expect(f"a.ini .*{phase}: {config}:2: a private hook: {where}")
    assert not empire.log.find("password")


def test_the_old_spellings_come_after_the_hooks_in_the_original_s_order(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    """mount, umount, exec: otherwise there would be nothing to unmount."""
    trace, disk = open_path / "trace", open_path / "disk"
    disk.mkdir()
    (vassals / "a.ini").write_text("[uwsgi]\n")
    mounted = f"echo $(grep -c ' {disk} ' /proc/self/mounts) >> {trace}"
    reign(
        *["--exec-as-vassal", mounted],
        *["--umount-as-vassal", disk],
        *["--mount-as-vassal", f"tmpfs none {disk}"],
        *["--hook-as-vassal", f"exec:{mounted}"],
    )
    stage.next("a.ini")
    expect_lines(trace, "0", "0")


def test_a_hook_may_end_the_vassals_process(reign: Reign, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign("--hook-as-vassal", "exit:13").expect("a.ini .*exited with code 13")


def test_a_hook_may_end_the_emperor(reign: Reign, open_path: Path) -> None:
    """In good order: what it has opened is closed, and the pid file is gone."""
    empire = reign("--pidfile", open_path / "pid", "--hook-emperor-start", "exit:13")
    assert empire.process.wait(PATIENCE) == 13
    assert not (open_path / "pid").exists()


def test_hooks_inside_the_namespaces_of_a_vassal(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """Those to enter may be named. (That they are entered: ``tests/unit/kernel/test_preparation.py``.)"""
    trace = open_path / "trace"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    hooks = [f"exec:echo all >> {trace}", f"uts,net exec:echo two >> {trace}", "nut exec:echo none"]
    empire = reign(*(word for hook in hooks for word in ("--hook-as-emperor-setns", hook)))
    stage.next("a.ini")
    empire.expect("a.ini .*as-emperor-setns: there is no namespace 'nut': it is one of ipc, uts, net")
    deadline = time.monotonic() + PATIENCE
    while not trace.exists() or sorted(trace.read_text().split()) != ["all", "two"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_word_that_is_no_action_is_found_before_the_start(reign: Reign) -> None:
    empire = reign("--hook-as-vassal", "exce:true")
    empire.expect(r"command line: hook-as-vassal = exce:…: there is no action 'exce' \(did you mean exec\?\)")
    assert empire.process.wait(PATIENCE) == 1


def test_an_emperor_whose_start_hook_fails_does_not_start(reign: Reign) -> None:
    empire = reign("--hook-emperor-start", "exec:exit 3")
    empire.expect("command line: hook-emperor-start = exec:exit 3: ended with 3")
    assert empire.process.wait(PATIENCE) == 1


def test_a_hook_that_hangs_holds_up_nobody(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """Neither another vassal nor the end of the Emperor; and the hook does not outlive it."""
    (vassals / "slow.ini").write_text("[uwsgi]\n")
    slow = 'exec:case "$UWSGI_VASSAL_CONFIG" in slow.ini) sleep 1000;; esac'
    empire = reign("--hook-as-emperor-before-vassal", slow, "--reload-mercy", "1").ready()
    for number in range(5):
        (vassals / f"{number}.ini").write_text("[uwsgi]\n")
        stage.next(f"{number}.ini", timeout=3)
    began = time.monotonic()
    assert empire.stop() == 0
    assert time.monotonic() - began < 8


def test_a_stop_hook_that_hangs(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    program = open_path / "hook"
    program.write_text("#!/bin/sh\nsleep 1000\n")
    program.chmod(0o755)
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--vassals-stop-hook", program, "--reload-mercy", "1")
    stage.next("a.ini").say(17)
    assert empire.stop() == 0
    empire.expect("1 hooks are still running after 1 s: they are killed")


# -- on demand


@pytest.mark.parametrize("how", ["extension", "directory", "exec"])
def test_on_demand(how: str, reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """The first connection starts it, waits for it, and is answered; when it ends it sleeps again."""
    address = open_path / "a.socket"
    file = vassals / "a.ini"
    script = open_path / "where"
    script.write_text(f"#!/bin/sh\nprintf '%s' {open_path}/${{1%.ini}}.socket\n")
    script.chmod(0o755)
    options = {
        "extension": ["--emperor-on-demand-extension", ".socket"],
        "directory": ["--emperor-on-demand-directory", str(open_path)],
        "exec": ["--emperor-on-demand-exec", str(script)],
    }[how]
    if how == "extension":
        (vassals / "a.ini.socket").write_text(f"{address}\n")
    file.write_text("[uwsgi]\n")
    empire = reign(*options).ready()
    empire.expect_state("a.ini", state="asleep", on_demand=str(address))
    stage.nobody_appears(0.2)

    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(PATIENCE)
        visitor.connect(str(address))
        puppet = stage.next("a.ini")
        puppet.say(1, 5, 17)
        assert puppet.serve(b"welcome") == 1
        assert visitor.recv(100) == b"welcome"

    puppet.say(22)
    assert puppet.expect_byte() == 0
    empire.expect_state("a.ini", state="asleep")
    file.unlink()
    empire.expect("a.ini .*removed")
    assert not address.exists()


def test_on_demand_again_after_a_crash(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    address = open_path / "a.socket"
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-on-demand-directory", open_path, "--emperor-throttle", "100").ready()
    empire.expect_state("a.ini", state="asleep")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(address))
        stage.next("a.ini").exit(1)
        # The connection is still in the socket's queue: whoever comes next gets it.
        puppet = stage.next("a.ini")
        assert puppet.serve(b"sorry") == 1
        assert visitor.recv(100) == b"sorry"


def test_hooks_of_a_sleeper(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """``as-on-demand-vassal`` each time it goes to sleep, ``as-on-config-vassal`` when its file changes meanwhile."""
    trace, address = open_path / "trace", open_path / "a.socket"
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    tell = f"exec:echo PHASE $UWSGI_VASSAL_CONFIG $UWSGI_HOOK_CONTEXT ${{UWSGI_VASSAL_PID:-none}} >> {trace}"
    options = ["--emperor-on-demand-directory", str(open_path)]
    for phase in ("as-on-demand-vassal", "as-on-config-vassal"):
        options += [f"--hook-{phase}", "exec:exit 7", f"--hook-{phase}", tell.replace("PHASE", phase)]
    empire = reign(*options)
    empire.expect("a.ini .*as-on-demand-vassal: command line: exec:exit 7: ended with 7")
    asleep, changed = "as-on-demand-vassal a.ini a.ini none", "as-on-config-vassal a.ini a.ini none"
    expect_lines(trace, asleep)
    file.write_text("[uwsgi]\n; changed\n")
    expect_lines(trace, asleep, changed)
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(address))
        puppet = stage.next("a.ini")
        puppet.say(1, 5, 17)
        puppet.serve(b"welcome")
        puppet.say(22)
        expect_lines(trace, asleep, changed, asleep)


# -- tyrants


def test_a_tyrants_vassal_is_its_owner_and_nothing_more(
    as_root: None, reign: Reign, stage: Stage, vassals: Path
) -> None:
    file = vassals / "tenant.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 1234, 4321)
    (vassals / "root.ini").write_text("[uwsgi]\n")
    half = vassals / "half.ini"
    half.write_text("[uwsgi]\n")
    os.chown(half, 1234, 0)
    empire = reign("--emperor-tyrant")
    puppet = stage.next("tenant.ini")
    assert puppet.given["uids"] == [1234] * 3
    assert puppet.given["gids"] == [4321] * 3
    assert puppet.given["groups"] == []
    status = puppet.given["status"]
    assert [int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")] == [0, 0, 0, 0]
    for name in ("root.ini", "half.ini"):
        assert "belongs to root" in empire.expect_state(name, state="failed")["why"]
    vassal = empire.vassal("tenant.ini")
    assert (vassal["uid"], vassal["gid"]) == (1234, 4321)

    puppet.say(5, 17)
    empire.expect_state("tenant.ini", loyal=1)
    os.chown(file, 1235, 1235)
    assert puppet.expect_byte() == 0
    assert stage.next("tenant.ini").given["uids"] == [1235] * 3


def test_a_symlinks_owner_counts_where_that_is_wanted(
    as_root: None, reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    target = open_path / "shared.ini"
    target.write_text("[uwsgi]\n")
    os.chown(target, 1234, 1234)
    link = vassals / "a.ini"
    link.symlink_to(target)
    os.lchown(link, 1235, 1235)
    first = reign("--emperor-tyrant")
    assert stage.next("a.ini").given["uids"] == [1234] * 3
    first.stop()
    reign("--emperor-tyrant", "--emperor-tyrant-nofollow")
    assert stage.next("a.ini").given["uids"] == [1235] * 3


def test_the_users_own_groups(as_root: None, reign: Reign, stage: Stage, vassals: Path) -> None:
    """Any user of this machine's own that has more than one group, if there is one."""
    import grp
    import pwd

    for user in pwd.getpwall():
        groups = {group.gr_gid for group in grp.getgrall() if user.pw_name in group.gr_mem}
        if user.pw_uid > 0 and user.pw_gid > 0:
            break
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, user.pw_uid, user.pw_gid)
    reign("--emperor-tyrant", "--emperor-tyrant-initgroups")
    assert set(stage.next("a.ini").given["groups"]) == groups | {user.pw_gid}


# -- a source that is no directory


def test_a_configuration_that_no_file_holds(reign: Reign, stage: Stage, open_path: Path) -> None:
    """A third party's monitor: the vassal is called ``emperor://NAME`` and reads its configuration from an fd."""
    source, environment = queue_source(open_path)
    empire = reign(emperor=f"queue://{source}", environment=environment).ready()
    source.write_text("shop.ini colour = red")
    puppet = stage.next("shop.ini")
    assert puppet.argv[-1] == "emperor://shop.ini"
    assert set(puppet.fds) == {0, 1, 2, 3, 4}
    assert puppet.given["config"] == "[uwsgi]\ncolour = red\n"
    puppet.say(1, 5, 17)
    empire.expect_state("shop.ini", loyal=1)
    source.write_text("shop.ini colour = blue")
    assert puppet.expect_byte() == 1
    puppet.say(2)
    assert puppet.next_config() == "[uwsgi]\ncolour = blue\n"
    source.write_text("shop.ini")
    assert puppet.expect_byte() == 0
    source.write_text("end")
