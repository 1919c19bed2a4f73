"""``engine = uwsgi``: the original does what it was told in a file that only Imperator understands whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from imperator.kernel.interpreter import installed_command
from imperator.reign.protocol import ToVassal

from .clients import Answer, ask
from .solo import free_port
from .test_engines import ACCEPTING, READY, socket_option
from .throne import Court, Instance

OPTIONS = """
import json, uwsgi

def application(environ, start_response):
    text = json.dumps({name: (value.decode() if isinstance(value, bytes) else value if not isinstance(value, list)
                              else [v.decode() for v in value]) for name, value in uwsgi.opt.items()})
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [text.encode()]
"""


@pytest.fixture
def tcp() -> tuple[str, int]:
    return ("127.0.0.1", free_port())


def test_a_plain_socket_is_served_by_the_original(court: Court) -> None:
    path = f"{court.directory}/site.sock"
    instance = court.start(f"socket = {path}", "wsgi-file = app.py")
    instance.log.expect(r"engine uwsgi: socket = .*site.sock speaks the uwsgi protocol \(.*site.ini:2\)")
    instance.expect(READY, ACCEPTING)
    assert ask(path, protocol="uwsgi") == Answer(200, "one")
    program = Path(f"/proc/{instance.pid}/maps").read_text()
    assert "pyuwsgi" in program
    assert "imperator" not in Path(f"/proc/{instance.pid}/cmdline").read_bytes().split(b"\0")[0].decode()


def test_values_of_env_reach_the_application(court: Court, tcp: tuple[str, int]) -> None:
    """In the wheel Python runs before uWSGI reads its options: what it sets then, the application does not see."""
    lines = "engine = uwsgi", socket_option(tcp, "http"), "wsgi-file = app.py", "env = SETTINGS=site.settings"
    instance = court.start(*lines)
    instance.expect(READY, ACCEPTING)
    assert ask(tcp, "/env/SETTINGS") == Answer(200, "site.settings")


def test_every_option_means_what_it_meant(court: Court, tcp: tuple[str, int]) -> None:
    """Placeholders, conditions, includes, loops and odd values: the original sees what was meant in the end."""
    (court.directory / "app.py").write_text(OPTIONS)
    (court.directory / "more.ini").write_text("[uwsgi]\nthreads = 2\n")
    instance = court.start(
        "engine = uwsgi",
        socket_option(tcp, "http"),
        "wsgi-file = app.py",
        "include = more.ini",
        "size = 10",
        "name = 100%% of $(HOME)",
        "buffer-size = %(size * 1000)",
        "cache2 = name=%n,items=%(size)",
        "for = a b",
        "pythonpath = /nowhere/%(_)",
        "endfor =",
        "if-exists = /",
        "offload-threads = 1",
        "endif =",
        "if-exists = /nowhere",
        "mules = 3",
        "endif =",
    )
    instance.expect(READY, ACCEPTING)
    body = ask(tcp).body
    plain = _plain(court, tcp)
    assert '"buffer-size": "10000"' in body
    for name in ("buffer-size", "cache2", "pythonpath", "offload-threads", "threads"):
        assert _of(body, name) == _of(plain, name), name
    assert '"mules"' not in body


def _of(body: str, name: str) -> object:
    import json

    return json.loads(body).get(name)


def _plain(court: Court, tcp: tuple[str, int]) -> str:
    """What the original itself makes of the same file."""
    other = ("127.0.0.1", free_port())
    text = (court.directory / "site.ini").read_text()
    text = text.replace("engine = uwsgi\n", "").replace(str(tcp[1]), str(other[1]))
    (court.directory / "plain.ini").write_text(text.replace("%n", "site"))
    program = [str(installed_command("uwsgi"))]
    instance = Instance(["--ini", "plain.ini"], court.directory, court.mark, program=program)
    court.instances.append(instance)
    instance.expect(READY, ACCEPTING)
    return ask(other).body


def test_a_reload_with_a_mistake_in_the_file_says_where(court: Court, tcp: tuple[str, int]) -> None:
    """The original has no way back: it ends, and whoever keeps it starts it again."""
    instance = court.start("engine = uwsgi", socket_option(tcp, "http"), "wsgi-file = app.py")
    instance.expect(READY, ACCEPTING)
    court.configure("engine = uwsgi", socket_option(tcp, "http"), "wsgi-file = app.py", "processes = many")
    instance.say(ToVassal.RELOAD)
    instance.log.expect("site.ini:5: processes = many: a number was expected")
    assert instance.wait() == 1
