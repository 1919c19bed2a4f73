"""The throttle: how a vassal that keeps coming back is slowed down, and nobody else.

The original keeps one level for the whole Emperor and sleeps with it, so that one bad vassal delays all. Here each
vassal has its own level: it doubles at each start within a second of the last one and is halved at any other.
"""

from __future__ import annotations

from dataclasses import dataclass

from imperator.reign.names import Seconds
from imperator.reign.policy import BURST, Policy


@dataclass(slots=True)
class Throttle:
    """The level of one vassal, in seconds; 0 until it first misbehaves."""

    level: Seconds = Seconds(0.0)

    def delay(self, last_run: Seconds | None, now: Seconds, policy: Policy) -> Seconds:
        """How long the next start has to wait, having started last at ``last_run``; moves the level."""
        if last_run is not None and now - last_run < BURST:
            self.level = Seconds(min(max(self.level, policy.throttle) * 2, policy.max_throttle))
            return self.level
        halved = self.level / 2
        self.level = Seconds(halved if halved >= policy.throttle else 0.0)
        return Seconds(0.0)
