"""``imperator check``: what is wrong inside the files, each told with its file and line before anything is started."""

from __future__ import annotations

import json
import os
import sys
import venv
from pathlib import Path

import pytest

from imperator.cli.check import main

HTTP = "[uwsgi]\nhttp-socket = 127.0.0.1:0\n"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def vassals(tmp_path: Path) -> Path:
    directory = tmp_path / "vassals"
    directory.mkdir()
    (directory / "app.py").write_text("def application(environ, start_response): ...\n")
    return directory


@pytest.fixture
def found(vassals: Path, capsys: pytest.CaptureFixture[str]) -> Found:
    return Found(vassals, capsys)


class Found:
    """``found(**files)`` writes files (``a="…"`` is ``a.ini``) and returns the problems, without the directory."""

    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self._capsys = capsys

    def __call__(self, *options: str, **files: str) -> list[str]:
        for name, text in files.items():
            (self.directory / f"{name}.ini").write_text(text)
        code = main([*options, str(self.directory)])
        lines = self._capsys.readouterr().out.replace(f"{self.directory}/", "").splitlines()
        assert code == int(any(": error: " in line for line in lines))
        return [line for line in lines if ": error: " in line or ": warning: " in line]


# -- options


def test_a_slip_of_the_pen(found: Found) -> None:
    text = HTTP + "module = app\nprocesess = 4\nvirtual-env = /x\ncolour = red\n"
    assert found(a=text) == [
        "a.ini:4: warning: procesess is no option, and no placeholder uses it: did you mean processes?",
        "a.ini:5: warning: virtual-env is no option, and no placeholder uses it: did you mean virtualenv?",
        "a.ini:6: warning: colour is no option, and no placeholder uses it: it has no effect",
    ]


def test_a_word_of_ones_own_that_a_placeholder_uses_is_none(found: Found) -> None:
    assert found(a=HTTP + "site = app\nmodule = %(site)\n") == []


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("processes = many", "processes = many: a number was expected"),
        ("threads = -2", "threads = -2: cannot be less than 0"),
        ("enable-threads = maybe", "enable-threads = maybe: true or false was expected"),
        ("chmod-socket = rwx", "chmod-socket = rwx: a mode in octal was expected, like 660"),
        ("mount = /a", "mount = /a: /PATH=MODULE was expected"),
        ("static-map = /a", "static-map = /a: /PATH=DIRECTORY was expected"),
        ("http-socket = 127.0.0.1:99999", "http-socket = 127.0.0.1:99999: 127.0.0.1:99999: '99999' is no port number"),
    ],
)
def test_a_value_of_the_wrong_type(found: Found, line: str, complaint: str) -> None:
    assert found(a=f"{HTTP}module = app\n{line}\n") == [f"a.ini:4: error: {complaint}"]


def test_what_only_uwsgi_knows_is_told_on_request(
    found: Found, vassals: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(a=HTTP + "module = app\ngevent = 100\n") == []
    main(["--verbose", str(vassals)])
    assert "note: for the real uWSGI only: gevent (line 4)" in capsys.readouterr().out
    main(["--json", str(vassals)])
    row = json.loads(capsys.readouterr().out.splitlines()[0])
    assert row["uwsgi_only"] == ["gevent (line 4)"]


def test_what_only_uwsgi_knows_and_an_engine_that_is_another(found: Found) -> None:
    text = HTTP + "module = app\nengine = granian\ngevent = 100\n"
    (problem,) = found(a=text)
    assert problem.startswith("a.ini: error: granian cannot do this: gevent is known to uWSGI only (a.ini:5)")
    assert problem.endswith("(engine = uwsgi can)")


def test_an_application_that_nobody_could_reach(found: Found) -> None:
    (problem,) = found(a="[uwsgi]\nmodule = app\n")
    assert problem.startswith("a.ini: error: there is an application, and no socket to serve it on (add http-socket")


def test_unless_the_emperor_brings_its_socket(found: Found) -> None:
    emperor = found.directory.parent / "emperor.ini"
    for line in ("emperor-on-demand-directory = /run", "emperor-on-demand-extension = .socket"):
        emperor.write_text(f"[uwsgi]\nemperor = {found.directory}\n{line}\n")
        (found.directory / "a.ini").write_text("[uwsgi]\nmodule = app\n")
        assert main([str(emperor)]) == 0


def test_another_program_may_do_what_ours_cannot(found: Found) -> None:
    assert found("--binary-path", "/bin/sh", a="[uwsgi]\nmodule = app\n") == []


def test_a_placeholder_that_nothing_sets(found: Found) -> None:
    assert found(a=HTTP + "module = app\nprocname-prefix = %(nobody)\n") == [
        "a.ini:4: warning: procname-prefix = %(nobody): nothing sets the placeholder nobody"
    ]


def test_a_variable_of_the_vassal_that_there_is_not(found: Found) -> None:
    (problem,) = found(a=HTTP + "module = app\nprocname-prefix = %(vassal.nmae)\n")
    assert problem.startswith("a.ini:4: error: %(vassal.nmae): there is no such variable (there are vassal.name ")


def test_the_variables_that_only_an_emperor_knows_are_no_problem(found: Found) -> None:
    lines = [f"env = A{number}=%({name})" for number, name in enumerate(["attr.x", "vassal.attr.x", "cgroup.memory"])]
    assert found(a=HTTP + "module = app\n" + "\n".join([*lines, "stats = 127.0.0.1:%(vassal.port)"]) + "\n") == []


# -- sockets


def test_an_address_that_two_vassals_have(found: Found) -> None:
    one, other = "[uwsgi]\nhttp-socket = 127.0.0.1:8400\nmodule = app\n", "[uwsgi]\nmodule = app\nhttp-socket = :8400\n"
    assert found(a=one, b=other) == [
        "b.ini:3: error: http-socket = :8400: a.ini:2 has http-socket = 127.0.0.1:8400 too: "
        "only one of them can, give one another address"
    ]


def test_a_unix_socket_is_known_by_its_real_path(found: Found) -> None:
    (found.directory / "run").mkdir()
    (found.directory / "link").symlink_to("run")
    (problem,) = found(
        a=f"[uwsgi]\nsocket = {found.directory}/run/x.sock\nmodule = app\n",
        b="[uwsgi]\nchdir = link\nsocket = ../link/./x.sock\nmodule = json\n",
    )
    assert problem.startswith("b.ini:3: error: socket = ../link/./x.sock: a.ini:2 has socket = run/x.sock too")


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1:8400", "127.0.0.1:8401"),
        ("127.0.0.1:8400", "127.0.0.2:8400"),
        ("127.0.0.1:8400", "[::1]:8400"),
        ("127.0.0.1:0", "127.0.0.1:0"),
        ("@one", "@two"),
    ],
)
def test_addresses_that_do_not_exclude_each_other(found: Found, addresses: tuple[str, str]) -> None:
    a, b = (f"[uwsgi]\nhttp-socket = {address}\nmodule = app\n" for address in addresses)
    assert found(a=a, b=b) == []


def test_those_who_share_a_port_on_purpose(found: Found) -> None:
    text = "[uwsgi]\nhttp-socket = 127.0.0.1:8400\nreuse-port = true\nmodule = app\n"
    assert found(a=text, b=text) == []


def test_an_address_that_comes_from_a_file_that_both_include(found: Found) -> None:
    (found.directory / "common.skel").write_text("[uwsgi]\nhttp-socket = 127.0.0.1:8400\n")
    text = "[uwsgi]\nini = common.skel\nmodule = app\n"
    (problem,) = found(a=text, b=text)
    assert problem.startswith("b.ini: error: http-socket = 127.0.0.1:8400: a.ini (by common.skel:2) has it too")


def test_a_path_that_is_no_socket(found: Found) -> None:
    (problem,) = found(a="[uwsgi]\nsocket = app.py\nmodule = app\n")
    assert "app.py is there and is no socket: remove it, or choose another path" in problem


# -- what is not there


def test_a_directory_that_is_not_there(found: Found) -> None:
    assert found(a=HTTP + "chdir = gone\nmodule = app\n") == [
        "a.ini:3: error: chdir = gone: gone is not there: the vassal would not start"
    ]


def test_a_hook_may_make_it(found: Found) -> None:
    (problem,) = found(a=HTTP + "hook-pre-jail = exec:mkdir -p gone\nchdir = gone\nmodule = app\n")
    assert problem.startswith("a.ini:4: warning: chdir = gone: gone is not there now (a hook may make it)")


def test_a_module_that_is_not_there(found: Found) -> None:
    (problem,) = found(a=HTTP + "module = apps:application\n")
    assert problem.startswith("a.ini:3: error: module = apps:application: there is no module apps in ")
    assert problem.endswith("did you mean app?")


def test_a_module_that_is_somewhere_else(found: Found) -> None:
    (found.directory / "src").mkdir()
    (found.directory / "src" / "shop.py").touch()
    (problem,) = found(a=HTTP + "module = shop\n")
    assert problem.endswith("it is in src: is pythonpath = src missing, or src.shop meant?")
    assert found(a=HTTP + "module = shop\npythonpath = src\n") == []
    assert found(a=HTTP + "module = shop\npythonpath = s*c\n") == []


def test_a_module_inside_a_package(found: Found) -> None:
    (found.directory / "shop").mkdir()
    (found.directory / "shop" / "wsgi.py").touch()
    assert found(a=HTTP + "module = shop.wsgi:application\n") == []
    (problem,) = found(a=HTTP + "module = shop.wsg:application\n")
    assert "there is no module wsg in shop: did you mean shop.wsgi?" in problem


def test_modules_that_are_installed_are_found_and_not_imported(found: Found) -> None:
    (found.directory / "loud.py").write_text("raise SystemExit('imported')\n")
    for name in ("yaml", "json.tool", "loud"):
        assert found(a=f"{HTTP}module = {name}\n") == []
        assert "loud" not in sys.modules


@pytest.mark.parametrize("name", ["...", "a-b", "app:", "app application"])
def test_what_is_no_name_of_a_module(found: Found, name: str) -> None:
    (problem,) = found(a=f"{HTTP}module = {name}\n")
    assert problem.endswith("is no name of a Python module")


def test_a_file_that_is_not_there(found: Found) -> None:
    (problem,) = found(a=HTTP + "wsgi-file = ap.py\n")
    assert problem.startswith("a.ini:3: error: wsgi-file = ap.py: ap.py is not there")
    assert "app.py" in problem
    (problem,) = found(a=HTTP + "wsgi-file = .\n")
    assert problem.endswith("is a directory and no package: it has no __init__.py")


def test_a_virtualenv_that_is_not_there(found: Found) -> None:
    (problem,) = found(a=HTTP + "virtualenv = env\nmodule = app\n")
    assert problem == "a.ini:3: error: virtualenv = env: there is no such directory: python3 -m venv env makes one"


def test_a_virtualenv_that_is_none(found: Found) -> None:
    (found.directory / "env").mkdir()
    (problem,) = found(a=HTTP + "virtualenv = env\nmodule = app\n")
    assert problem.startswith("a.ini:3: error: ")
    assert "is it a virtualenv?" in problem


def test_modules_of_a_virtualenv(found: Found) -> None:
    venv.create(found.directory / "env", symlinks=True)
    (packages,) = (found.directory / "env").glob("lib/python*/site-packages")
    (packages / "shop.py").touch()
    assert found(a=HTTP + "virtualenv = env\nmodule = shop\n") == []
    (problem,) = found(a=HTTP + "virtualenv = env\nmodule = shops\n")
    assert problem.startswith("a.ini:4: error: module = shops: there is no module shops")


def test_a_virtualenv_whose_python_is_gone(found: Found) -> None:
    venv.create(found.directory / "env", symlinks=True)
    program = found.directory / "env" / "bin" / "python"
    program.unlink()
    program.symlink_to("/opt/python3.1/bin/python")
    (problem,) = found(a=HTTP + "virtualenv = env\nmodule = app\n")
    assert "its Python, /opt/python3.1/bin/python, is not there any more: make the virtualenv anew" in problem


def test_a_log_that_could_not_be_written(found: Found) -> None:
    assert found(a=HTTP + "module = app\nlogto = gone/a.log\n") == [
        "a.ini:4: error: logto = gone/a.log: the directory gone is not there"
    ]


@as_root
def test_a_user_that_there_is_not(found: Found) -> None:
    assert found(a=HTTP + "module = app\nuid = nobody-of-that-name\n") == [
        "a.ini:4: error: uid = nobody-of-that-name: there is no user 'nobody-of-that-name': create it, or give a number"
    ]


def test_what_is_behind_another_root_is_not_judged(found: Found) -> None:
    assert found(a=HTTP + "chroot = /srv/jail\nchdir = /gone\nmodule = gone\n") == []


# -- templates


def test_a_template_that_would_be_started(found: Found) -> None:
    (problem,) = found(a=HTTP + "ini = base.ini\nmodule = app\n", base="[uwsgi]\nprocesses = 2\n")
    assert problem == (
        "base.ini: warning: looks like a template: a.ini includes it, and it has no socket, no application and "
        "nothing else to run; with an ending like .skel it would be left alone"
    )
    (found.directory / "base.ini").rename(found.directory / "base.skel")
    assert found(a=HTTP + "ini = base.skel\nmodule = app\n") == []


# -- several in one file


def test_each_section_is_looked_at(found: Found) -> None:
    one, two = "[one]\nhttp-socket = 127.0.0.1:8400\nmodule = app\n", "[two]\nhttp-socket = :8400\nmodule = ap\n"
    module, address = found(x=one + two)
    assert address.startswith("x.ini:6: error: module = ap: ")
    assert module.startswith("x.ini:5: error: http-socket = :8400: x.ini:2 has http-socket = 127.0.0.1:8400 too")


def test_a_section_that_no_program_could_be_told(found: Found) -> None:
    (problem,) = found(x="[a/b]\nhttp-socket = :8400\nmodule = app\n[c]\nhttp-socket = :8401\nmodule = app\n")
    assert problem.startswith("x.ini: error: [a/b]: the name of a section that is a vassal cannot hold '/'")


def test_a_null_character(found: Found) -> None:
    (note,) = found(a=f"{HTTP}wsgi-file = app.py\nprocesses = 2\0000\n")
    assert note == "a.ini:4: warning: there is a null character in this line, and what comes after it is lost"


def test_the_root_section_is_one_of_them(found: Found, capsys: pytest.CaptureFixture[str]) -> None:
    emperor = found.directory.parent / "emperor.ini"
    emperor.write_text(f"[uwsgi]\nemperor = {found.directory}\nemperor-sections = true\n")
    one, other = "[uwsgi]\nhttp-socket = :8400\nmodule = app\n", "[shop]\nhttp-socket = :8400\nmodule = app\n"
    (found.directory / "x.ini").write_text(one + other)
    assert main([str(emperor)]) == 1
    out = capsys.readouterr().out
    assert f"x.ini:5: error: http-socket = :8400: {found.directory}/x.ini:2 has it too" in out
    assert "1 of 2 would be started" in out


@pytest.mark.parametrize("name", [r"a\u0000b", r"\ud800"])
def test_a_text_that_is_none(found: Found, name: str) -> None:
    (found.directory / "x.json").write_text(f'{{"{name}": {{"module": "app"}}}}')
    (problem,) = found()
    assert problem.startswith("x.json: error: ")
    assert problem.endswith(" is no text")


def test_a_section_whose_name_no_program_can_be_given(found: Found) -> None:
    (found.directory / "x.json").write_text(
        f'{{"{"é" * 130}": {{"module": "app"}}, "b": {{"http-socket": ":8400", "module": "app"}}}}'
    )
    (problem,) = found()
    assert problem.startswith("x.json: error: [")
    assert problem.endswith("rename it")


def test_what_is_wrong_with_a_whole_section_names_it(found: Found) -> None:
    (problem,) = found(x="[a]\nhttp-socket = :8400\nmodule = app\n[b c]\nmodule = app\n")
    assert problem.startswith("x.ini: error: [b c]: there is an application, and no socket to serve it on")
