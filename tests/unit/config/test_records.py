"""Records: what an instance's modules use in place of dataclasses."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from imperator.config.hook import Hook
from imperator.config.records import changed, keyword_record, record


@record
class Place:
    """A line of a file."""

    file: str
    line: int = 1

    @property
    def text(self) -> str:
        return f"{self.file}:{self.line}"


@keyword_record
class Said:
    quiet: bool = False
    words: tuple[str, ...] = ()


def test_fields_are_given_in_order_or_by_name_and_have_defaults() -> None:
    assert Place("a.ini", 3).text == Place(line=3, file="a.ini").text == "a.ini:3"
    assert Place("a.ini").line == 1


def test_records_with_the_same_values_are_the_same() -> None:
    assert Place("a.ini") == Place("a.ini", 1)
    assert Place("a.ini") != Place("a.ini", 2)
    other: object = ("a.ini", 1)
    assert Place("a.ini") != other
    assert {Place("a.ini"), Place("a.ini", 1)} == {Place("a.ini")}


def test_a_record_shows_its_values() -> None:
    assert repr(Place("a.ini")) == "Place(file='a.ini', line=1)"


def test_a_record_does_not_change() -> None:
    place: Any = Place("a.ini")
    with pytest.raises(AttributeError, match="does not change: line"):
        place.line = 2
    with pytest.raises(AttributeError, match="does not change: line"):
        del place.line
    assert place.line == 1


def test_changed_is_another_one() -> None:
    place = Place("a.ini", 3)
    assert changed(place, file="b.ini") == Place("b.ini", 3)
    assert place.file == "a.ini"
    with pytest.raises(TypeError, match="column"):
        changed(place, column=2)


def test_a_record_can_be_copied_and_pickled() -> None:
    place = Place("a.ini", 3)
    assert copy.copy(place) == pickle.loads(pickle.dumps(place)) == place
    assert copy.deepcopy(Said(words=("a",))) == Said(words=("a",))


def test_what_is_missing_unknown_or_too_much_is_named() -> None:
    make: Any = Place
    with pytest.raises(TypeError, match="file is missing"):
        make()
    with pytest.raises(TypeError, match="column"):
        make("a.ini", column=2)
    with pytest.raises(TypeError, match="given twice: file"):
        make("a.ini", file="b.ini")
    with pytest.raises(TypeError, match="2 positional"):
        make("a.ini", 2, 3)


def test_a_keyword_record_takes_names_only() -> None:
    make: Any = Said
    assert make(words=("a",)) == changed(Said(), words=("a",))
    with pytest.raises(TypeError, match="0 positional"):
        make(True)


def test_a_record_is_matched_by_place() -> None:
    match Place("a.ini", 3):
        case Place(file, line):
            assert (file, line) == ("a.ini", 3)


def test_hooks_are_the_same_wherever_they_are_written() -> None:
    assert Hook("exec", "true", "a.ini:1") == Hook("exec", "true", "b.ini:2")
    assert len({Hook("exec", "true", "a.ini:1"), Hook("exec", "true", "b.ini:2")}) == 1
    assert Hook("exec", "true") != Hook("exec", "false")
