"""Where Imperator on purpose understands something else than the original; by the case's name in the corpus."""

from __future__ import annotations

from typing import Final

DECISIONS: Final[dict[str, str]] = {}
