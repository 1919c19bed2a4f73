"""One deadline a vassal, kept in a heap: setting and finding the next one costs O(log n), an idle vassal nothing.

A deadline that was moved or taken back stays in the heap and is recognised as old when it comes up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from imperator.reign.names import Seconds, VassalName
from imperator.reign.vassal import Vassal


class Deadlines:
    """The moments at which vassals have to be looked at again."""

    def __init__(self, vassals: dict[VassalName, Vassal]) -> None:
        self._vassals = vassals
        self._heap: list[tuple[Seconds, VassalName]] = []

    def set(self, vassal: Vassal, due: Seconds) -> None:
        """Look at ``vassal`` again at ``due``; replaces what was set before."""
        if vassal.due != due:
            vassal.due = due
            heapq.heappush(self._heap, (due, vassal.name))
            if len(self._heap) > 4 * len(self._vassals) + 64:
                self._forget_old()

    def _is_current(self, due: Seconds, name: VassalName) -> bool:
        vassal = self._vassals.get(name)
        return vassal is not None and vassal.due == due

    def _forget_old(self) -> None:
        self._heap = sorted({entry for entry in self._heap if self._is_current(*entry)})

    def next(self) -> Seconds | None:
        """The earliest deadline, or ``None`` if there is none."""
        while self._heap and not self._is_current(*self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: Seconds) -> Iterator[Vassal]:
        """Take out each vassal whose deadline has come, earliest first. Its ``due`` is ``None`` from then on."""
        while (due := self.next()) is not None and due <= now:
            vassal = self._vassals[heapq.heappop(self._heap)[1]]
            vassal.due = None
            yield vassal
