"""The seccomp filter decides as it should, instruction by instruction. A bundle behind it runs in the pool's tests."""

from __future__ import annotations

import errno
import socket
import struct

import pytest

from dicom_node import sandbox

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06


def decide(code: bytes, audit: int, number: int, domain: int = 0) -> int:
    """Run the filter as the kernel does, on one system call (struct seccomp_data)."""
    data = struct.pack("=IIQ6Q", number, audit, 0, domain, 0, 0, 0, 0, 0)
    instructions = [struct.unpack_from("=HBBI", code, at) for at in range(0, len(code), 8)]
    at, accumulator = 0, 0
    while True:
        operation, if_true, if_false, constant = instructions[at]
        at += 1
        if operation == LOAD:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif operation == EQUAL:
            at += if_true if accumulator == constant else if_false
        elif operation == AT_LEAST:
            at += if_true if accumulator >= constant else if_false
        else:
            assert operation == RETURN
            return constant


@pytest.mark.parametrize(("machine", "audit", "number"), [("x86_64", X86_64, 41), ("aarch64", AARCH64, 198)])
def test_only_unix_sockets_are_allowed(machine: str, audit: int, number: int) -> None:
    code = sandbox.program(machine)

    assert decide(code, audit, number, socket.AF_UNIX) == ALLOW
    for family in (0, 2, 10, 16, 17, 38, 40):  # unspecified, INET, INET6, NETLINK, PACKET, ALG, VSOCK
        assert decide(code, audit, number, family) == REFUSE


@pytest.mark.parametrize(
    ("machine", "audit", "refused"),
    [("x86_64", X86_64, {101, 310, 311, 425, 438}), ("aarch64", AARCH64, {117, 270, 271, 425, 438})],
)
def test_all_other_calls_are_allowed_but_the_ways_around(machine: str, audit: int, refused: set[int]) -> None:
    code = sandbox.program(machine)
    sockets = {"x86_64": 41, "aarch64": 198}[machine]

    decided = {number: decide(code, audit, number) for number in range(470) if number != sockets}

    assert {number for number, decision in decided.items() if decision == REFUSE} == refused
    assert {decision for number, decision in decided.items() if number not in refused} == {ALLOW}


def test_other_interfaces_of_the_kernel_are_no_way_out() -> None:
    code = sandbox.program("x86_64")

    assert decide(code, I386, 359, socket.AF_INET) == KILL
    assert decide(code, X86_64, 0x40000000 | 41, socket.AF_INET) == REFUSE


def test_the_level_says_what_is_missing() -> None:
    level = sandbox.level()

    assert len(level.missing) == 3 - sum((level.network, level.files, level.memory))
    assert ("no network" in str(level)) == level.network
    assert str(sandbox.Level(False, False, False, ())) == "no sandbox"
