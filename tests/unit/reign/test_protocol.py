"""The numbers are the original's: they are on the wire, so they may never change."""

from __future__ import annotations

from imperator.reign.protocol import EXILE, FromVassal, ToVassal


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
