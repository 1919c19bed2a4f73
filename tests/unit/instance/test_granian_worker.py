"""granian's private interface: it is what the engine relies on, and a granian that changed is refused with a reason."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from imperator.instance import granian_worker
from imperator.instance.granian_worker import KNOWN, RELIED_ON, EngineUnusable, difference, load


def test_the_installed_granian_is_what_the_engine_relies_on() -> None:
    granian = load()
    found = difference(granian)
    assert found is None, (
        f"granian {granian.__version__} changed its private interface: {found}. Known to work: {KNOWN}. Read its "
        "granian/server/mp.py and src/serve.rs, then change imperator/instance/granian_worker.py and its RELIED_ON."
    )


def another_granian(**changes: object) -> ModuleType:
    """The installed extension with something in it changed, as a new version could have it."""
    real = load()
    other = ModuleType("granian._granian")
    for name in {one.partition(".")[0] for one in RELIED_ON}:
        setattr(other, name, getattr(real, name))
    other.__dict__.update({"__version__": "9.9.9", **changes})
    return other


ANOTHER_PARAMETER = SimpleNamespace(__text_signature__="(fd, uds, backlog, reuse_port=False)")
NO_CALLBACK = SimpleNamespace(__text_signature__="()", set=SimpleNamespace(__text_signature__="($self)"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"SocketHolder": ANOTHER_PARAMETER},
            r"SocketHolder takes \(fd uds backlog reuse_port\), not \(fd uds backlog\)",
        ),
        ({"WorkerSignal": NO_CALLBACK}, "it has no WorkerSignal.add_cb"),
        ({"WSGIWorker": None}, "it has no WSGIWorker"),
    ],
)
def test_a_granian_that_changed_is_unusable_and_says_what_it_is_and_what_would_work(
    changes: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "granian._granian", another_granian(**changes))
    with pytest.raises(EngineUnusable, match=rf"granian 9\.9\.9 cannot be driven: {why}") as caught:
        load()
    assert KNOWN in str(caught.value)
    assert "pip install" in str(caught.value)


def in_a_new_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


def test_only_the_extension_is_loaded_not_the_package_nor_asyncio() -> None:
    code = f"import sys; import {granian_worker.__name__} as w; before = set(sys.modules); w.load()\n"
    code += "print(sorted(one for one in sys.modules if one.startswith('granian') or one in ('asyncio', 'logging')))"
    assert in_a_new_python(code) == "['granian._granian']\n"


def test_an_application_may_import_the_real_granian_afterwards() -> None:
    code = f"import {granian_worker.__name__} as w; extension = w.load()\n"
    code += "import granian\nfrom granian import _granian\n"
    code += "print(granian.Granian.__name__, _granian is extension)"
    assert in_a_new_python(code) == "MPServer True\n"


def test_where_there_is_no_granian_the_person_is_told_how_to_get_one() -> None:
    code = "import sys; sys.path = [one for one in sys.path if 'site-packages' not in one]\n"
    code = f"import {granian_worker.__name__} as w\n{code}"
    code += "try: w.load()\nexcept w.EngineUnusable as error: print(error)"
    assert "granian is not installed" in in_a_new_python(code)
    assert "pip install 'granian" in in_a_new_python(code)
