"""The examples of the manual's page on configuration are what they say they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.formats import parse
from imperator.config.language import load
from imperator.config.loader import load_emperor
from imperator.config.variables import NAMES, Variables
from imperator.monitors.sections import vassals_in

MANUAL = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text()


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", MANUAL, re.DOTALL)


@pytest.mark.parametrize("form", ["ini", "yaml", "json", "toml", "xml"])
def test_the_same_in_five_formats(form: str, tmp_path: Path) -> None:
    (tmp_path / f"emperor.{form}").write_text(examples(form)[0])
    settings = load_emperor([f"emperor.{form}"], {}, str(tmp_path))
    assert settings.emperor == ("/etc/uwsgi/vassals", "/home/*/apps/*.ini")
    assert settings.emperor_nofollow
    assert settings.emperor_stats == "127.0.0.1:9191"
    assert settings.notes == ()


def test_the_variables(tmp_path: Path) -> None:
    (tmp_path / "emperor.ini").write_text(examples("ini")[1])
    settings = load_emperor(["emperor.ini"], {"REGION": "north"}, str(tmp_path))
    assert re.fullmatch("/srv/[^/%]+/vassals", settings.emperor[0])
    assert settings.emperor_pidfile == f"{tmp_path}/run/emperor.pid"
    assert settings.vassal_set == ("region=north",)


def test_the_error(tmp_path: Path) -> None:
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nemperor = /srv\nemperor-throttle = soon\n")
    with pytest.raises(ConfigurationError) as caught:
        load_emperor(["emperor.ini"], {}, str(tmp_path))
    assert f"imperator: {caught.value}\n" in MANUAL


def test_arithmetic(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(examples("ini")[2])
    found = load(["--ini", "x.ini"], {}, str(tmp_path))
    keys = ("http-socket", "processes", "threads", "stats")
    values = [found.values(key)[0] for key in keys]
    assert "gives " + ", ".join(f"`{value}`" for value in values[:-1]) + f" and `{values[-1]}`." in MANUAL


def test_logic(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(examples("ini")[3])
    assert load(["x.ini"], {}, str(tmp_path)).values("attach-daemon") == ["/srv/shop/worker", "/srv/blog/worker"]
    assert load(["x.ini"], {}, str(tmp_path)).values("py-autoreload") == []
    assert load(["x.ini"], {"DEBUG": ""}, str(tmp_path)).values("py-autoreload") == ["1"]


def test_an_option_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text(examples("ini")[4])
    found = load(["x.ini"], {}, str(tmp_path))
    assert [f"{given.key} = {given.text}" for given in found.meant() if given.derived] == [
        "chdir = /srv/shop",
        "module = shop.wsgi",
        "env = STAGE=live",
    ]


def test_what_the_file_says_itself_wins_over_an_option_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "x.ini").write_text("[uwsgi]\nmodule = mine\n" + examples("ini")[4].partition("\n")[2])
    assert load(["x.ini"], {}, str(tmp_path)).values("module")[-1] == "mine"


def test_a_cycle(tmp_path: Path) -> None:
    (tmp_path / "a.ini").write_text("[uwsgi]\nini = b.ini\n")
    (tmp_path / "b.ini").write_text("[uwsgi]\nini = a.ini\n")
    with pytest.raises(ConfigurationError) as caught:
        load(["--ini", "a.ini"], {}, str(tmp_path))
    assert f"imperator: {caught.value}\n" in MANUAL


def test_a_file_wins_over_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nemperor-throttle = 2\n")
    arguments = ["emperor.ini", "--emperor-throttle", "3"]
    assert load_emperor(arguments, {"UWSGI_EMPEROR_THROTTLE": "1"}, str(tmp_path)).emperor_throttle == 2


DOCS = Path(__file__).parents[3] / "docs"


def first_example(page: str) -> str:
    found = re.search(r"```ini\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_page_on_sections(tmp_path: Path) -> None:
    (tmp_path / "shop.ini").write_text(first_example("sections.md"))
    document = parse((tmp_path / "shop.ini").read_text(), "shop.ini")
    assert vassals_in(document, None) == ["web", "admin"]
    argv = ["--ini", "shop.ini:web"]
    web = load(argv, {}, str(tmp_path), further=Variables(argv, {}, str(tmp_path)))
    assert web.values("env") == ["VASSAL=shop.ini:web"]
    assert web.values("module") == ["shop.web"]
    assert web.values("chdir") == ["/srv/shop"]


def test_the_page_on_variables(tmp_path: Path) -> None:
    (tmp_path / "anna.ini").write_text(first_example("variables.md"))
    argv = ["--ini", "anna.ini"]
    variables = Variables(argv, {}, str(tmp_path))
    anna = load(argv, {}, str(tmp_path), further=variables)
    assert anna.values("http-socket") == [f"127.0.0.1:{variables('vassal.port')}"]
    assert anna.values("threads") == [str(2 * int(variables("cgroup.cores") or ""))]
    page = (DOCS / "variables.md").read_text()
    assert all(f"`%({name})`" in page for name in NAMES)
