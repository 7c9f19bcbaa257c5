"""Designs of a pool that are the same chip under the same loads: they differ only in what they do not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from math import prod

import numpy as np

from dfcompiler.explore.fleet import Kind
from dfcompiler.explore.references import Array
from dfcompiler.hardware.chip import Chip

KEYS = 1 << 62  # whole numbers below it are keys of designs


def first_of_alike(fleet: Sequence[Kind], shape: tuple[int, ...], said: Collection[int]) -> Array | None:
    """The first of all designs that are alike, as indices `[design, axis]` in order; None where no two are. Designs
    differ where they are of different kinds, in some number of the chip, or along the axes in `said`."""
    size = prod(shape)
    kept = []
    for kind in fleet:
        here = np.flatnonzero(np.broadcast_to(kind.where, shape))
        kept.append(here[_first(kind.chip, shape, said, here)])
    if sum(map(len, kept)) == size:
        return None
    return np.stack(np.unravel_index(np.sort(np.concatenate(kept)), shape), 1)


def _first(chip: Chip, shape: tuple[int, ...], said: Collection[int], here: Array) -> Array | slice:
    """Of designs that leave out the same units which are the first of their like."""
    numbers = [x.reshape((1,) * (len(shape) - x.ndim) + x.shape) for x in _numbers(chip)]
    told = {i for i, n in enumerate(shape) if n == 1} | set(said)
    told |= {axis for x in numbers for axis in _read(x)[:1] if len(np.unique(x)) == x.size == shape[axis]}
    if len(told) == len(shape):
        return slice(None)
    at = np.unravel_index(here, shape)
    key, count = np.zeros(len(here), dtype=np.int64), 1
    columns = [(at[i], shape[i]) for i in told]
    columns += [(_taken(_codes(x), at), x.size) for x in numbers if not told.issuperset(_read(x))]
    for column, many in columns:
        if count * many >= KEYS:
            key, count = _codes(key), len(here)
        key, count = key * many + column, count * many
    return np.unique(key, return_index=True)[1]


def _numbers(chip: Chip) -> Iterator[Array]:
    """All that a chip of many designs has an array for."""
    parts = [x for p in chip.parts.values() for x in (p.instances, *p.template.settings().values())]
    levels = [x for u in chip.units.values() for level in u.levels for x in vars(level).values()]
    yield from (x for x in (chip.clock_hz, chip.uncore_mm2, *parts, *levels) if np.ndim(x))


def _read(x: Array) -> list[int]:
    return [i for i, n in enumerate(x.shape) if n > 1]


def _codes(x: Array) -> Array:
    """Which of its values each is."""
    return np.unique(x, return_inverse=True)[1].reshape(x.shape)


def _taken(x: Array, at: tuple[Array, ...]) -> Array:
    found: Array = x[tuple(i if n > 1 else 0 for i, n in zip(at, x.shape, strict=True))]
    return found
