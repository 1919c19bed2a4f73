"""``tuntap-router`` and ``tuntap-device``: a network for jails over a socket. The test is in a namespace of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imperator.kernel.firewall import device_rule_of
from imperator.kernel.interfaces import configure
from imperator.kernel.tuntap import GREETING

from .conftest import Reign
from .empire import Empire
from .networks import Network, talk
from .packets import FakeDevice, packet
from .stage import PATIENCE

pytestmark = pytest.mark.usefixtures("as_root", "net")

SETUP = f"""#!{sys.executable}
import socket, sys
from imperator.kernel.interfaces import configure
name, address, gateway = (sys.argv[1:] + [None])[:3]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    configure(control, name, address, "255.255.255.0", gateway)
    if gateway:
        control.sendto(b"register me", (gateway, 9))
"""
"""What ifconfig, route and ping do in the manual."""


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Network]:
    with Network.new().kept() as network, network.inside():
        request.getfixturevalue("reign")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        yield network


@pytest.fixture
def setup(open_path: Path) -> Path:
    script = open_path / "setup"
    script.write_text(SETUP)
    script.chmod(0o755)
    return script


@pytest.fixture
def sock(open_path: Path) -> Path:
    """Where the router listens."""
    return open_path / "tuntap.socket"


@pytest.fixture
def router(reign: Reign, sock: Path, open_path: Path) -> Iterator[Any]:
    """Starts an Emperor with a router that has 192.168.0.1, and statistics."""

    def start(*options: str, gateway: str = "", **more: Any) -> Empire:
        value = f"emperor0 {sock} {open_path}/router.stats {gateway}".strip()
        empire = reign("--tuntap-router", value, "--chmod-socket=666", *options, **more)
        empire.ready()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            configure(control, "emperor0", "192.168.0.1", "255.255.255.0", None)
        return empire

    yield start


def statistics(open_path: Path) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(str(open_path / "router.stats"))
        document: dict[str, Any] = json.loads(b"".join(iter(lambda: connection.recv(65536), b"")))
    return document


def expect_peer(open_path: Path, address: str, **values: object) -> dict[str, Any]:
    """Wait until the statistics have this device: they are asked for again and again."""
    deadline = time.monotonic() + PATIENCE
    while True:
        peers = statistics(open_path)["peers"]
        for peer in peers:
            if peer["addr"] == address and all(peer[key] == value for key, value in values.items()):
                found: dict[str, Any] = peer
                return found
        assert time.monotonic() < deadline, f"{address} {values} is not in {peers}"
        time.sleep(0.01)


def vassal(vassals: Path, setup: Path, sock: Path, number: int, *more: str) -> str:
    name = f"v{number}.ini"
    lines = [
        "[uwsgi]",
        f"tuntap-device = uwsgi0 {sock}",
        f"exec-as-root = {setup} uwsgi0 192.168.0.{number} 192.168.0.1",
        "attach-daemon = setpriv --pdeathsig KILL sleep 1000",
        "uid = 1234",
        "gid = 1234",
        *more,
    ]
    new = vassals / f".{name}"
    new.write_text("\n".join(lines) + "\n")
    new.rename(vassals / name)
    return name


# -- with real devices


def test_two_vassals_talk_to_each_other_and_to_the_host(
    net: Network, router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    empire = router("--emperor-use-clone", "net", binary=None)
    names = [vassal(vassals, setup, sock, number) for number in (2, 3)]
    pids = [empire.expect_state(name, loyal=1)["pid"] for name in names]
    for number in (2, 3):
        expect_peer(open_path, f"192.168.0.{number}")
    with Network.of(pids[0]).kept() as first, Network.of(pids[1]).kept() as second:
        assert first.interfaces() == {"lo", "uwsgi0"}
        with second.listen("192.168.0.3") as listening:
            assert talk(first.endpoint(), listening) == "192.168.0.2"
            assert talk(net.endpoint(), listening) == "192.168.0.1"
        with second.endpoint(socket.SOCK_DGRAM) as there, first.endpoint(socket.SOCK_DGRAM) as here:
            there.bind(("192.168.0.3", 0))
            here.sendto(b"a datagram", there.getsockname())
            data, source = there.recvfrom(100)
            assert (data, source[0]) == (b"a datagram", "192.168.0.2")
        with net.listen("192.168.0.1") as listening:
            talk(first.endpoint(), listening)


def test_the_manuals_firewall_keeps_vassals_from_one_another(
    net: Network, router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    out = ["allow 192.168.0.0/24 192.168.0.1", "deny 192.168.0.0/24 192.168.0.0/24", "allow 192.168.0.0/24 0.0.0.0"]
    within = ["allow 192.168.0.1 192.168.0.0/24", "deny 192.168.0.0/24 192.168.0.0/24", "allow 0.0.0.0 192.168.0.0/24"]
    options = [word for rule in (*out, "deny") for word in ("--tuntap-router-firewall-out", rule)]
    options += [word for rule in (*within, "deny") for word in ("--tuntap-router-firewall-in", rule)]
    empire = router("--emperor-use-clone", "net", *options, binary=None)
    names = [vassal(vassals, setup, sock, number) for number in (2, 3)]
    pids = [empire.expect_state(name, loyal=1)["pid"] for name in names]
    for number in (2, 3):
        expect_peer(open_path, f"192.168.0.{number}")
    with Network.of(pids[0]).kept() as first, Network.of(pids[1]).kept() as second:
        with net.listen("192.168.0.1") as listening:
            talk(first.endpoint(), listening)
        with second.listen("192.168.0.3") as listening, first.endpoint() as client:
            client.settimeout(0.5)
            with pytest.raises(TimeoutError):
                client.connect(listening.getsockname())


def test_a_router_that_dies_is_replaced_and_the_devices_come_back(
    net: Network, router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    empire = router("--emperor-use-clone", "net", binary=None)
    name = vassal(vassals, setup, sock, 2)
    pid = empire.expect_state(name, loyal=1)["pid"]
    expect_peer(open_path, "192.168.0.2")
    os.kill(empire.helper("tuntap_router"), signal.SIGKILL)
    empire.expect("the process of tuntap-router emperor0 died")
    empire.expect("the tuntap router at .* is back")
    expect_peer(open_path, "192.168.0.2")
    with Network.of(pid).kept() as inside, inside.listen("192.168.0.2") as listening:
        talk(net.endpoint(), listening)
    assert empire.vassal(name)["pid"] == pid


def test_the_devices_process_is_the_vassals_user_and_ends_with_it(
    router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    empire = router("--emperor-use-clone", "net", "--tuntap-use-credentials", "true", binary=None)
    name = vassal(vassals, setup, sock, 2, "tuntap-use-credentials = true")
    empire.expect_state(name, loyal=1)
    peer = expect_peer(open_path, "192.168.0.2", uid=1234, gid=1234)
    device = os.pidfd_open(peer["pid"])
    assert os.stat(f"/proc/{peer['pid']}").st_uid == 1234
    assert len(os.listdir(f"/proc/{peer['pid']}/fd")) == 5  # the three, the device, the connection
    os.kill(empire.vassal(name)["pid"], signal.SIGKILL)
    assert select.select([device], [], [], PATIENCE)[0]
    os.close(device)
    expect_peer(open_path, "192.168.0.2", uid=1234)


def test_with_the_real_uwsgi_the_device_is_there_before_its_hooks_run(
    net: Network, router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    empire = router("--emperor-use-clone", "net", binary=None)
    lines = ("engine = uwsgi", "master = true", "jailed = true", "http-socket = 127.0.0.1:0")
    name = vassal(vassals, setup, sock, 2, *lines)
    empire.expect_state(name, accepting=1)
    expect_peer(open_path, "192.168.0.2")
    with Network.of(empire.vassal(name)["pid"]).kept() as inside, inside.listen("192.168.0.2") as listening:
        talk(net.endpoint(), listening)


def test_the_real_uwsgi_cannot_leave_its_network_again(router: Any, vassals: Path, setup: Path, sock: Path) -> None:
    empire = router(binary=None)
    vassal(vassals, setup, sock, 2, "engine = uwsgi", "unshare = net", "http-socket = 127.0.0.1:0")
    empire.expect("a device made by Imperator would stay outside of the namespaces that uWSGI unshares later")


def test_a_device_rule_of_the_vassal(
    net: Network, router: Any, vassals: Path, setup: Path, sock: Path, open_path: Path
) -> None:
    empire = router("--emperor-use-clone", "net", binary=None)
    name = vassal(vassals, setup, sock, 2, "tuntap-device-rule = in 192.168.0.1 0.0.0.0 deny")
    pid = empire.expect_state(name, loyal=1)["pid"]
    expect_peer(open_path, "192.168.0.2")
    with Network.of(pid).kept() as inside, inside.listen("192.168.0.2") as listening, net.endpoint() as client:
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.connect(listening.getsockname())


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["tuntap-device = uwsgi0 /nowhere/at.all"], "the router cannot be reached: No such file"),
        (["tuntap-device = a b c"], "NAME or NAME SOCKET was expected"),
        (["tuntap-device = much-too-long-a-name"], "cannot be made: 'much-too-long-a-name': a device's name has"),
        (["tuntap-device = x", "tuntap-device-rule = up and away"], "tuntap-device-rule = up and away"),
    ],
)
def test_a_device_that_cannot_be_is_a_reason_not_to_start(
    lines: list[str], reason: str, reign: Reign, vassals: Path
) -> None:
    (vassals / "a.ini").write_text("\n".join(["[uwsgi]", *lines, "attach-daemon = sleep 1000"]) + "\n")
    empire = reign("--emperor-use-clone", "net", binary=None)
    empire.expect(reason)
    empire.expect("a.ini  exited with code 1")


# -- as a device's process sees it


def test_the_first_packet_registers_the_address(router: Any, sock: Path, open_path: Path) -> None:
    empire = router()
    with FakeDevice(sock) as device:
        device.send(b"\x60" + bytes(60))  # of IPv6: what a kernel says of its own accord
        device.send(packet("192.168.0.2", "192.168.0.1"))
        empire.expect(r"device 192.168.0.2 is registered \(uid 0")
        peer = expect_peer(open_path, "192.168.0.2")
    assert peer["addr_32"] == int.from_bytes(socket.inet_aton("192.168.0.2"), sys.byteorder)
    assert (peer["uid"], peer["pid"]) == (0, os.getpid())
    assert peer["rx"] > 0


def test_packets_go_through_the_host_to_another_device(router: Any, sock: Path) -> None:
    router()
    with FakeDevice(sock) as first, FakeDevice(sock) as second:
        second.send(packet("192.168.0.3", "192.168.0.1"))
        first.send(packet("192.168.0.2", "192.168.0.1"))
        received = send_until_it_arrives(first, second, b"to you")
        assert received == b"to you"


def send_until_it_arrives(sender: FakeDevice, receiver: FakeDevice, content: bytes) -> bytes:
    """The receiver's registration may take a moment: datagrams are lost until then."""
    receiver.sock.settimeout(0.2)
    for _ in range(50):
        sender.send(packet("192.168.0.2", "192.168.0.3", content))
        try:
            return receiver.next()
        except TimeoutError:
            continue
    raise AssertionError("it never arrives")


def test_an_address_belongs_to_the_first_as_long_as_that_is_there(router: Any, sock: Path, open_path: Path) -> None:
    empire = router()
    with FakeDevice(sock) as holder:
        holder.send(packet("192.168.0.2", "192.168.0.1"))
        empire.expect("device 192.168.0.2 is registered")
        with FakeDevice(sock) as thief:
            thief.send(packet("192.168.0.2", "192.168.0.1"))
            thief.expect_end()
            empire.expect("192.168.0.2 is another device's")
        expect_peer(open_path, "192.168.0.2")
    with FakeDevice(sock) as heir:
        empire_forgets(open_path)
        heir.send(packet("192.168.0.2", "192.168.0.1"))
        empire.expect("device 192.168.0.2 is registered")


def empire_forgets(open_path: Path) -> None:
    """Wait until no device has an address."""
    deadline = time.monotonic() + PATIENCE
    while any(peer["addr"] for peer in statistics(open_path)["peers"]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_packets_with_somebody_elses_address_are_dropped(
    net: Network, router: Any, sock: Path, open_path: Path
) -> None:
    router()
    with net.endpoint(socket.SOCK_DGRAM) as listening, FakeDevice(sock) as device:
        listening.bind(("192.168.0.1", 7777))
        device.send(packet("192.168.0.2", "192.168.0.1", b"honest"))
        device.send(packet("192.168.0.9", "192.168.0.1", b"forged"))
        device.send(packet("192.168.0.2", "192.168.0.1", b"honest again"))
        assert [listening.recv(100), listening.recv(100)] == [b"honest", b"honest again"]
        assert expect_peer(open_path, "192.168.0.2")["dropped"] == 1


def test_a_packet_from_nowhere_ends_the_connection(router: Any, sock: Path) -> None:
    router()
    with FakeDevice(sock) as device:
        device.send(packet("0.0.0.0", "192.168.0.1"))
        device.expect_end()


def test_rules_that_cannot_be_read_end_the_connection(router: Any, sock: Path) -> None:
    empire = router()
    with FakeDevice(sock) as device:
        device.send_rules(b"no rules at all")
        device.expect_end()
    empire.expect("its rules cannot be read")


def test_a_device_that_presents_no_credentials_is_sent_away(router: Any, sock: Path, open_path: Path) -> None:
    empire = router("--tuntap-use-credentials", "true")
    with FakeDevice(sock) as device:
        device.send(packet("192.168.0.2", "192.168.0.1"))
        device.expect_end()
    empire.expect("it did not present its credentials")
    with FakeDevice(sock) as device:
        device.sock.sendall(GREETING)  # the kernel adds whose it is
        device.send(packet("192.168.0.2", "192.168.0.1"))
        expect_peer(open_path, "192.168.0.2", pid=os.getpid())


def test_a_gateway_takes_packets_over_udp_and_a_route_sends_them(
    net: Network, router: Any, sock: Path, open_path: Path
) -> None:
    with net.endpoint(socket.SOCK_DGRAM) as other_router:
        other_router.bind(("127.0.0.1", 0))
        port = other_router.getsockname()[1]
        router("--tuntap-router-route", f"0.0.0.0 10.5.0.0/16 127.0.0.1:{port}", gateway="127.0.0.1:6789")
        with FakeDevice(sock) as device:
            device.send_rules(device_rule_of(f"out 0.0.0.0 10.6.0.0/16 route 127.0.0.1:{port}").to_wire())
            device.send(packet("192.168.0.2", "10.5.0.7", b"by the router's route"))
            device.send(packet("192.168.0.2", "10.6.0.7", b"by its own"))
            received = [other_router.recv(2000)[28:], other_router.recv(2000)[28:]]
            assert received == [b"by the router's route", b"by its own"]
            other_router.sendto(packet("10.5.0.7", "192.168.0.2", b"the answer"), ("127.0.0.1", 6789))
            assert device.next() == b"the answer"


def test_who_does_not_read_loses_packets_and_delays_nobody(
    net: Network, router: Any, sock: Path, open_path: Path
) -> None:
    router()
    with FakeDevice(sock) as lazy, FakeDevice(sock) as busy, net.endpoint(socket.SOCK_DGRAM) as sender:
        lazy.send(packet("192.168.0.2", "192.168.0.1"))
        busy.send(packet("192.168.0.3", "192.168.0.1"))
        expect_peer(open_path, "192.168.0.2")
        expect_peer(open_path, "192.168.0.3")
        deadline = time.monotonic() + PATIENCE
        while not expect_peer(open_path, "192.168.0.2")["dropped"]:
            assert time.monotonic() < deadline
            for _ in range(200):
                sender.sendto(bytes(1400), ("192.168.0.2", 7777))
        sender.sendto(b"not for the lazy one", ("192.168.0.3", 7777))
        assert busy.next() == b"not for the lazy one"


# -- from its beginning to its end


def test_nothing_is_left_at_the_end(net: Network, router: Any, sock: Path) -> None:
    empire = router()
    assert net.interfaces() == {"lo", "emperor0"}
    empire.stop()
    assert net.interfaces() == {"lo"}
    assert not sock.exists()


def test_the_router_of_a_killed_emperor_ends(net: Network, router: Any) -> None:
    empire = router()
    pidfd = os.pidfd_open(empire.helper("tuntap_router"))
    empire.process.kill()
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)
    net.expect_interfaces("lo")


def test_the_emperors_exec_as_root_finds_the_device(net: Network, reign: Reign, setup: Path, sock: Path) -> None:
    reign("--tuntap-router", f"emperor0 {sock}", "--exec-as-root", f"{setup} emperor0 192.168.0.1").ready()
    with net.listen("192.168.0.1") as listening:
        talk(net.endpoint(), listening)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--tuntap-router", "emperor0"],
            r"tuntap-router = emperor0: DEVICE SOCKET \[STATS \[GATEWAY\]\] was expected",
        ),
        (["--tuntap-router", "emperor0 /nowhere/at.all"], "cannot open /nowhere/at.all"),
        (["--tuntap-router", "lo /tmp/x"], "tuntap-router = lo /tmp/x: lo: "),
        (
            ["--tuntap-router-firewall-in", "dney"],
            "tuntap-router-firewall-in = dney: .*allow or deny was expected",
        ),
        (["--tuntap-router-route", "x"], "tuntap-router-route = x: SOURCE DESTINATION ADDRESS:PORT was expected"),
        (["--tuntap-use-credentials", "my_function"], "tuntap-use-credentials = my_function: a function of C"),
    ],
)
def test_options_that_cannot_be(options: list[str], reason: str, reign: Reign) -> None:
    empire = reign(*options)
    assert empire.process.wait(PATIENCE) == 1
    empire.expect(reason)
