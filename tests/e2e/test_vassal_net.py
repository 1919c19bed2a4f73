"""``vassal-net``: each vassal has a network of its own. The test is in one too: nothing of the host's is touched."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from pyroute2 import IPRoute
from pyroute2.nftables.main import NFTables

from imperator.kernel.bridge import link_address
from imperator.kernel.interfaces import configure

from .conftest import Reign
from .networks import Network, talk
from .stage import PATIENCE, Puppet, Stage

pytestmark = pytest.mark.usefixtures("as_root", "net")

BRIDGE = ("--vassal-net", "bridge")
POOL = IPv4Network("10.91.0.0/16")


@pytest.fixture
def net(request: pytest.FixtureRequest) -> Iterator[Network]:
    """Before every Emperor of the test, and gone after the last."""
    with Network.new().kept() as network, network.inside():
        request.getfixturevalue("reign")
        yield network


def tables() -> list[str]:
    nftables = NFTables(nfgen_family=2)
    try:
        return [message.get_attr("NFTA_TABLE_NAME") for message in nftables.get_tables()]
    finally:
        nftables.close()


def forwards() -> str:
    return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()


def vassal(vassals: Path, stage: Stage, name: str) -> Puppet:
    (vassals / name).write_text("[uwsgi]\n")
    return stage.next(name)


def address_of(puppet: Puppet) -> str:
    return puppet.environ["IMPERATOR_NET_ADDRESS"]


def expect_nothing_left(net: Network) -> None:
    net.expect_interfaces("lo")
    assert tables() == []
    assert forwards() == "0"


def test_two_vassals_reach_each_other_and_the_host_reaches_them(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    reign(*BRIDGE)
    with Network.of(vassal(vassals, stage, "a.ini").pid).kept() as first:
        second_vassal = vassal(vassals, stage, "b.ini")
        with Network.of(second_vassal.pid).kept() as second, second.listen(address_of(second_vassal)) as listening:
            assert first.interfaces() == second.interfaces() == {"lo", "eth0"}
            talk(first.endpoint(), listening)
            assert talk(net.endpoint(), listening) == "10.91.0.1"


def test_a_vassal_reaches_the_host_and_itself(net: Network, reign: Reign, stage: Stage, vassals: Path) -> None:
    reign(*BRIDGE)
    puppet = vassal(vassals, stage, "a.ini")
    with Network.of(puppet.pid).kept() as inside:
        with net.listen(puppet.environ["IMPERATOR_NET_GATEWAY"]) as listening:
            assert talk(inside.endpoint(), listening) == address_of(puppet)
        with inside.listen("127.0.0.1") as listening:
            talk(inside.endpoint(), listening)


def test_the_vassal_and_the_statistics_are_told_the_address(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire = reign(*BRIDGE)
    puppet = vassal(vassals, stage, "a.ini")
    assert IPv4Address(address_of(puppet)) in POOL
    assert puppet.environ["IMPERATOR_NET"] == str(POOL)
    assert puppet.environ["IMPERATOR_NET_GATEWAY"] == "10.91.0.1"
    assert empire.vassal("a.ini")["net"] == {"address": address_of(puppet)}
    assert not [target for target in puppet.fds.values() if "net:" in target]
    assert set(puppet.fds) <= {0, 1, 2, 3, 4}


def test_it_keeps_its_address_when_it_starts_again_and_in_the_next_reign(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE)
    first = vassal(vassals, stage, "a.ini")
    first.say(17)
    empire.expect_state("a.ini", loyal=1)
    first.kill(signal.SIGKILL)
    second = stage.next("a.ini")
    assert address_of(second) == address_of(first)
    with Network.of(second.pid).kept() as inside, inside.listen(address_of(second)) as listening:
        talk(net.endpoint(), listening)
    empire.stop()
    net.expect_interfaces("lo")
    reign(*BRIDGE)
    assert address_of(stage.next("a.ini")) == address_of(first)


def test_one_that_starts_again_while_its_old_namespace_lives_on_is_plugged_in_all_the_same(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE)
    first = vassal(vassals, stage, "a.ini")
    first.say(17)
    empire.expect_state("a.ini", loyal=1)
    with Network.of(first.pid).kept() as old:
        first.kill(signal.SIGKILL)
        second = stage.next("a.ini")
        assert old.interfaces() == {"lo"}
    with Network.of(second.pid).kept() as inside, inside.listen(address_of(second)) as listening:
        talk(net.endpoint(), listening)


def test_the_way_out_is_by_the_hosts_address_and_nobody_comes_in(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    with Network.new().kept() as outside, IPRoute() as routes:
        routes.link("add", ifname="wan", kind="veth", peer={"ifname": "host", "net_ns_fd": outside.fd})
        give_address(routes, "wan", "192.0.2.1")
        with outside.inside(), IPRoute() as others:
            give_address(others, "host", "192.0.2.2")
            others.route("add", dst=str(POOL), gateway="192.0.2.1")
        reign(*BRIDGE)
        puppet = vassal(vassals, stage, "a.ini")
        with Network.of(puppet.pid).kept() as inside:
            with outside.listen("192.0.2.2") as listening:
                assert talk(inside.endpoint(), listening) == "192.0.2.1"
            with inside.listen(address_of(puppet)) as listening, outside.endpoint() as stranger:
                stranger.settimeout(0.5)
                with pytest.raises(TimeoutError):
                    stranger.connect(listening.getsockname())


def give_address(routes: IPRoute, name: str, address: str) -> None:
    (index,) = routes.link_lookup(ifname=name)
    routes.addr("add", index=index, address=address, prefixlen=24)
    routes.link("set", index=index, state="up")


def test_isolated_vassals_reach_the_host_and_not_one_another(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    reign(*BRIDGE, "--vassal-net-isolate")
    first, second = vassal(vassals, stage, "a.ini"), vassal(vassals, stage, "b.ini")
    with Network.of(first.pid).kept() as a, Network.of(second.pid).kept() as b:
        with b.listen(address_of(second)) as listening, a.endpoint() as client:
            client.settimeout(0.5)
            with pytest.raises(OSError):
                client.connect(listening.getsockname())
        with net.listen("10.91.0.1") as listening:
            talk(a.endpoint(), listening)


def test_one_that_claims_its_neighbours_addresses_gets_nothing_that_is_for_the_neighbour(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    """It is root in its namespace: it takes the other's IPv4 address and its address of the link layer, and says so."""
    reign(*BRIDGE)
    thief, victim = vassal(vassals, stage, "a.ini"), vassal(vassals, stage, "b.ini")
    stolen = address_of(victim)
    with Network.of(thief.pid).kept() as a, Network.of(victim.pid).kept() as b:
        with a.inside(), IPRoute() as routes:
            (index,) = routes.link_lookup(ifname="eth0")
            routes.link("set", index=index, state="down")
            routes.link("set", index=index, address=link_address(IPv4Address(stolen)).hex(":"))
        with a.endpoint() as control:
            configure(control, "eth0", stolen, "255.255.0.0", "10.91.0.1")
        with a.endpoint(socket.SOCK_DGRAM) as shouting, b.listen(stolen) as listening, a.listen(stolen) as trap:
            trap.setblocking(False)
            for _ in range(20):
                shouting.sendto(b"that is me", ("10.91.0.1", 9))  # with its forged addresses, for the bridge to learn
                talk(net.endpoint(), listening)
            with pytest.raises(BlockingIOError):
                trap.accept()


def test_without_nftables_vassals_reach_each_other_and_it_is_said_once(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    nftables = NFTables(nfgen_family=2)
    nftables.table("add", kwarg={"name": "imperator0", "flags": 2})  # its owner lets nobody else at it
    try:
        empire = reign(*BRIDGE)
        empire.expect("vassals reach each other and this host, and nobody else: .*nftables: Operation not permitted")
        first, second = vassal(vassals, stage, "a.ini"), vassal(vassals, stage, "b.ini")
        with (
            Network.of(first.pid).kept() as a,
            Network.of(second.pid).kept() as b,
            b.listen(address_of(second)) as listening,
        ):
            talk(a.endpoint(), listening)
        assert forwards() == "0"
        assert len(empire.log.find("nobody else")) == 1
    finally:
        nftables.close()


def test_fifty_vassals_come_and_go_and_leave_no_interface(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE)
    names = [f"app{number}.ini" for number in range(50)]
    for name in names:
        (vassals / name).write_text("[uwsgi]\n")
    puppets = stage.next_of(*names)
    addresses = {address_of(puppet) for puppet in puppets}
    assert len(addresses) == 50
    assert len(net.interfaces() - {"lo", "imperator0"}) == 50
    for name in names:
        (vassals / name).unlink()
    for puppet in puppets:
        puppet.expect_gone()
    net.expect_interfaces("lo", "imperator0")
    empire.stop()
    expect_nothing_left(net)


def test_nothing_is_left_when_the_emperor_is_killed(net: Network, reign: Reign, stage: Stage, vassals: Path) -> None:
    empire = reign(*BRIDGE)
    vassal(vassals, stage, "a.ini")
    empire.process.kill()
    empire.process.wait()
    deadline = time.monotonic() + PATIENCE
    while tables() or forwards() != "0":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    expect_nothing_left(net)


def test_what_is_left_when_all_of_it_is_killed_is_removed_by_the_next_one(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE)
    puppet = vassal(vassals, stage, "a.ini")
    os.kill(empire.helper("engineer"), signal.SIGSTOP)
    engineer = empire.helper("engineer")
    empire.process.kill()
    os.kill(engineer, signal.SIGKILL)
    empire.process.wait()
    puppet.expect_gone()
    assert "imperator0" in net.interfaces()
    assert forwards() == "1"
    successor = reign(*BRIDGE)
    with Network.of(stage.next("a.ini").pid).kept() as inside, net.listen("10.91.0.1") as listening:
        talk(inside.endpoint(), listening)
    successor.stop()
    expect_nothing_left(net)


def test_an_engineer_that_dies_is_replaced_and_nobody_is_unplugged(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE)
    puppet = vassal(vassals, stage, "a.ini")
    killed = empire.helper("engineer")
    os.kill(killed, signal.SIGKILL)
    empire.expect("the engineer process .* died")
    empire.helper("engineer", but=killed)
    with Network.of(puppet.pid).kept() as inside, inside.listen(address_of(puppet)) as listening:
        talk(net.endpoint(), listening)
    newcomer = vassal(vassals, stage, "b.ini")
    with Network.of(newcomer.pid).kept() as inside, inside.listen(address_of(newcomer)) as listening:
        talk(net.endpoint(), listening)
    empire.stop()
    expect_nothing_left(net)


def test_what_ended_while_there_was_no_engineer_is_unplugged_by_the_next(
    net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    empire = reign(*BRIDGE).ready()
    puppet = vassal(vassals, stage, "a.ini")
    with Network.of(puppet.pid).kept() as held:
        os.kill(empire.helper("engineer"), signal.SIGKILL)
        empire.expect("the engineer process .* died")
        (vassals / "a.ini").unlink()
        puppet.expect_gone()
        net.expect_interfaces("lo", "imperator0")
        assert held.interfaces() == {"lo"}


def test_two_emperors_do_not_share_a_bridge(net: Network, reign: Reign, stage: Stage, vassals: Path) -> None:
    first = reign(*BRIDGE).ready()
    second = reign(*BRIDGE)
    assert second.process.wait(PATIENCE) == 1
    second.expect(f"vassal-net = bridge: there is that of the Emperor with pid {first.pid} interface imperator0")
    third = reign(*BRIDGE, "--vassal-net-bridge", "other", "--vassal-net-pool", "10.92.0.0/24").ready()
    assert {"imperator0", "other"} <= net.interfaces()
    third.stop()
    assert vassal(vassals, stage, "a.ini")
    first.stop()
    expect_nothing_left(net)


def test_somebody_elses_interface_is_left_alone(net: Network, reign: Reign) -> None:
    with IPRoute() as routes:
        routes.link("add", ifname="imperator0", kind="bridge")
    empire = reign(*BRIDGE)
    assert empire.process.wait(PATIENCE) == 1
    empire.expect("vassal-net = bridge: there is somebody else's interface imperator0 already")
    assert net.interfaces() == {"lo", "imperator0"}


def test_forwarding_that_was_on_stays_on(net: Network, reign: Reign) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    reign(*BRIDGE).ready().stop()
    assert forwards() == "1"


def test_none_is_a_network_with_lo_alone(net: Network, reign: Reign, stage: Stage, vassals: Path) -> None:
    empire = reign("--vassal-net", "none")
    puppet = vassal(vassals, stage, "a.ini")
    with Network.of(puppet.pid).kept() as inside:
        assert inside.interfaces() == {"lo"}
        with inside.listen("127.0.0.1") as listening:
            talk(inside.endpoint(), listening)
    assert empire.vassal("a.ini")["net"] == {"address": None}
    assert net.interfaces() == {"lo"}


def test_host_is_the_emperors_own(net: Network, reign: Reign, stage: Stage, vassals: Path) -> None:
    empire = reign("--vassal-net", "host")
    puppet = vassal(vassals, stage, "a.ini")
    with Network.of(puppet.pid).kept() as inside:
        assert os.path.samestat(os.fstat(inside.fd), os.fstat(net.fd))
    assert empire.vassal("a.ini")["net"] is None


HARDENED = ("--vassal-seccomp", "default", "--vassal-hidden-proc")


@pytest.mark.parametrize("options", [(), ("--emperor-tyrant",), ("--emperor-tyrant", *HARDENED)])
def test_in_all_namespaces_and_as_another_user(
    options: tuple[str, ...], net: Network, reign: Reign, stage: Stage, vassals: Path
) -> None:
    file = vassals / "a.ini"
    file.write_text("[uwsgi]\n")
    os.chown(file, 1234, 1234)
    reign(*BRIDGE, "--emperor-use-clone", "fs,ipc,pid,uts,user", *options)
    puppet = stage.next("a.ini")
    with Network.of(puppet.pid).kept() as inside, inside.listen(address_of(puppet)) as listening:
        talk(net.endpoint(), listening)


def test_a_pool_that_is_used_up_is_said(reign: Reign, stage: Stage, vassals: Path) -> None:
    empire = reign(*BRIDGE, "--vassal-net-pool", "10.92.0.0/29")
    puppets = [vassal(vassals, stage, f"{number}.ini") for number in range(5)]
    (vassals / "late.ini").write_text("[uwsgi]\n")
    empire.expect("late.ini .*all 5 addresses of 10.92.0.0/29 are taken")
    assert len({address_of(puppet) for puppet in puppets}) == 5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--vassal-net-pool", "10.91.0.0/31"), "vassal-net-pool = 10.91.0.0/31: there is room for nobody"),
        (("--vassal-net-bridge", "much-too-long-a-name"), "vassal-net-bridge = much-too-long-a-name: a name of at"),
    ],
)
def test_options_that_cannot_be(options: tuple[str, str], reason: str, reign: Reign) -> None:
    empire = reign(*BRIDGE, *options)
    assert empire.process.wait(PATIENCE) == 1
    empire.expect(reason)


def test_the_engineer_of_a_killed_emperor_ends(net: Network, reign: Reign) -> None:
    empire = reign(*BRIDGE).ready()
    pidfd = os.pidfd_open(empire.helper("engineer"))
    empire.process.kill()
    assert select.select([pidfd], [], [], PATIENCE)[0]
    os.close(pidfd)
