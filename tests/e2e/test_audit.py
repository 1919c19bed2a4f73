"""``imperator audit``: what a running vassal could reach."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Reign
from .empire import IMPERATOR, Empire
from .stage import Stage

pytestmark = pytest.mark.usefixtures("as_root")


def run(empire: Empire, *words: str) -> subprocess.CompletedProcess[str]:
    command = [*IMPERATOR, "audit", "--pid", str(empire.pid), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def told(empire: Empire) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in json.loads(run(empire, "--json").stdout)}


def tenant(vassals: Path, name: str, uid: int) -> None:
    (vassals / name).write_text("[uwsgi]\n")
    os.chown(vassals / name, uid, uid)


def test_a_tenant_in_a_jail_is_well_kept(reign: Reign, stage: Stage, vassals: Path) -> None:
    tenant(vassals, "a.ini", 20001)
    empire = reign("--emperor-tyrant", "--emperor-use-clone", "fs,pid,net,ipc,uts").ready()
    stage.next("a.ini")
    done = run(empire)
    assert done.returncode == 0
    assert "uid 20001, gid 20001, additional groups: none" in done.stdout
    assert "rights      no capability" in done.stdout
    assert "namespaces  mnt, pid, net, ipc, uts" in done.stdout
    assert done.stdout.endswith("1 looked at, 0 with warnings\n")


def test_what_it_warns_of(reign: Reign, stage: Stage, vassals: Path) -> None:
    for name, uid in (("a.ini", 20001), ("b.ini", 20001), ("c.ini", 20002)):
        tenant(vassals, name, uid)
    vassals.chmod(0o1777)
    empire = reign("--emperor-tyrant").ready()
    stage.next_of("a.ini", "b.ini", "c.ini")
    found = told(empire)
    decides = f"it may write to {vassals}, and so decide what the Emperor runs"
    shares = "it shares its user with others (1): they can read and signal each other"
    assert found["a.ini"]["warnings"] == [decides, shares]
    assert found["c.ini"]["warnings"] == [decides]
    assert run(empire).returncode == 1


def test_root_without_a_user(reign: Reign, stage: Stage, vassals: Path) -> None:
    (vassals / "a.ini").write_text("[uwsgi]\n")
    empire = reign().ready()
    stage.next("a.ini")
    assert told(empire)["a.ini"]["warnings"] == ["it runs as root: give it a user (uid = USER), or use tyrant mode"]


def test_where_it_listens(reign: Reign, vassals: Path, open_path: Path) -> None:
    (open_path / "app.py").write_text("def application(environ, start_response):\n    return []\n")
    sockets = f"http-socket = 127.0.0.1:0\nhttp-socket = {open_path}/site.sock\n"
    (vassals / "a.ini").write_text(f"[uwsgi]\nchdir = {open_path}\nwsgi-file = app.py\n{sockets}")
    empire = reign(binary=None)
    empire.expect("a.ini  accepts requests")
    first, second = told(empire)["a.ini"]["exposure"]["sockets"]
    assert first == f"{open_path}/site.sock"
    assert second.startswith("127.0.0.1:")


def test_a_name_that_there_is_not(reign: Reign) -> None:
    done = run(reign().ready(), "nobody.ini")
    assert done.returncode == 2
    assert "there is no vassal nobody.ini" in done.stderr
