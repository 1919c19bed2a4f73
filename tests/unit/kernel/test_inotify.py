"""A queue of notices that somebody fills as fast as he can is emptied in pieces, and nothing of it is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imperator.kernel.inotify import Inotify, Mask


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    inotify = Inotify()
    yield inotify
    inotify.close()


def test_little_is_read_in_one_go(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(bytes(tmp_path))
    (tmp_path / "a.ini").touch()
    names = [notice.name for notice in inotify.read()]
    assert set(names) == {b"a.ini"}
    assert not inotify.has_more
    assert list(inotify.read()) == []


def test_much_is_read_in_pieces(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(bytes(tmp_path))
    many = 3000
    for number in range(many):
        (tmp_path / f"{number}.ini").mkdir()
    pieces = []
    while piece := [notice.name for notice in inotify.read() if notice.mask & Mask.CREATE]:
        pieces.append(piece)
        assert inotify.has_more == (sum(map(len, pieces)) < many)
    assert len(pieces) > 2
    assert [name for piece in pieces for name in piece] == [b"%d.ini" % number for number in range(many)]
