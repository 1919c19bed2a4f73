"""The sockets of an instance: bound as asked, taken over as found, and every obstacle named."""

from __future__ import annotations

import os
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.instance_settings import InstanceSettings
from imperator.instance.listening import Listening, bind, bind_all, needs_rights, remove_file

from .enactment import NOBODY, Enacted, asked, enact, finish, free_port, listener, start


def silence(text: str) -> None:
    """Nobody listens to what is said."""


def bound(address: str | Path, said: list[str] | None = None, **settings: Any) -> Listening:
    one = asked(address)
    return bind(one, InstanceSettings(sockets=(one,), **settings), silence if said is None else said.append)


def refusal(address: str | Path, **settings: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        bound(address, **settings)
    return str(refused.value)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- addresses


@pytest.mark.parametrize("text", ["127.0.0.1:{port}", ":{port}", "localhost:{port}", "[::1]:{port}", "[::]:{port}"])
def test_tcp_addresses(text: str) -> None:
    port = free_port()
    listening = bound(text.format(port=port))
    with listening.socket:
        assert listening.socket.getsockname()[1] == port
        assert listening.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        assert not listening.socket.get_inheritable()
        assert not listening.socket.getblocking()


def test_port_0_is_any_free_port_and_told() -> None:
    said: list[str] = []
    with bound("127.0.0.1:0", said).socket as sock:
        assert said == [f"app.ini:2: http-socket = 127.0.0.1:0: listening on 127.0.0.1:{sock.getsockname()[1]}"]


def test_ipv6_takes_ipv4_as_well_as_in_the_original() -> None:
    port = free_port()
    with bound(f"[::]:{port}").socket, socket.create_connection(("127.0.0.1", port)):
        pass


def test_ipv6_and_ipv4_side_by_side() -> None:
    port = free_port()
    both = (asked(f"[::]:{port}"), asked(f":{port}", line=3))
    for listening in bind_all(both, InstanceSettings(sockets=both), silence):
        listening.socket.close()


@pytest.mark.parametrize("text", ["@imperator-{pid}", "\\0imperator-{pid}"])
def test_abstract_addresses_in_both_spellings(text: str) -> None:
    listening = bound(text.format(pid=os.getpid()))
    with listening.socket, socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0imperator-{os.getpid()}")
        assert listening.file is None


def test_a_path(place: Path) -> None:
    path = place / "app.sock"
    listening = bound(path)
    with listening.socket, socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        assert listening.file is not None
        assert listening.file.inode == path.stat().st_ino


def test_the_same_address_twice_counts_once(place: Path) -> None:
    """As in the original."""
    path = place / "app.sock"
    ours = enact(place, InstanceSettings(sockets=(asked(path), asked(path, line=7))))
    assert [one["address"] for one in ours.facts[0]["listening"]] == [str(path)]


def test_reuse_port() -> None:
    port = free_port()
    with bound(f"127.0.0.1:{port}", reuse_port=True).socket, bound(f"127.0.0.1:{port}", reuse_port=True).socket:
        pass


# -- owner and mode


def test_the_mode_is_not_narrowed_by_the_umask(place: Path) -> None:
    with bound(place / "app.sock", chmod_socket=0o666).socket:
        assert mode_of(place / "app.sock") == 0o666


def test_without_a_mode_the_umask_says_it(place: Path) -> None:
    before = os.umask(0o27)
    try:
        with bound(place / "app.sock").socket:
            assert mode_of(place / "app.sock") == 0o750
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("owner", "expected"),
    [("nobody", (NOBODY, 0)), ("nobody:nogroup", (NOBODY, NOBODY)), ("1234:99", (1234, 99)), (":99", (0, 99))],
)
def test_the_owner(as_root: None, place: Path, owner: str, expected: tuple[int, int]) -> None:
    with bound(place / "app.sock", chown_socket=owner).socket:
        found = (place / "app.sock").stat()
        assert (found.st_uid, found.st_gid) == expected


def test_an_owner_nobody_knows_is_named_and_the_socket_removed(place: Path) -> None:
    assert "there is no user 'nero'" in refusal(place / "app.sock", chown_socket="nero")
    assert not (place / "app.sock").exists()


def test_a_socket_belongs_to_the_user_that_the_instance_becomes(as_root: None, place: Path) -> None:
    """It is bound after the drop, as in the original; with chown-socket before."""
    path = place / "app.sock"
    process = start(place, InstanceSettings(sockets=(asked(path),), uid="nobody", vacuum=True), "wait")
    assert process.stdout is not None
    process.stdout.readline()
    assert path.stat().st_uid == NOBODY
    assert f"vacuum: {path} removed" in finish(process).said


def test_a_low_port_is_bound_before_the_rights_are_gone(as_root: None, place: Path) -> None:
    port = next(port for port in range(600, 1024) if needs_rights(asked(f"127.0.0.1:{port}")) and _is_free(port))
    ours = enact(place, InstanceSettings(sockets=(asked(f"127.0.0.1:{port}"),), uid="nobody"))
    assert ours.code == 0, ours.said
    assert ours.facts[0]["status"]["Uid"].split()[0] == str(NOBODY)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) != 0


# -- obstacles: one line, with the option's place, what is in the way, and what to do


def test_a_port_in_use_names_who_has_it() -> None:
    with listener() as other:
        port = other.getsockname()[1]
        said = refusal(f"127.0.0.1:{port}")
    assert said.startswith(
        f"app.ini:2: http-socket = 127.0.0.1:{port}: somebody else listens there: pid {os.getpid()} ("
    )


def test_a_path_in_use_names_who_has_it_and_is_left_to_him(place: Path) -> None:
    """The original unlinks it."""
    path = place / "app.sock"
    with bound(path).socket as other:
        said = refusal(path)
        assert f"somebody else listens there: pid {os.getpid()} (" in said
        assert "\n" not in said
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            other.accept()[0].close()


def test_an_abstract_address_in_use_names_who_has_it() -> None:
    name = f"@imperator-{os.getpid()}-taken"
    with bound(name).socket:
        assert f"somebody else listens there: pid {os.getpid()} (" in refusal(name)


def test_the_file_of_a_dead_socket_is_replaced(place: Path) -> None:
    path = place / "app.sock"
    bound(path).socket.close()
    assert path.exists()
    bound(path).socket.close()


def test_a_file_that_is_no_socket_is_left_alone(place: Path) -> None:
    path = place / "precious"
    path.write_text("gold")
    assert f"{path} is there and is no socket" in refusal(path)
    assert path.read_text() == "gold"


def test_a_directory_that_is_not_there(place: Path) -> None:
    said = refusal(place / "run" / "app.sock")
    assert f"there is no directory {place}/run" in said
    assert f"hook-as-root = mkdir:{place}/run" in said


def test_a_directory_one_may_not_write_to(as_root: None, place: Path) -> None:
    place.chmod(0o755)
    settings = InstanceSettings(sockets=(asked(place / "app.sock"),), uid="nobody")
    ours = enact(place, settings)
    assert ours.code == 1
    assert f"uid {NOBODY} may not create a file in {place} (give it the directory, or say chown-socket" in ours.said


def test_a_low_port_without_the_rights(as_root: None, place: Path) -> None:
    ours = enact(place, InstanceSettings(sockets=(asked("127.0.0.1:81"),)), user=NOBODY, group=NOBODY)
    if ours.code == 0:  # this machine lets everybody
        assert not needs_rights(asked("127.0.0.1:81"))
    else:
        assert f"http-socket = 127.0.0.1:81: uid {NOBODY} may not bind a port below" in ours.said


def test_a_path_that_is_too_long(place: Path) -> None:
    assert "a UNIX socket's path has at most 107 bytes" in refusal(place / ("x" * 108))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:http", "'http' is no port number"),
        ("127.0.0.1:99999", "'99999' is no port number"),
        ("192.0.2.1:8080", "this machine has no address 192.0.2.1"),
        ("no-such-host.invalid:8080", "the host 'no-such-host.invalid' has no address"),
        ("", "the address is empty"),
    ],
)
def test_addresses_that_cannot_be(address: str, reason: str) -> None:
    assert reason in refusal(address)


def test_more_backlog_than_the_kernel_allows_is_capped_and_said() -> None:
    """The original refuses to start."""
    said: list[str] = []
    bound("127.0.0.1:0", said, listen=10_000_000).socket.close()
    assert said[0].startswith("listen = 10000000 is more than net.core.somaxconn allows: it is ")


def test_all_or_none(place: Path) -> None:
    first, second = asked(place / "1.sock"), asked(place / "none" / "2.sock", line=3)
    with pytest.raises(ConfigurationError, match=r"app\.ini:3"):
        bind_all((first, second), InstanceSettings(sockets=(first, second)), silence)
    assert not (place / "1.sock").exists()


# -- taken over


def inherited(place: Path, settings: InstanceSettings, *socks: socket.socket, **more: Any) -> Any:
    """Enact an instance that is given sockets by their numbers."""
    for sock in socks:
        sock.set_inheritable(True)
    try:
        return enact(place, settings, pass_fds=[sock.fileno() for sock in socks], **more)
    finally:
        for sock in socks:
            sock.close()


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


@pytest.mark.parametrize(("protocol", "expected"), [(None, "uwsgi"), ("http", "http"), ("raw", "raw")])
def test_on_demand(place: Path, protocol: str | None, expected: str) -> None:
    """fd 0 is served with ``protocol``, and /dev/null is put where it was."""
    with listener() as sock:
        ours = enact(place, InstanceSettings(protocol=protocol), stdin=sock)
        [one] = ours.facts[0]["listening"]
        assert (one["protocol"], one["inode"], one["inheritable"]) == (expected, inode(sock), False)


def test_on_demand_with_a_socket_of_the_same_address(place: Path) -> None:
    """The option says more about it, its protocol above all."""
    with listener() as sock:
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        [one] = enact(place, InstanceSettings(sockets=(asked(address),)), stdin=sock).facts[0]["listening"]
        assert (one["option"], one["protocol"], one["inode"]) == ("http-socket", "http", inode(sock))


def test_a_standard_input_that_does_not_listen_is_left_alone(place: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert enact(place, InstanceSettings(), stdin=theirs).facts[0]["listening"] == []


def test_systemd(place: Path) -> None:
    """LISTEN_FDS: one with the address of an option, one that is served with ``protocol``; fd 0 then is nothing."""
    with listener() as first, listener() as second, listener() as stdin:
        address = f"127.0.0.1:{second.getsockname()[1]}"
        settings = InstanceSettings(sockets=(asked(address),), protocol="raw")
        ours = as_systemd_does(place, settings, first, second, stdin=stdin)
        assert ours.code == 0, ours.said
        one, other = ours.facts[0]["listening"]
        assert (one["option"], one["inode"]) == ("http-socket", inode(second))
        assert (other["protocol"], other["inode"]) == ("raw", inode(first))


def as_systemd_does(place: Path, settings: InstanceSettings, *socks: socket.socket, **more: Any) -> Enacted:
    """Enact an instance that has sockets from fd 3 on, and is told so with its own pid."""
    return enact(
        place,
        settings,
        prefix=[
            sys.executable,
            "-c",
            AS_SYSTEMD,
            str(len(socks) or 40),
            ",".join(str(sock.fileno()) for sock in socks),
        ],
        pass_fds=[sock.fileno() for sock in socks],
        **more,
    )


# Its arguments: what LISTEN_FDS says, the sockets, and the command. By way of high numbers: none overwrites another.
AS_SYSTEMD = """\
import os, sys
fds = [os.dup2(int(fd), 100 + i) for i, fd in enumerate(sys.argv[2].split(",")) if fd]
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i)
os.closerange(3 + len(fds), 256)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1]}
os.execv(sys.argv[3], sys.argv[3:])
"""


def test_what_is_meant_for_another_process_is_not_systemds(place: Path) -> None:
    settings = InstanceSettings()
    ours = enact(place, settings, environment={"LISTEN_PID": "1", "LISTEN_FDS": "5", "PATH": "/bin:/usr/bin"})
    assert ours.code == 0, ours.said
    assert ours.facts[0]["listening"] == []


def test_systemd_with_sockets_that_are_not_there(place: Path) -> None:
    ours = as_systemd_does(place, InstanceSettings())
    assert ours.code == 1
    assert "LISTEN_FDS: the sockets it speaks of are not there: Bad file descriptor" in ours.said


def test_a_descriptor_by_its_number(place: Path) -> None:
    sock = listener()
    expected, number = inode(sock), sock.fileno()
    ours = inherited(place, InstanceSettings(sockets=(asked(f"fd://{number}"),)), sock)
    assert [one["inode"] for one in ours.facts[0]["listening"]] == [expected]


@pytest.mark.parametrize(("number", "reason"), [("40", "fd 40 is no listening socket"), ("x", "'x' is no descriptor")])
def test_a_descriptor_that_is_none(place: Path, number: str, reason: str) -> None:
    ours = enact(place, InstanceSettings(sockets=(asked(f"fd://{number}"),)))
    assert ours.code == 1
    assert f"app.ini:2: http-socket = fd://{number}: {reason}" in ours.said


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "localhost:{port}"])
def test_by_its_address(place: Path, form: str) -> None:
    sock = listener()
    expected, address = inode(sock), form.format(port=sock.getsockname()[1])
    ours = inherited(place, InstanceSettings(sockets=(asked(address),)), sock)
    [one] = ours.facts[0]["listening"]
    assert (one["inode"], one["inheritable"], one["blocking"]) == (expected, False, False)


def test_by_its_path_which_the_vacuum_then_leaves(place: Path) -> None:
    """Whoever made the file removes it: at a hand-over the next instance listens there already."""
    path = place / "app.sock"
    sock = bound(path).socket
    ours = inherited(place, InstanceSettings(sockets=(asked(path),), vacuum=True), sock)
    assert [one["ours"] for one in ours.facts[0]["listening"]] == [False]
    assert path.exists()


def test_one_that_nothing_asks_for_is_closed_and_named(place: Path) -> None:
    sock = listener()
    fd, port = sock.fileno(), sock.getsockname()[1]
    ours = inherited(place, InstanceSettings(), sock)
    assert f"closing fd {fd}, an inherited socket that nothing asks for (127.0.0.1:{port})" in ours.said


# -- the end


def test_a_file_that_somebody_else_has_put_there_is_not_removed(place: Path) -> None:
    path = place / "app.sock"
    listening = bound(path)
    listening.socket.close()
    path.rename(place / "old.sock")
    assert listening.file is not None
    assert not remove_file(listening.file)
    with bound(path).socket:
        assert not remove_file(listening.file)
        assert path.exists()
