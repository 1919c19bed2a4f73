"""Short ways to what the tests of the reign need."""

from __future__ import annotations

from collections.abc import Mapping

from imperator.reign import effects as ef
from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds, Serial, SourceName, VassalName
from imperator.reign.wanted import NO_ATTRIBUTES, Wanted

SHOP = VassalName("shop.ini")


def wanted(
    name: str = SHOP,
    *,
    stamp: int = 1,
    config: bytes | None = None,
    executable: bool = False,
    attributes: Mapping[str, str] = NO_ATTRIBUTES,
) -> Wanted:
    return Wanted(
        VassalName(name),
        SourceName("dir"),
        (stamp,),
        0.0,
        "/vassals",
        config=config,
        executable=executable,
        attributes=attributes,
    )


def spawns(effects: list[ef.Effect]) -> list[Serial]:
    return [effect.serial for effect in effects if isinstance(effect, ef.Spawn)]


def start(reign: Reign, now: float = 0.0, name: str = SHOP) -> Serial:
    """Want a vassal and give it its process."""
    [serial] = spawns(reign.step(ev.VassalWanted(wanted(name)), Seconds(now)))
    reign.step(ev.Spawned(serial, 4711), Seconds(now))
    return serial
