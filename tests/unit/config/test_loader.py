"""An Emperor's configuration: from the command line, from files in five formats, and from the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from imperator.config.errors import ConfigurationError
from imperator.config.hook import Hook
from imperator.config.loader import load_emperor
from imperator.config.manual import render
from imperator.config.note import Note
from imperator.config.settings import EmperorSettings

PAGE = Path(__file__).parents[3] / "docs" / "options.md"

FILES = {
    "e.ini": "[uwsgi]\nemperor = /a\nemperor = /b\nemperor-nofollow =  true\nemperor-throttle = 5\n",
    "e.xml": "<uwsgi><emperor>/a</emperor><emperor>/b</emperor><emperor-nofollow/>"
    "<emperor-throttle>5</emperor-throttle></uwsgi>",
    "e.yaml": "uwsgi:\n  emperor:\n    - /a\n    - /b\n  emperor-nofollow: true\n  emperor-throttle: 5\n",
    "e.json": '{"uwsgi": {"emperor": ["/a", "/b"], "emperor-nofollow": true, "emperor-throttle": 5}}',
    "e.toml": '[uwsgi]\nemperor = ["/a", "/b"]\nemperor-nofollow = true\nemperor-throttle = 5\n',
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(FILES[name])
    settings = load_emperor([name], {}, str(tmp_path))
    assert settings == EmperorSettings(emperor=("/a", "/b"), emperor_nofollow=True, emperor_throttle=5)


def test_the_command_line_and_the_environment() -> None:
    settings = load_emperor(["--emperor=/a", "--emperor", "/b"], {"UWSGI_EMPEROR_FREQ": "7"}, "/")
    assert settings == EmperorSettings(emperor=("/a", "/b"), emperor_freq=7)


def test_placeholders_magic_variables_and_the_environment_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "e.ini").write_text("[uwsgi]\nbase = $(ROOT)/srv\nemperor = %(base)/%n\nemperor-pidfile = %dpid\n")
    settings = load_emperor(["--ini", "e.ini"], {"ROOT": "/x"}, str(tmp_path))
    assert settings.emperor == ("/x/srv/e",)
    assert settings.emperor_pidfile == f"{tmp_path}/pid"
    assert settings.notes == ()


def test_old_hook_spellings_run_after_the_new_ones(tmp_path: Path) -> None:
    (tmp_path / "e.ini").write_text("[uwsgi]\nexec-as-emperor = late\nhook-as-emperor = write:/f x\n")
    settings = load_emperor(["e.ini"], {}, str(tmp_path))
    assert settings.hook_as_emperor == (Hook("write", "/f x"), Hook("exec", "late"))


def test_what_does_nothing_is_noted_with_its_line(tmp_path: Path) -> None:
    text = "[uwsgi]\nsocket = :1\nemperor-nofolow = true\nlog-format = %(addr)\nthreads = 2\n"
    (tmp_path / "e.ini").write_text(text)
    notes = {note.where: note.text for note in load_emperor(["e.ini"], {}, str(tmp_path)).notes}
    assert notes.keys() == {"e.ini:2", "e.ini:3", "e.ini:4"}
    assert "did you mean emperor-nofollow?" in notes["e.ini:3"]
    assert "without effect here: socket, threads" in notes["e.ini:2"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[uwsgi]\nemperor-throttle = soon\n", "e.ini:2: emperor-throttle = soon: a number was expected"),
        ("[uwsgi]\ninclude = e.ini\n", "e.ini:2: e.ini includes itself"),
        ("[uwsgi]\ninclude = gone.ini\n", "e.ini:2: cannot read gone.ini: No such file or directory"),
    ],
)
def test_errors_say_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "e.ini").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_emperor(["e.ini"], {}, str(tmp_path))
    assert str(caught.value).startswith(message)


def test_a_file_without_the_section_says_nothing_and_that_is_noted(tmp_path: Path) -> None:
    (tmp_path / "e.ini").write_text("[other]\nemperor = /a\n")
    settings = load_emperor(["e.ini"], {}, str(tmp_path))
    assert settings.emperor == ()
    note = Note("e.ini", "there is no [uwsgi] section, so nothing of it counts; there is [other]")
    assert settings.notes == (note,)


def test_logic_in_an_emperors_own_file(tmp_path: Path) -> None:
    lines = "for = a b", "emperor = /%(_)", "endfor =", "if-env = NIGHT", "emperor-throttle = 5", "endif ="
    (tmp_path / "e.ini").write_text("\n".join(["[uwsgi]", *lines]))
    assert load_emperor(["e.ini"], {}, str(tmp_path)) == EmperorSettings(emperor=("/a", "/b"))
    assert load_emperor(["e.ini"], {"NIGHT": "1"}, str(tmp_path)).emperor_throttle == 5


def test_a_declared_option_and_what_is_for_the_vassals_are_not_noted(tmp_path: Path) -> None:
    (tmp_path / "e.ini").write_text("[uwsgi]\ndeclare-option = often=emperor-freq=$1\noften = 5\n")
    settings = load_emperor(["e.ini"], {"UWSGI_VASSAL_SOCKET": "/tmp/%n.sock"}, str(tmp_path))
    assert settings == EmperorSettings(emperor_freq=5)


def test_an_unknown_option_of_the_command_line_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="did you mean emperor-stats"):
        load_emperor(["--emperor-stat", ":1"], {}, "/")


def test_a_section_without_its_bracket_is_noted(tmp_path: Path) -> None:
    (tmp_path / "e.ini").write_text("[uwsgi\nemperor = /a\n")
    notes = load_emperor(["e.ini"], {}, str(tmp_path)).notes
    assert Note("e.ini:1", "the section '[uwsgi' has no closing bracket, so it is called 'uwsg'") in notes


def test_an_entity_bomb_is_refused(tmp_path: Path) -> None:
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 100}'>" for n in range(1, 5))
    (tmp_path / "e.xml").write_text(f"<!DOCTYPE u [<!ENTITY e0 'ha'>{entities}]><uwsgi><emperor>&e4;</emperor></uwsgi>")
    with pytest.raises(ConfigurationError, match=r"e\.xml:1: .*(amplification|entities that multiply)"):
        load_emperor(["e.xml"], {}, str(tmp_path))


def test_the_manual_has_every_option() -> None:
    assert PAGE.read_text() == render()
