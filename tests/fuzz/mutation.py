"""Inputs made from seeds by small changes; the same for the same seed of chance. Used where Atheris is not."""

from __future__ import annotations

import random
from collections.abc import Sequence

_ODD = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xfe\xff\0\xe0", b"\xfe\xff\xdd\xe0", b"\x7f\xff\xff\xff", b"\0\0\0\2")


def mutate(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    """One of the seeds with a few bytes changed, cut out, doubled, or taken from another."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.randint(1, 16))
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data[at] = chance.randrange(256)
        elif kind == 1:
            data[at:end] = chance.choice(_ODD)
        elif kind == 2:
            del data[at:end]
        elif kind == 3:
            data[at:at] = data[at:end] * chance.randint(1, 8)
        elif kind == 4:
            other = chance.choice(seeds)
            data[at:] = other[chance.randrange(len(other) + 1) :]
        elif at < len(data):
            data[at] ^= 1 << chance.randrange(8)
    return bytes(data)
