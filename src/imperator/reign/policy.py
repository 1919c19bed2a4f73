"""The numbers and switches that the reign decides by. All times in seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from imperator.reign.names import Seconds
from imperator.reign.protocol import LONGEST_CONFIG

BURST: Final = Seconds(1.0)
"""Two starts of one vassal within this time are a burst: the throttle answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How an Emperor rules. The defaults are the original's."""

    throttle: Seconds = Seconds(1.0)
    """``emperor-throttle``: the first delay, and what each further unloyal death adds."""
    max_throttle: Seconds = Seconds(180.0)
    """``emperor-max-throttle``: no delay is ever longer."""
    blacklist: bool = True
    """``emperor-no-blacklist`` switches it off."""
    required_heartbeat: Seconds = Seconds(30.0)
    curse_tolerance: Seconds = Seconds(30.0)
    """From being told to stop to SIGKILL."""
    mercy: Seconds = Seconds(30.0)
    """The same, once a Ragnarok is under way (``reload-mercy``)."""
    graceful_shutdown: bool = False
    """``emperor-graceful-shutdown``: say "stop gracefully" (2) and not "stop" (0)."""
    wait_for_command: bool = False
    wait_for_command_ignore: frozenset[str] = field(default_factory=frozenset)
    tyrant: bool = False
    """``emperor-tyrant``: a vassal runs as the owner of its configuration, who must not be root."""
    longest_config: int = LONGEST_CONFIG
    """Bytes of a configuration that no file holds: what the vassals' program understands."""
    most_spawning: int = 64
    """How many starts may be under way at once; the others queue, first come, first served."""
