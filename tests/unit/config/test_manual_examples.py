"""The examples of the manual's page on configuration are what they say they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.loader import load_emperor

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


def test_a_file_wins_over_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "emperor.ini").write_text("[uwsgi]\nemperor-throttle = 2\n")
    arguments = ["emperor.ini", "--emperor-throttle", "3"]
    assert load_emperor(arguments, {"UWSGI_EMPEROR_THROTTLE": "1"}, str(tmp_path)).emperor_throttle == 2
