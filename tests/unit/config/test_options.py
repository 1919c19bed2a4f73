"""The names that the language knows are those of the catalogue."""

from __future__ import annotations

from imperator.config import options, options_uwsgi
from imperator.config.catalogue import BY_NAME, BY_SHORT, INSTANCE_BY_NAME


def test_the_names_of_ours_are_those_of_the_catalogue() -> None:
    catalogue = BY_NAME | INSTANCE_BY_NAME
    ours = {name: option for name, option in catalogue.items() if not options_uwsgi.is_option(name)}
    assert options.ours() == ours.keys()
    assert {name for name in ours if options.takes_value(name)} == {n for n, o in ours.items() if o.takes_value}


def test_the_letters_of_the_catalogue_are_the_originals() -> None:
    assert {letter: options.name_of_letter(letter) for letter in BY_SHORT} == {
        letter: option.name for letter, option in BY_SHORT.items()
    }
