"""Tenants who try to get what is not theirs. Each attack is made as the other user it would be made by.

``VICTIM`` and ``ATTACKER`` are two tenants of one Emperor in tyrant mode; neither may gain anything of the other's, or
of root's.
"""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Reign
from .stage import Stage

pytestmark = pytest.mark.usefixtures("as_root")

VICTIM, ATTACKER = 20001, 20002


def as_user(uid: int, code: str, *arguments: str | Path, wait: bool = True) -> subprocess.Popen[str]:
    """Python code, run by another user."""
    command = [os.path.realpath(sys.executable), "-I", "-c", textwrap.dedent(code), *map(str, arguments)]
    process = subprocess.Popen(
        command, user=uid, group=uid, extra_groups=[], cwd="/", text=True, stdout=subprocess.PIPE
    )
    if wait:
        assert process.wait(20) == 0
    return process


@pytest.fixture
def file_of(vassals: Path) -> Callable[..., Path]:
    def write(uid: int, name: str | None = None, text: str = "[uwsgi]\n", directory: Path = vassals) -> Path:
        file = directory / (name or f"tenant{uid}.ini")
        file.write_text(text)
        os.chown(file, uid, uid)
        return file

    return write


@pytest.fixture
def shared(vassals: Path) -> Path:
    """The vassals' directory as in the manual's own example: everybody may put a file there."""
    vassals.chmod(0o1777)
    return vassals


def home(open_path: Path, uid: int) -> Path:
    directory = open_path / f"home{uid}"
    directory.mkdir(mode=0o755)
    os.chown(directory, uid, uid)
    return directory


# -- the file


def test_a_link_into_the_tenants_own_home(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    """No attack: the usual way of hosting. The link is root's, the file and its directory are the tenant's."""
    file = file_of(VICTIM, directory=home(open_path, VICTIM))
    (vassals / "a.ini").symlink_to(file)
    reign("--emperor-tyrant")
    assert stage.next("a.ini").given["uids"] == [VICTIM] * 3


def test_a_link_of_the_attackers_to_a_file_of_the_victims(
    reign: Reign, stage: Stage, shared: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    """It would run as the victim, and the attacker could let it lead elsewhere before it is read."""
    file = file_of(VICTIM, directory=home(open_path, VICTIM))
    as_user(ATTACKER, "import os, sys; os.symlink(sys.argv[1], sys.argv[2])", file, shared / "trap.ini")
    empire = reign("--emperor-tyrant")
    empire.expect(f"trap.ini .*uid {ATTACKER} could put another file in its place")
    stage.nobody_appears(0.5)


SWAPPER = """
    import os, random, sys, time
    link, victims, own = sys.argv[1:]
    print("begun", flush=True)
    while True:
        for target in (victims, own):
            os.symlink(target, link + ".new")
            os.rename(link + ".new", link)
            time.sleep(random.random() / 50)
"""


def test_a_link_that_is_swapped_all_the_time(
    reign: Reign, stage: Stage, shared: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    """Whenever it is looked at it may lead to the victim's file, and a moment later to the attacker's own."""
    victims = file_of(VICTIM, directory=home(open_path, VICTIM))
    own = file_of(ATTACKER, directory=home(open_path, ATTACKER))
    swapper = as_user(ATTACKER, SWAPPER, shared / "swap.ini", victims, own, wait=False)
    try:
        assert swapper.stdout is not None
        assert swapper.stdout.readline() == "begun\n"
        empire = reign("--emperor-tyrant", "--emperor-throttle", "0", "--emperor-no-blacklist")
        for _ in range(6):
            empire.expect("swap.ini  started as pid")
    finally:
        swapper.kill()
        swapper.communicate()
    as_user(ATTACKER, "import os, sys; os.symlink(sys.argv[1], sys.argv[2])", own, shared / "own.ini")
    stage.next("own.ini")
    assert {tuple(puppet.given["uids"]) for puppet in stage.all} == {(ATTACKER,) * 3}


def test_a_directory_of_the_attackers_in_the_way(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    """The victim's file is the victim's, but lies in a directory where the attacker can rename it away."""
    file = file_of(VICTIM, directory=home(open_path, ATTACKER))
    (vassals / "a.ini").symlink_to(file)
    empire = reign("--emperor-tyrant")
    empire.expect(f"a.ini .*uid {ATTACKER} could put another file in its place: see .*home{ATTACKER}")
    stage.nobody_appears(0.5)


def test_a_directory_that_anybody_may_write_to(
    reign: Reign, stage: Stage, vassals: Path, file_of: Callable[..., Path]
) -> None:
    vassals.chmod(0o777)
    file_of(VICTIM)
    reign("--emperor-tyrant").expect("anybody could put another file in its place")
    stage.nobody_appears(0.5)


def test_a_file_that_its_user_may_not_read(reign: Reign, vassals: Path, file_of: Callable[..., Path]) -> None:
    file_of(VICTIM).chmod(0)
    reign("--emperor-tyrant").expect(f"tenant{VICTIM}.ini .*uid {VICTIM} cannot read it: Permission denied")


def test_uid_0_in_a_tenants_file(reign: Reign, open_path: Path, file_of: Callable[..., Path]) -> None:
    """``uid = root`` and hooks as root are words: the process has become its user before it reads them."""
    witness = open_path / "witness"
    file_of(ATTACKER, text=f"[uwsgi]\nuid = 0\ngid = 0\nexec-asap = id -u > {witness}\nhttp-socket = 127.0.0.1:0\n")
    empire = reign("--emperor-tyrant", binary=None)
    empire.expect(f"tenant{ATTACKER}.ini .*(uid = 0|Permission denied)")
    assert not witness.exists()


# -- on-demand sockets


def test_the_socket_is_the_tenants_and_not_for_everybody(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    directory = home(open_path, VICTIM)
    file = file_of(VICTIM)
    address = directory / "site.socket"
    file_of(VICTIM, file.name + ".socket", f"{address}\n")
    empire = reign("--emperor-tyrant", "--emperor-on-demand-extension", ".socket").ready()
    empire.expect_state(file.name, state="asleep")
    with socket.socket(socket.AF_UNIX) as visitor:
        connect(visitor, address)
        puppet = stage.next(file.name)
        assert puppet.serve(b"yours") == 1
        assert visitor.recv(100) == b"yours"
    found = address.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (VICTIM, VICTIM, 0o660)
    empire.stop()
    assert not address.exists()


def connect(visitor: socket.socket, address: Path, patience: float = 10.0) -> None:
    """Once the socket is there: it is made beside the loop."""
    import time

    deadline = time.monotonic() + patience
    while True:
        try:
            visitor.connect(str(address))
            return
        except (FileNotFoundError, ConnectionRefusedError):  # it is bound a moment before it listens
            assert time.monotonic() < deadline, f"{address} never came to be"
            time.sleep(0.005)


def test_chmod_socket_opens_it_to_everybody(
    reign: Reign, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    address = home(open_path, VICTIM) / "site.socket"
    file = file_of(VICTIM)
    file_of(VICTIM, file.name + ".socket", f"{address}\n")
    reign("--emperor-tyrant", "--emperor-on-demand-extension", ".socket", "--chmod-socket=666")
    with socket.socket(socket.AF_UNIX) as visitor:
        connect(visitor, address)
    assert stat.S_IMODE(address.stat().st_mode) == 0o666


@pytest.mark.parametrize("address", ["{victims}/stolen.socket", "127.0.0.1:81", "/run/stolen.socket"])
def test_a_socket_where_the_tenant_may_not_have_one(
    address: str, reign: Reign, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    address = address.format(victims=home(open_path, VICTIM))
    file = file_of(ATTACKER)
    file_of(ATTACKER, file.name + ".socket", f"{address}\n")
    empire = reign("--emperor-tyrant", "--emperor-on-demand-extension", ".socket")
    empire.expect(f"{file.name} .*Permission denied .as uid {ATTACKER}")
    assert not os.path.exists(address)


def test_a_link_instead_of_the_socket_file_tells_nothing_of_what_it_leads_to(
    reign: Reign, stage: Stage, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    secret = open_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    file = file_of(ATTACKER)
    (vassals / (file.name + ".socket")).symlink_to(secret)
    empire = reign("--emperor-tyrant", "--emperor-on-demand-extension", ".socket")
    stage.next(file.name)
    assert "hunter2" not in str(empire.statistics()) + "\n".join(empire.log.lines)


def test_a_hard_link_to_a_file_of_roots_instead_of_the_socket_file(
    reign: Reign, vassals: Path, open_path: Path, file_of: Callable[..., Path]
) -> None:
    secret = open_path / "secret"
    secret.write_text("hunter2\n")
    file = file_of(ATTACKER)
    os.link(secret, vassals / (file.name + ".socket"))  # the kernel lets only root do that, where it protects them
    empire = reign("--emperor-tyrant", "--emperor-on-demand-extension", ".socket").ready()
    why = empire.expect_state(file.name, state="failed")["why"]
    assert "belongs to uid 0" in why
    assert "hunter2" not in str(empire.statistics()) + "\n".join(empire.log.lines)


# -- each other


LOOK_AROUND = """
    import os, signal, sys
    taken = []
    for pid in map(int, sys.argv[1:]):
        for what in ("environ", "mem", "maps", "fd", "root", "cwd"):
            path = f"/proc/{pid}/{what}"
            try:
                if what == "fd":
                    os.listdir(path)
                elif what in ("root", "cwd"):
                    os.readlink(path)
                else:
                    open(path, "rb").read(1)
                taken.append(path)
            except OSError:
                pass
        for number in (0, signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(pid, number)
                taken.append(f"signal {number} to {pid}")
            except PermissionError:
                pass
    print(taken)
"""


def test_nothing_of_the_emperor_or_a_neighbour_can_be_read_or_signalled(
    reign: Reign, stage: Stage, vassals: Path, file_of: Callable[..., Path]
) -> None:
    file = file_of(VICTIM)
    empire = reign("--emperor-tyrant").ready()
    puppet = stage.next(file.name)
    helpers = Path(f"/proc/{empire.pid}/task/{empire.pid}/children").read_text().split()
    assert len(helpers) >= 4  # the spawner, the guardian, the scribe, the vassal
    looker = as_user(ATTACKER, LOOK_AROUND, str(empire.pid), str(puppet.pid), *helpers)
    assert looker.communicate()[0] == "[]\n"
    assert puppet.alive


def test_a_vassal_has_no_descriptor_and_no_group_of_the_emperors(
    reign: Reign, stage: Stage, vassals: Path, file_of: Callable[..., Path]
) -> None:
    file_of(VICTIM)
    reign("--emperor-tyrant", environment={"AWS_SECRET": "root's own"})
    puppet = stage.next()
    assert set(puppet.fds) == {0, 1, 2, 3}
    assert puppet.given["groups"] == []
    assert puppet.given["status"]["CapEff"].strip("0") == ""
