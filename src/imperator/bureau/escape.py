"""Text from others made safe to show: a log line or a table cell stays one line and cannot steer the terminal.

Control characters (C0, DEL, C1), line separators, bidirectional controls and bytes that are no UTF-8 are shown as
``\\n``, ``\\x1b``, ``\\u202e``. Everything else stays as it is; a backslash is not doubled.
"""

from __future__ import annotations

import re
from typing import Final

_ALWAYS = "\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_UNSAFE: Final = re.compile(f"[\t{_ALWAYS}]")
_UNSAFE_BUT_TAB: Final = re.compile(f"[{_ALWAYS}]")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _show(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that surrogateescape kept (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def visible(text: str) -> str:
    """``text`` on one line, with everything that is not plain text shown as an escape."""
    return _UNSAFE.sub(_show, text) if _UNSAFE.search(text) else text


def visible_but_tabs(text: str) -> str:
    """The same for a program's output, which may use tabs for its columns."""
    return _UNSAFE_BUT_TAB.sub(_show, text) if _UNSAFE_BUT_TAB.search(text) else text


def encodable(text: str) -> str:
    """Only what cannot be encoded as UTF-8 is shown as an escape: for JSON, which escapes the rest by itself."""
    return _SURROGATES.sub(_show, text) if _SURROGATES.search(text) else text
