"""``%(vassal.…)``, ``%(attr.…)`` and ``%(cgroup.…)``: looked up when a file speaks of them."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from imperator.config.cgroup import cores, memory
from imperator.config.errors import ConfigurationError
from imperator.config.language import load
from imperator.config.variables import ATTRIBUTES, MONITOR, PORT, Variables


def value(expression: str, directory: Path, environ: dict[str, str] | None = None, name: str = "app.ini") -> str:
    """What an option that says ``expression`` is in the end."""
    file = directory / "app.ini"
    if not file.exists():
        file.touch()
    argv = ["--ini", name, "--set", f"x={expression}"]
    variables = Variables(argv, environ or {}, str(directory))
    found = load(argv, environ or {}, str(directory), further=variables).last("x")
    assert found is not None
    return found.text


# -- who it is


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["--ini", "app.ini"], "app.ini"),
        (["--ini=app.ini:shop"], "app.ini:shop"),
        (["--inherit", "t", "--include", "i.ini", "--set", "a=b", "--yaml", "app.yaml", "--inherit", "t2"], "app.yaml"),
        (["--config", "app.lua"], "app.lua"),
        (["--ini", "emperor://shop.ini"], "shop.ini"),
        (["--inherit", "t.ini", "--inherit", "emperor://shop"], "shop"),
        (["--ini", "exec://app.ini"], "app.ini"),
        (["--http-socket", ":8080", "-M", "-p", "4", "app.ini", "--master"], "app.ini"),
        (["-xapp.xml"], "app.xml"),
        (["--no-such-option", "app.ini"], "app.ini"),
        (["--http-socket", ":8080"], ""),
    ],
)
def test_the_name_is_what_the_emperor_says(argv: list[str], name: str) -> None:
    assert Variables(argv, {}, "/srv")("vassal.name") == name


def test_the_hash_is_of_the_path_and_the_section() -> None:
    def of(*argv: str, directory: str = "/srv") -> str | None:
        return Variables(argv, {}, directory)("vassal.hash")

    assert of("--ini", "app.ini") == hashlib.sha256(b"/srv/app.ini").hexdigest()[:8]
    assert (
        of("--ini", "./app.ini") == of("app.ini") == of("/srv/app.ini", directory="/") == of("--ini", "exec://app.ini")
    )
    assert of("--ini", "app.ini:a") == hashlib.sha256(b"/srv/app.ini:a").hexdigest()[:8]
    assert of("--ini", "emperor://app.ini") == hashlib.sha256(b"app.ini").hexdigest()[:8]


def test_a_link_is_another_vassal_than_its_file(tmp_path: Path) -> None:
    (tmp_path / "app.skel").touch()
    for name in ("one.ini", "two.ini"):
        (tmp_path / name).symlink_to("app.skel")
    ports = {Variables([name], {}, str(tmp_path))("vassal.port") for name in ("one.ini", "two.ini")}
    assert len(ports) == 2


def test_the_user(tmp_path: Path) -> None:
    person = pwd.getpwuid(os.getuid())
    expression = "%(vassal.uid):%(vassal.gid):%(vassal.owner):%(vassal.home)"
    assert value("x" + expression, tmp_path) == f"x{os.getuid()}:{os.getgid()}:{person.pw_name}:{person.pw_dir}"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user: needs root")
def test_a_user_without_a_name_has_no_home() -> None:
    script = (
        "import os; os.setuid(54321)\n"
        "from imperator.config.variables import Variables\n"
        "variables = Variables([], {}, '/')\n"
        "print(variables('vassal.uid'), variables('vassal.owner'))\n"
        "variables('vassal.home')"
    )
    # The source, as the interpreter has read it already: the checkout may be in a place that only we may enter.
    done = subprocess.run([sys.executable, "-c", "import imperator.config.variables\n" + script], capture_output=True)
    assert done.stdout == b"54321 54321\n"
    assert b"uid 54321 has no home" in done.stderr


def test_the_source(tmp_path: Path) -> None:
    assert value("by %(vassal.monitor)", tmp_path, {MONITOR: "pg://db"}) == "by pg://db"
    assert value("by %(vassal.monitor)", tmp_path) == "by "


# -- attributes


def test_attributes_come_from_the_file_itself_and_from_the_emperor(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\n[emperor]\nowner = anna\nplan = a\nplan = b\n[shop]\n")
    assert value("%(attr.owner) %(vassal.attr.plan)", tmp_path) == "anna b"
    assert value("- %(attr.owner)", tmp_path, {ATTRIBUTES: json.dumps({"owner": "bert"})}) == "- bert"
    assert value("- %(attr.owner)", tmp_path, name="app.ini:shop") == "- anna"


def test_an_attribute_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[emperor]\nowner = anna\n")
    with pytest.raises(ConfigurationError, match=r"there is no attribute ownr \(there are owner;"):
        value("%(attr.ownr)", tmp_path)


# -- what there is not, and what is set already


@pytest.mark.parametrize("name", ["vassal.nmae", "vassal.", "cgroup.disk"])
def test_a_name_that_is_nearly_one_of_them_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"there is no such variable .*vassal\.name .*cgroup\.cores"):
        value(f"%({name})", tmp_path)


def test_other_names_stay_as_they_are(tmp_path: Path) -> None:
    assert value("%(app.name) %(nope)", tmp_path) == "%(app.name) %(nope)"


def test_a_placeholder_of_ones_own_wins(tmp_path: Path) -> None:
    (tmp_path / "app.ini").write_text("[uwsgi]\nset-ph = vassal.port=8080\n")
    assert value(":%(vassal.port)", tmp_path) == ":8080"


def test_they_can_be_counted_with(tmp_path: Path) -> None:
    port = value("%(vassal.port)", tmp_path)
    assert value("%(vassal.port + 1)", tmp_path) == str(int(port) + 1)


# -- ports: see test_ports.py; here what a process remembers


def test_a_port_is_kept_over_a_reload_and_is_nobody_elses(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    first = Variables(["app.ini"], environ, "/srv", lambda port: False)("vassal.port")
    assert environ[PORT].endswith(f":{first}")
    assert Variables(["app.ini"], environ, "/srv", lambda port: True)("vassal.port") == first
    other = Variables(["other.ini"], environ, "/srv", lambda port: False)("vassal.port")
    assert other != first


def test_who_only_looks_is_told_the_first_choice_and_leaves_nothing(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    looked = Variables(["app.ini"], environ, "/srv")("vassal.port")
    assert environ == {}
    assert Variables(["app.ini"], environ, "/srv", lambda port: False)("vassal.port") == looked


def test_no_port_is_left() -> None:
    with pytest.raises(ConfigurationError, match="no port from 20000 to 31999 is free"):
        Variables(["app.ini"], {}, "/srv", lambda port: True)("vassal.port")


# -- control groups


def proc(path: Path, groups: str, mounts: str) -> Path:
    """A /proc as it is for a process in these groups, on a machine of 8 GiB."""
    (path / "proc" / "self").mkdir(parents=True)
    (path / "proc" / "meminfo").write_text("MemTotal:        8388608 kB\nMemFree:  1 kB\n")
    (path / "proc" / "self" / "cgroup").write_text(groups)
    (path / "proc" / "self" / "mountinfo").write_text(mounts)
    return path / "proc"


def test_the_narrowest_limit_of_version_2(tmp_path: Path) -> None:
    top = tmp_path / "a b"
    app = top / "user.slice" / "app"
    app.mkdir(parents=True)
    mounts = f"30 23 0:26 / {tmp_path}/a\\040b rw shared:4 - cgroup2 cgroup2 rw\n22 1 8:1 / / rw - ext4 /dev/sda rw\n"
    here = proc(tmp_path, "0::/user.slice/app\n", mounts)
    assert (memory(here), cores(here, 8)) == (8 << 30, 8)
    (app / "memory.max").write_text("max\n")
    (app / "cpu.max").write_text("max 100000\n")
    (top / "user.slice" / "memory.max").write_text(f"{512 << 20}\n")
    (top / "user.slice" / "cpu.max").write_text("150000 100000\n")
    assert (memory(here), cores(here, 8)) == (512 << 20, 2)
    assert cores(here, 1) == 1
    (app / "memory.max").write_text(f"{64 << 20}\n")
    (app / "cpu.max").write_text("20000 100000\n")
    assert (memory(here), cores(here, 8)) == (64 << 20, 1)


def test_version_1_as_a_container_sees_it(tmp_path: Path) -> None:
    for name in ("memory", "cpu"):
        (tmp_path / name).mkdir()
    mounts = (
        f"40 31 0:29 /docker/abc {tmp_path}/memory rw - cgroup cgroup rw,memory\n"
        f"41 31 0:30 /docker/abc {tmp_path}/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    )
    here = proc(tmp_path, "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n", mounts)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("9223372036854771712\n")  # none
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert (memory(here), cores(here, 4)) == (8 << 30, 4)
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{256 << 20}\n")
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("250000\n")
    assert (memory(here), cores(here, 4)) == (256 << 20, 3)


def test_a_group_outside_of_our_namespace(tmp_path: Path) -> None:
    (tmp_path / "cg").mkdir()
    (tmp_path / "cg" / "memory.max").write_text("1048576\n")
    here = proc(tmp_path, "0::/../other\n", f"30 23 0:26 / {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    assert memory(here) == 1 << 20


def test_a_group_whose_name_begins_as_the_mounted_one(tmp_path: Path) -> None:
    (tmp_path / "cg" / "a" / "bc").mkdir(parents=True)
    (tmp_path / "cg" / "a" / "bc" / "memory.max").write_text("1048576\n")
    here = proc(tmp_path, "0::/a/bc\n", f"30 23 0:26 /a/b {tmp_path}/cg rw - cgroup2 cgroup2 rw\n")
    assert memory(here) == 1 << 20


def test_this_machine(tmp_path: Path) -> None:
    assert 1 <= int(value("%(cgroup.cores)", tmp_path)) <= (os.cpu_count() or 1)
    assert int(value("%(cgroup.memory)", tmp_path)) >= 1 << 20
