"""Amounts as people write them."""

from __future__ import annotations

import pytest

from imperator.config.quantities import cores, count, device_amounts, size, weight, words_of_size


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1", 1),
        ("512M", 512 << 20),
        ("512m", 512 << 20),
        ("512MB", 512 << 20),
        ("512 MiB", 512 << 20),
        ("1.5G", 3 << 29),
        ("2T", 2 << 40),
        ("64K", 64 << 10),
        ("max", None),
    ],
)
def test_sizes(text: str, amount: int | None) -> None:
    assert size(text) == amount


@pytest.mark.parametrize("text", ["", "0", "-1", "plenty", "5X", "M", "1e9", "512 M B"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="a size was expected"):
        size(text)


def test_cores() -> None:
    assert [cores(text) for text in ("1.5", "2", "0.01", "max")] == [1.5, 2.0, 0.01, None]
    for text in ("0", "0.001", "-1", "nan", "inf", "1e3", ""):
        with pytest.raises(ValueError, match="a number of cores was expected"):
            cores(text)


def test_counts_and_weights() -> None:
    assert [count("100"), count("max")] == [100, None]
    assert [weight("1"), weight("10000")] == [1, 10000]
    for text in ("0", "-1", "1.5", ""):
        with pytest.raises(ValueError, match="expected"):
            count(text)
    for text in ("0", "10001", "max"):
        with pytest.raises(ValueError, match="expected"):
            weight(text)


def test_devices() -> None:
    assert device_amounts("8:16 rbps=10M wiops=200") == ("8:16", (("rbps", 10 << 20), ("wiops", 200)))
    for text, why in {
        "": "DEVICE KIND=AMOUNT was expected",
        "8:16": "DEVICE KIND=AMOUNT was expected",
        "8:16 speed=10M": "DEVICE KIND=AMOUNT was expected",
        "8:16 rbps": "a size was expected",
        "/dev/null rbps=1M": "/dev/null is no block device",
        "/nowhere rbps=1M": "/nowhere: No such file",
    }.items():
        with pytest.raises(ValueError, match=why):
            device_amounts(text)


@pytest.mark.parametrize(
    ("amount", "words"),
    [(1, "1 bytes"), (512 << 20, "512 MB"), (3 << 29, "1.5 GB"), (1023 << 20, "1023 MB"), (1 << 40, "1 TB")],
)
def test_sizes_for_people(amount: int, words: str) -> None:
    assert words_of_size(amount) == words
