"""Any program as a vassal: nginx, a single static binary, a Node server; becoming it, or keeping it beside nothing."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import Reign
from .empire import Empire
from .solo import free_port
from .stage import PATIENCE

PROGRAMS = Path(__file__).with_name("programs")
NOBODY = 65534

NGINX = """
pid {place}/nginx.pid;
error_log stderr;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {place}/body;
    proxy_temp_path {place}/proxy;
    fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi;
    scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 200 "{text} $pid"; }}
    }}
}}
"""


def found(program: str) -> str:
    """Where a program is. Not everybody has /usr/sbin in the PATH."""
    path = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path is not None, f"{program} is missing: tools/setup.sh installs it, as root or with sudo"
    return path


@pytest.fixture
def place(open_path: Path) -> Path:
    """Where programs keep what is theirs; every user may write there."""
    directory = open_path / "place"
    directory.mkdir()
    directory.chmod(0o777)
    return directory


@pytest.fixture(scope="session")
def static_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``server.c``, compiled without a library that it would need."""
    program = tmp_path_factory.mktemp("static") / "server"
    subprocess.run([found("gcc"), "-O1", "-static", "-o", program, PROGRAMS / "server.c"], check=True)
    return program


@pytest.fixture
def binary(static_binary: Path, place: Path) -> Path:
    """The same where every user may execute it."""
    program = place / "server"
    program.write_bytes(static_binary.read_bytes())
    program.chmod(0o755)
    return program


@pytest.fixture
def port() -> int:
    return free_port()


# -- the ways in which a program can be a vassal


@dataclass(frozen=True)
class Site:
    """One vassal that runs a program; what it answers is in its file."""

    file: Path
    place: Path
    binary: Path
    port: int

    @property
    def http_socket(self) -> str:
        return f"http-socket = 127.0.0.1:{self.port}"

    def write(self, *lines: str) -> None:
        """Write the vassal's file anew, at once."""
        new = self.file.with_suffix(".new")
        new.write_text("\n".join(["[uwsgi]", *lines, ""]))
        new.rename(self.file)

    def nginx(self, text: str) -> str:
        """Configure nginx, which answers with this text; the command that starts it."""
        path = self.place / "nginx.conf"
        path.write_text(NGINX.format(place=self.place, port=self.port, text=text))
        return f"{found('nginx')} -e stderr -c {path}"

    def smart(self) -> str:
        """A pid file, and the program that writes it."""
        pidfile, script = self.place / "smart.pid", self.place / "smart.sh"
        script.write_text(f'#!/bin/sh\necho $$ > {pidfile}\nexec "$@"\n')
        script.chmod(0o755)
        return f"{pidfile} {script}"


NODE = PROGRAMS / "server.js"
WAYS: dict[str, Callable[[Site, str], list[str]]] = {
    "nginx": lambda site, text: [f'privileged-binary-patch-arg = {site.nginx(text)} -g "daemon off;"'],
    # It knows what it was handed by a variable of its own, and does not daemonize then.
    "nginx, inherited": lambda site, text: [
        site.http_socket,
        "env = NGINX=3;",
        f"privileged-binary-patch-arg = {site.nginx(text)}",
    ],
    "binary": lambda site, text: [f"unprivileged-binary-patch-arg = {site.binary} '{text}' {site.port}"],
    "binary, inherited": lambda site, text: [
        site.http_socket,
        f"unprivileged-binary-patch-arg = {site.binary} '{text}'",
    ],
    "node": lambda site, text: [f"unprivileged-binary-patch-arg = {found('node')} {NODE} '{text}' {site.port}"],
    "node, inherited": lambda site, text: [
        site.http_socket,
        f"unprivileged-binary-patch-arg = {found('node')} {NODE} '{text}'",
    ],
}
BESIDE: dict[str, Callable[[Site, str], list[str]]] = {
    "binary": lambda site, text: [f"attach-daemon = {site.binary} '{text}' {site.port}"],
    "node": lambda site, text: [f"attach-daemon = {found('node')} {NODE} '{text}' {site.port}"],
    "smart": lambda site, text: [f"smart-attach-daemon = {site.smart()} {site.binary} '{text}' {site.port}"],
}
"""A vassal's only content: there is nothing but what is attached."""
EVERY = {**WAYS, **{f"attached {name}": way for name, way in BESIDE.items()}}


@pytest.fixture
def site(vassals: Path, place: Path, binary: Path, port: int) -> Site:
    return Site(vassals / "site.ini", place, binary, port)


def answer(port: int) -> tuple[str, int] | None:
    """What is answered, and by which process; ``None``: nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=PATIENCE) as reply:
            text, pid = reply.read().decode().rsplit(" ", 1)
            return text, int(pid)
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionError):
            return None
        raise
    except (ConnectionError, http.client.RemoteDisconnected):  # it ended while it was asked
        return None


def expect_answer(port: int, text: str, but: int = 0) -> int:
    """Wait until this is answered, by another process than ``but``; the pid. Nobody tells when a program listens."""
    deadline = time.monotonic() + PATIENCE
    while (found := answer(port)) is None or found[0] != text or found[1] == but:
        assert time.monotonic() < deadline, f"{found} and not {text!r}"
        time.sleep(0.02)
    return found[1]


def expect_gone(*pids: int) -> None:
    """Wait until none of these processes lives (a zombie does not)."""
    deadline = time.monotonic() + PATIENCE
    for pid in pids:
        while alive(pid):
            assert time.monotonic() < deadline, f"{pid} lives"
            time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def expect_text(file: Path) -> str:
    """Wait until a file is there."""
    deadline = time.monotonic() + PATIENCE
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} never appears"
        time.sleep(0.02)
    return file.read_text()


@pytest.fixture
def start(reign: Reign) -> Callable[..., Empire]:
    def begin(*options: str) -> Empire:
        return reign("--emperor-throttle", "200", *options, binary=None)

    return begin


# -- what every vassal can expect


@pytest.mark.parametrize("way", EVERY)
def test_it_starts_and_ends_with_its_file(way: str, site: Site, start: Callable[..., Empire]) -> None:
    site.write(*EVERY[way](site, "ave"))
    empire = start()
    pid = expect_answer(site.port, "ave")
    vassal = empire.vassal("site.ini")["pid"]
    site.file.unlink()
    empire.expect("site.ini .*removed")
    expect_gone(pid, vassal)
    assert answer(site.port) is None
    assert not empire.log.find("SIGKILL|killing")


@pytest.mark.parametrize("way", EVERY)
def test_an_edit_reloads_it(way: str, site: Site, start: Callable[..., Empire]) -> None:
    site.write(*EVERY[way](site, "one"))
    empire = start()
    before = expect_answer(site.port, "one")
    site.write(*EVERY[way](site, "two"))
    after = expect_answer(site.port, "two")
    expect_gone(before)
    assert after != before
    assert not empire.log.find("SIGKILL|killing|blacklist")


@pytest.mark.parametrize("way", EVERY)
def test_one_that_is_killed_is_back(way: str, site: Site, start: Callable[..., Empire]) -> None:
    site.write(*EVERY[way](site, "ave"))
    empire = start()
    served = expect_answer(site.port, "ave")
    vassal = empire.vassal("site.ini")["pid"]
    os.kill(vassal, signal.SIGKILL)
    assert expect_answer(site.port, "ave", but=served) != vassal
    expect_gone(vassal, served)
    empire.expect("site.ini .*was killed by SIGKILL")


@pytest.mark.parametrize("way", BESIDE)
def test_a_program_beside_nothing_that_is_killed_is_back(way: str, site: Site, start: Callable[..., Empire]) -> None:
    """And its vassal has not noticed anything."""
    site.write(*BESIDE[way](site, "ave"))
    empire = start()
    served = expect_answer(site.port, "ave")
    vassal = empire.vassal("site.ini")["pid"]
    assert vassal != served
    os.kill(served, signal.SIGKILL)
    expect_answer(site.port, "ave", but=served)
    assert empire.vassal("site.ini")["pid"] == vassal


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_none_outlives_the_emperor(way: str, number: int, site: Site, start: Callable[..., Empire]) -> None:
    site.write(*EVERY[way](site, "ave"))
    empire = start()
    pid = expect_answer(site.port, "ave")
    vassal = empire.vassal("site.ini")["pid"]
    empire.send(number)
    empire.process.wait(PATIENCE)
    expect_gone(pid, vassal)
    assert answer(site.port) is None


@pytest.mark.parametrize("way", BESIDE)
def test_a_vassal_of_programs_is_loyal(way: str, site: Site, start: Callable[..., Empire]) -> None:
    site.write(*BESIDE[way](site, "ave"))
    start().ready().expect_state("site.ini", ready=1, accepting=1, loyal=1)
    expect_answer(site.port, "ave")


def test_a_smart_program_in_the_background_is_watched_and_left_alone_at_the_end(
    site: Site, start: Callable[..., Empire]
) -> None:
    """As in the original: its pid file is all that is known of it, and it may belong to others as well."""
    pidfile, script = site.place / "pid", site.place / "daemonize"
    script.write_text(f"#!/bin/sh\nsetsid {site.binary} ave {site.port} & echo $! > {pidfile}\n")
    script.chmod(0o755)
    site.write(f"smart-attach-daemon = {pidfile} {script}")
    empire = start()
    served = expect_answer(site.port, "ave")
    empire.expect(f"pid {served} of {pidfile} runs already: it is left alone")
    os.kill(served, signal.SIGKILL)
    again = expect_answer(site.port, "ave", but=served)
    empire.expect(f"pid {again} of {pidfile} runs already")
    try:
        assert empire.stop() == 0
        assert answer(site.port) == ("ave", again)
    finally:
        os.kill(again, signal.SIGKILL)


# -- its user, its sockets, its arguments


@pytest.mark.parametrize(("kind", "uid"), [("privileged", 0), ("unprivileged", NOBODY)])
def test_before_or_after_the_drop_of_rights(
    as_root: None, kind: str, uid: int, site: Site, start: Callable[..., Empire]
) -> None:
    """The privileged one has the sockets as well, and root's rights; the other one has only the sockets."""
    command = f"{kind}-binary-patch-arg = {site.binary} ave"
    site.write(f"uid = {NOBODY}", f"gid = {NOBODY}", site.http_socket, command)
    start()
    pid = expect_answer(site.port, "ave")
    assert os.stat(f"/proc/{pid}").st_uid == uid


def test_a_port_of_roots_for_a_program_that_is_not(as_root: None, site: Site, start: Callable[..., Empire]) -> None:
    """Which it could not bind by itself."""
    first = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    low = next(port for port in range(first - 1, 0, -1) if answer(port) is None)
    site.write(
        f"uid = {NOBODY}", f"http-socket = 127.0.0.1:{low}", f"unprivileged-binary-patch-arg = {site.binary} ave"
    )
    start()
    assert os.stat(f"/proc/{expect_answer(low, 'ave')}").st_uid == NOBODY


def test_without_arg_it_gets_the_arguments_of_the_vassal(site: Site, start: Callable[..., Empire]) -> None:
    """Those that the Emperor gave: ``--set`` and ``--ini`` and the file's name."""
    script = site.place / "program"
    script.write_text(f'#!/bin/sh\nexec {site.binary} "$*" {site.port}\n')
    script.chmod(0o755)
    site.write(f"unprivileged-binary-patch = {script}")
    start("--vassal-set", "colour=red")
    expect_answer(site.port, "--set colour=red --ini site.ini")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"two words"', "two words"),
        ("'$HOME'", "$HOME"),
        ("$SHADE", "dark red"),
        ('"$SHADE" && true', "dark red"),
        (r"two\ words", "two words"),
    ],
)
def test_quotes_are_those_of_a_shell(written: str, meant: str, site: Site, start: Callable[..., Empire]) -> None:
    script = site.place / "program"
    script.write_text(f'#!/bin/sh\nexec {site.binary} "$*" {site.port}\n')
    script.chmod(0o755)
    site.write("env = SHADE=dark red", f"unprivileged-binary-patch-arg = {script} {written}")
    start()
    expect_answer(site.port, meant)


# -- one that does not stay


def test_nginx_that_puts_itself_into_the_background(site: Site, start: Callable[..., Empire]) -> None:
    """It is named, ended (so that the next one finds its port free), and the person told what to do."""
    site.write(f"privileged-binary-patch-arg = {site.nginx('ave')}")
    empire = start()
    empire.expect('site.ini .*into the background.*stay in the foreground; say nginx -g "daemon off;"')
    site.write(f'privileged-binary-patch-arg = {site.nginx("vale")} -g "daemon off;"')
    expect_answer(site.port, "vale")


def test_one_that_nobody_knows(site: Site, start: Callable[..., Empire]) -> None:
    site.write("env = DAEMONIZE=1", f"unprivileged-binary-patch-arg = {site.binary} ave {site.port}")
    empire = start("--emperor-max-throttle", "100000")
    empire.expect("site.ini .*into the background.*option 'foreground' or 'no daemon'")
    assert "background" in empire.vassal("site.ini")["why"]


def test_in_the_background_none_outlives_the_emperor(site: Site, start: Callable[..., Empire]) -> None:
    site.write("env = DAEMONIZE=1", f"unprivileged-binary-patch-arg = {site.binary} ave {site.port}")
    empire = start()
    empire.expect("site.ini .*exited with code 0")
    assert empire.stop() == 0
    assert answer(site.port) is None


def test_a_program_that_is_told_to_stop_has_not_daemonized(site: Site, start: Callable[..., Empire]) -> None:
    """Even where it leaves a child behind and ends with 0."""
    script = site.place / "program"
    script.write_text(f"#!/bin/sh\ntrap 'exit 0' TERM\nsleep 1000 &\n{site.binary} ave {site.port} &\nwait\n")
    script.chmod(0o755)
    site.write(f"unprivileged-binary-patch = {script}")
    empire = start()
    pid = expect_answer(site.port, "ave")
    site.file.unlink()
    empire.expect("site.ini .*removed")
    expect_gone(pid)
    empire.stop()
    assert not empire.log.find("background")


# -- the manual's page


def test_the_manuals_example_of_another_binary(as_root: None, site: Site, start: Callable[..., Empire]) -> None:
    """``i am a special vassal calling a different binary in a new linux network namespace``."""
    server = site.place / "myfunnyserver"
    told = site.place / "told"
    facts = "$(id -u) $(id -g) $(readlink /proc/self/ns/net) $*"
    server.write_text(f"#!/bin/sh\necho {facts} > {told}.new\nmv {told}.new {told}\nexec sleep 1000\n")
    server.chmod(0o755)
    site.write("uid = 1000", "gid = 1000", "unshare = net", f"unprivileged-binary-patch = {server}")
    start()
    uid, gid, network, *arguments = expect_text(told).split()
    assert (uid, gid) == ("1000", "1000")
    assert network != os.readlink("/proc/self/ns/net")
    assert arguments == ["--ini", "site.ini"]


def test_the_manuals_example_with_custom_options(as_root: None, site: Site, start: Callable[..., Empire]) -> None:
    site.write("uid = 1000", "gid = 1000", "unshare = net", "unprivileged-binary-patch-arg = ps aux")
    empire = start()
    empire.expect(r"site.ini \| USER +PID")
    empire.expect(r"site.ini \| (?!root)\S+ +\d+ .* ps aux$")
    assert not empire.log.find("background")


def test_the_manuals_example_of_nginx(site: Site, start: Callable[..., Empire]) -> None:
    """Its command line to the letter; what it would find in /etc/nginx is said in a variable of the shell's instead."""
    wrapper = site.place / "nginx"
    wrapper.write_text(f'#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/bin exec {site.nginx("ave")} "$@"\n')
    wrapper.chmod(0o755)
    site.write(f"env = PATH={site.place}", 'privileged-binary-patch-arg = nginx -g "daemon off;"')
    start()
    expect_answer(site.port, "ave")
