"""The way from a bridge to the outside: one table of nftables, over netlink (nft(8), network address translation).

The table belongs to the process that made it (``flags owner``, Linux 5.12): the kernel removes it when that process
ends, in whatever way. Its rules: what leaves the bridge's network for elsewhere gets the host's address; what comes
back comes in; what others begin does not.
"""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Network
from typing import Any, Final

Expressions = list[dict[str, Any]]

_IPV4: Final = 2
_OWNER: Final = 2
_ACCEPT: Final = 1
_DROP: Final = 0
_SOURCE_ADDRESS: Final = 12
"""Offset in the header of IPv4."""
_META_INCOMING: Final = 6
_META_OUTGOING: Final = 7
_CT_STATE: Final = 0
_ESTABLISHED_OR_RELATED: Final = 2 | 4
_SRCNAT: Final = 100
"""Priority of a chain, as nft(8) calls it."""


class Translation:
    """The table of one bridge. Closing it, or dying, removes it."""

    def __init__(self, bridge: str, network: IPv4Network) -> None:
        """Raises OSError where there is no nftables, or not the right to it."""
        from pyroute2.netlink.exceptions import NetlinkError
        from pyroute2.nftables.main import NFTables

        self._tables = NFTables(nfgen_family=_IPV4)
        try:
            self._make(bridge, network)
        except NetlinkError as error:
            self._tables.close()
            taken = error.code in (errno.EPERM, errno.EBUSY)
            hint = f" (no CAP_NET_ADMIN, or somebody else has a table called {bridge})" if taken else ""
            raise OSError(error.code, f"nftables: {error.args[1]}{hint}") from error
        except BaseException:
            self._tables.close()
            raise

    def _make(self, bridge: str, network: IPv4Network) -> None:
        from pyroute2.nftables.expressions import verdict

        tables = self._tables
        tables.table("create", kwarg={"name": bridge, "flags": _OWNER})
        tables.chain("add", table=bridge, name="out", hook="postrouting", type="nat", priority=_SRCNAT, policy=_ACCEPT)
        tables.chain("add", table=bridge, name="through", hook="forward", type="filter", priority=0, policy=_ACCEPT)
        leaves = [*_within(network), *_interface(_META_OUTGOING, bridge, equal=False)]
        tables.rule("add", table=bridge, chain="out", expressions=(leaves, [_expression("masq")]))
        comes = [*_interface(_META_OUTGOING, bridge, equal=True), *_interface(_META_INCOMING, bridge, equal=False)]
        tables.rule("add", table=bridge, chain="through", expressions=(comes, _belongs(), verdict(_ACCEPT)))
        tables.rule("add", table=bridge, chain="through", expressions=(comes, verdict(_DROP)))

    def close(self) -> None:
        self._tables.close()


# -- what a rule is made of: nf_tables.h


def _expression(kind: str, **values: Any) -> dict[str, Any]:
    from pyroute2.nftables.expressions import genex

    made: dict[str, Any] = genex(kind, values)
    return made


def _value(data: bytes) -> dict[str, Any]:
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def _within(network: IPv4Network) -> Expressions:
    """The source is of this network."""
    return [
        _expression("payload", dreg=1, base=1, offset=_SOURCE_ADDRESS, len=4),
        _expression("bitwise", sreg=1, dreg=1, len=4, mask=_value(network.netmask.packed), xor=_value(bytes(4))),
        _expression("cmp", sreg=1, op=0, data=_value(network.network_address.packed)),
    ]


def _interface(which: int, name: str, *, equal: bool) -> Expressions:
    return [
        _expression("meta", key=which, dreg=1),
        _expression("cmp", sreg=1, op=0 if equal else 1, data=_value(name.encode().ljust(16, b"\0"))),
    ]


def _belongs() -> Expressions:
    """It belongs to a connection that exists."""
    state = struct.pack("I", _ESTABLISHED_OR_RELATED)
    return [
        _expression("ct", key=_CT_STATE, dreg=1),
        _expression("bitwise", sreg=1, dreg=1, len=4, mask=_value(state), xor=_value(bytes(4))),
        _expression("cmp", sreg=1, op=1, data=_value(bytes(4))),
    ]
