"""The tuntap router's rules: what may be written, and what it then does to a packet."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imperator.kernel.firewall import (
    ALLOW,
    DENY,
    IN,
    OUT,
    WIRE,
    DeviceRule,
    Match,
    Rule,
    RuleError,
    Verdict,
    chain_of,
    device_rule_of,
    device_rules_from_wire,
    match_of,
    route_of,
    rule_of,
    target_of,
    verdict_of,
)


def verdict(rules: list[str], source: str, destination: str) -> Verdict:
    return verdict_of(map(rule_of, rules), int(IPv4Address(source)), int(IPv4Address(destination)))


MANUAL = [
    "allow 192.168.0.0/24 192.168.0.1",
    "deny 192.168.0.0/24 192.168.0.0/24",
    "allow 192.168.0.0/24 0.0.0.0",
    "deny",
]
"""The manual's example: to the internet, and not to one another."""


@pytest.mark.parametrize(
    ("source", "destination", "expected"),
    [
        ("192.168.0.2", "192.168.0.1", ALLOW),
        ("192.168.0.2", "192.168.0.3", DENY),
        ("192.168.0.2", "198.51.100.7", ALLOW),
        ("10.0.0.2", "198.51.100.7", DENY),
    ],
)
def test_the_manuals_rules(source: str, destination: str, expected: int) -> None:
    assert verdict(MANUAL, source, destination) == expected


def test_what_no_rule_is_about_passes() -> None:
    assert verdict(["deny 10.0.0.1 10.0.0.2"], "10.0.0.2", "10.0.0.1") == ALLOW
    assert chain_of([]) is None


def test_the_first_rule_that_matches_counts() -> None:
    assert verdict(["allow", "deny"], "10.0.0.1", "10.0.0.2") == ALLOW
    assert verdict(["deny", "allow"], "10.0.0.1", "10.0.0.2") == DENY


@pytest.mark.parametrize("anybody", ["0.0.0.0", "0.0.0.0/0", "0.0.0.0/32", "10.1.2.3/0"])
def test_any_address(anybody: str) -> None:
    assert verdict([f"deny {anybody} {anybody}"], "198.51.100.7", "203.0.113.9") == DENY


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "allow or deny"),
        ("dney", "allow or deny"),
        ("deny 10.0.0.1", "ACTION SOURCE DESTINATION"),
        ("deny 10.0.0.1 10.0.0.2 10.0.0.3", "ACTION SOURCE DESTINATION"),
        ("deny 10.0.0.256 10.0.0.2", "no address"),
        ("deny host 10.0.0.2", "no address"),
        ("deny 10.0.0.0/33 10.0.0.2", "bits from 0 to 32"),
        ("deny 10.0.0.0/-1 10.0.0.2", "bits from 0 to 32"),
        ("deny 10.0.0.0/ 10.0.0.2", "bits from 0 to 32"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error(rule: str, reason: str) -> None:
    with pytest.raises(RuleError, match=reason):
        rule_of(rule)


def test_a_route_sends_to_a_gateway() -> None:
    assert route_of("10.0.0.0/8 192.0.2.0/24 127.0.0.1:5000").verdict == ("127.0.0.1", 5000)


@pytest.mark.parametrize("target", ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:65536", "host:80", ":80"])
def test_a_target_that_cannot_be(target: str) -> None:
    with pytest.raises(RuleError):
        target_of(target)


@pytest.mark.parametrize(
    "rule",
    [
        "up 10.0.0.1 10.0.0.2 deny",
        "in 10.0.0.1 10.0.0.2 drop",
        "in 10.0.0.1 10.0.0.2",
        "out 10.0.0.1 10.0.0.2 route",
        "out 10.0.0.1 10.0.0.2 deny 127.0.0.1:80",
    ],
)
def test_a_device_rule_that_cannot_be(rule: str) -> None:
    with pytest.raises(RuleError):
        device_rule_of(rule)


def test_a_device_rule_as_the_original_sends_it() -> None:
    """Packed, addresses in the machine's order, the target as in a packet: the original's ``common.h``."""
    wire = device_rule_of("out 192.168.0.2 10.0.0.0/8 gateway 127.0.0.1:5000").to_wire()
    native = "little" if WIRE.pack(0, 1, 0, 0, 0, 0, 0, b"\0\0")[1] else "big"
    assert len(wire) == 24
    assert wire[0] == 1
    assert int.from_bytes(wire[1:5], native) == 0xC0A80002  # type: ignore[arg-type]
    assert int.from_bytes(wire[5:9], native) == 0xFFFFFFFF  # type: ignore[arg-type]
    assert int.from_bytes(wire[13:17], native) == 0xFF000000  # type: ignore[arg-type]
    assert wire[17:] == b"\x02" + bytes([127, 0, 0, 1]) + b"\x13\x88"


@pytest.mark.parametrize("data", [b"x", bytes(23), b"\x07" + bytes(23), bytes(17) + b"\x09" + bytes(6)])
def test_bytes_that_are_no_rules(data: bytes) -> None:
    with pytest.raises(RuleError):
        device_rules_from_wire(data)


addresses = st.integers(0, 0xFFFFFFFF)
matches = st.builds(lambda address, bits: match_of(f"{IPv4Address(address)}/{bits}"), addresses, st.integers(0, 32))
verdicts = st.one_of(
    st.sampled_from([ALLOW, DENY]),
    st.tuples(addresses.map(lambda number: str(IPv4Address(number))), st.integers(1, 65535)),
)
rules = st.builds(Rule, matches, matches, verdicts)
device_rules = st.builds(DeviceRule, st.sampled_from([IN, OUT]), rules)


@given(st.lists(device_rules, max_size=20))
def test_device_rules_arrive_as_they_were_sent(sent: list[DeviceRule]) -> None:
    assert device_rules_from_wire(b"".join(rule.to_wire() for rule in sent)) == tuple(sent)


@given(addresses, st.integers(1, 32), addresses)
def test_a_match_is_a_network_as_everybody_understands_it(base: int, bits: int, address: int) -> None:
    network = IPv4Network((base, bits), strict=False)
    match = match_of(f"{IPv4Address(base)}/{bits}")
    if int(network.network_address):
        assert (address in match) == (IPv4Address(address) in network)
    else:
        assert address in match


@given(st.lists(rules, min_size=1, max_size=8), st.lists(st.tuples(addresses, addresses), max_size=30))
def test_a_chain_that_remembers_says_what_the_rules_say(chain: list[Rule], packets: list[tuple[int, int]]) -> None:
    ask = chain_of(chain)
    assert ask is not None
    for source, destination in packets * 2:
        header = source.to_bytes(4, "big") + destination.to_bytes(4, "big")
        assert ask(header) == verdict_of(chain, source, destination)


@given(st.binary(max_size=100))
def test_no_bytes_bring_the_reader_of_rules_down(data: bytes) -> None:
    try:
        device_rules_from_wire(data)
    except RuleError:
        return


def test_the_mask_of_a_single_address() -> None:
    assert match_of("10.0.0.1") == Match(0x0A000001, 0xFFFFFFFF) == match_of("10.0.0.1/32")
