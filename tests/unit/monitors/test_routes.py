"""A path through symlinks: every place whose change can change what it means."""

from __future__ import annotations

from pathlib import Path

from imperator.monitors.routes import route


def test_a_plain_path_is_its_last_step(tmp_path: Path) -> None:
    (tmp_path / "a.ini").touch()
    assert route(f"{tmp_path}/a.ini") == [(str(tmp_path), "a.ini")]


def test_every_link_on_the_way_and_the_end(tmp_path: Path) -> None:
    (tmp_path / "releases" / "2").mkdir(parents=True)
    (tmp_path / "releases" / "2" / "app.ini").touch()
    (tmp_path / "current").symlink_to("releases/2")
    (tmp_path / "app.ini").symlink_to(f"{tmp_path}/current/app.ini")
    here = str(tmp_path)
    assert route(f"{here}/app.ini") == [(here, "app.ini"), (here, "current"), (f"{here}/releases/2", "app.ini")]


def test_the_first_name_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("not/there/yet")
    here = str(tmp_path)
    assert route(f"{here}/dangling") == [(here, "dangling"), (here, "not")]


def test_a_loop_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert len(route(f"{tmp_path}/a")) == 41


def test_dots_on_the_way(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "a.ini").touch()
    (tmp_path / "x" / "link").symlink_to("../a.ini")
    assert route(f"{tmp_path}/x/./link") == [(f"{tmp_path}/x", "link"), (str(tmp_path), "a.ini")]
