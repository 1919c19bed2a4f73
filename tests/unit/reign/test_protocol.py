"""The numbers are the original's: they are on the wire, so they may never change."""

from __future__ import annotations

from imperator.reign import effects as ef
from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds
from imperator.reign.policy import Policy
from imperator.reign.protocol import EXILE, LONGEST_CONFIG, FromVassal, ToVassal, objection_to_config

from .build import SHOP, wanted


def test_what_the_emperor_says() -> None:
    assert [(word.name, word.value) for word in ToVassal] == [("STOP", 0), ("RELOAD", 1), ("STOP_GRACEFULLY", 2)]


def test_what_a_vassal_says() -> None:
    assert {word.name: word.value for word in FromVassal} == {
        "READY": 1,
        "WANTS_CONFIG": 2,
        "ACCEPTING": 5,
        "LOYAL": 17,
        "VOLUNTARY_SHUTDOWN": 22,
        "HEARTBEAT": 26,
        "REINFORCEMENTS": 30,
    }


def test_the_exit_code_that_asks_never_to_be_started_again() -> None:
    assert EXILE == 30


def test_a_configuration_that_does_not_fit_into_the_packet_is_refused_with_its_size() -> None:
    assert objection_to_config(None) is None
    assert objection_to_config(b"x" * LONGEST_CONFIG) is None
    assert "65536 bytes" in (objection_to_config(b"x" * (LONGEST_CONFIG + 1)) or "")


def test_a_vassal_keeps_the_configuration_that_did_fit() -> None:
    reign = Reign(Policy())
    reign.step(ev.VassalWanted(wanted(config=b"[uwsgi]\n")), Seconds(0.0))
    effects = reign.step(ev.VassalWanted(wanted(stamp=2, config=b"x" * (LONGEST_CONFIG + 1))), Seconds(9.0))
    assert not [effect for effect in effects if isinstance(effect, ef.Send | ef.SendConfig | ef.Signal)]
    assert reign.vassals[SHOP].wanted.config == b"[uwsgi]\n"
