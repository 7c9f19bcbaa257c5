"""A product on a unit over all designs: one sweep for those that share template, instances and on-chip bandwidths.

Capacities and the DRAM's bandwidth are thresholds and rates within one sweep. Which axes decide what shows in the
shapes of arrays: those of extent 1 are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product as every
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.prices.chipgrid import LevelGrid, UnitGrid
from dfcompiler.explore.prices.compiled import Lower
from dfcompiler.explore.prices.layout import Floats, Machine
from dfcompiler.explore.prices.products import Product, structures_of
from dfcompiler.explore.prices.tilings import tilings_of
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Unit
from dfcompiler.hardware.template import Ports

Array: TypeAlias = npt.NDArray[Any]
Where: TypeAlias = tuple[int | slice, ...]


class Columns:
    """Designs on a unit by the sweep that prices them; arrays have a dimension for each of `axes` axes.

    `chip` and `dram` are cycles per byte as `Machine` has them, first.
    """

    def __init__(self, unit: UnitGrid, helper: UnitGrid | None, axes: int) -> None:
        self.unit, self.helper, self.axes = unit, helper, axes
        own, top = unit.levels[-1], unit.levels[1]
        self.chip = [_per_byte(own.fill), _per_byte(own.drain), *_between(unit, own, len(unit.levels) > 2)]
        self.dram = _between(unit, top, True, unit.levels[0].one.half_duplex)
        filled = (_per_byte(r * top.instances) for r in (top.fill, top.drain))
        self.dram[:2] = [np.maximum(a, b) for a, b in zip(self.dram, filled, strict=False)]
        self.near_bytes = own.capacity_bytes
        self.above_bytes = unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else np.array([np.inf])
        self.latency = sum((x.latency_cycles for x in unit.levels), start=np.zeros(1))

    @cached_property
    def deciding(self) -> tuple[int, ...]:
        """Extents of what decides the sweep of a design."""
        every_ = [a for u in (self.unit, self.helper) if u for a in _numbers(u)]
        return self._full([*every_, *self.chip, self.latency])

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Extents of prices."""
        return self._full([np.zeros(self.deciding), *self.dram, self.near_bytes, self.above_bytes])

    def _full(self, arrays: Sequence[Array]) -> tuple[int, ...]:
        found = np.broadcast_shapes(*(np.shape(a) for a in arrays))
        return (1,) * (self.axes - len(found)) + found

    def __iter__(self) -> Iterator[Where]:
        yield from every(*(range(n) if n > 1 else (slice(None),) for n in self.deciding))

    def cycles(self, x: Product, where: Where, lower: Lower) -> tuple[Floats, int]:
        """Cycles of a product in the designs of one sweep, an array that fits into prices there, and how many tilings
        in structures were priced; inf where no tiling fits."""
        unit = _unit(self.unit, where)
        helper = _unit(self.helper, where) if self.helper else None
        near, near_at = self._values([self.near_bytes], where)
        above, above_at = self._values([self.above_bytes], where)
        dram, dram_at = self._values(self.dram, where)
        p, operands = x.problem, x.operands
        total = [sum(o.total_bytes for o in p.operands if o.kind == kind) for kind in ("read", "write")]
        m = Machine(
            unit.levels[-1].multicast,
            near[:, 0],
            above[:, 0],
            np.array([_at(a, where) for a in self.chip]),
            dram,
            np.maximum((dram[:, :2] * total).max(1), (dram[:, 2:] * total).sum(1)),
        )
        best = np.full((len(near), len(above), len(dram)), np.inf)
        tilings = tilings_of(x, unit, helper)
        priced = lower(tilings, operands, structures_of(x, len(unit.levels)), m, np.arange(len(tilings.ways)), best)
        waits = float(unit.template.fill_cycles()) + _at(np.asarray(self.latency), where)
        return best[near_at, above_at, dram_at] + waits, priced

    def _values(self, arrays: Sequence[Array], where: Where) -> tuple[Floats, Array]:
        """Distinct rows of some arrays in the designs of a sweep, ascending, and which of them each design has."""
        here = np.broadcast_arrays(*(_slice(a, where, self.axes) for a in arrays))
        rows, back = np.unique(np.stack([a.ravel() for a in here], 1).astype(np.float64), axis=0, return_inverse=True)
        return rows, back.reshape(here[0].shape)


def _between(unit: UnitGrid, below: LevelGrid, there: bool, half: bool | None = None) -> list[Array]:
    """Cycles per byte of the way to the level above: each direction by itself, and one after the other."""
    none = np.zeros(1)
    if not there:
        return [none, none, none, none]
    above = unit.levels[[x is below for x in unit.levels].index(True) - 1]
    rates = [_per_byte(below.source), _per_byte(below.sink)]
    return [none, none, *rates] if (above.one.half_duplex if half is None else half) else [*rates, none, none]


def _per_byte(bytes_per_cycle: Array) -> Array:
    return np.asarray(np.where(np.isinf(bytes_per_cycle), 0.0, 1 / np.asarray(bytes_per_cycle, dtype=np.float64)))


def _numbers(unit: UnitGrid) -> list[Array]:
    ports = unit.ports
    said = (*unit.template.settings().values(), ports.input, ports.weight, ports.psum_read, ports.psum_write)
    return [np.asarray(a) for a in (*said, unit.instances)]


def _slice(a: Array, where: Where, axes: int) -> Array:
    """What an array has in the designs of a sweep."""
    a = np.asarray(a)
    a = a.reshape((1,) * (axes - a.ndim) + a.shape)
    return a[tuple(w if isinstance(w, slice) or n > 1 else 0 for w, n in zip(where, a.shape, strict=True))]


def _at(a: Array, where: Where) -> float:
    """The one value that an array has there."""
    return float(_slice(a, where, len(where)).item())


def _unit(unit: UnitGrid, where: Where) -> Unit:
    """The unit of the designs of a sweep; what its levels hold and pass is not read from it."""

    def one(a: Any) -> Any:
        return _slice(np.asarray(a), where, len(where)).item()

    template: Template = unit.template
    settings = {n: one(v) for n, v in template.settings().items() if np.ndim(v)}
    made: Callable[..., Ports] = Ports
    ports = made(
        *(float(one(a)) for a in (unit.ports.input, unit.ports.weight, unit.ports.psum_read, unit.ports.psum_write))
    )
    return replace(
        unit.one, template=unit.template.with_axes(settings), instances=int(one(unit.instances)), ports=ports
    )
