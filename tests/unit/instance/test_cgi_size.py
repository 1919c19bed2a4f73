"""The CGI variables of a request, counted as a packet of the uwsgi protocol has them."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from imperator.instance.cgi_size import MOST, cgi_size


@pytest.mark.parametrize(
    "variables, expected",
    [
        ({}, (0, 0)),
        ({"PATH_INFO": "/a"}, (1, 9 + 2 + 4)),
        ({"PATH_INFO": "/a", "HTTP_HOST": "", "wsgi.url_scheme": "http"}, (2, 9 + 2 + 4 + 9 + 4)),
        ({"PATH_INFO": "/a", "wsgi.errors": sys.stderr, "X": None}, (1, 9 + 2 + 4)),
    ],
    ids=["none", "one", "two", "what-is-no-text"],
)
def test_names_in_capitals_with_text_count(variables: dict[str, Any], expected: tuple[int, int]) -> None:
    assert cgi_size(variables) == expected
    assert cgi_size(dict(variables)) == expected


def test_the_same_names_with_other_values() -> None:
    assert cgi_size({"A": "1", "B": "2"}) == (2, 12)
    assert cgi_size({"A": "1", "B": "22222"}) == (2, 16)
    assert cgi_size({"A": "1", "B": object()}) == (1, 6)


def test_more_sets_of_names_than_are_remembered() -> None:
    for _ in range(2):
        for number in range(3 * MOST):
            assert cgi_size({f"HTTP_X{number}": "1", "A": "1"}) == (2, len(f"HTTP_X{number}") + 5 + 6)
