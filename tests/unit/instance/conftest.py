"""What tests of an instance's own process need."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user may enter and write to (pytest's own are only for the user who runs it)."""
    path = Path(tempfile.mkdtemp(prefix="imperator-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def as_root() -> None:
    if os.getuid() != 0:
        pytest.skip("only root can do this")
