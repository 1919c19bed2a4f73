"""The Emperor protocol: one byte a message, over a UNIX stream socket pair.

Source: the manual's page "The Emperor protocol" and what the original's vassals send and accept.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ToVassal(IntEnum):
    """What the Emperor says."""

    STOP = 0
    RELOAD = 1
    STOP_GRACEFULLY = 2


class FromVassal(IntEnum):
    """What a vassal says."""

    READY = 1
    """It is up; the application may still be loading."""
    WANTS_CONFIG = 2
    """It asks for its configuration (again): answered on the config fd."""
    ACCEPTING = 5
    """It accepts requests."""
    LOYAL = 17
    """It has managed its first request."""
    VOLUNTARY_SHUTDOWN = 22
    """It wants to end; an on-demand vassal goes back to sleep."""
    HEARTBEAT = 26
    """It is alive. The first one switches the watch on."""
    REINFORCEMENTS = 30
    """It is overloaded and asks for zergs."""


EXILE: Final = 30
"""The exit code of a vassal that must not be respawned (also: nothing could be executed)."""

LONGEST_CONFIG: Final = 0xFFFF
"""Bytes of a configuration that fit into the packet on the config fd: its size is a 16-bit number."""
LONGEST_OWN_CONFIG: Final = 0xFFFFFF
"""The same for a vassal that is Imperator: it takes the packet's last byte for eight more bits of the size."""
_CONFIG: Final = 115


def config_packet(config: bytes) -> bytes:
    """A uwsgi packet: modifier1, the size in 16 bits little-endian, its upper eight bits for modifier2; the text."""
    return bytes((_CONFIG,)) + len(config).to_bytes(3, "little") + config


def objection_to_config(config: bytes | None, longest: int = LONGEST_CONFIG) -> str | None:
    """Why a configuration cannot go over the config fd; ``None``: it can, or does not have to."""
    if config is None or len(config) <= longest:
        return None
    return f"its configuration has {len(config)} bytes; {longest} is the most: move a part of it to a file"
