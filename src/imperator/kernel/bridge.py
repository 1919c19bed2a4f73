"""A bridge for vassals: made, found again, and taken away with all that is plugged in: rtnetlink(7), bridge(8).

Over netlink, with pyroute2. Every method raises OSError. Rules:

* What we make says so: the bridge's alias (``ip link show``) names the process it belongs to, by its pid and the moment
  of its start. So an Emperor knows its own from a dead one's, which it removes, and from anybody else's, which it
  leaves alone.
* Interfaces are called by the instance behind them, so one that is left over is in nobody's way.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final, TypeVar

from imperator.kernel.nat import Translation

T = TypeVar("T")

_MARK: Final = "imperator"
_FORWARDING: Final = "forwarding"
_IPV4_FORWARDING: Final = Path("/proc/sys/net/ipv4/ip_forward")


@dataclass(frozen=True, slots=True)
class Plan:
    """The bridge that is wanted."""

    name: str
    network: IPv4Network

    @property
    def gateway(self) -> IPv4Address:
        """The bridge's own address."""
        return self.network.network_address + 1


@dataclass(frozen=True, slots=True)
class Owner:
    """A process, such that no later one can be taken for it."""

    pid: int
    started: str
    """In the kernel's ticks: proc_pid_stat(5)."""

    @classmethod
    def of(cls, pid: int) -> Owner | None:
        """``None``: there is no such process."""
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return cls(pid, fields[19])

    def __str__(self) -> str:
        return f"{_MARK} pid {self.pid} started {self.started}"

    @classmethod
    def parse(cls, alias: str) -> Owner | None:
        """``None``: that is not what we write."""
        match alias.split():
            case [mark, "pid", pid, "started", started, *_] if mark == _MARK and pid.isdecimal():
                return cls(int(pid), started)
        return None

    @property
    def lives(self) -> bool:
        return Owner.of(self.pid) == self


PLUG: Final = re.compile(r"im[0-9a-f]+\.[0-9a-f]+")


def plug_name(emperor: int, serial: int) -> str:
    """The host's end of the pair of one instance: no other has the same, whichever Emperor's, now or later."""
    return f"im{emperor:x}.{serial & 0xFFFFFF:x}"


def link_address(address: IPv4Address) -> bytes:
    """A locally administered address of the link layer: a vassal that starts again is found where it was."""
    return b"\x02\0" + address.packed


class Bridge:
    """One bridge: made or taken over by :meth:`open`, and gone after :meth:`remove`."""

    def __init__(self, plan: Plan, owner: Owner) -> None:
        from pyroute2 import IPRoute

        self._plan = plan
        self._owner = owner
        self._routes = IPRoute()
        self.index = 0
        """Of the interface: what pairs are plugged into."""
        self._translation: Translation | None = None

    def open(self) -> str | None:
        """Have the bridge. Returns why there is no way from it to the outside, if so."""
        index, alias = self._find(self._plan.name)
        if index:
            earlier = Owner.parse(alias)
            if earlier is None or (earlier != self._owner and earlier.lives):
                whose = "somebody else's" if earlier is None else f"that of the Emperor with pid {earlier.pid}"
                raise OSError(errno.EEXIST, f"there is {whose} interface {self._plan.name} already")
            if earlier == self._owner:  # the process that we replace has made it, and vassals are plugged in
                self.index = index
                return self._open_way_out(was_forwarding=_FORWARDING not in alias)
            self.index = index
            self._remove_all(had_switched_forwarding_on=_FORWARDING in alias)
        self._make()
        return self._open_way_out(was_forwarding=_forwards())

    def _make(self) -> None:
        plan = self._plan
        address = link_address(plan.gateway).hex(":")
        self._ask(lambda: self._routes.link("add", ifname=plan.name, kind="bridge", address=address))
        self.index, _ = self._find(plan.name)
        self._mark("")
        with suppress(OSError):  # a kernel without IPv6
            Path(f"/proc/sys/net/ipv6/conf/{plan.name}/disable_ipv6").write_text("1")
        prefix = plan.network.prefixlen
        try:
            self._ask(lambda: self._routes.addr("add", index=self.index, address=str(plan.gateway), prefixlen=prefix))
            self._ask(lambda: self._routes.link("set", index=self.index, state="up"))
        except OSError:
            self._remove_all(had_switched_forwarding_on=False)
            raise

    def _open_way_out(self, *, was_forwarding: bool) -> str | None:
        try:
            self._translation = Translation(self._plan.name, self._plan.network)
            if not was_forwarding:
                self._mark(_FORWARDING)
        except OSError as error:
            return error.strerror or str(error)
        try:
            if not _forwards():
                _IPV4_FORWARDING.write_text("1")
        except OSError as error:
            return f"net.ipv4.ip_forward cannot be switched on: {error.strerror}"
        return None

    def unplug(self, name: str) -> None:
        """Remove the pair of which this is our end, if there still is one."""
        link = self._look(name)
        if link is not None and self._is_plug(link):
            self._delete(link["index"])

    def _is_plug(self, link: Any) -> bool:
        """Whether an interface is one of those that we made; a person may have put another into our bridge."""
        name: str = link.get_attr("IFLA_IFNAME")
        return bool(link.get_attr("IFLA_MASTER") == self.index and PLUG.fullmatch(name))

    def remove(self) -> None:
        """Take away all that there is of it."""
        _, alias = self._find(self._plan.name)
        self._remove_all(had_switched_forwarding_on=_FORWARDING in alias)

    def _remove_all(self, *, had_switched_forwarding_on: bool) -> None:
        if self._translation is not None:
            self._translation.close()
            self._translation = None
        for link in self._ask(lambda: list(self._routes.get_links())):
            if self._is_plug(link):
                self._delete(link["index"])
        self._delete(self.index)
        if had_switched_forwarding_on:
            with suppress(OSError):
                _IPV4_FORWARDING.write_text("0")

    def _delete(self, index: int) -> None:
        try:
            self._ask(lambda: self._routes.link("del", index=index))
        except OSError as error:
            if error.errno != errno.ENODEV:  # it has gone with its namespace meanwhile
                raise

    def _mark(self, more: str) -> None:
        alias = f"{self._owner} {more}".rstrip()
        self._ask(lambda: self._routes.link("set", index=self.index, ifalias=alias))

    def _find(self, name: str) -> tuple[int, str]:
        """Index and alias of an interface; 0 where there is none."""
        link = self._look(name)
        return (0, "") if link is None else (link["index"], link.get_attr("IFLA_IFALIAS") or "")

    def _look(self, name: str) -> Any:
        """What the kernel says of an interface; ``None``: there is no such."""
        try:
            (link,) = self._ask(lambda: list(self._routes.link("get", ifname=name)))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise
            return None
        return link

    def _ask(self, question: Callable[[], T]) -> T:
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            return question()
        except NetlinkError as error:
            hint = " (CAP_NET_ADMIN is needed)" if error.code == errno.EPERM else ""
            raise OSError(error.code, f"{error.args[1]}{hint}") from error


def _forwards() -> bool:
    return _IPV4_FORWARDING.read_text().strip() != "0"


def open_bridge(plan: dict[str, Any], owner_pid: int) -> tuple[Bridge, str | None]:
    """The bridge of a plan that was written down as ``name`` and ``network``."""
    owner = Owner.of(owner_pid)
    if owner is None:
        raise OSError(errno.ESRCH, "the Emperor has ended")
    bridge = Bridge(Plan(plan["name"], IPv4Network(plan["network"])), owner)
    return bridge, bridge.open()
