"""Several instances in one file: which sections are vassals, and what an edit concerns."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from imperator.config.formats import parse
from imperator.monitors.api import MonitorOptions
from imperator.monitors.files import Rules, file_of
from imperator.monitors.sections import Sections, vassals_in
from imperator.reign.names import SourceName, VassalName
from imperator.reign.wanted import Wanted

TWO = "[app1]\nsocket = :1\n[app2]\nsocket = :2\n"


def divided(text: str, wish: bool | None = True, name: str = "x.ini") -> list[str] | None:
    return vassals_in(parse(text, name), wish)


# -- which sections are vassals


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.ini", TWO),
        (
            "x.xml",
            '<apps><uwsgi id="app1"><socket>:1</socket></uwsgi><uwsgi id="app2"><socket>:2</socket></uwsgi></apps>',
        ),
        ("x.yaml", "app1:\n  socket: :1\napp2:\n  socket: :2\n"),
        ("x.json", '{"app1": {"socket": ":1"}, "app2": {"socket": ":2"}}'),
        ("x.toml", '[app1]\nsocket = ":1"\n[app2]\nsocket = ":2"\n'),
    ],
)
def test_in_every_format(name: str, text: str) -> None:
    assert divided(text, True, name) == ["app1", "app2"]


def test_the_root_section_stays_the_vassal_that_is_called_as_the_file() -> None:
    assert divided(TWO + "[uwsgi]\nsocket = :3\n") == ["uwsgi", "app1", "app2"]


def test_some_sections_are_no_vassals() -> None:
    text = "[.shared]\na = 1\n[_shared]\na = 1\n[emperor]\nattr = x\n[zerg]\nidle = 5\n[app1]\nsocket = :1\n"
    assert divided(text) == ["app1"]


def test_a_section_that_another_takes_in_is_a_template() -> None:
    for address in (":common", "%p:common", "x.ini:common"):
        assert divided(f"[common]\nthreads = 2\n[app1]\nini = {address}\n") == ["app1"]
    assert divided("[common]\nthreads = 2\n[app1]\nini = other.ini:common\n") == ["common", "app1"]


def test_values_beside_the_sections_are_not_taken_for_vassals() -> None:
    assert divided('title = "apps"\n[app1]\nsocket = ":1"\n', True, "x.toml") == ["app1"]


def test_an_empty_section_of_an_ini_file_is_a_vassal() -> None:
    """All that it needs may come from vassals-include."""
    assert divided("[app1]\n[app2]\n") == ["app1", "app2"]


@pytest.mark.parametrize(
    "text", ["", "[uwsgi]\nsocket = :1\n", "[emperor]\nattr = x\n", "[uwsgi]\n[emperor]\nattr = x\n"]
)
def test_one_plain_vassal(text: str) -> None:
    assert divided(text, True) is None
    assert divided(text, None) is None


# -- and if nobody says whether there are any


def test_a_file_without_root_section_is_divided() -> None:
    assert divided(TWO, None) == ["app1", "app2"]
    assert divided("[app1]\nsocket = :1\n", None) == ["app1"]


def test_unless_it_has_one_or_nobody_wants_it() -> None:
    assert divided(TWO + "[uwsgi]\nsocket = :3\n", None) is None
    assert divided(TWO, False) is None
    text = '<apps><uwsgi id="a"><socket>:1</socket></uwsgi><uwsgi id="b"><socket>:2</socket></uwsgi></apps>'
    assert divided(text, None, "x.xml") is None  # the original reads them all, as one instance


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("production.ini", "[app:main]\nuse = egg:shop\n[server:main]\nport = 6543\n[loggers]\nkeys = root\n"),
        ("package.json", '{"name": "shop", "scripts": {"test": "jest"}, "dependencies": {"express": "^4"}}'),
        ("compose.yaml", "services:\n  web:\n    image: nginx\nvolumes:\n  data: {}\n"),
        ("shop.ini", "[uwsg]\nsocket = :1\n"),  # a slip of the pen
        ("shop.ini", "[uWSGI]\nsocket = :1\n"),
    ],
)
def test_other_peoples_files_stay_whole(name: str, text: str) -> None:
    assert divided(text, None, name) is None


# -- what an edit concerns


class File:
    """One file as a monitor looks at it again and again; each change has a later time."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self.rules = Rules(
            SourceName("dir"),
            MonitorOptions(str(path.parent), sections=True, **options),  # type: ignore[arg-type]
        )
        self.sections = Sections(self.rules)
        self.before: Wanted | None = None
        self.told: dict[VassalName, Wanted] = {}
        self._clock = itertools.count(1_000_000_000)

    def write(self, text: str) -> File:
        self.path.write_text(text)
        return self.touch()

    def touch(self) -> File:
        os.utime(self.path, (now := next(self._clock), now), follow_symlinks=not self.rules.options.nofollow)
        return self

    def look(self) -> tuple[set[str], set[str]]:
        """Who has changed (or is new), and who has gone."""
        name = self.path.name
        wanted = self.rules.examine(name, str(self.path), str(self.path.parent))
        assert wanted is not None
        parts = self.sections.divide(name, str(self.path), wanted, self.before, self.told)
        old, self.before = self.told, wanted
        self.told = {each.name: each for each in ([wanted] if parts is None else parts)}
        changed = {vassal for vassal, each in self.told.items() if old.get(vassal) != each}
        return {*changed}, {*old.keys() - self.told.keys()}

    def problem(self, vassal: str) -> str | None:
        return self.told[VassalName(vassal)].problem


@pytest.fixture
def file(tmp_path: Path) -> File:
    file = File(tmp_path / "x.ini").write(TWO)
    assert file.look() == ({"x.ini:app1", "x.ini:app2"}, set())
    return file


def test_nothing_has_changed(file: File) -> None:
    assert file.look() == (set(), set())


def test_an_edit_concerns_its_section(file: File) -> None:
    file.write(TWO.replace(":2", ":22"))
    assert file.look() == ({"x.ini:app2"}, set())


def test_a_comment_concerns_nobody(file: File) -> None:
    file.write("# mine\n" + TWO.replace("socket", "socket  "))
    assert file.look() == (set(), set())


def test_a_touch_concerns_all(file: File) -> None:
    file.touch()
    assert file.look() == ({"x.ini:app1", "x.ini:app2"}, set())
    file.write(TWO.replace(":2", ":22"))
    assert file.look() == ({"x.ini:app2"}, set())


def test_a_template_concerns_whoever_takes_it_in(tmp_path: Path) -> None:
    text = "[base]\nthreads = 1\n[common]\nini = :base\n[app1]\nini = :common\n[app2]\nsocket = :2\n"
    file = File(tmp_path / "x.ini").write(text)
    assert file.look() == ({"x.ini:app1", "x.ini:app2"}, set())
    file.write(text.replace("threads = 1", "threads = 2"))
    assert file.look() == ({"x.ini:app1"}, set())


def test_sections_come_go_and_are_renamed(file: File) -> None:
    file.write(TWO + "[app3]\nsocket = :3\n")
    assert file.look() == ({"x.ini:app3"}, set())
    file.write(TWO.replace("app2", "shop"))
    assert file.look() == ({"x.ini:shop"}, {"x.ini:app2", "x.ini:app3"})


def test_a_file_that_gets_only_a_root_section_is_one_vassal(file: File) -> None:
    file.write("[uwsgi]\nsocket = :1\n")
    assert file.look() == ({"x.ini"}, {"x.ini:app1", "x.ini:app2"})


def test_what_cannot_be_read_stops_nobody(file: File) -> None:
    file.write("[app1\nsocket = :1\n")
    assert file.look() == ({"x.ini"}, set()), "one vassal, which cannot start, says why"
    assert file.problem("x.ini") == (
        f"{file.path}:1: the section '[app1' has no closing bracket, so it is called 'app'"
        "; its other vassals go on as they are"
    )
    assert file.look() == (set(), set())
    file.write(TWO)
    assert file.look() == (set(), {"x.ini"}), "mended as it was: nobody is concerned"


def test_nor_does_a_file_that_lost_its_content(file: File) -> None:
    file.write("")
    assert file.look() == ({"x.ini"}, set())
    assert "is empty now" in (file.problem("x.ini") or "")
    file.write(TWO.replace(":2", ":22"))
    assert file.look() == ({"x.ini:app2"}, {"x.ini"})


def test_what_was_never_whole_says_so_as_one_vassal(tmp_path: Path) -> None:
    file = File(tmp_path / "x.json").write('{"app1": [')
    assert file.look() == ({"x.json"}, set())
    assert (file.problem("x.json") or "").startswith(f"{file.path}:1: ")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": {"b": ' + "1" * 5000 + "}}"])
def test_what_chokes_a_parser(tmp_path: Path, text: str) -> None:
    file = File(tmp_path / "x.json").write(text)
    assert file.look() == ({"x.json"}, set())
    assert file.problem("x.json")


def test_a_file_larger_than_is_looked_at(file: File) -> None:
    file.write(TWO + "#" * (1 << 20))
    assert file.look() == ({"x.ini"}, set())
    assert "larger than" in (file.problem("x.ini") or "")


@pytest.mark.parametrize("name", ["app:main", "a/b", "%n", "b.ini"])
def test_a_name_that_no_program_could_be_told(tmp_path: Path, name: str) -> None:
    file = File(tmp_path / "x.ini").write(f"[{name}]\nsocket = :1\n[app]\n")
    assert file.look() == ({f"x.ini:{name}", "x.ini:app"}, set())
    assert "rename it" in (file.problem(f"x.ini:{name}") or "")
    assert file.problem("x.ini:app") is None


def test_a_root_element_beside_those_with_ids(tmp_path: Path) -> None:
    text = '<apps><uwsgi id="a"><socket>:1</socket></uwsgi><uwsgi><socket>:2</socket></uwsgi></apps>'
    file = File(tmp_path / "x.xml").write(text)
    assert file.look() == ({"x.xml", "x.xml:a"}, set())
    assert "give it an id" in (file.problem("x.xml") or "")


def test_a_link_that_is_touched_where_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text(TWO)
    (tmp_path / "x.ini").symlink_to("real")
    file = File(tmp_path / "x.ini", nofollow=True).touch()
    assert file.look() == ({"x.ini:app1", "x.ini:app2"}, set())
    (tmp_path / "real").write_text(TWO.replace(":2", ":22"))
    assert file.look() == (set(), set())
    assert file.touch().look() == ({"x.ini:app1", "x.ini:app2"}, set())


def test_no_sections_for_tyrants_programs_and_foreign_endings(tmp_path: Path) -> None:
    assert File(tmp_path / "a.ini", tyrant=True).write(TWO).look() == ({"a.ini"}, set())
    file = File(tmp_path / "b.ini", magic_exec=True).write(TWO)
    file.path.chmod(0o755)
    assert file.look() == ({"b.ini"}, set())
    assert File(tmp_path / "c.lua", extra_extensions=(".lua",)).write(TWO).look() == ({"c.lua"}, set())


def test_the_sockets_of_on_demand_vassals(tmp_path: Path) -> None:
    (tmp_path / "x.ini:app1.sock").write_text("/run/app1\n")
    file = File(tmp_path / "x.ini", on_demand_extension=".sock").write(TWO)
    file.look()
    assert [each.socket for each in file.told.values()] == ["/run/app1", None]
    (tmp_path / "x.ini:app2.sock").write_text("/run/app2\n")
    assert file.look() == ({"x.ini:app2"}, set())
    file = File(tmp_path / "x.ini", on_demand_directory="/run")
    file.look()
    assert [each.socket for each in file.told.values()] == ["/run/x.app1.socket", "/run/x.app2.socket"]


def test_the_file_that_a_vassal_is_in() -> None:
    options = MonitorOptions("/")
    assert file_of("x.ini:app1", options) == "x.ini"
    assert file_of("a:b.ini", options) == "a:b.ini"
    assert file_of("x.txt:app1", options) == "x.txt:app1"
