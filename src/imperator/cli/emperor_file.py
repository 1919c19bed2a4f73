"""Is a file an Emperor's, one that names sources of vassals? And what would that Emperor's settings be?

It may as well be a vassal's, and anybody's. So it is read in a process apart, with its owner's rights where we are
root, and nothing of it is run or fetched. What depends on something that was not looked into is left out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from imperator.cli.access import owner_if_stranger
from imperator.cli.apart import Apart, GaveUp
from imperator.cli.careful_texts import CarefulTexts, uncertain
from imperator.config.errors import ConfigurationError
from imperator.config.given import Configuration, Given
from imperator.config.language import load
from imperator.config.loader import emperor_settings
from imperator.config.note import Note
from imperator.config.settings import EmperorSettings


def settings_of(path: str) -> EmperorSettings | None:
    """The settings, or ``None``: it is no Emperor's file, or cannot be read as one."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("UWSGI_")}
    try:
        reader = owner_if_stranger(path)
    except OSError:
        return None
    apart = Apart(lambda question: _answer(question, environ))
    try:
        answer = apart.ask({"path": path, "directory": os.getcwd(), "is_stranger": reader is not None}, reader)
    except GaveUp:
        return None  # whatever is wrong with it, it is told of as a vassal's file
    finally:
        apart.close()
    if answer is None:
        return None
    configuration = Configuration(
        given=[Given(**given) for given in answer["given"]],
        consulted=set(answer["consulted"]),
        notes=[Note(where, text) for where, text in answer["notes"]],
    )
    try:
        settings = emperor_settings(configuration)
    except ConfigurationError:
        return None
    return settings if settings.emperor else None


def _answer(question: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any] | None:
    """In the process apart: what is certain of the options in it, and what a person should know."""
    texts = CarefulTexts(environ, question["directory"], is_stranger=question["is_stranger"])
    try:
        configuration = load([question["path"]], environ, question["directory"], further=texts.further, texts=texts)
    except ConfigurationError:
        return None
    doubtful = {id(given) for given in uncertain(configuration)}
    fields = ("key", "value", "where", "done", "placeholder", "derived")
    return {
        "given": [
            {field: getattr(given, field) for field in fields} for given in configuration if id(given) not in doubtful
        ],
        "consulted": sorted(configuration.consulted | texts.spoken_of),
        "notes": [(note.where, note.text) for note in (*configuration.notes, *texts.unread)],
    }
