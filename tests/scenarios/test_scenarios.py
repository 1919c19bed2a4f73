"""Each file beside this one is a story; see :mod:`.story` for its language.

``IMPERATOR_REWRITE=1`` writes the answers of today into the files: read the difference before you keep it.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from .story import Story

STORIES = sorted(Path(__file__).parent.glob("*.txt"))


def _retell(text: str) -> str:
    """The same story, with the answers that the reign gives now."""
    story = Story()
    paragraphs = []
    for paragraph in text.strip("\n").split("\n\n"):
        commands = paragraph.split("\n----", 1)[0].splitlines()
        told = [line for line in commands if line and not line.startswith("#")]
        if told:
            answers = [answer for line in told for answer in story.tell(line)]
            paragraphs.append("\n".join([*commands, "----", *answers]))
        else:
            paragraphs.append(paragraph)
    return "\n\n".join(paragraphs) + "\n"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# "), "a story begins by saying what it shows"
    told = _retell(text)
    if os.environ.get("IMPERATOR_REWRITE") == "1":
        path.write_text(told, encoding="utf-8")
        return
    difference = difflib.unified_diff(text.splitlines(), told.splitlines(), "written", "told now", lineterm="", n=8)
    assert told == text, "\n" + "\n".join(difference)


def test_there_are_stories() -> None:
    assert len(STORIES) >= 25
