"""Addresses for vassals: each name has its own place in the pool, the same every time, as long as nobody is there.

Pure. Where a name belongs is a hash of it, so a restarted Emperor gives the same addresses without having written
anything down; where two names belong to the same place, whoever came first has it and the other the next free one.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from ipaddress import IPv4Address, IPv4Network


class PoolError(ValueError):
    """The text says what is wrong with a pool, or that it is used up."""


def pool_of(text: str) -> IPv4Network:
    """A network in which there is room for a gateway and at least one vassal. Raises PoolError."""
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise PoolError(f"a network of IPv4 like 10.91.0.0/16 was expected: {error}") from error
    if network.prefixlen > 29:
        raise PoolError("there is room for nobody: /29 is the smallest")
    return network


class AddressPool:
    """The addresses of a network but the first (the gateway's) and those that have a meaning of their own."""

    def __init__(self, network: IPv4Network) -> None:
        self.network = network
        self.gateway = network.network_address + 1
        self._first = int(network.network_address) + 2
        self._size = network.num_addresses - 3
        self._taken: dict[IPv4Address, str] = {}
        self._remembered: OrderedDict[IPv4Address, str] = OrderedDict()
        """Free, and whose it was: kept for that name until there is no other. The longest free first."""
        self._of_name: dict[str, IPv4Address] = {}
        """The latest address of each name that has, or had, one."""

    def __len__(self) -> int:
        """How many are taken."""
        return len(self._taken)

    def take(self, name: str) -> IPv4Address:
        """An address for a vassal's instance. Raises PoolError when all are taken."""
        own = self._of_name.get(name)
        if own is not None and own in self._remembered:
            del self._remembered[own]
            address = own
        elif len(self._taken) + len(self._remembered) < self._size:
            address = self._place_of(name)
        elif self._remembered:
            address, former = self._remembered.popitem(last=False)
            del self._of_name[former]
        else:
            raise PoolError(f"all {self._size} addresses of {self.network} are taken: vassal-net-pool is too small")
        self._taken[address] = name
        self._of_name[name] = address
        return address

    def _place_of(self, name: str) -> IPv4Address:
        start = int.from_bytes(hashlib.sha256(name.encode(errors="surrogateescape")).digest()[:8], "big")
        for step in range(self._size):
            address = IPv4Address(self._first + (start + step) % self._size)
            if address not in self._taken and address not in self._remembered:
                return address
        raise AssertionError("called only where there is one")

    def release(self, address: IPv4Address) -> None:
        """Its instance has ended. Raises KeyError where nobody has it."""
        name = self._taken.pop(address)
        if self._of_name.get(name) == address:
            self._remembered[address] = name
