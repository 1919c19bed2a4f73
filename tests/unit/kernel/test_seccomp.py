"""The filter, run as the kernel would run it, for machines that are not at hand too."""

from __future__ import annotations

import errno
import struct

import pytest

from imperator.kernel.seccomp import CLONE3, NO_USER_NAMESPACES, REFUSED, program

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLUMN = {"x86_64": 0, "aarch64": 1}
I386 = 0x40000003
NEW_USER, THREAD = 0x10000000, 0x00010000
ALLOWED = 0


def verdict(machine: str, number: int, first: int = 0, architecture: int | None = None) -> int:
    """What becomes of a system call: the errno with which it fails, or ALLOWED."""
    data = struct.pack("=IIQ6Q", number, architecture or ARCHITECTURES[machine], 0, first, 0, 0, 0, 0, 0)
    steps = [struct.unpack_from("=HBBI", program(machine), at) for at in range(0, len(program(machine)), 8)]
    at = accumulator = 0
    while True:
        code, if_true, if_false, value = steps[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x05:
                at += value
            case 0x15:
                at += if_true if accumulator == value else if_false
            case 0x35:
                at += if_true if accumulator >= value else if_false
            case 0x45:
                at += if_true if accumulator & value else if_false
            case 0x06 if value == 0x7FFF0000:
                return ALLOWED
            case 0x06 if value >> 16 == 5:
                return int(value & 0xFFFF)
            case _:
                raise AssertionError(f"unknown step {code:#x} {value:#x}")


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_exactly_what_is_listed_is_refused(machine: str) -> None:
    refused = {numbers[COLUMN[machine]] for numbers in REFUSED.values()} - {None}
    found = {number for number in range(600) if verdict(machine, number) == errno.EPERM}
    assert found == refused
    assert len(refused) > 40


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", NO_USER_NAMESPACES)
def test_a_user_namespace_is_refused_and_a_thread_is_not(machine: str, name: str) -> None:
    number = NO_USER_NAMESPACES[name][COLUMN[machine]]
    assert verdict(machine, number, NEW_USER | THREAD) == errno.EPERM
    assert verdict(machine, number, THREAD) == ALLOWED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_clone3_is_not_there(machine: str) -> None:
    assert verdict(machine, CLONE3) == errno.ENOSYS


def test_other_calling_conventions_are_refused_whatever_is_called() -> None:
    assert verdict("x86_64", 1, architecture=I386) == errno.EPERM
    assert verdict("aarch64", 1, architecture=0x40000028) == errno.EPERM
    assert verdict("x86_64", 0x40000000 | 1) == errno.EPERM
    assert verdict("x86_64", 0xFFFFFFFF) == errno.EPERM


def test_another_machine_has_no_list() -> None:
    with pytest.raises(LookupError, match="riscv64"):
        program("riscv64")
