"""Whatever a section is called, in whichever format: it is refused by name, or its vassal reads it and nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imperator.config.errors import ConfigurationError
from imperator.config.formats import parse
from imperator.config.language import load
from imperator.monitors.sections import objection_to_section, vassals_in
from imperator.reign.names import VassalName, objection_to_name

WRITERS: dict[str, Callable[[str], str]] = {
    "ini": lambda name: f"[{name}]\nmodule = wanted\n[other]\nmodule = other\n",
    "json": lambda name: json.dumps({name: {"module": "wanted"}, "other": {"module": "other"}}),
    "yaml": lambda name: f"{json.dumps(name)}:\n  module: wanted\nother:\n  module: other\n",
    "toml": lambda name: f"[{json.dumps(name)}]\nmodule = 'wanted'\n[other]\nmodule = 'other'\n",
    "xml": lambda name: (
        f"<apps><uwsgi id={quoteattr(name)}><module>wanted</module></uwsgi>"
        '<uwsgi id="other"><module>other</module></uwsgi></apps>'
    ),
}

STRANGE = st.text(st.sampled_from("a:/%@$()[]{}.=,;#'\"\\ \t\n-é日\0\ud800\udcff<&"), max_size=8)


@pytest.mark.parametrize("form", WRITERS)
@given(name=st.one_of(STRANGE, st.text(max_size=20)))
@example("my app")
@example("a\0b")
@example("\ud800")
@example("@(exec//x)")
@example("$(HOME)")
@example("--ini")
@example("é" * 130)
def test_a_section_of_any_name(form: str, name: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"x.{form}"
        try:
            file.write_bytes(WRITERS[form](name).encode(errors="surrogateescape"))
            document = parse(file.read_bytes().decode(errors="surrogateescape"), str(file))
        except (ConfigurationError, ValueError):  # nothing that this format can say
            return
        for section in vassals_in(document, True) or []:
            vassal = VassalName(f"x.{form}:{section}")
            if section == "other" or objection_to_section(section) or objection_to_name(vassal):
                continue
            modules = load([f"--{form}", vassal], {}, directory).values("module")
            assert modules == ["wanted"], section
