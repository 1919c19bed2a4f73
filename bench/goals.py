"""What each figure should be. Ours is compared with the original in the same run, or with a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Goal:
    """``figure`` of a benchmark is to be at most, or at least, ``value``: times the original, or in its own unit."""

    figure: str
    compare: Literal["≤", "≥"]
    value: float
    times_original: bool = False

    def judge(self, original: Figures | None, ours: Figures) -> str | None:
        """A line that says whether it is met; ``None`` where the original was not measured and has to be."""
        reached = ours[self.figure]
        if self.times_original:
            if original is None:
                return None
            reached /= original[self.figure]
        met = reached <= self.value if self.compare == "≤" else reached >= self.value
        unit = " × the original" if self.times_original else ""
        return f"{self.figure} {self.compare} {self.value:g}{unit}: {reached:.3g}{unit}, {'met' if met else 'MISSED'}"


GOALS: dict[str, Sequence[Goal]] = {
    "new_file": (Goal("p99 ms", "≤", 20),),
    "touch_reload": (Goal("p99 ms", "≤", 20),),
    "cold_start": (Goal("vassals/s", "≥", 1000),),
    "idle": (Goal("CPU %", "≤", 0.2), Goal("MB all", "≤", 80)),
    "kill_respawn": (Goal("p50 ms", "≤", 5),),
    "fork_bomb": (Goal("p50 ms", "≤", 5),),
    "hello": (Goal("kept/s", "≥", 2, times_original=True),),
    "hello_logged": (Goal("kept/s", "≥", 2, times_original=True),),
    "behind_nginx": (Goal("requests/s", "≥", 0.97, times_original=True),),
    "django": (Goal("first 200 ms", "≤", 1, times_original=True), Goal("PSS MB", "≤", 1, times_original=True)),
    "jail_spawn": (Goal("times", "≤", 2),),
    "tuntap": (Goal("to the host/s", "≥", 20_000), Goal("device to device/s", "≥", 20_000)),
    "vassal_net": (Goal("share of plain", "≥", 0.8), Goal("ours Gbit/s", "≥", 5)),
    "show_config": (Goal("ms", "≤", 60),),
}
