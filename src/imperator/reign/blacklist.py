"""The blacklist: vassals that die before they have managed a request wait longer and longer.

The delay starts at ``emperor-throttle``, each further death adds as much, and at ``emperor-max-throttle`` it is halved.
Loyalty takes a vassal off the list. Ours, beyond the original: one that lived longer than the longest delay before it
died starts afresh, for it may be a program that cannot say "loyal" at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imperator.reign.names import Seconds, VassalName
from imperator.reign.policy import Policy


@dataclass(slots=True)
class BlacklistItem:
    """One vassal in disgrace."""

    name: VassalName
    level: Seconds
    first_attempt: Seconds
    last_attempt: Seconds
    attempts: int = 0


class Blacklist:
    """All vassals in disgrace, by name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._items: dict[VassalName, BlacklistItem] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[BlacklistItem]:
        return iter(self._items.values())

    def get(self, name: VassalName) -> BlacklistItem | None:
        return self._items.get(name)

    def add(self, name: VassalName, lived: Seconds, now: Seconds) -> BlacklistItem:
        """Note one more unloyal death; the item's ``level`` is the delay before the next try."""
        policy = self._policy
        item = self._items.get(name)
        if item is None or lived >= policy.max_throttle:
            base = Seconds(min(policy.throttle, policy.max_throttle))
            item = self._items[name] = BlacklistItem(name, base, now, now)
            return item
        item.last_attempt = now
        item.attempts += 1
        if item.level < policy.max_throttle:
            item.level = Seconds(min(item.level + policy.throttle, policy.max_throttle))
        else:
            item.level = Seconds(item.level / 2)
        return item

    def remove(self, name: VassalName) -> bool:
        """Forgive one vassal; says whether it was on the list."""
        return self._items.pop(name, None) is not None

    def clear(self) -> None:
        self._items.clear()
