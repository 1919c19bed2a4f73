"""The addresses that vassals listen on, and which two of them cannot both have.

``:8080``, ``0.0.0.0:8080`` and ``[::]:8080`` are every address of the machine, so each of them is in the way of any
other ``…:8080``. A UNIX socket is known by its real path.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from imperator.cli.findings import Severity
from imperator.cli.vassal_surroundings import Surroundings
from imperator.kernel.sockets import parse_address

Say = Callable[[Severity, str, str], None]

_UWSGI_LISTENS: Final = frozenset(
    {
        "https",
        "https-socket",
        "fastcgi-socket",
        "fastcgi-nph-socket",
        "scgi-socket",
        "scgi-nph-socket",
        "raw-socket",
        "suwsgi-socket",
        "puwsgi-socket",
        "fastrouter",
        "rawrouter",
        "sslrouter",
    }
)
"""What uWSGI alone acts on: ADDRESS, or ADDRESS,CERTIFICATE,KEY."""
_EVERYWHERE: Final = frozenset({"", "0.0.0.0", "*"})


@dataclass(frozen=True, slots=True)
class Claim:
    """One address that one vassal wants."""

    address: str
    """As it is written."""
    option: str
    path: str
    """The file that asks (or ``file:line``, as long as it is not taken apart)."""
    line: int | None
    host: str
    """``*``: every IPv4 address, ``::``: every address at all; of a UNIX socket, its path or ``@name``."""
    port: int | None
    shareable: bool
    """Others may bind it too (SO_REUSEPORT)."""

    @property
    def said(self) -> str:
        return f"{self.option} = {self.address}"

    def excludes(self, other: Claim) -> bool:
        """They have the same port; can only one of them be had?"""
        if self.shareable and other.shareable:
            return False
        mine, theirs = self.host, other.host
        if mine == theirs or "::" in (mine, theirs):
            return True
        return ("*" in (mine, theirs)) and ":" not in mine + theirs


def claims_of(around: Surroundings, say: Say) -> list[Claim]:
    """Where a vassal would listen. What is no address is told."""
    claims = []
    namespaces = set(around.settings.unshare)
    for option, address, where in _asked(around):
        if address.startswith(("fd://", "=")) or (address.isdecimal() and option == "https"):
            continue
        if address.isdecimal():
            say("warning", where, f"{option} = {address}: a UNIX socket called {address}: was :{address} meant?")
        try:
            claim = _claim(option, address, where, around)
        except ValueError as error:
            say("error", where, f"{option} = {address}: {error}")
            continue
        of_network = claim.port is not None or claim.host.startswith("@")
        if claim.port == 0 or (of_network and "net" in namespaces) or (around.is_elsewhere and not of_network):
            continue
        claims.append(claim)
    return claims


def _asked(around: Surroundings) -> Iterator[tuple[str, str, str]]:
    settings = around.settings
    for asked in settings.sockets:
        address = asked.address.partition(",")[0] if asked.option == "http" else asked.address
        yield asked.option, address, asked.where
    if settings.stats is not None:
        yield "stats", settings.stats, around.where("stats", "stats-server")
    for given in around.configuration.meant():
        if given.key in _UWSGI_LISTENS and given.key not in around.unsure and given.value:
            yield given.key, given.value.partition(",")[0], given.where


def _claim(option: str, text: str, where: str, around: Surroundings) -> Claim:
    address = parse_address("@" + text[2:] if text.startswith("\\0") else text)
    shareable = around.settings.reuse_port and option != "stats"
    if address.family == socket.AF_UNIX:
        name = str(address.where)
        host = "@" + name[1:] if name.startswith("\0") else os.path.realpath(os.path.join(around.base, name))
        return Claim(text, option, where, None, host, None, shareable)
    host, port = address.where[0], address.where[1]
    return Claim(text, option, where, None, _canonical(str(host)), int(port), shareable)


def _canonical(host: str) -> str:
    if host in _EVERYWHERE:
        return "*"
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()


@dataclass(slots=True)
class Addresses:
    """Who wants which address, vassal after vassal."""

    _claims: dict[int | str, list[tuple[str, Claim]]] = field(default_factory=dict)
    """By port, or by the UNIX socket's path, with the vassal's file."""

    def rival(self, vassal: str, claim: Claim) -> tuple[str, Claim] | None:
        """Note a claim; who was there before and excludes it: the vassal's file, and its claim."""
        others = self._claims.setdefault(claim.host if claim.port is None else claim.port, [])
        found = next((other for other in others if other[0] != vassal and claim.excludes(other[1])), None)
        if found is None:  # one that excludes it will do for telling
            others.append((vassal, claim))
        return found
