"""Changes that files suffer: flipped bits, cuts, noise, other numbers, foreign characters."""

from __future__ import annotations

import random
import re

NUMBERS = (b"-1", b"nan", b"inf", b"1e300", b"9" * 30, b"9" * 5000, b"1e-9", b"0x10", b"", b"a\xe9")


def mutated(data: bytes, rng: random.Random) -> bytes:
    """One change of a kind that files really suffer, or that a mischievous mind would make."""
    if not data:
        return b"\x00"
    at, length = rng.randrange(len(data)), rng.randrange(1, 64)
    numbers = list(re.finditer(rb"\d+\.?\d*", data))
    change = rng.choice(
        ("flip", "flip", "flips", "cut", "drop", "double", "noise", "number", "text")
    )
    if change == "number" and numbers:
        number = rng.choice(numbers)
        return data[: number.start()] + rng.choice(NUMBERS) + data[number.end() :]
    if change == "cut":
        return data[:at]
    if change == "drop":
        return data[:at] + data[at + length :]
    if change == "double":
        return data[: at + length] + data[at:]
    if change == "noise":
        return data[:at] + rng.randbytes(length) + data[at + length :]
    if change == "text":
        return data[:at] + "ÿé\r\n\t,".encode("latin-1") + data[at:]
    flipped = bytearray(data)
    for _ in range(1 if change == "flip" else 20):
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(flipped)
