"""A product on a unit over all designs: one sweep for those that share template, instances and on-chip bandwidths.

Capacities and the DRAM's bandwidth are thresholds and rates within one sweep. Which axes decide what shows in the
shapes of arrays: those of extent 1 are not read. Sweeps that share a template share its table of cycles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as every
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.prices.compiled import Lower
from dfcompiler.explore.prices.layout import ROUNDED, Floats, Machine
from dfcompiler.explore.prices.products import Product, structures_of
from dfcompiler.explore.prices.tilings import table_of, tilings_of
from dfcompiler.hardware.chip import Level, Unit
from dfcompiler.hardware.template import Ports

Array: TypeAlias = npt.NDArray[Any]
Where: TypeAlias = tuple[int | slice, ...]


@dataclass(frozen=True)
class Column:
    """Designs that one sweep prices: where they are, the machine but for what a product adds, which of its capacities
    and DRAMs each design has, and cycles that are paid once."""

    where: Where
    instances: int
    machine: Machine
    of: tuple[Array, Array, Array]
    waits: float


@dataclass(frozen=True)
class Group:
    """Columns of one template, as a unit and the one beside it."""

    unit: Unit
    helper: Unit | None
    columns: tuple[Column, ...]


class Columns:
    """Designs on a unit by the sweep that prices them; arrays have a dimension for each of `axes` axes.

    `chip` and `dram` are cycles per byte as `Machine` has them.
    """

    def __init__(self, unit: Unit, helper: Unit | None, axes: int) -> None:
        self.unit, self.helper, self.axes = unit, helper, axes
        own, top = unit.levels[-1], unit.levels[1]
        none = [np.zeros(1)] * 4
        between = _between(own, unit.levels[-2]) if len(unit.levels) > 2 else none
        self.chip = [_per_byte(own.fill_bytes_per_cycle), _per_byte(own.drain_bytes_per_cycle), *between]
        self.dram = _between(top, unit.levels[0])
        filled = (_per_byte(r * top.instances) for r in (top.fill_bytes_per_cycle, top.drain_bytes_per_cycle))
        self.dram[:2] = [np.maximum(a, b) for a, b in zip(self.dram, filled, strict=False)]
        self.near_bytes = np.asarray(own.capacity_bytes)
        self.above_bytes = np.asarray(unit.levels[-2].capacity_bytes if len(unit.levels) > 2 else np.inf)
        self.latency = np.asarray(sum(x.latency_cycles for x in unit.levels))

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Extents of prices."""
        return self._full([np.zeros(self._deciding), *self.dram, self.near_bytes, self.above_bytes])

    @cached_property
    def groups(self) -> tuple[Group, ...]:
        """All columns, by template."""
        outer = self._full([a for u in (self.unit, self.helper) if u for a in _numbers(u)])
        inner = [1 if n > 1 else m for n, m in zip(outer, self._deciding, strict=True)]
        found = []
        for at in _indices(outer):
            each = [
                tuple(a if n > 1 else b for a, b, n in zip(at, more, outer, strict=True)) for more in _indices(inner)
            ]
            unit = _unit(self.unit, each[0])
            helper = _unit(self.helper, each[0]) if self.helper else None
            found.append(Group(unit, helper, tuple(self._column(where, unit) for where in each)))
        return tuple(found)

    def cycles(self, x: Product, group: Group, lower: Lower) -> tuple[list[Floats], int]:
        """Cycles of a product in the designs of each column of a group, and how many tilings in structures were priced;
        inf where no tiling fits."""
        table = table_of(x, group.unit, group.helper, sorted({c.instances for c in group.columns}))
        structures = structures_of(x, len(self.unit.levels))
        bytes_ = [sum(o.total_bytes for o in x.problem.operands if o.kind == kind) for kind in ("read", "write")]
        found, priced = [], 0
        for c in group.columns:
            d = c.machine.dram
            floor = np.maximum((d[:, :2] * bytes_).max(1), (d[:, 2:] * bytes_).sum(1))
            machine = c.machine._replace(floor=floor * ROUNDED)
            best = np.full((len(machine.near_bytes), len(machine.above_bytes), len(d)), np.inf)
            priced += lower(tilings_of(x, table, c.instances), x.operands, structures, machine, best)
            found.append(best[c.of] + c.waits)
        return found, priced

    @cached_property
    def _deciding(self) -> tuple[int, ...]:
        """Extents of what decides the sweep of a design."""
        numbers = [a for u in (self.unit, self.helper) if u for a in _numbers(u)]
        return self._full([*numbers, self.unit.instances, *self.chip, self.latency])

    def _column(self, where: Where, unit: Unit) -> Column:
        near, near_at = self._values([self.near_bytes], where)
        above, above_at = self._values([self.above_bytes], where)
        dram, dram_at = self._values(self.dram, where)
        chip = np.array([_at(a, where) for a in self.chip])
        machine = Machine(unit.levels[-1].multicast, near[:, 0].copy(), above[:, 0].copy(), chip, dram, np.zeros(1))
        waits = float(unit.template.fill_cycles()) + _at(self.latency, where)
        return Column(where, int(_at(self.unit.instances, where)), machine, (near_at, above_at, dram_at), waits)

    def _full(self, arrays: Sequence[Any]) -> tuple[int, ...]:
        found = np.broadcast_shapes(*(np.shape(a) for a in arrays))
        return (1,) * (self.axes - len(found)) + found

    def _values(self, arrays: Sequence[Array], where: Where) -> tuple[Floats, Array]:
        """Distinct rows of some arrays in the designs of a column, ascending, and which of them each design has."""
        here = np.broadcast_arrays(*(_slice(a, where) for a in arrays))
        rows, back = np.unique(np.stack([a.ravel() for a in here], 1).astype(np.float64), axis=0, return_inverse=True)
        return rows, back.reshape(here[0].shape)


def _indices(extents: Sequence[int]) -> Iterator[Where]:
    """Every index along axes of these extents; all of those of extent 1."""
    yield from every(*(range(n) if n > 1 else (slice(None),) for n in extents))


def _between(below: Level, above: Level) -> list[Array]:
    """Cycles per byte out of and into the upper memory: each direction by itself, and one after the other."""
    none, rates = np.zeros(1), [_per_byte(below.source_bytes_per_cycle), _per_byte(below.sink_bytes_per_cycle)]
    return [none, none, *rates] if above.half_duplex else [*rates, none, none]


def _per_byte(bytes_per_cycle: Any) -> Array:
    return np.asarray(np.where(np.isinf(bytes_per_cycle), 0.0, 1 / np.asarray(bytes_per_cycle, dtype=np.float64)))


def _ports(unit: Unit) -> tuple[Any, ...]:
    return unit.ports.input, unit.ports.weight, unit.ports.psum_read, unit.ports.psum_write


def _numbers(unit: Unit) -> list[Array]:
    return [np.asarray(a) for a in (*unit.template.settings().values(), *_ports(unit))]


def _slice(a: Any, where: Where) -> Array:
    """What an array has in the designs of a column."""
    a = np.asarray(a)
    a = a.reshape((1,) * (len(where) - a.ndim) + a.shape)
    found: Array = a[tuple(w if isinstance(w, slice) or n > 1 else 0 for w, n in zip(where, a.shape, strict=True))]
    return found


def _at(a: Any, where: Where) -> float:
    """The one value that an array has there."""
    return float(_slice(a, where).item())


def _unit(unit: Unit, where: Where) -> Unit:
    """The unit in the designs of a column; what its levels hold and pass is not read from it."""
    settings = {n: _slice(v, where).item() for n, v in unit.template.settings().items() if np.ndim(v)}
    ports = Ports(*(_at(np.asarray(a), where) for a in _ports(unit)))
    return replace(unit, template=unit.template.with_axes(settings), ports=ports)
