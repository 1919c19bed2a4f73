"""News of on-demand sockets that nobody waits for."""

from __future__ import annotations

from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds, VassalName
from imperator.reign.policy import Policy
from imperator.reign.vassal import Phase

from .build import SHOP, start


def test_a_knock_for_nobody_is_nothing() -> None:
    assert Reign(Policy()).step(ev.Knocked(VassalName("ghost.ini")), Seconds(0.0)) == []


def test_a_socket_that_failed_for_nobody_is_nothing() -> None:
    assert Reign(Policy()).step(ev.SocketFailed(VassalName("ghost.ini"), "why"), Seconds(0.0)) == []


def test_a_vassal_that_runs_is_left_alone_by_both() -> None:
    reign = Reign(Policy())
    start(reign)
    for event in (ev.Knocked(SHOP), ev.SocketFailed(SHOP, "Address already in use")):
        assert reign.step(event, Seconds(1.0)) == []
    assert reign.vassals[SHOP].phase is Phase.RUNNING
