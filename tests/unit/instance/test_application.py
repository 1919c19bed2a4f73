"""Finding and loading the user's application, and one clear line when that cannot be."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imperator.config.given import Configuration, Given
from imperator.config.instance_settings import InstanceSettings, Interface, Mount
from imperator.instance.application import (
    FAILED_APPLICATION,
    Application,
    Asked,
    Option,
    asked_for,
    import_beforehand,
    load,
    load_all,
    no_application,
    pythonized,
)
from imperator.instance.blame import CannotLoad

EXAMPLES = Path(__file__).parents[3] / "examples" / "apps"
WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
ASGI = "async def application(scope, receive, send):\n    pass\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory that is the working directory and first in ``sys.path``, as an instance has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith((str(tmp_path), str(EXAMPLES))):
            del sys.modules[name]


def ask(
    value: str, option: Option = "module", callable: str | None = None, interface: Interface | None = None
) -> Application:
    (application,) = load(Asked(option, value, "app.ini:3", callable, interface))
    return application


def refused(
    value: str, option: Option = "module", callable: str | None = None, interface: Interface | None = None
) -> str:
    with pytest.raises(CannotLoad) as caught:
        load(Asked(option, value, "app.ini:3", callable, interface))
    assert "\n" not in caught.value.line
    prefix = f"app.ini:3: {option} = {value}: "
    assert caught.value.line.startswith(prefix)
    return caught.value.line.removeprefix(prefix)


def answer(application: Application, path: str = "/") -> tuple[str, bytes]:
    told: list[str] = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "SERVER_NAME": "localhost"}
    environ |= {"SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1"}
    more: dict[str, Any] = {"wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(), "wsgi.errors": sys.stderr}
    body = application.callable(environ | more, lambda status, headers, exc_info=None: told.append(status))
    return told[0], b"".join(body)


class TestRealApplications:
    def test_flask(self, place: Path) -> None:
        sys.path.insert(0, str(EXAMPLES / "flask_app"))
        application = ask("hello:app")
        assert application.interface == "wsgi"
        assert application.name == "hello:app"
        assert application.where == "app.ini:3"
        status, body = answer(application)
        assert status == "200 OK"
        assert body.startswith(b"Hello from Flask")

    def test_django(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sys.path.insert(0, str(EXAMPLES / "django_app"))
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "website.settings")
        application = ask("website.wsgi")
        assert (application.interface, application.name) == ("wsgi", "website.wsgi:application")

    def test_django_s_asgi_handler(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sys.path.insert(0, str(EXAMPLES / "django_app"))
        monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "website.settings")
        (place / "site_asgi.py").write_text(
            "from django.core.asgi import get_asgi_application\napplication = get_asgi_application()\n"
        )
        assert ask("site_asgi").interface == "asgi"

    def test_a_plain_file(self, place: Path) -> None:
        application = ask(str(EXAMPLES / "plain_app" / "hello.py"), "wsgi-file")
        assert application.interface == "wsgi"
        assert answer(application)[1].startswith(b"Hello from plain WSGI")


class TestWhatIsFound:
    def test_a_module_s_application(self, place: Path) -> None:
        (place / "one.py").write_text(WSGI)
        assert ask("one").name == "one:application"

    def test_the_callable_option_names_it(self, place: Path) -> None:
        (place / "two.py").write_text(WSGI.replace("application", "main"))
        assert ask("two", callable="main").name == "two:main"

    def test_the_colon_comes_before_the_callable_option(self, place: Path) -> None:
        (place / "three.py").write_text(WSGI + WSGI.replace("application", "main"))
        assert ask("three:main", callable="application").name == "three:main"

    def test_app_where_there_is_no_application_and_none_was_named(self, place: Path) -> None:
        (place / "four.py").write_text(WSGI.replace("application", "app"))
        application = ask("four")
        assert application.name == "four:app"
        assert application.reason.startswith("no callable named and no application: app it is; ")

    def test_a_factory_is_called(self, place: Path) -> None:
        (place / "five.py").write_text("def create():\n    def app(environ, start_response): ...\n    return app\n")
        assert ask("five:create()").interface == "wsgi"

    def test_a_dotted_callable(self, place: Path) -> None:
        (place / "six.py").write_text("class Site:\n    @staticmethod\n    def app(environ, start_response): ...\n")
        assert ask("six:Site.app").interface == "wsgi"

    def test_a_file_is_a_module_named_as_in_uwsgi(self, place: Path) -> None:
        (place / "hello.wsgi").write_text(WSGI)
        assert ask("hello.wsgi", "wsgi-file").name == "uwsgi_file_hello_wsgi:application"
        assert pythonized("/srv/my.site/app.py") == "_srv_my_site_app"
        assert "uwsgi_file_hello_wsgi" in sys.modules

    def test_a_file_leaves_no_byte_code_under_another_s_name(self, place: Path) -> None:
        (place / "hello.wsgi").write_text(WSGI)
        ask("hello.wsgi", "wsgi-file")
        assert not (place / "__pycache__").exists()

    def test_a_file_with_its_callable(self, place: Path) -> None:
        (place / "hello.py").write_text(WSGI.replace("application", "main"))
        assert ask("hello.py:main", "wsgi-file").name == "uwsgi_file_hello:main"

    def test_a_module_given_as_a_file(self, place: Path) -> None:
        (place / "hello.py").write_text(WSGI)
        assert ask("hello.py").name == "uwsgi_file_hello:application"

    def test_a_directory_is_a_package(self, place: Path) -> None:
        (place / "site").mkdir()
        (place / "site" / "__init__.py").write_text("from .inner import application\n")
        (place / "site" / "inner.py").write_text(WSGI)
        assert ask("./site", "wsgi-file").interface == "wsgi"

    def test_a_dictionary_of_applications(self, place: Path) -> None:
        (place / "many.py").write_text(
            WSGI + ASGI.replace("application", "other") + "applications = {'': application, '/b': 'other'}\n"
        )
        found = load(Asked("module", "many", "app.ini:3"))
        assert [(one.path, one.interface) for one in found] == [("", "wsgi"), ("/b", "asgi")]

    def test_a_mount_s_path_stays_with_it(self, place: Path) -> None:
        (place / "one.py").write_text(WSGI)
        (application,) = load(Asked("mount", "one.py", "app.ini:3", path="/one"))
        assert application.path == "/one"

    def test_one_that_fails_does_not_keep_the_others_from_being_loaded(self, place: Path) -> None:
        (place / "good.py").write_text(WSGI)
        loaded = load_all(
            [Asked("mount", "gone", "app.ini:1", path="/a"), Asked("mount", "good", "app.ini:2", path="/b")]
        )
        assert [one.path for one in loaded.applications] == ["/b"]
        assert [problem.line.partition(": ")[0] for problem in loaded.problems] == ["app.ini:1"]

    def test_modules_imported_beforehand(self, place: Path) -> None:
        (place / "first.py").write_text("")
        (place / "broken.py").write_text("1 / 0\n")
        problems = import_beforehand(["first", "./broken.py"], "app.ini")
        assert "first" in sys.modules
        assert [problem.line for problem in problems] == [
            f"app.ini: import = ./broken.py: ZeroDivisionError: division by zero at {place}/broken.py:1: 1 / 0"
        ]


class TestInterface:
    @pytest.mark.parametrize(
        ("code", "interface"),
        [
            ("async def application(scope, receive, send): ...", "asgi"),
            ("class A:\n    async def __call__(self, scope, receive, send): ...\napplication = A()", "asgi"),
            ("def application(scope, receive, send): ...", "asgi"),
            ("async def application(*args): ...", "asgi"),
            ("async def application(scope, protocol): ...", "rsgi"),
            (
                "class A:\n    async def __rsgi__(self, s, p): ...\n    def __call__(self): ...\napplication = A()",
                "rsgi",
            ),
            ("def application(environ, start_response): ...", "wsgi"),
            ("def application(environ, start_response, more=None): ...", "wsgi"),
            ("def application(*args, **kwargs): ...", "wsgi"),
            ("class application:\n    def __init__(self, environ, start_response): ...", "wsgi"),
            ("import functools\nasync def a(x, s, r, w): ...\napplication = functools.partial(a, 1)", "asgi"),
        ],
    )
    def test_guessed(self, place: Path, code: str, interface: str) -> None:
        (place / "guessed.py").write_text(code + "\n")
        application = ask("guessed")
        assert application.interface == interface
        assert application.reason.startswith(f"{interface.upper()}: it ")

    def test_said(self, place: Path) -> None:
        (place / "said.py").write_text("def application(*args): ...\n")
        application = ask("said", interface="asgi")
        assert (application.interface, application.reason) == ("asgi", "ASGI: as configured")

    def test_said_wrongly(self, place: Path) -> None:
        (place / "wrong.py").write_text(WSGI)
        assert refused("wrong", interface="asgi") == (
            "configured as ASGI, but application is WSGI: it is called with (environ, start_response) "
            "(interface = wsgi)"
        )

    def test_a_factory_that_is_not_called(self, place: Path) -> None:
        (place / "factory.py").write_text("def create_app(debug=False): ...\n")
        assert refused("factory:create_app") == (
            "create_app is no application: a function, it is called with (debug=False) "
            "(it makes applications? then write create_app())"
        )


class TestOneLineForThePerson:
    def test_no_such_module(self, place: Path) -> None:
        (place / "hello.py").write_text(WSGI)
        line = refused("helo")
        assert line.startswith(f"there is no module helo in {place}")
        assert line.endswith("; did you mean hello?")

    def test_no_such_module_but_one_deeper(self, place: Path) -> None:
        (place / "website").mkdir()
        (place / "website" / "wsgi.py").write_text(WSGI)
        assert refused("wsgi").endswith("; did you mean website.wsgi?")

    def test_no_such_module_in_a_package(self, place: Path) -> None:
        (place / "website").mkdir()
        (place / "website" / "__init__.py").write_text("")
        (place / "website" / "wsgi.py").write_text(WSGI)
        assert refused("website.wgsi") == f"there is no module wgsi in {place}/website; did you mean website.wsgi?"

    def test_a_dot_where_a_colon_should_be(self, place: Path) -> None:
        (place / "hello.py").write_text(WSGI)
        assert refused("hello.application") == (
            f"there is no module hello.application: hello ({place}/hello.py) is a module, not a package; "
            "did you mean hello:application?"
        )

    def test_a_module_that_the_application_needs_is_missing(self, place: Path) -> None:
        (place / "hello.py").write_text("import os\nimport flsk\n" + WSGI)
        line = refused("hello")
        assert line.startswith(f"ModuleNotFoundError: No module named 'flsk' at {place}/hello.py:2: import flsk (")

    def test_what_is_missing_lies_beside_the_file(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (place / "src").mkdir()
        (place / "src" / "hello.py").write_text("import models\n" + WSGI)
        (place / "src" / "models.py").write_text("")
        assert refused("src/hello.py", "wsgi-file") == (
            f"ModuleNotFoundError: No module named 'models' at {place}/src/hello.py:1: import models "
            f"(models is beside that file, but not where modules are looked for: pythonpath = {place}/src)"
        )

    def test_the_module_of_the_real_uwsgi(self, place: Path) -> None:
        (place / "hello.py").write_text("import uwsgi\n" + WSGI)
        assert refused("hello").endswith("(only the real uWSGI has a module uwsgi: engine = uwsgi)")

    def test_a_syntax_error(self, place: Path) -> None:
        (place / "hello.py").write_text("import os\ndef application(:\n")
        assert refused("hello") == f"SyntaxError: invalid syntax at {place}/hello.py:2: def application(:"

    def test_a_syntax_error_in_what_it_imports(self, place: Path) -> None:
        (place / "hello.py").write_text("import deep\n")
        (place / "deep.py").write_text("if True:\nx = 1\n")
        line = refused("hello")
        assert line.startswith(
            f"IndentationError: expected an indented block after 'if' statement on line 1 at {place}/deep.py:2"
        )
        assert line.endswith(f", imported by {place}/hello.py:1: import deep")

    def test_an_exception_at_import(self, place: Path) -> None:
        (place / "hello.py").write_text("def configure():\n    return {}['DATABASE']\nconfigure()\n")
        assert refused("hello") == f"KeyError: 'DATABASE' at {place}/hello.py:2 in configure: return {{}}['DATABASE']"

    def test_an_exception_in_a_package_names_the_user_s_line(self, place: Path) -> None:
        (place / "hello.py").write_text("import flask\nflask.Flask(None)\n")
        line = refused("hello")
        assert line.endswith(f" at {place}/hello.py:2: flask.Flask(None)")
        assert "site-packages" not in line

    def test_no_such_callable(self, place: Path) -> None:
        (place / "hello.py").write_text("from flask import Flask\nsite = Flask(__name__)\ndef make_app(): ...\n")
        assert refused("hello") == (
            f"no application in {place}/hello.py (did you mean hello:site? also found: make_app())"
        )
        assert refused("hello.py", "wsgi-file").endswith("(did you mean callable = site? also found: make_app())")

    def test_nothing_callable_at_all(self, place: Path) -> None:
        (place / "hello.py").write_text("x = 1\n")
        assert refused("hello:main") == (
            f"no main in {place}/hello.py (nothing in it looks like an application; it should be called application)"
        )

    def test_not_callable(self, place: Path) -> None:
        (place / "hello.py").write_text("application = 'hello'\n")
        assert refused("hello").startswith(f"application in {place}/hello.py is not callable, it is str 'hello' (")

    def test_no_such_file(self, place: Path) -> None:
        (place / "hello.py").write_text(WSGI)
        assert refused("helo.py", "wsgi-file") == f"{place}/helo.py is not there; did you mean hello.py?"

    def test_no_such_directory(self, place: Path) -> None:
        assert refused("gone/hello.py", "wsgi-file") == (
            f"{place}/gone/hello.py is not there (no directory {place}/gone)"
        )

    def test_python_is_ended_at_import(self, place: Path) -> None:
        (place / "hello.py").write_text("import sys\nsys.exit('no configuration')\n")
        assert refused("hello") == (
            f"the application ended itself (SystemExit: no configuration while it was loaded at {place}/hello.py:2: "
            "sys.exit('no configuration')); what is loaded must not exit"
        )

    def test_interrupted_at_import(self, place: Path) -> None:
        (place / "hello.py").write_text("raise KeyboardInterrupt\n")
        assert refused("hello") == (
            f"interrupted (KeyboardInterrupt) while it was loaded at {place}/hello.py:1: raise KeyboardInterrupt"
        )

    def test_a_factory_that_raises(self, place: Path) -> None:
        (place / "hello.py").write_text("def create():\n    raise ValueError('no\\ndatabase')\n")
        assert refused("hello:create()") == (
            f"ValueError: no database at {place}/hello.py:2 in create: raise ValueError('no\\ndatabase')"
        )

    def test_what_is_no_name_of_a_module(self, place: Path) -> None:
        assert refused("my-site") == "'my-site' is no name of a Python module"
        assert refused("hello:my-app") == "'my-app' is no name of a callable"

    def test_a_file_that_may_not_be_read(self, open_place: Path) -> None:
        (open_place / "hello.py").write_text(WSGI)
        (open_place / "hello.py").chmod(0o000)
        line = line_of_somebody_else(Asked("wsgi-file", str(open_place / "hello.py"), "app.ini:3"))
        assert f"may not read {open_place}/hello.py (mode 0000, owner {os.getuid()}:" in line

    def test_a_directory_that_may_not_be_entered(self, open_place: Path) -> None:
        (open_place / "closed").mkdir()
        (open_place / "closed" / "hello.py").write_text(WSGI)
        (open_place / "closed").chmod(0o600)
        line = line_of_somebody_else(Asked("wsgi-file", str(open_place / "closed" / "hello.py"), "app.ini:3"))
        assert f"may not enter {open_place}/closed" in line

    def test_a_directory_of_modules_that_may_not_be_read(self, open_place: Path) -> None:
        (open_place / "hello.py").write_text(WSGI)
        sys.path.insert(0, str(open_place))
        open_place.chmod(0o300 if os.getuid() else 0o700)
        line = line_of_somebody_else(Asked("module", "hello", "app.ini:3"))
        assert line.startswith("app.ini:3: module = hello: there is no module hello to be found: uid ")
        assert f" may not read the directory {open_place} (mode 0" in line


@pytest.fixture
def open_place(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Path]:
    """A directory that any user may enter, from the root down."""
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path
        path.chmod(0o755)


def line_of_somebody_else(asked: Asked) -> str:
    """The line that a user without special rights is told, from a process of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            if os.getuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            load(asked)
        except CannotLoad as problem:
            os.write(write, problem.line.encode())
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        line = pipe.read().decode()
    os.waitpid(pid, 0)
    return line


class TestSettings:
    def test_each_application_knows_where_it_was_asked_for(self) -> None:
        settings = InstanceSettings(
            module="website.wsgi", wsgi_file="hello.py", callable="app", mount=(Mount("/a", "one:app", "app.ini:5"),)
        )
        configuration = Configuration(
            [
                Given("module", "website.wsgi", "app.ini:2"),
                Given("file", "hello.py", "app.ini:3"),
                Given("module", "other", "app.ini:4", placeholder=True),
            ]
        )
        assert asked_for(settings, configuration) == (
            Asked("module", "website.wsgi", "app.ini:2", "app"),
            Asked("wsgi-file", "hello.py", "app.ini:3", "app"),
            Asked("mount", "one:app", "app.ini:5", "app", path="/a"),
        )


def test_without_an_application_every_request_is_answered_500(capsys: pytest.CaptureFixture[str]) -> None:
    application = Application(no_application, "wsgi", "", "", "")
    assert answer(application) == ("500 Internal Server Error", b"Internal Server Error")
    assert capsys.readouterr().err == "--- no python application found, check your startup logs for errors ---\n"
    assert FAILED_APPLICATION == 22
