"""What is held back before it is told: half a file, and a file that is gone for a moment."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imperator.kernel.inotify import Mask
from imperator.monitors.desk import UNFINISHED, VANISHED, Desk, is_fresh
from imperator.reign.names import SourceName, VassalName
from imperator.reign.wanted import Wanted


@pytest.fixture
def path(tmp_path: Path) -> str:
    file = tmp_path / "a.ini"
    file.touch()
    return str(file)


def test_a_new_file_waits_until_it_is_closed(path: str) -> None:
    desk = Desk()
    desk.happened("a.ini", path, Mask.CREATE, now=10.0)
    assert desk.take_due(10.5) == set()
    desk.happened("a.ini", path, Mask.CLOSE_WRITE, now=10.6)
    assert desk.next_look() == 0.0
    assert desk.take_due(10.6) == {"a.ini"}
    assert desk.next_look() is None


def test_but_not_for_ever(path: str) -> None:
    desk = Desk()
    desk.happened("a.ini", path, Mask.CREATE, now=10.0)
    desk.happened("a.ini", path, Mask.ATTRIB, now=10.1)  # says nothing about its end
    assert desk.next_look() == 10.0 + UNFINISHED
    assert desk.take_due(10.0 + UNFINISHED) == {"a.ini"}


def test_a_hard_link_and_a_symlink_are_complete_at_once(path: str, tmp_path: Path) -> None:
    os.link(path, tmp_path / "hard.ini")
    (tmp_path / "soft.ini").symlink_to(path)
    desk = Desk()
    for name in ("hard.ini", "soft.ini"):
        desk.happened(name, str(tmp_path / name), Mask.CREATE, now=10.0)
    assert desk.take_due(10.0) == {"hard.ini", "soft.ini"}


def test_gone_is_what_stays_away() -> None:
    desk = Desk()
    assert not desk.is_gone("a.ini", 10.0)
    assert desk.next_look() == 10.0 + VANISHED
    desk.is_there("a.ini")
    assert not desk.is_gone("a.ini", 20.0), "it was back in between"
    assert desk.is_gone("a.ini", 20.0 + VANISHED)


def test_fresh_is_what_somebody_may_be_writing_now() -> None:
    now = time.time()
    old = Wanted(VassalName("a.ini"), SourceName("dir"), (1,), now - 60, "/")
    assert not is_fresh(old, None)
    new = replace(old, stamp=(2,), modified=now)
    assert is_fresh(new, old)
    assert not is_fresh(new, new), "known with this stamp"
