"""What a person is told about a failed import."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imperator.instance.blame import (
    CannotLoad,
    blame,
    culprit,
    frames,
    in_one_line,
    modules_in,
    near_files,
    owner_of,
    trimmed,
    unreadable,
)


def raised(tmp_path: Path, code: str, **given: object) -> BaseException:
    """The exception that a user's file raises."""
    file = tmp_path / "app.py"
    file.write_text(code)
    with pytest.raises(BaseException) as caught:
        exec(compile(code, str(file), "exec"), {"__name__": "app", **given})
    return caught.value


class TestWhoseAFrameIs:
    def test_the_user_s(self) -> None:
        assert owner_of("/srv/site/app.py") == "user"

    def test_a_package_s_also_in_a_virtualenv_inside_the_user_s_directory(self) -> None:
        assert owner_of("/srv/site/.venv/lib/python3.11/site-packages/flask/app.py") == "package"
        assert owner_of("/usr/lib/python3/dist-packages/yaml/__init__.py") == "package"

    def test_an_installed_application_is_the_user_s(self) -> None:
        file = "/srv/site/.venv/lib/python3.11/site-packages/shop/wsgi.py"
        assert owner_of(file, "shop.wsgi", "shop") == "user"
        assert owner_of(file, "shop.wsgi", "other") == "package"

    def test_python_s_and_ours(self) -> None:
        import json

        import imperator.instance.application as ours

        assert owner_of(json.__file__) == "python"
        assert owner_of("<frozen importlib._bootstrap>") == "python"
        assert owner_of(ours.__file__) == "imperator"


class TestTheCulprit:
    def test_is_the_user_s_innermost_frame(self, tmp_path: Path) -> None:
        error = raised(tmp_path, "import json\ndef load():\n    json.loads('{')\nload()\n")
        frame = culprit(error)
        assert frame is not None
        assert (frame.file, frame.line, frame.function) == (str(tmp_path / "app.py"), 3, "load")
        assert str(frame) == f"{tmp_path}/app.py:3 in load: json.loads('{{')"

    def test_is_looked_for_in_the_cause_too(self, tmp_path: Path) -> None:
        inner = raised(tmp_path, "1 / 0\n")
        outer = ValueError("wrapped by a framework")
        outer.__cause__ = inner
        frame = culprit(outer)
        assert frame is not None
        assert frame.line == 1

    def test_a_circle_of_causes_ends(self) -> None:
        one, other = ValueError(), KeyError()
        one.__cause__, other.__cause__ = other, one
        assert culprit(one) is None


class TestTheLine:
    def test_a_long_message_of_several_lines_is_one_short_line(self) -> None:
        line = in_one_line(ValueError("first\n  second\n" + "x" * 5000))
        assert line.startswith("ValueError: first second xxx")
        assert line.endswith("…")
        assert len(line) < 450

    def test_an_exception_that_cannot_be_shown(self) -> None:
        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        assert in_one_line(Broken()).endswith("Broken: (its message cannot be shown: RuntimeError)")

    def test_an_exception_of_a_package_has_its_full_name(self) -> None:
        from werkzeug.exceptions import BadRequestKeyError

        assert in_one_line(BadRequestKeyError("name")).startswith("werkzeug.exceptions.BadRequestKeyError: 400 Bad")

    def test_opens_with_the_option(self, tmp_path: Path) -> None:
        problem = blame("app.ini:3: module = app", raised(tmp_path, "{}['x']\n"))
        assert problem.line == f"app.ini:3: module = app: KeyError: 'x' at {tmp_path}/app.py:1: {{}}['x']"
        assert str(problem) == problem.line

    def test_a_syntax_error_in_text_that_is_no_file_names_the_user_s_line(self, tmp_path: Path) -> None:
        problem = blame("app.ini:3: module = app", raised(tmp_path, "x = 1\neval('1 +')\n"))
        assert problem.line.endswith(f" at {tmp_path}/app.py:2: eval('1 +')")

    def test_a_null_byte_in_the_source(self, tmp_path: Path) -> None:
        (tmp_path / "nul.py").write_bytes(b"x = 1\0\n")
        sys.path.insert(0, str(tmp_path))
        try:
            with pytest.raises((SyntaxError, ValueError)) as caught:
                __import__("nul")
        finally:
            sys.path.remove(str(tmp_path))
        assert "null bytes" in blame("app.ini:3: module = nul", caught.value).line


class TestTheDetails:
    def test_are_the_user_s_frames_and_the_one_that_raised(self, tmp_path: Path) -> None:
        error = raised(tmp_path, "import json\ndef load():\n    json.loads('{')\nload()\n")
        text = trimmed(error)
        assert f'  File "{tmp_path}/app.py", line 4, in <module>\n    load()\n' in text
        assert f"  File \"{tmp_path}/app.py\", line 3, in load\n    json.loads('{{')\n" in text
        assert "of Python or of installed packages" in text
        assert text.count("json/") == 1
        assert text.endswith(in_one_line(error))

    def test_are_kept_with_the_error(self, tmp_path: Path) -> None:
        problem = blame("app.ini:3: module = app", raised(tmp_path, "1 / 0\n"))
        assert problem.details.endswith("ZeroDivisionError: division by zero")
        assert CannotLoad("a line").details == ""

    def test_name_the_cause(self, tmp_path: Path) -> None:
        error = raised(
            tmp_path, "try:\n    1 / 0\nexcept ZeroDivisionError as e:\n    raise ValueError('bad') from e\n"
        )
        assert trimmed(error).endswith("ValueError: bad\ncaused by ZeroDivisionError: division by zero")

    def test_without_a_traceback(self) -> None:
        assert frames(None) == []


class TestFiles:
    def test_names_of_modules_in_directories(self, tmp_path: Path) -> None:
        for name in ("one.py", "two.cpython-311-x86_64-linux-gnu.so", "notes.txt", "not-a-name.py"):
            (tmp_path / name).write_text("")
        (tmp_path / "package").mkdir()
        (tmp_path / "__pycache__").mkdir()
        assert modules_in([str(tmp_path), str(tmp_path / "gone")]) == ["one", "package", "two"]

    def test_near_files(self, tmp_path: Path) -> None:
        (tmp_path / "wsgi.py").write_text("")
        assert near_files(str(tmp_path / "wsig.py")) == "; did you mean wsgi.py?"
        assert near_files(str(tmp_path / "wsgi.py")) == ""
        assert near_files(str(tmp_path / "gone" / "wsgi.py")) == ""

    def test_what_can_be_read_is_no_obstacle(self, tmp_path: Path) -> None:
        assert unreadable(str(tmp_path)) is None
