"""Arrays of integers as lines of a memory, and back: `$readmemh` images of what a core reads and writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from dfcompiler.rtl.nests import Blocks

Ints = npt.NDArray[np.int64]


def places(blocks: Blocks, dims: tuple[str, ...]) -> tuple[Ints, Ints]:
    """Line and word of every element of an array of `dims`, each of the array's shape."""
    shape = tuple(blocks.size[d] for d in dims)
    line = np.zeros(shape, dtype=np.int64)
    word = np.zeros(shape, dtype=np.int64)
    for axis, d in enumerate(dims):
        at = np.arange(blocks.size[d])
        tile, inside = np.divmod(at, 1 if d == "b" else blocks.tile[d])
        filled = blocks.port.line.get(d, 1)
        own = tile * blocks.across(d) + inside // filled * blocks.inside(d, filled)
        names = list(blocks.port.line)
        slower = prod(blocks.port.line[x] for x in names[names.index(d) + 1 :]) if d in names else 0
        spread = tuple(-1 if i == axis else 1 for i in range(len(dims)))
        line = line + own.reshape(spread)
        word = word + (inside % filled * slower).reshape(spread)
    return line, word


def image(values: Ints, blocks: Blocks, dims: tuple[str, ...]) -> str:
    """Lines of hexadecimal digits, the first word in the lowest bits; words without an element are 0."""
    held = np.zeros((blocks.lines, blocks.port.words), dtype=object)
    line, word = places(blocks, dims)
    held[line, word] = values & ((1 << blocks.port.bits) - 1)
    digits = -(-blocks.port.words * blocks.port.bits // 4)
    return "".join(f"{_joined(row, blocks.port.bits):0{digits}x}\n" for row in held)


def _joined(words: npt.NDArray[Any], bits: int) -> int:
    return sum(int(w) << (i * bits) for i, w in enumerate(words))


def read(text: str, blocks: Blocks, dims: tuple[str, ...]) -> Ints:
    """The signed values that the lines of an image hold."""
    bits, mask = blocks.port.bits, (1 << blocks.port.bits) - 1
    lines = [int(x, 16) for x in _numbers(text)]
    line, word = places(blocks, dims)
    held = [lines[i] >> (int(w) * bits) & mask for i, w in zip(line.flat, word.flat, strict=True)]
    found = np.array(held, dtype=object)  # 64 bits are more than a signed integer has
    return signed(found.reshape(line.shape), bits)


def _numbers(text: str) -> Iterator[str]:
    for row in text.splitlines():
        word = row.partition("//")[0].strip()
        if word and not word.startswith("@"):
            yield word.replace("x", "0")


def signed(values: Any, bits: int) -> Ints:
    """Integers modulo 2^bits as signed ones."""
    half = 1 << (bits - 1)
    return np.asarray(((np.asarray(values, dtype=object) + half) % (1 << bits)) - half, dtype=np.int64)


def random(rng: np.random.Generator, shape: Mapping[str, int], dims: tuple[str, ...], bits: int) -> Ints:
    """Random signed integers of so many bits (at most 32 are used)."""
    top = 1 << (min(bits, 32) - 1)
    return rng.integers(-top, top, tuple(shape[d] for d in dims))
