"""Vassals in namespaces of their own, with fewer capabilities; an Emperor without root that is a tyrant all the same.

The configurations are those of the original's manual page: "Using Linux namespaces for vassals", "Tyrant mode for
paranoid sysadmins".
"""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from imperator.kernel.capabilities import NUMBERS, bounding_set

from .conftest import Reign
from .empire import expect_nobody
from .solo import ACCEPTS, Start, get
from .stage import PATIENCE, Puppet, Stage
from .terminal_client import Client

pytestmark = pytest.mark.usefixtures("as_root")

KINDS = {"fs": "mnt", "net": "net", "ipc": "ipc", "pid": "pid", "uts": "uts", "user": "user"}
"""What people write, and what the kernel calls it."""


def left(puppet: Puppet) -> set[str]:
    """The kinds of namespaces in which it is not where we are."""
    return {
        name for name, kind in KINDS.items() if puppet.given["namespaces"][kind] != os.readlink(f"/proc/self/ns/{kind}")
    }


@pytest.mark.parametrize(
    "names", ["fs,net,ipc,pid,uts", "fs,ipc,pid,uts", "user", "fs,net,ipc,pid,uts,user", "uts, ipc"]
)
def test_a_vassal_has_the_namespaces_that_are_asked_for(names: str, reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", names)
    puppet = stage.next("a.ini")
    assert left(puppet) == set(names.replace(" ", "").split(","))
    assert empire.expect_state("a.ini", state="running")["pid"] == puppet.pid
    puppet.say(5, 17)
    empire.expect_state("a.ini", loyal=1)
    puppet.kill(signal.SIGKILL)
    assert left(stage.next("a.ini")) == left(puppet)
    assert "killed by SIGKILL" in empire.expect("a.ini  was killed .*")[0]


def test_its_exit_code_is_known_and_it_is_stopped_as_any_other(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", "pid,fs,user")
    stage.next("a.ini").exit(7)
    empire.expect("a.ini  exited with code 7")
    file.write_text("[uwsgi]\n# mended\n")
    puppet = stage.next("a.ini")
    puppet.say(17)
    empire.expect_state("a.ini", loyal=1)
    file.unlink()
    assert puppet.expect_byte() == 0
    puppet.expect_gone()


def test_as_process_one_it_ends_at_sigterm_although_the_kernel_keeps_that_from_it(
    reign: Reign, stage: Stage, vassals: Path
) -> None:
    """Process 1 of a pid namespace gets no signal that it has no handler for: it would have to be killed after 30 s."""
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", "pid")
    puppet = stage.next("a.ini")
    puppet.hang_up()  # it does not listen to the Emperor
    puppet.stay()
    file.unlink()
    empire.expect("a.ini  was killed by SIGKILL", timeout=10)


def test_one_that_handles_sigterm_gets_it(reign: Reign, stage: Stage, vassals: Path) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    reign("--emperor-use-clone", "pid")
    puppet = stage.next("a.ini")
    puppet.catch(signal.SIGTERM)
    puppet.stay()
    file.unlink()
    assert puppet.expect_signal() == signal.SIGTERM
    puppet.exit(0)


def test_what_it_mounts_appears_nowhere_else(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    place = open_path / "place"
    place.mkdir()
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign("--emperor-use-clone", "fs", "--hook-as-vassal-before-drop", f"mount:tmpfs none {place}")
    puppet = stage.next("a.ini")
    assert f" {place} " in Path(f"/proc/{puppet.pid}/mounts").read_text()
    assert f" {place} " not in Path("/proc/self/mounts").read_text()


def test_they_die_with_the_emperor(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name in ("a.ini", "b.ini"):
        (vassals / name).write_text("[uwsgi]\n")
    empire = reign("--emperor-use-clone", "fs,net,ipc,pid,uts,user").ready()
    first, second = stage.next_of("a.ini", "b.ini")
    for puppet in (first, second):
        puppet.stay()
        puppet.fork(new_session=True)
    empire.process.kill()
    expect_nobody(stage.address, timeout=1.0)


def test_a_namespace_that_there_is_not(reign: Reign) -> None:
    empire = reign("--emperor-use-clone", "fs,nte")
    assert empire.process.wait(10) == 1
    empire.expect("emperor-use-clone = fs,nte: there is no namespace 'nte': it is one of")


HOSTNAMED = """
import os, socket
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdecimal())
    return [f"{socket.gethostname()} {os.getpid()} {os.getuid()} {pids}".encode()]
"""

EXAMPLE = """
[uwsgi]
; set the hostname
exec-as-root = hostname foobar
; umount /proc and remount to hide processes
; as we are in the 'fs' namespace umounting /proc does not interfere with the main one
exec-as-root = umount /proc
exec-as-root = mount -t proc none /proc
; drop privileges
uid = 20001
gid = 20001
; bind to the socket
http-socket = {directory}/myapp.socket
wsgi-file = {directory}/app.py
"""


def test_the_manuals_example(reign: Reign, vassals: Path, open_path: Path) -> None:
    """A vassal with its own host name that sees no process but its own; and nothing of it is seen outside."""
    open_path.chmod(0o777)
    (open_path / "app.py").write_text(HOSTNAMED)
    (vassals / "jail.ini").write_text(EXAMPLE.format(directory=open_path))
    ours = socket.gethostname()
    empire = reign("--emperor-use-clone", "fs,ipc,pid,uts", binary=None)
    empire.expect("jail.ini  accepts requests")
    with socket.socket(socket.AF_UNIX) as visitor:
        visitor.settimeout(PATIENCE)
        visitor.connect(str(open_path / "myapp.socket"))
        visitor.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: visitor.recv(4096), b""))
    assert answer.endswith(b"\r\n\r\nfoobar 1 20001 [1]")
    assert socket.gethostname() == ours
    assert os.path.exists(f"/proc/{empire.pid}")
    empire.expect("jail.ini  is loyal")


# -- capabilities


def capabilities(puppet: Puppet, kind: str) -> int:
    return int(puppet.given["status"][f"Cap{kind}"], 16)


def test_a_vassal_can_never_have_more_than_emperor_cap_says(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    reign("--emperor-cap", "setuid,setgid,net_bind_service")
    puppet = stage.next("a.ini")
    wanted = sum(1 << NUMBERS[name] for name in ("setuid", "setgid", "net_bind_service"))
    assert capabilities(puppet, "Bnd") == wanted
    assert capabilities(puppet, "Prm") == capabilities(puppet, "Eff") == wanted


def test_a_capability_that_there_is_not(reign: Reign) -> None:
    empire = reign("--emperor-cap", "setuid,fly")
    assert empire.process.wait(10) == 1
    empire.expect("emperor-cap = setuid,fly: there is no capability 'fly'")


def paranoid(open_path: Path, vassals: Path, stage: Stage, *lines: str) -> Path:
    """The manual's own file."""
    file = open_path / "emperor.ini"
    text = f"""[uwsgi]
uid = 10000
gid = 10000
emperor = {vassals}
emperor-tyrant = true
cap = setgid,setuid
binary-path = {stage.binary}
"""
    file.write_text(text + "\n".join(lines) + "\n")
    return file


def tenants(vassals: Path, *uids: int) -> list[Path]:
    files = []
    for uid in uids:
        file = vassals / f"tenant{uid}.ini"
        file.write_text("[uwsgi]\n")
        os.chown(file, uid, uid)
        files.append(file)
    return files


def test_an_emperor_without_root_that_is_a_tyrant(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    first, second = tenants(vassals, 20001, 20002)
    empire = reign("--ini", paranoid(open_path, vassals, stage), emperor=None, binary=None)
    one, two = stage.next_of(first.name, second.name)
    assert one.given["uids"] == one.given["gids"] == [20001] * 3
    assert two.given["uids"] == two.given["gids"] == [20002] * 3
    for puppet in (one, two):
        assert puppet.given["groups"] == []
        assert [capabilities(puppet, kind) for kind in ("Inh", "Prm", "Eff", "Amb")] == [0, 0, 0, 0]
    status = Path(f"/proc/{empire.pid}/status").read_text()
    assert "Uid:\t10000\t10000\t10000\t10000" in status
    assert capabilities_of_status(status) == 1 << NUMBERS["setgid"] | 1 << NUMBERS["setuid"]


def capabilities_of_status(status: str) -> int:
    return int(status.partition("CapPrm:\t")[2].partition("\n")[0], 16)


def test_it_can_end_those_who_have_become_others(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    """It may not signal them, having no ``kill``; but it may become them, and then it may."""
    file, other = tenants(vassals, 20001, 20002)
    settings = paranoid(open_path, vassals, stage, "emperor-curse-tolerance = 1")
    empire = reign("--ini", settings, emperor=None, binary=None)
    puppet, _ = stage.next_of(file.name, other.name)
    puppet.ignore(signal.SIGTERM)
    puppet.stay()
    puppet.fork()
    file.unlink()
    empire.expect(f"{file.name}  was killed by SIGKILL")
    assert empire.stop() == 0
    expect_nobody(stage.address)


def test_nobody_outlives_it_either(reign: Reign, stage: Stage, vassals: Path, open_path: Path) -> None:
    files = tenants(vassals, 20001, 20002, 20003)
    empire = reign("--ini", paranoid(open_path, vassals, stage), emperor=None, binary=None)
    for puppet in stage.next_of(*(file.name for file in files)):
        puppet.stay()
        puppet.ignore(signal.SIGTERM)
        puppet.fork()
    empire.process.kill()
    expect_nobody(stage.address, timeout=1.0)


def test_without_the_right_to_change_users_it_says_so(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path
) -> None:
    tenants(vassals, 20001)
    settings = paranoid(open_path, vassals, stage)
    settings.write_text(settings.read_text().replace("cap = setgid,setuid\n", ""))
    empire = reign("--ini", settings, emperor=None, binary=None)
    empire.expect(r"tenant20001.ini .*cannot become uid 20001.*CAP_SETUID and CAP_SETGID")


def test_the_test_runs_where_it_can_fail() -> None:
    """Were we bounded ourselves, the tests above would prove nothing."""
    assert len(bounding_set()) > 10


# -- terminals


def test_a_terminal_in_a_jail_as_in_the_manual(start: Start, open_path: Path) -> None:
    """The forkpty router of the original's manual: a shell in there, as the instance's user."""
    open_path.chmod(0o777)
    instance = start(
        "unshare = uts",
        "exec-as-root = hostname iaminajail",
        "uid = 20001",
        "gid = 20001",
        f"forkpty-router = {open_path}/raw.socket",
        f"forkpty-urouter = {open_path}/uwsgi.socket",
    )
    instance.expect("imperator.instance.terminals .*started as pid")
    client = Client(open_path / "raw.socket")
    client.shown("[$#] $")
    client.socket.sendall(b"echo $(hostname) $(id -u)\n")
    client.shown("\r\niaminajail 20001\r\n")
    client.socket.close()
    assert instance.end() == 0
    assert not (open_path / "raw.socket").exists()


# -- what an instance's own file says

TELLING = """
import os
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
    mounted = os.path.isdir("{old}/etc")
    return [f"{{os.getuid()}} {{int(status['CapEff'], 16)}} {{mounted}} {{os.readlink('/proc/self/ns/uts')}}".encode()]
"""


def test_capabilities_that_an_instance_keeps(start: Start, port: int) -> None:
    app = TELLING.format(old="")
    lines = [f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", "uid = 20001", "gid = 20001"]
    instance = start(*lines, "cap = net_bind_service,net_raw", app=app)
    instance.expect(ACCEPTS)
    uid, effective, *_ = get(port).split()
    assert uid == "20001"
    assert int(effective) == 1 << NUMBERS["net_bind_service"] | 1 << NUMBERS["net_raw"]


def test_capabilities_that_a_tenant_was_not_given(reign: Reign, vassals: Path, open_path: Path) -> None:
    file = vassals / "tenant.ini"
    file.write_text("[uwsgi]\ncap = setuid\nhttp-socket = 127.0.0.1:0\nwsgi-file = app.py\n")
    os.chown(file, 20001, 20001)
    empire = reign("--emperor-tyrant", binary=None)
    empire.expect("cap = setuid: uid 20001 was not given all of these")


def test_another_root_and_namespaces_after_it(start: Start, port: int, open_path: Path) -> None:
    root, old = open_path / "root", open_path / "old"
    root.mkdir()
    old.mkdir()
    instance = start(
        f"http-socket = 127.0.0.1:{port}",
        f"wsgi-file = {open_path}/app.py",
        "unshare = fs",
        f"hook-post-jail = mount:none / {root} bind,rec",
        f"pivot-root = {root} {old}",
        "unshare2 = uts",
        "uid = 20001",
        "gid = 20001",
        app=TELLING.format(old=old),
    )
    instance.expect(f"the root is now {root}")
    instance.expect(ACCEPTS)
    uid, _, mounted, uts = get(port).split()
    assert (uid, mounted) == ("20001", "True")
    assert uts != os.readlink("/proc/self/ns/uts")
    assert not (old / "etc").exists()


def test_post_jail_hooks_without_a_jail_of_its_own(start: Start, port: int, open_path: Path) -> None:
    lines = [f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", f"hook-post-jail = write:{open_path}/seen yes"]
    start(*lines).expect("post-jail hooks are not run")
    assert not (open_path / "seen").exists()


def test_post_jail_hooks_of_a_jailed_instance(start: Start, port: int, open_path: Path) -> None:
    lines = [f"http-socket = 127.0.0.1:{port}", "wsgi-file = app.py", f"hook-post-jail = write:{open_path}/seen yes"]
    start(*lines, "jailed = true").expect(ACCEPTS)
    assert (open_path / "seen").read_text() == "yes"
