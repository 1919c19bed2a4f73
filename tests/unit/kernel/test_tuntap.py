"""Packets of IPv4 in a stream."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from imperator.kernel.tuntap import PACKET, RULES, Stream, framed, is_packet


def test_a_frame_is_the_originals() -> None:
    assert framed(b"x" * 0x1234)[:4] == b"\x00\x34\x12\x00"
    assert framed(b"", RULES) == b"\x00\x00\x00\x01"


@given(
    st.lists(st.tuples(st.sampled_from([PACKET, RULES]), st.binary(max_size=300)), max_size=10),
    st.lists(st.integers(1, 50), max_size=100),
)
def test_whatever_the_pieces_the_same_packets_come_out(frames: list[tuple[int, bytes]], sizes: list[int]) -> None:
    data = b"".join(framed(content, kind) for kind, content in frames)
    stream = Stream()
    found: list[tuple[int, bytes]] = []
    for size in sizes:
        found += stream.take(data[:size])
        data = data[size:]
    found += stream.take(data)
    assert found == frames


def test_only_ipv4_is_a_packet() -> None:
    assert is_packet(b"\x45" + bytes(19))
    assert not is_packet(b"\x45" + bytes(18))
    assert not is_packet(b"\x60" + bytes(39))
