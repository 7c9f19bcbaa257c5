"""Numbers as a type holds them: float64 arrays to codes and scales, and back.

Elements round to the nearest value, to the even code where two are as near. Narrow floats (8 bits and less)
saturate, as OCP OFP8 1.0 and MX 1.0 have it; wide ones overflow to infinity, as IEEE 754 has it. A scale is what
brings the largest magnitude of its group to the element's largest value, rounded to the scale's own type. The
scale of an MX format is the power of two that MX 1.0 gives: of the largest magnitude, less the element's largest
exponent. A bare integer type has one scale for the whole tensor, 1 where all values are codes already.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import frexp

import numpy as np
import numpy.typing as npt

from dfcompiler.dtypes import ELEMENTS, Dtype, Element, Scales, Sparsity, parse_dtype

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Encoded:
    """A tensor as it is stored: values of its element type, then a factor and a shift of the same shape.

    `scales` has the factors of each level as they are stored, [ceil(rows / R), ceil(cols / C)].
    """

    codes: Floats
    factor: Floats
    zero: Floats
    scales: tuple[Floats, ...]

    @property
    def values(self) -> Floats:
        """What the stored tensor stands for: (code - zero point) * scale."""
        return np.asarray((self.codes - self.zero) * self.factor)


def round_to(values: Floats, dtype: str) -> Floats:
    """The values as a tensor of this type holds them; NaN stays. Raises Diag `unknown-dtype`."""
    return encode(values, dtype).values


def encode(values: Floats, dtype: str) -> Encoded:
    """A tensor as codes and scales; pruned first where the type is sparse: the largest magnitudes are kept."""
    kind, shape = parse_dtype(dtype), np.shape(values)
    table = np.asarray(values, dtype=np.float64).reshape(-1, shape[-1] if shape else 1)
    if kind.sparsity:
        table = prune(table, kind.sparsity)
    levels = kind.scales
    if kind.number.integer and not levels and not _are_codes(table, kind.number):
        levels = (Scales("fp32"),)
    factor, zero, scales = _scaled(table, kind, levels)
    codes = round_element(table / factor + zero, kind.element)
    return Encoded(codes.reshape(shape), factor.reshape(shape), zero.reshape(shape), scales)


def round_element(values: Floats, element: str) -> Floats:
    """Each value as the nearest one of a scalar type of `ELEMENTS`."""
    kind = ELEMENTS[element]
    if kind.integer:
        return np.clip(np.rint(values), -(2.0 ** (kind.bits - 1)), 2.0 ** (kind.bits - 1) - 1)
    if kind.quantiles:
        codes = _normal_quantiles()
        return np.asarray(codes[np.searchsorted((codes[1:] + codes[:-1]) / 2, values)])
    if not kind.mantissa:
        return _power_of_two(values, kind)
    _, exponent = np.frexp(values)
    step = np.ldexp(1.0, np.maximum(exponent - 1, 2 - 2 ** (kind.exponent - 1)) - kind.mantissa)
    with np.errstate(invalid="ignore"):
        near = np.where(np.isfinite(values), np.rint(values / step) * step, values)
    if kind.saturates:
        return np.clip(near, -kind.largest, kind.largest)
    return np.where(np.abs(near) > kind.largest, np.copysign(np.inf, near), near)


def prune(table: Floats, sparsity: Sparsity) -> Floats:
    """The table [rows, cols] with only its largest magnitudes: two of every four of a row, or a share of all.
    Of equal magnitudes the first ones stay."""
    rows, cols = table.shape
    size = 4 if sparsity.of_four else rows * cols
    pieces = np.pad(table, ((0, 0), (0, -cols % 4))).reshape(-1, 4) if sparsity.of_four else table.reshape(1, size)
    keep = 2 if sparsity.of_four else sparsity.stored(rows, cols)
    order = np.argsort(-np.abs(pieces), axis=1, kind="stable")
    kept = np.zeros_like(pieces, dtype=bool)
    np.put_along_axis(kept, order[:, :keep], True, axis=1)
    return np.asarray(np.where(kept, pieces, 0.0).reshape(rows, -1)[:, :cols])


def spread(scales: Floats, rows: int, cols: int, level: Scales) -> Floats:
    """Scales [ceil(rows / R), ceil(cols / C)] as one factor for each element of [rows, cols]."""
    down = np.repeat(scales, level.rows or rows, axis=0)[:rows]
    return np.asarray(np.repeat(down, level.cols or cols, axis=1)[:, :cols])


def _scaled(table: Floats, kind: Dtype, levels: tuple[Scales, ...]) -> tuple[Floats, Floats, tuple[Floats, ...]]:
    """The factor and the zero point of each element, and the scales of each level; outer levels are made first,
    so that the scales inside them are in their range."""
    rows, cols = table.shape
    factor, zero, found = np.ones_like(table), np.zeros_like(table), list[Floats]()
    reach = _reach(kind.number)
    for depth, level in reversed([*enumerate(levels)]):
        inner = [_reach(ELEMENTS[s.dtype]) for s in levels[:depth]]
        low, high = _ends(table / factor, level)
        if kind.zero:
            low, high = np.minimum(low, 0), np.maximum(high, 0)
            scale = _rounded((high - low) / (2**kind.number.bits - 1), level.dtype)
            zero = spread(np.rint(-low / scale) - 2 ** (kind.number.bits - 1), rows, cols, level)
        else:
            largest = np.maximum(np.abs(low), np.abs(high))
            power = ELEMENTS[level.dtype].mantissa == 0
            target = 2.0 ** (frexp(reach)[1] - 1) if power else float(np.prod([reach, *inner]))
            scale = _rounded(largest / target, level.dtype)
        factor = factor * spread(scale, rows, cols, level)
        found.insert(0, scale)
    return factor, zero, tuple(found)


def _rounded(scale: Floats, dtype: str) -> Floats:
    """Scales as their type holds them, at most its largest value; 1 where that would be 0, as for nothing but zeros."""
    held = np.minimum(round_element(scale, dtype), ELEMENTS[dtype].largest)
    return np.asarray(np.where((scale > 0) & (held > 0), held, 1.0))


def _ends(table: Floats, level: Scales) -> tuple[Floats, Floats]:
    """The smallest and the largest finite value of each group."""
    at = [np.arange(0, n, size or n) for n, size in zip(table.shape, (level.rows, level.cols), strict=True)]
    finite = np.where(np.isfinite(table), table, 0.0)
    low, high = (f.reduceat(f.reduceat(finite, at[0], 0), at[1], 1) for f in (np.minimum, np.maximum))
    return low, high


def _reach(kind: Element) -> float:
    """The largest magnitude that a scale aims at; integers leave out the one code without an opposite."""
    return 2.0 ** (kind.bits - 1) - 1 if kind.integer else kind.largest


def _power_of_two(values: Floats, kind: Element) -> Floats:
    """The power of two at or below a positive value, within the exponents of an e8m0 scale; 0 stays."""
    _, exponent = np.frexp(values)
    bias = 2 ** (kind.exponent - 1) - 1
    return np.where(values > 0, np.ldexp(1.0, np.clip(exponent - 1, -bias, bias)), 0.0)


@cache
def _normal_quantiles() -> Floats:
    """The 16 numbers of NF4: 0, and quantiles of a normal distribution at even steps, 8 above 0 and 7 below."""
    from statistics import NormalDist

    end = 0.9677083  # the quantile that becomes 1: `create_normal_map` of bitsandbytes
    above, below = ([NormalDist().inv_cdf(q) for q in np.linspace(end, 0.5, n + 1)[:-1]] for n in (8, 7))
    return np.asarray(sorted([*above, 0.0, *(-q for q in below)])) / max(above)


def _are_codes(table: Floats, kind: Element) -> bool:
    half = 2.0 ** (kind.bits - 1)
    return bool(np.all((table == np.rint(table)) & (table >= -half) & (table < half)))
