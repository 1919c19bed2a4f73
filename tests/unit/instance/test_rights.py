"""What an instance may do after its start: whose it is, its limits, its namespaces, its root."""

from __future__ import annotations

import grp
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.hook import Hook
from imperator.config.instance_settings import BinaryPatch, InstanceSettings
from imperator.instance.rights import identity_asked

from .enactment import NOBODY, PATIENCE, asked, enact, finish, free_port, listener, shell, start


def numbers(facts: dict[str, Any], field: str) -> list[int]:
    return [int(word) for word in facts["status"][field].split()]


# -- the user


@pytest.mark.parametrize("name", ["nobody", str(NOBODY)])
def test_a_user_by_name_or_number_with_its_own_group(as_root: None, place: Path, name: str) -> None:
    """The original leaves a user without gid in root's group, with all of root's."""
    ours = enact(place, InstanceSettings(uid=name))
    [facts] = ours.facts
    assert numbers(facts, "Uid") == [NOBODY] * 4
    assert numbers(facts, "Gid") == [NOBODY] * 4
    assert 0 not in numbers(facts, "Groups")
    assert f"uid without gid: taking nobody's own group {NOBODY}" in ours.said


def test_no_capability_stays(as_root: None, place: Path) -> None:
    [facts] = enact(place, InstanceSettings(uid="nobody")).facts
    assert {int(facts["status"][field], 16) for field in ("CapPrm", "CapEff", "CapAmb")} == {0}


def test_a_group_without_a_user(as_root: None, place: Path) -> None:
    [facts] = enact(place, InstanceSettings(gid="nogroup")).facts
    assert (numbers(facts, "Uid")[0], numbers(facts, "Gid")[0]) == (0, grp.getgrnam("nogroup").gr_gid)


def test_additional_groups_are_those_of_the_users_name() -> None:
    """initgroups(3) with the group that was asked for, which need not be the user's own."""
    who = identity_asked(InstanceSettings(uid="mail", gid="99"))
    assert sorted(who.groups) == sorted(os.getgrouplist("mail", 99))
    assert who.gid == 99


def test_add_gid_is_the_whole_list_as_in_the_original(as_root: None, place: Path) -> None:
    [facts] = enact(place, InstanceSettings(uid="nobody", gid="nogroup", add_gid=("mail", "4321"))).facts
    assert sorted(numbers(facts, "Groups")) == sorted([grp.getgrnam("mail").gr_gid, 4321])


def test_a_user_that_is_nobody_known_has_no_group_of_roots(as_root: None, place: Path) -> None:
    ours = enact(place, InstanceSettings(uid="54321"))
    [facts] = ours.facts
    assert numbers(facts, "Uid")[0] == 54321
    assert numbers(facts, "Groups") == []
    assert "uid 54321 is nobody known and no gid is given: it stays in group 0" in ours.said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"uid": "nero"}, "uid = nero: there is no user 'nero'"),
        ({"gid": "senate"}, "gid = senate: there is no group 'senate'"),
        ({"uid": "nobody", "add_gid": ("senate",)}, "add-gid = senate: there is no group 'senate'"),
    ],
)
def test_whom_nobody_knows(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        identity_asked(InstanceSettings(**given))
    assert reason in str(refused.value)


def test_root_is_warned(as_root: None, place: Path) -> None:
    said = enact(place, InstanceSettings()).said
    assert said.count("running as root: say uid = USER in the configuration") == 1


@pytest.mark.parametrize("given", [{"uid": "1"}, {"gid": "1"}, {"uid": "mail"}])
def test_only_root_can_become_somebody_else(as_root: None, place: Path, given: dict[str, Any]) -> None:
    ours = enact(place, InstanceSettings(**given), user=NOBODY, group=NOBODY)
    assert ours.code == 1
    assert f"and cannot become {identity_asked(InstanceSettings(**given)).uid or 1}: only root can" in ours.said


def test_who_is_asked_to_be_what_it_is_goes_on(as_root: None, place: Path) -> None:
    """As a vassal in tyrant mode, whose file says uid = its owner."""
    ours = enact(place, InstanceSettings(uid="nobody"), user=NOBODY, group=NOBODY)
    assert ours.code == 0, ours.said


def test_the_signal_at_the_parents_death_outlives_the_drop(as_root: None, place: Path) -> None:
    """The kernel forgets it when the user changes: an instance would outlive its Emperor."""
    look = (
        "import ctypes, sys; signal = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(signal)); "
        "print('signal', signal.value, file=sys.stderr)"
    )
    become = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])"
    script = place / "look.py"
    script.write_text(look)
    settings = InstanceSettings(uid="nobody", unprivileged_binary_patch=_patch(sys.executable, str(script)))
    assert "\nsignal 9\n" in enact(place, settings, prefix=[sys.executable, "-c", become]).said


def _patch(program: str, *arguments: str) -> BinaryPatch:
    return BinaryPatch(program, arguments, "unprivileged-binary-patch-arg", "app.ini:9")


# -- limits


def test_limits_are_there_before_the_first_line_of_the_user(as_root: None, place: Path) -> None:
    settings = InstanceSettings(
        uid="nobody",
        limit_as=600,
        rlimits=(("NPROC", 321), ("nofile", 123)),
        hook_as_root=(shell("ulimit -n >&2"),),
        hook_as_user=(shell("cat /proc/self/limits >&2"),),
    )
    said = enact(place, settings).said
    limits = {line[:26].strip(): line[26:].split()[:2] for line in said.splitlines() if line.startswith("Max ")}
    assert limits["Max address space"] == [str(600 << 20)] * 2
    assert limits["Max processes"] == ["321", "321"]
    assert limits["Max open files"] == ["123", "123"]


def test_a_limit_that_does_not_exist(place: Path) -> None:
    ours = enact(place, InstanceSettings(rlimits=(("WINE", 3),)))
    assert ours.code == 1
    assert "limit-wine = 3: there is no limit 'WINE' (it is one of as, core, cpu, " in ours.said


def test_a_limit_above_what_is_allowed(as_root: None, place: Path) -> None:
    settings = InstanceSettings(rlimits=(("NOFILE", 100_000),))
    limited = ["/bin/sh", "-c", 'ulimit -n 1000; exec "$@"', "sh"]
    ours = enact(place, settings, prefix=limited, user=NOBODY, group=NOBODY)
    assert ours.code == 1
    assert "limit-nofile = 100000: cannot be set: " in ours.said
    assert "(the highest allowed is 1000)" in ours.said


# -- namespaces


def namespaces(said: str) -> dict[str, str]:
    return dict(line.split()[1:3] for line in said.splitlines() if line.startswith("NS "))


LOOK = shell("for n in net mnt ipc pid uts user; do echo NS $n $(readlink /proc/self/ns/$n); done >&2")


@pytest.mark.parametrize(
    ("asked_for", "left"),
    [
        (("net",), {"net"}),
        (("fs,ipc", "uts"), {"mnt", "ipc", "uts"}),
        (("pid",), {"pid"}),
        (("user",), {"user"}),
        (("user,fs,net,pid",), {"user", "mnt", "net", "pid"}),
    ],
)
def test_namespaces_are_left(as_root: None, place: Path, asked_for: tuple[str, ...], left: set[str]) -> None:
    ours = enact(place, InstanceSettings(unshare=asked_for, uid="nobody", hook_as_user=(LOOK,)))
    assert ours.code == 0, ours.said
    found = namespaces(ours.said)
    assert {name for name in found if found[name] != os.readlink(f"/proc/self/ns/{name}")} == left


def test_who_is_not_root_can_have_a_user_namespace(as_root: None, place: Path) -> None:
    ours = enact(place, InstanceSettings(unshare=("user,uts",), hook_as_user=(LOOK,)), user=NOBODY, group=NOBODY)
    assert ours.code == 0, ours.said
    assert namespaces(ours.said)["uts"] != os.readlink("/proc/self/ns/uts")


def test_what_the_kernel_forbids_is_said(as_root: None, place: Path) -> None:
    """The original passes over unshare in silence where it is not root."""
    ours = enact(place, InstanceSettings(unshare=("net",)), user=NOBODY, group=NOBODY)
    assert ours.code == 1
    assert "unshare = net: cannot leave the namespaces: unshare: Operation not permitted (needs root or" in ours.said


def test_a_namespace_that_does_not_exist(place: Path) -> None:
    ours = enact(place, InstanceSettings(unshare=("net,forum",)))
    assert ours.code == 1
    assert "unshare = net,forum: there is no namespace 'forum': it is one of fs, " in ours.said


def test_mounts_do_not_leak_to_the_host(as_root: None, place: Path) -> None:
    """Even where the host's mounts are shared, as systemd has them; the original's leak."""
    mounted = place / "mounted"
    mounted.mkdir()
    settings = InstanceSettings(
        unshare=("fs",),
        hook_post_jail=(Hook("mount", f"tmpfs none {mounted}"), Hook("write", f"{mounted}/file inside")),
    )
    share = ["unshare", "--mount", "--propagation", "shared", "/bin/sh", "-c", '"$@"; ls -A ' + f"{mounted} >&2", "sh"]
    ours = enact(place, settings, prefix=share)
    assert "running write:" in ours.said
    assert not ours.said.endswith("file\n")
    assert list(mounted.iterdir()) == []


def test_in_a_pid_namespace_the_pid_file_has_the_pid_of_outside(as_root: None, place: Path) -> None:
    settings = InstanceSettings(unshare=("pid",), pidfile=f"{place}/1.pid", pidfile2=f"{place}/2.pid")
    process = start(place, settings, "wait")
    assert process.stdout is not None
    process.stdout.readline()
    first, second = int((place / "1.pid").read_text()), int((place / "2.pid").read_text())
    assert first == process.pid
    status = Path(f"/proc/{second}/status").read_text()
    assert f"NSpid:\t{second}\t1\n" in status
    assert f"PPid:\t{first}\n" in status
    assert finish(process).code == 0


@pytest.mark.parametrize("code", [0, 42])
def test_the_shepherd_ends_with_the_code_of_the_instance(as_root: None, place: Path, code: int) -> None:
    settings = InstanceSettings(unshare=("pid",), unprivileged_binary_patch=_patch("/bin/sh", "-c", f"exit {code}"))
    assert enact(place, settings).code == code


def test_a_signal_that_ends_the_instance_ends_the_shepherd(as_root: None, place: Path) -> None:
    process = start(place, InstanceSettings(unshare=("pid",), pidfile2=f"{place}/2.pid"), "wait")
    assert process.stdout is not None
    process.stdout.readline()
    os.kill(int((place / "2.pid").read_text()), signal.SIGKILL)
    assert finish(process).code == -signal.SIGKILL


def test_the_shepherd_passes_signals_on(as_root: None, place: Path) -> None:
    answer = (
        "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); print('{}', flush=True); "
        "os._exit(100 + signal.sigwait({signal.SIGTERM, signal.SIGHUP}))"
    )
    settings = InstanceSettings(unshare=("pid",), unprivileged_binary_patch=_patch(sys.executable, "-c", answer))
    for number in (signal.SIGTERM, signal.SIGHUP):
        process = start(place, settings)
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert finish(process).code == 100 + number


def test_the_instance_dies_with_its_shepherd(as_root: None, place: Path) -> None:
    process = start(place, InstanceSettings(unshare=("pid",), pidfile2=f"{place}/2.pid", uid="nobody"), "wait")
    assert process.stdout is not None
    process.stdout.readline()
    instance = os.pidfd_open(int((place / "2.pid").read_text()))
    try:
        process.kill()
        assert select.select([instance], [], [], PATIENCE)[0]
    finally:
        os.close(instance)
        finish(process)


def test_the_shepherd_holds_no_socket(as_root: None, place: Path) -> None:
    """Not one that was bound before the fork, nor the one that it was given as its standard input."""
    first = asked(f"127.0.0.1:{free_port()}")
    settings = InstanceSettings(unshare=("pid",), sockets=(first,), chown_socket="nobody", hook_accepting=(_PAUSE,))
    with listener() as stdin:
        process = start(place, settings, stdin=stdin)
    try:
        assert process.stdout is not None
        assert len(json.loads(process.stdout.readline())["listening"]) == 2
        directory = Path(f"/proc/{process.pid}/fd")
        assert not [file for file in directory.iterdir() if "socket" in os.readlink(file)]
    finally:
        process.kill()
        finish(process)


_PAUSE = shell("sleep 60")  # the instance stays where it is until it is killed


# -- another root


def test_chroot(as_root: None, place: Path) -> None:
    """The user is looked up outside, and a working directory inside stays."""
    (place / "jail" / "app").mkdir(parents=True)
    settings = InstanceSettings(
        chroot=f"{place}/jail", uid="nobody", hook_as_user=(Hook("write", "/app/proof inside"),)
    )
    (place / "jail" / "app").chmod(0o777)
    ours = enact(place, settings)
    assert (place / "jail" / "app" / "proof").read_text() == "inside"
    assert f"the root is now {place}/jail, and the working directory /" in ours.said


def test_the_working_directory_is_no_way_out(as_root: None, place: Path) -> None:
    """In the original ``..`` leads out of the jail."""
    (place / "jail").mkdir()
    settings = InstanceSettings(chroot=f"{place}/jail", hook_as_root=(Hook("write", "../outside found"),))
    enact(place, settings)
    assert not (place.parent / "outside").exists()
    assert (place / "jail" / "outside").read_text() == "found"


def test_a_working_directory_inside_stays(as_root: None, place: Path) -> None:
    (place / "jail" / "app").mkdir(parents=True)
    settings = InstanceSettings(
        chroot=f"{place}/jail", hook_asap=(Hook("cd", f"{place}/jail/app"),), hook_as_root=(Hook("write", "here x"),)
    )
    enact(place, settings)
    assert (place / "jail" / "app" / "here").exists()


@pytest.mark.parametrize(
    ("root", "user", "reason"), [("none", 0, "No such file or directory"), ("", NOBODY, "only root")]
)
def test_a_root_that_cannot_be(as_root: None, place: Path, root: str, user: int, reason: str) -> None:
    ours = enact(place, InstanceSettings(chroot=f"{place}/{root}"), user=user)
    assert ours.code == 1
    assert f"chroot = {place}/{root}: cannot be made the root: " in ours.said
    assert reason in ours.said
