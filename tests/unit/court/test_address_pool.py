"""Which vassal has which address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imperator.court.address_pool import AddressPool, PoolError, pool_of

SMALLEST = IPv4Network("10.0.0.0/29")


def test_the_same_name_has_the_same_address_in_every_reign() -> None:
    addresses = {AddressPool(pool_of("10.91.0.0/16")).take("shop.ini") for _ in range(3)}
    assert len(addresses) == 1
    assert addresses.pop() in IPv4Network("10.91.0.0/16")


def test_a_vassal_that_starts_again_is_where_it_was_whoever_came_meanwhile() -> None:
    pool = AddressPool(SMALLEST)
    own = pool.take("a")
    pool.release(own)
    for name in "bcde":
        pool.take(name)
    assert pool.take("a") == own


def test_two_names_with_the_same_place_get_neighbouring_addresses() -> None:
    pool = AddressPool(SMALLEST)
    assert len({pool.take(str(number)) for number in range(5)}) == 5


def test_network_gateway_and_broadcast_are_nobodys() -> None:
    pool = AddressPool(SMALLEST)
    taken = {pool.take(str(number)) for number in range(5)}
    assert pool.gateway == IPv4Address("10.0.0.1")
    assert taken == {IPv4Address(f"10.0.0.{last}") for last in range(2, 7)}


def test_a_second_instance_of_a_vassal_has_another_address_while_the_first_lives() -> None:
    pool = AddressPool(SMALLEST)
    first, second = pool.take("a"), pool.take("a")
    assert first != second
    pool.release(first)
    pool.release(second)
    assert pool.take("a") == second
    assert len(pool) == 1


def test_when_all_are_taken_it_says_so() -> None:
    pool = AddressPool(SMALLEST)
    for number in range(5):
        pool.take(str(number))
    with pytest.raises(PoolError, match=r"all 5 addresses of 10\.0\.0\.0/29 are taken: vassal-net-pool"):
        pool.take("one more")


def test_the_address_that_was_free_the_longest_goes_to_a_newcomer() -> None:
    pool = AddressPool(SMALLEST)
    addresses = {name: pool.take(name) for name in "abcde"}
    pool.release(addresses["c"])
    pool.release(addresses["a"])
    assert pool.take("new") == addresses["c"]
    assert pool.take("c") == addresses["a"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [("10.0.0.0/30", "room for nobody"), ("10.0.0.1/16", "host bits"), ("fd00::/64", "IPv4"), ("pool", "IPv4")],
)
def test_a_pool_that_cannot_be(text: str, reason: str) -> None:
    with pytest.raises(PoolError, match=reason):
        pool_of(text)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_whatever_happens_nobody_shares_an_address(steps: list[tuple[bool, int]]) -> None:
    pool = AddressPool(SMALLEST)
    held: list[tuple[str, IPv4Address]] = []
    for starts, number in steps:
        if starts:
            if len(held) == 5:
                with pytest.raises(PoolError):
                    pool.take(str(number))
                continue
            address = pool.take(str(number))
            assert address not in [other for _, other in held]
            assert address in SMALLEST
            held.append((str(number), address))
        elif held:
            pool.release(held.pop(number % len(held))[1])
        assert len(pool) == len(held)
