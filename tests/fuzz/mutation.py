"""Inputs that are nearly right: pure functions of dice and of seeds, which are inputs that are right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

MOST_BYTES = 8192
"""Of a mutated input, so that doubling passages comes to an end."""
_ODD_BYTES = b"\x00\x01\x02\x06\x07\x7f\x80\x85\xfe\xff\t\n\r \"'#%&*,-:[]{}|>"
_ODD_NUMBERS = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 1 << 15, (1 << 16) - 1, 1 << 16, 1 << 31, (1 << 32) - 1)
_CHANGES_AT_ONCE = (1, 1, 1, 2, 3, 5)


def mutated(dice: Random, seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> bytes:
    """One of the seeds with a few changes; ``words`` are what the parser has an ear for."""
    data = bytearray(dice.choice(seeds))
    for _ in range(dice.choice(_CHANGES_AT_ONCE)):
        dice.choice(_CHANGES)(dice, data, seeds, words)
    return bytes(data[:MOST_BYTES])


_Change = Callable[[Random, bytearray, Sequence[bytes], Sequence[bytes]], None]


def span(dice: Random, size: int, *, most: int = 64) -> slice:
    """Some passage of something that long, perhaps empty; seldom a long one."""
    start = dice.randrange(size + 1)
    return slice(start, min(size, start + min(dice.randrange(1, most + 1), dice.randrange(1, most + 1))))


def flip(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """A bit."""
    if data:
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def put_byte(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """Another byte, one with a meaning or any."""
    if data:
        data[dice.randrange(len(data))] = dice.choice(_ODD_BYTES) if dice.random() < 0.5 else dice.randrange(256)


def put_number(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """A lie where a length may be: 16 or 32 bits, in either order."""
    size = dice.choice((2, 4))
    if len(data) >= size:
        at = dice.randrange(len(data) - size + 1)
        number = dice.choice(_ODD_NUMBERS) if dice.random() < 0.7 else dice.randrange(len(data) + 2)
        data[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, dice.choice(("little", "big")))


def cut(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """A passage out."""
    del data[span(dice, len(data))]


def truncate(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """The end off."""
    del data[dice.randrange(len(data) + 1) :]


def insert(dice: Random, data: bytearray, _seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """A word, or noise, in between."""
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice(words) if words and dice.random() < 0.8 else dice.randbytes(dice.randrange(1, 9))


def replace(dice: Random, data: bytearray, _seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """A word, or noise, in place of a passage."""
    data[span(dice, len(data), most=16)] = dice.choice(words) if words else dice.randbytes(dice.randrange(9))


def repeat(dice: Random, data: bytearray, _seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """A passage many times over."""
    passage = span(dice, len(data))
    data[passage.stop : passage.stop] = data[passage] * dice.choice((1, 1, 2, 3, 8, 40))
    del data[MOST_BYTES:]


def splice(dice: Random, data: bytearray, seeds: Sequence[bytes], _words: Sequence[bytes]) -> None:
    """The end of another seed in place of its own."""
    other = dice.choice(seeds)
    data[dice.randrange(len(data) + 1) :] = other[dice.randrange(len(other) + 1) :]


_CHANGES: Sequence[_Change] = (
    flip,
    put_byte,
    put_number,
    cut,
    truncate,
    insert,
    insert,
    replace,
    replace,
    repeat,
    splice,
)


def pieces(dice: Random, data: bytes) -> list[bytes]:
    """What arrives of a stream: whole, or cut in a few places."""
    if dice.random() < 0.5:
        return [data]
    cuts = sorted(dice.randrange(len(data) + 1) for _ in range(dice.randrange(1, 5)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if start < end]
