"""The reign itself: one entry point, a plain function of (state, event, now).

:meth:`Reign.step` takes one event and the time, changes the state, and returns the effects to carry out, in order.
:meth:`Reign.next_deadline` says when it wants a ``Tick``. That is the whole machine.

The rules are in three files, by what they answer: :mod:`.wants` (the sources of vassals), :mod:`.life` (processes,
their bytes and their ends) and :mod:`.orders` (people and signals). In short:

* A wanted vassal has exactly one process, or a stated reason why it has none and a moment (or an event) that ends it.
* A loyal vassal that dies is started again at once; twice within a second, and its own throttle slows it down.
* One that dies without ever having been loyal goes on the blacklist and waits longer each time.
* An edit, or an order by hand, tries again at once, whatever the delay was; an edit not twice within a second.
* Exit code 30 means "do not start me again"; a process that was told to stop is killed after the tolerance.
* After Ragnarok nothing is started. Whatever happens to one vassal changes nothing for another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from imperator.reign.blacklist import BlacklistItem
from imperator.reign.effects import Effect, Finish
from imperator.reign.events import Event
from imperator.reign.life import Life
from imperator.reign.names import Seconds, Serial, VassalName
from imperator.reign.orders import Orders
from imperator.reign.policy import Policy
from imperator.reign.realm import Realm
from imperator.reign.vassal import Vassal
from imperator.reign.wants import Wants

Rule = Callable[[Any, Seconds], None]


class Reign:
    """The state of an Emperor."""

    def __init__(self, policy: Policy) -> None:
        realm = self._realm = Realm(policy)
        self._finished = False
        self._rules: dict[type, Rule] = {
            **Wants(realm).rules(),
            **Life(realm).rules(),
            **Orders(realm).rules(),
        }

    def step(self, event: Event, now: Seconds) -> list[Effect]:
        """Let one thing happen at ``now`` (monotonic); returns what has to be done about it."""
        realm = self._realm
        self._rules[type(event)](event, now)
        realm.start_queued(now)
        if realm.ending and not realm.vassals and not self._finished:
            self._finished = True
            realm.effects.append(Finish())
        effects, realm.effects = realm.effects, []
        return effects

    def next_deadline(self) -> Seconds | None:
        """When the next ``Tick`` is due; ``None``: nothing waits for time."""
        return self._realm.deadlines.next()

    # -- for reading

    @property
    def policy(self) -> Policy:
        return self._realm.policy

    @property
    def vassals(self) -> Mapping[VassalName, Vassal]:
        """Every vassal, in the order in which they were first seen."""
        return self._realm.vassals

    @property
    def blacklist(self) -> Iterable[BlacklistItem]:
        return self._realm.blacklist

    @property
    def ending(self) -> bool:
        """A Ragnarok is under way."""
        return self._realm.ending

    def by_serial(self, serial: Serial) -> Vassal | None:
        """The vassal that this instance belongs to; ``None`` once the instance has ended."""
        return self._realm.by_serial.get(serial)
