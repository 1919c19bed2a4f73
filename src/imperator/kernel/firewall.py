"""The firewall of the tuntap router: rules on the source and the destination of IPv4 packets.

Two kinds, with the original's syntax. The router's chains: ``ACTION [SOURCE DESTINATION]``; the first rule that matches
counts, and a packet that none matches passes. A device's own rules: ``in|out SOURCE DESTINATION ACTION [TARGET]``, sent
to the router by the device in the original's binary form.

An address may have ``/BITS``. ``0.0.0.0`` is any address. Rules, where ours differ from the original's: a rule that
cannot be read is an error and not a rule that allows, and a device rule's ``/BITS`` mean what they say.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

ALL_BITS: Final = 0xFFFFFFFF
SHORTEST: Final = 20
"""Bytes of the header of IPv4: what is shorter is no packet."""
WIRE: Final = struct.Struct("=BIIIIBI2s")
"""A device rule: direction, source, its mask, destination, its mask, action, target, the target's port."""
_REMEMBERED: Final = 4096
"""Verdicts that are kept."""

IN: Final = 0
"""To the device."""
OUT: Final = 1
"""From the device."""
ALLOW: Final = 0
DENY: Final = 1
GATEWAY: Final = 2

Target = tuple[str, int]
Verdict = int | Target
"""ALLOW, DENY, or where to send the packet over UDP."""


class RuleError(ValueError):
    """The text says what is wrong with a rule."""


@dataclass(frozen=True, slots=True)
class Match:
    """Some addresses; ``address`` 0: all."""

    address: int
    mask: int = ALL_BITS

    def __contains__(self, address: int) -> bool:
        return not self.address or address & self.mask == self.address & self.mask


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with packets from somewhere to somewhere."""

    source: Match
    destination: Match
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DeviceRule:
    """The same, for one direction."""

    direction: int
    rule: Rule

    def to_wire(self) -> bytes:
        rule = self.rule
        action, target, port = rule.verdict, 0, b"\0\0"
        if isinstance(action, tuple):
            host, number = action
            action, port = GATEWAY, number.to_bytes(2, "big")
            (target,) = struct.unpack("=I", IPv4Address(host).packed)
        source, destination = rule.source, rule.destination
        matches = (source.address, source.mask, destination.address, destination.mask)
        return WIRE.pack(self.direction, *matches, action, target, port)


def match_of(text: str) -> Match:
    """``ADDRESS[/BITS]``. Raises RuleError."""
    address, slash, bits = text.partition("/")
    try:
        number = int(IPv4Address(address))
    except ValueError:
        raise RuleError(f"{address!r} is no address of IPv4") from None
    if not slash:
        return Match(number)
    if not bits.isdecimal() or int(bits) > 32:
        raise RuleError(f"/{bits}: a number of bits from 0 to 32 was expected")
    mask = ALL_BITS << 32 - int(bits) & ALL_BITS
    return Match(number & mask, mask)


def target_of(text: str) -> Target:
    """``ADDRESS:PORT``. Raises RuleError."""
    address, _, port = text.rpartition(":")
    try:
        IPv4Address(address)
    except ValueError:
        raise RuleError(f"{text!r}: ADDRESS:PORT was expected") from None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise RuleError(f"{text!r}: {port!r} is no port")
    return address, int(port)


def rule_of(text: str) -> Rule:
    """``allow|deny [SOURCE DESTINATION]``. Raises RuleError."""
    action, *words = text.split()[:1] + text.split()[1:] or [""]
    if action not in ("allow", "deny"):
        raise RuleError(f"{action!r}: allow or deny was expected")
    if len(words) not in (0, 2):
        raise RuleError("ACTION, or ACTION SOURCE DESTINATION, was expected")
    source, destination = map(match_of, words or ("0.0.0.0", "0.0.0.0"))
    return Rule(source, destination, DENY if action == "deny" else ALLOW)


def route_of(text: str) -> Rule:
    """``SOURCE DESTINATION GATEWAY:PORT``. Raises RuleError."""
    words = text.split()
    if len(words) != 3:
        raise RuleError("SOURCE DESTINATION ADDRESS:PORT was expected")
    return Rule(match_of(words[0]), match_of(words[1]), target_of(words[2]))


def device_rule_of(text: str) -> DeviceRule:
    """``in|out SOURCE DESTINATION allow|deny|route|gateway [ADDRESS:PORT]``. Raises RuleError."""
    words = text.split()
    if len(words) not in (4, 5):
        raise RuleError("DIRECTION SOURCE DESTINATION ACTION [ADDRESS:PORT] was expected")
    directions, actions = {"in": IN, "out": OUT}, {"allow": ALLOW, "deny": DENY, "route": GATEWAY, "gateway": GATEWAY}
    if words[0] not in directions:
        raise RuleError(f"{words[0]!r}: in or out was expected")
    if words[3] not in actions:
        raise RuleError(f"{words[3]!r}: one of {', '.join(actions)} was expected")
    verdict: Verdict = actions[words[3]]
    if (verdict == GATEWAY) != (len(words) == 5):
        raise RuleError("route and gateway have a target, ADDRESS:PORT, and nothing else has")
    if verdict == GATEWAY:
        verdict = target_of(words[4])
    return DeviceRule(directions[words[0]], Rule(match_of(words[1]), match_of(words[2]), verdict))


def device_rules_from_wire(data: bytes) -> tuple[DeviceRule, ...]:
    """Rules that a device has sent. Raises RuleError: they are somebody else's bytes."""
    if len(data) % WIRE.size:
        raise RuleError(f"{len(data)} bytes are no rules of {WIRE.size} each")
    rules = []
    for direction, source, source_mask, destination, destination_mask, action, target, port in WIRE.iter_unpack(data):
        if direction not in (IN, OUT) or action not in (ALLOW, DENY, GATEWAY):
            raise RuleError(f"direction {direction}, action {action}: there is no such rule")
        verdict: Verdict = action
        if action == GATEWAY:
            verdict = (str(IPv4Address(struct.pack("=I", target))), int.from_bytes(port, "big"))
        rule = Rule(Match(source, source_mask), Match(destination, destination_mask), verdict)
        rules.append(DeviceRule(direction, rule))
    return tuple(rules)


def verdict_of(rules: Iterable[Rule], source: int, destination: int) -> Verdict:
    """That of the first rule that matches; of none: ALLOW."""
    for rule in rules:
        if source in rule.source and destination in rule.destination:
            return rule.verdict
    return ALLOW


def chain_of(rules: Iterable[Rule]) -> Callable[[bytes], Verdict] | None:
    """What a packet's addresses (bytes 12 to 20 of its header) meet with; ``None``: there are no rules.

    Most packets have the addresses of one before, so verdicts are remembered.
    """
    all_rules = tuple(rules)
    if not all_rules:
        return None
    known: dict[bytes, Verdict] = {}

    def verdict(addresses: bytes) -> Verdict:
        found = known.get(addresses)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = verdict_of(all_rules, *struct.unpack("!II", addresses))
            known[addresses] = found
        return found

    return verdict
