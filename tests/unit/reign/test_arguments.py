from __future__ import annotations

import pytest

from imperator.reign.arguments import Livery

from .build import wanted

PLAIN = Livery(binary="imperator")


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("shop.ini", "--ini"),
        ("shop.xml", "--xml"),
        ("shop.yml", "--yaml"),
        ("shop.yaml", "--yaml"),
        ("shop.js", "--json"),
        ("shop.json", "--json"),
        ("shop.toml", "--toml"),
        ("shop", "--inherit"),
        ("shop.ini.bak", "--inherit"),
        ("json", "--inherit"),
        ("/srv/vassals/shop.ini", "--ini"),
        ("apps.ini:shop", "--ini"),
        ("apps.toml:shop", "--toml"),
        ("a:b.ini", "--ini"),
        ("host:8080", "--inherit"),
    ],
)
def test_the_extension_says_how_the_configuration_is_read(name: str, flag: str) -> None:
    assert PLAIN.arguments(wanted(name)) == [flag, name]


def test_an_extra_extension_is_left_to_the_vassal_to_read() -> None:
    livery = Livery(binary="imperator", extra_extensions=(".lua", ".custom.ini"))
    assert livery.arguments(wanted("shop.lua")) == ["--config", "shop.lua"]
    assert livery.arguments(wanted("shop.custom.ini")) == ["--config", "shop.custom.ini"]
    assert livery.arguments(wanted("shop.ini")) == ["--ini", "shop.ini"]


def test_the_order_of_the_options_is_the_originals() -> None:
    livery = Livery(
        binary="imperator",
        inherit_before=("t1", "t2"),
        include_before=("i1",),
        set=("k=v", "k2=v2"),
        inherit=("t3",),
        include=("i2", "i3"),
    )
    assert livery.arguments(wanted("shop.ini")) == [
        *("--inherit", "t1", "--inherit", "t2"),
        *("--include", "i1"),
        *("--set", "k=v", "--set", "k2=v2"),
        *("--ini", "shop.ini"),
        *("--inherit", "t3"),
        *("--include", "i2", "--include", "i3"),
    ]


def test_a_configuration_that_the_source_holds_is_asked_of_the_emperor() -> None:
    assert PLAIN.arguments(wanted("shop.ini", config=b"[uwsgi]")) == ["--ini", "emperor://shop.ini"]
    assert PLAIN.arguments(wanted("shop.ini", config=b"")) == ["--ini", "emperor://shop.ini"]


def test_magic_exec_runs_executable_configurations_only() -> None:
    livery = Livery(binary="imperator", magic_exec=True)
    assert livery.arguments(wanted("shop.ini", executable=True)) == ["--ini", "exec://shop.ini"]
    assert livery.arguments(wanted("shop.ini")) == ["--ini", "shop.ini"]
    assert PLAIN.arguments(wanted("shop.ini", executable=True)) == ["--ini", "shop.ini"]


def test_the_binary_and_what_is_tried_before_and_after_it() -> None:
    assert PLAIN.binaries(wanted()) == ("imperator",)
    livery = Livery(binary="imperator", wrapper_override=("first", "second"), wrapper_fallback=("last",))
    assert livery.binaries(wanted()) == ("first", "second", "imperator", "last")


def test_a_vassal_may_name_its_own_binary_where_the_emperor_allows_it() -> None:
    own = wanted(attributes={"wrapper": "/opt/own"})
    livery = Livery(binary="imperator", wrapper_attribute="wrapper", wrapper_fallback=("last",))
    assert livery.binaries(own) == ("/opt/own", "last")
    assert livery.binaries(wanted()) == ("imperator", "last")
    assert livery.binaries(wanted(attributes={"wrapper": ""})) == ("imperator", "last")
    assert PLAIN.binaries(own) == ("imperator",)
