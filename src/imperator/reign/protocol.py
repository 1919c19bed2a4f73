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
