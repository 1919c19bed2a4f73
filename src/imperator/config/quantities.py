"""Amounts as people write them: ``512M`` of memory, ``1.5`` cores, ``/dev/vda rbps=10M``. All raise ValueError.

``max`` is: no limit.
"""

from __future__ import annotations

import os
import re
import stat

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_IO_KEYS = ("rbps", "wbps", "riops", "wiops")

DeviceAmounts = tuple[str, tuple[tuple[str, int], ...]]
"""``major:minor``, and what is allowed of each kind."""


def size(text: str) -> int | None:
    """Bytes. K, M, G and T are powers of 1024, with or without B or iB after them."""
    word = text.strip()
    if word == "max":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", word, re.IGNORECASE)
    amount = int(float(match[1]) * 1024 ** _POWERS[match[2].upper()]) if match else 0
    if amount < 1:
        raise ValueError("a size was expected, like 512M or 2G, or max")
    return amount


def cores(text: str) -> float | None:
    """Processor cores: at least a hundredth of one."""
    word = text.strip()
    if word == "max":
        return None
    if not re.fullmatch(r"\d+(\.\d+)?", word) or float(word) < 0.01:
        raise ValueError("a number of cores was expected, like 0.5 or 2 (0.01 at the least), or max")
    return float(word)


def count(text: str) -> int | None:
    """A whole number of things, at least one."""
    word = text.strip()
    if word == "max":
        return None
    if not word.isdecimal() or int(word) < 1:
        raise ValueError("a whole number was expected, 1 at the least, or max")
    return int(word)


def weight(text: str) -> int:
    """A share against others: 1 to 10000, where 100 is usual."""
    word = text.strip()
    if not word.isdecimal() or not 1 <= int(word) <= 10000:
        raise ValueError("a weight from 1 to 10000 was expected (100 is what everybody else has)")
    return int(word)


def device_amounts(text: str) -> DeviceAmounts:
    """``DEVICE KIND=AMOUNT …``: a block device by path or as major:minor, and its limits a second."""
    form = "DEVICE KIND=AMOUNT was expected, like /dev/vda rbps=10M wiops=200 (kinds: rbps, wbps, riops, wiops)"
    if len(text.split()) < 2:
        raise ValueError(form)
    device, *words = text.split()
    amounts = []
    for word in words:
        kind, _, amount = word.partition("=")
        most = size(amount) if kind in _IO_KEYS else None
        if most is None:
            raise ValueError(form)
        amounts.append((kind, most))
    return _device_number(device), tuple(amounts)


def _device_number(device: str) -> str:
    if re.fullmatch(r"\d+:\d+", device):
        return device
    try:
        found = os.stat(device)
    except OSError as error:
        raise ValueError(f"{device}: {error.strerror}") from error
    if not stat.S_ISBLK(found.st_mode):
        raise ValueError(f"{device} is no block device: name the device that the file system is on (see lsblk)")
    return f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"


def words_of_size(amount: int) -> str:
    """Bytes for a person: ``512 MB``, ``1.5 GB``."""
    value, unit = float(amount), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
