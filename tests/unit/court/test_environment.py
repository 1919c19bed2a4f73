"""``UWSGI_VASSAL_X``: what a vassal's environment says of the vassal's own file."""

from __future__ import annotations

import pytest

from imperator.court.environment import for_vassals


def own(value: str, name: str = "shop.ini", directory: str = "/etc/vassals") -> str:
    """What stands in the environment of one vassal."""
    environment = for_vassals({b"UWSGI_VASSAL_SOCKET": value.encode()})
    variables = environment.common | environment.own(name, directory)
    assert list(variables) == [b"UWSGI_SOCKET"]
    return variables[b"UWSGI_SOCKET"].decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/tmp/%n.sock", "/tmp/shop.sock"),
        ("%p %d %s %n %e %c", "/etc/vassals/shop.ini /etc/vassals/ shop.ini shop ini vassals"),
        ("%P %D %S %N %E %C", "/etc/vassals/shop.ini /etc/vassals/ shop.ini shop ini vassals"),
        ("%n-100%%", "shop-100%"),
        ("/tmp/%n.%(port)", "/tmp/shop.%(port)"),
    ],
)
def test_it_is_spoken_of_the_vassals_file(value: str, expected: str) -> None:
    assert own(value) == expected


@pytest.mark.parametrize("value", ["/tmp/a.sock", "%Y-%m-%d", "%(addr) - %(user)", "100%%", "%", "%n at %H"])
def test_whatever_is_no_name_is_passed_on_as_it_is(value: str) -> None:
    assert own(value) == value


def test_a_file_elsewhere() -> None:
    assert own("%d%n", "/srv/alice/site.yaml", "/") == "/srv/alice/site"
    assert own("%d%n", "../site.yaml", "/etc/vassals") == "/etc/site"


def test_a_section_of_a_file() -> None:
    assert own("/tmp/%n-%x.sock", "shop.ini:app1") == "/tmp/shop-app1.sock"


def test_a_name_that_is_no_file() -> None:
    assert own("/tmp/%n.sock", "shop") == "/tmp/shop.sock"


def test_nothing_is_made_where_nothing_speaks_of_a_file() -> None:
    environment = for_vassals({b"UWSGI_VASSAL_SOCKET": b"/tmp/a.sock", b"HOME": b"/root/%n"})
    assert environment.own("shop.ini", "/etc/vassals") == {}
