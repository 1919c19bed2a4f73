"""``vassal-net``: the network that each vassal has for itself, from its address to the order for its process.

``host``: none of its own, that of the Emperor. ``none``: its own, with nothing in it but ``lo``. ``bridge``: its own,
with an interface that leads to a bridge of the host's, an address and a way out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any

from imperator.config.settings import EmperorSettings
from imperator.court.address_pool import AddressPool, PoolError, pool_of
from imperator.court.engineer import Engineer
from imperator.kernel.bridge import Plan, link_address, plug_name
from imperator.kernel.interfaces import INSIDE

ADDRESS = b"IMPERATOR_NET_ADDRESS"
GATEWAY = b"IMPERATOR_NET_GATEWAY"
NETWORK = b"IMPERATOR_NET"
VARIABLES = (ADDRESS, GATEWAY, NETWORK)
"""What a vassal with an address finds in its environment."""

_LONGEST_NAME = 15
"""Bytes of an interface's name: IFNAMSIZ - 1, netdevice(7)."""


@dataclass(slots=True)
class Connection:
    """The network of one process; :meth:`end` it once that has ended."""

    address: IPv4Address | None
    special: dict[str, Any]
    """What the spawner is told."""
    variables: dict[bytes, bytes]
    end: Callable[[], None]


class Networks:
    """One for all vassals of an Emperor."""

    def __init__(self, settings: EmperorSettings) -> None:
        """Raises ValueError for a pool or a name that cannot be."""
        self._pool: AddressPool | None = None
        self._isolated = settings.vassal_net_isolate
        self.engineer: Engineer | None = None
        if settings.vassal_net != "bridge":
            return
        name = settings.vassal_net_bridge
        if not name or len(os.fsencode(name)) > _LONGEST_NAME or "/" in name or name != "".join(name.split()):
            raise ValueError(f"vassal-net-bridge = {name}: a name of at most {_LONGEST_NAME} bytes was expected")
        try:
            self._pool = AddressPool(pool_of(settings.vassal_net_pool))
        except PoolError as error:
            raise ValueError(f"vassal-net-pool = {settings.vassal_net_pool}: {error}") from error
        self.engineer = Engineer(Plan(name, self._pool.network))

    @classmethod
    def of(cls, settings: EmperorSettings) -> Networks | None:
        """``None``: vassals use the Emperor's."""
        return None if settings.vassal_net == "host" else cls(settings)

    def connect(self, serial: int, name: str) -> Connection:
        """The network of one process to come. Raises PoolError when every address is taken."""
        if self._pool is None or self.engineer is None:
            return Connection(None, {"address": None}, {}, lambda: None)
        pool, engineer = self._pool, self.engineer
        address, interface = pool.take(name), plug_name(os.getpid(), serial)
        special = {
            "bridge": engineer.bridge,
            "name": interface,
            "inside": INSIDE,
            "link address": link_address(address),
            "address": str(address),
            "mask": str(pool.network.netmask),
            "gateway": str(pool.gateway),
            "isolated": self._isolated,
        }
        variables = {
            ADDRESS: str(address).encode(),
            GATEWAY: str(pool.gateway).encode(),
            NETWORK: str(pool.network).encode(),
        }

        def end() -> None:
            engineer.unplug(interface)
            pool.release(address)

        return Connection(address, special, variables, end)
