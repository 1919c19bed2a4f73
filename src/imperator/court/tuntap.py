"""The Emperor's end of ``tuntap-router``: opens devices and sockets, keeps a router process for each, and replaces it.

The devices and the listening sockets are the Emperor's, so a router that dies takes no address away: the devices of the
vassals find the next one at the same place.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from imperator import __version__
from imperator.config.settings import EmperorSettings
from imperator.court.helper import start_helper
from imperator.kernel.firewall import RuleError, route_of, rule_of
from imperator.kernel.sockets import open_socket, remove_socket_file
from imperator.kernel.tuntap import open_tun

Say = Callable[[str], None]

_SCRIPT = Path(__file__).parent.parent / "kernel" / "tuntap_router.py"
_PAUSE = 0.5
"""Seconds between the death of a router and the start of the next."""


@dataclass(slots=True)
class RouterOutfit:
    """What one router needs: all of it opened while there were the rights to."""

    name: str
    tun: int
    server: socket.socket
    stats: socket.socket | None
    gateway: socket.socket | None
    settings: str
    """For its process, as JSON."""

    def fds(self) -> tuple[int, ...]:
        return (self.tun, self.server.fileno())


def open_routers(settings: EmperorSettings, stack: ExitStack) -> list[RouterOutfit]:
    """Devices and sockets of every ``tuntap-router = NAME SOCKET [STATS [GATEWAY]]``; closed with the stack.

    Raises OSError, and ValueError for what cannot be meant.
    """
    for option, values, read in (
        ("tuntap-router-firewall-in", settings.tuntap_router_firewall_in, rule_of),
        ("tuntap-router-firewall-out", settings.tuntap_router_firewall_out, rule_of),
        ("tuntap-router-route", settings.tuntap_router_route, route_of),
    ):
        for value in values:
            try:
                read(value)
            except RuleError as error:
                raise ValueError(f"{option} = {value}: {error}") from None
    if settings.tuntap_use_credentials not in (None, "", "true"):
        text = f"tuntap-use-credentials = {settings.tuntap_use_credentials}"
        raise ValueError(f"{text}: a function of C that gives addresses cannot be used here; true is what there is")
    return [_open(text, settings, stack) for text in settings.tuntap_router]


def _open(text: str, settings: EmperorSettings, stack: ExitStack) -> RouterOutfit:
    words = text.split()
    if not 2 <= len(words) <= 4:
        raise ValueError(f"tuntap-router = {text}: DEVICE SOCKET [STATS [GATEWAY]] was expected")
    name, address, stats, gateway = (*words, None, None)[:4]
    assert name is not None and address is not None
    stats = stats or settings.tuntap_router_stats
    try:
        tun = open_tun(name)
    except OSError as error:
        raise OSError(error.errno, f"tuntap-router = {text}: {error.strerror or error}") from error
    stack.callback(os.close, tun)

    def opened(where: str, kind: socket.SocketKind) -> socket.socket:
        sock = open_socket(where, kind, backlog=settings.listen, mode=settings.chmod_socket)
        stack.callback(remove_socket_file, where)
        stack.callback(sock.close)
        return sock

    told = {
        "in": settings.tuntap_router_firewall_in,
        "out": settings.tuntap_router_firewall_out,
        "routes": settings.tuntap_router_route,
        "credentials": settings.tuntap_use_credentials is not None,
        "http": settings.stats_http,
        "version": __version__,
    }
    return RouterOutfit(
        name,
        tun,
        opened(address, socket.SOCK_STREAM),
        None if stats is None else opened(stats, socket.SOCK_STREAM),
        None if gateway is None else opened(gateway, socket.SOCK_DGRAM),
        json.dumps(told),
    )


class TuntapRouter:
    """One router process."""

    def __init__(self, loop: asyncio.AbstractEventLoop, outfit: RouterOutfit, say: Say, complain: Say) -> None:
        self._loop = loop
        self._outfit = outfit
        self._say = say
        self._complain = complain
        self._again: asyncio.TimerHandle | None = None
        self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _start(self) -> None:
        self._again = None
        outfit = self._outfit
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        sockets = (outfit.stats, outfit.gateway)
        fds = (theirs.fileno(), *outfit.fds(), *(-1 if one is None else one.fileno() for one in sockets))
        paths = [path for path in sys.path if os.path.isabs(path)]
        with theirs:
            self._process = start_helper(_SCRIPT, fds, outfit.settings, *paths)
        self._control.setblocking(False)
        self._loop.add_reader(self._control, self._hear)

    def _hear(self) -> None:
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self._say(f"tuntap-router {self._outfit.name}: {data.decode(errors='replace')}")
            return
        self._disconnect()
        self._complain(f"the process of tuntap-router {self._outfit.name} died: another one is started")
        self._again = self._loop.call_later(_PAUSE, self._start)

    def _disconnect(self) -> None:
        self._loop.remove_reader(self._control)
        self._control.close()
        self._process.wait()

    def close(self) -> None:
        """End the router; its device and sockets are closed by whoever opened them."""
        if self._again is not None:
            self._again.cancel()
        else:
            self._disconnect()
