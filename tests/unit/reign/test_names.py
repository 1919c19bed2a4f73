from __future__ import annotations

import pytest

from imperator.reign import events as ev
from imperator.reign.emperor import Reign
from imperator.reign.names import Seconds, VassalName, objection_to_name
from imperator.reign.policy import Policy
from imperator.reign.vassal import Phase

from .build import wanted


@pytest.mark.parametrize("name", ["shop.ini", "/srv/vassals/shop.ini", "x" * 254, "ü" * 127, "\udcff" * 254, " "])
def test_names_that_a_file_may_have(name: str) -> None:
    assert objection_to_name(VassalName(name)) is None


@pytest.mark.parametrize(
    ("name", "word"),
    [("x" * 255, "255 bytes"), ("ü" * 128, "256 bytes"), ("", "empty"), ("a\0b", "NUL"), ("\ud800.ini", "surrogate")],
)
def test_names_that_no_program_can_be_given(name: str, word: str) -> None:
    """A database may hold them: they fail by themselves, with a reason, and harm nobody."""
    assert word in (objection_to_name(VassalName(name)) or "")
    reign = Reign(Policy())
    reign.step(ev.VassalWanted(wanted(name)), Seconds(0.0))
    assert reign.vassals[VassalName(name)].phase is Phase.FAILED
