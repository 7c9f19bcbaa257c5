"""Bounds of a pool's loads for all of its designs at once: no schedule that a mapper may find is shorter.

A bound is an array with extent 1 along the axes that it does not read, so what many designs share is computed once;
designs by their indices look theirs up. How a load is shared out over devices (`plans`) is the same for all designs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import grid
from dfcompiler.explore.fleet import Kind, design_figures, kinds, picked
from dfcompiler.explore.intervals import Bounded, Ends, ends
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.plans import PIPELINE, Plan, own_chip, plan
from dfcompiler.explore.references import Array, paths
from dfcompiler.explore.space import DESIGN, STEP, Pool
from dfcompiler.explore.steps import step_cycles
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.text import tree as t

EXACT = ("tokens", "devices", "kv_bytes", "free_bytes")  # of a load: known without a mapping


class Screen:
    """Bounds of the figures of a pool over its open grid, and of goals for some of its designs.

    Raises Diag `no-bound` where a unit is priced as whole kernels: of these no bound is proven.
    """

    def __init__(self, pool: Pool, pipeline: str = PIPELINE) -> None:
        self.pool, self.pipeline = pool, pipeline
        self.at = grid(pool)
        self.fleet = kinds(pool, self.at)
        for name, unit in self.fleet[0].chip.units.items():
            if isinstance(unit.template, KernelCompute):
                message = f"`{name}` runs whole kernels of a library: designs of it are not screened"
                raise Diag("no-bound", message, pool.chip.span, hint="evaluate them, or sample the space")
        self._held: dict[tuple[str, ...], Ends] = {}

    # ---- figures over the grid ------------------------------------------------------------------

    def ends(self, path: tuple[str, ...]) -> Ends:
        """The least and the most that a figure may be, over the grid."""
        if path not in self._held:
            self._held[path] = self._found(path)
        return self._held[path]

    def price(self, path: tuple[str, ...]) -> Array:
        """The least that a figure may be, over the grid."""
        return self.ends(path)[0]

    def _found(self, path: tuple[str, ...]) -> Ends:
        name = path[0]
        if name in self.at:
            return self.at[name], self.at[name]
        if name in self.pool.lets:
            return ends(self.pool.lets[name].value, self.ends)
        if name in DESIGN:
            found = design_figures(self.fleet, name)
            return found, found
        if path[1] not in STEP:
            span = self.pool.loads[name].span
            message = f"no bound is proven of `{'.'.join(path)}`, which requests decide"
            raise Diag("no-bound", message, span, hint="goals and limits of steps have bounds")
        if path[1] == "energy_j":
            least = self.price((name, "devices")) * self.price(("static_w",)) * self.price((name, "latency_s"))
            return least, np.asarray(np.inf)
        self._held |= {(name, figure): both for figure, both in self._step(self.pool.loads[name]).items()}
        return self._held[path]

    def _step(self, load: t.SLoad) -> dict[str, Ends]:
        """The figures of a load. Designs on which it cannot be shared out, or does not fit, take forever."""
        axes = [a for a in self.pool.axes if any((a.name,) == p for o in load.options for p, _ in paths(o.value))]
        cells: dict[tuple[int, ...], dict[str, Array] | None] = {}
        fault: Diag | None = None
        for index in np.ndindex(*(len(a.values) for a in axes)):
            values = {a.name: a.values[i] for a, i in zip(axes, index, strict=True)}
            try:
                cells[index] = self._cell(load, values)
            except Diag as found:
                cells[index], fault = None, fault or found
        if fault and not any(cells.values()):
            raise fault
        where = [self.pool.axes.index(a) for a in axes]
        names = ("latency_s", *EXACT)
        every = {name: [c[name] if c else None for c in cells.values()] for name in names}
        low = {name: self._put(where, cells, found) for name, found in every.items()}
        return {name: (x, x if name in EXACT else np.asarray(np.inf)) for name, x in low.items()}

    def _cell(self, load: t.SLoad, values: Mapping[str, Any]) -> dict[str, Array]:
        """The figures of a load whose options have values."""
        found: dict[str, list[Array]] = {}
        for kind in self.fleet:
            one = self.plan(load, values, kind)
            chip = kind.chip
            cycles = step_cycles(one.graph, chip, one.ctx.need("dtypes"))
            free = np.asarray(chip.dram_capacity_bytes - one.capacity.needed_bytes)
            latency = cycles / chip.clock_hz
            known = {
                "latency_s": latency if (free >= 0).all() else np.where(free >= 0, latency, np.inf),
                "tokens": one.tokens,
                "devices": one.devices,
                "kv_bytes": one.capacity.kv_bytes,
                "free_bytes": free,
            }
            for name, x in known.items():
                found.setdefault(name, []).append(np.asarray(x, dtype=np.float64))
        return {name: picked(self.fleet, each) for name, each in found.items()}

    def plan(self, load: t.SLoad, values: Mapping[str, Any], kind: Kind) -> Plan:
        """The plan of a load whose options have values, on designs that leave out the same units."""
        here = load_at(load, {a.name: values.get(a.name, a.values[0]) for a in self.pool.axes})
        return plan(here, own_chip(self.pool.chip, kind.without), self.pipeline)

    def _put(self, where: Sequence[int], cells: Mapping[tuple[int, ...], Any], found: Sequence[Array | None]) -> Array:
        """One array of those of cells, which lie along some axes of the grid; inf where there is none."""
        shape = list(np.broadcast_shapes(*(np.shape(x) for x in found if x is not None), (1,) * len(self.pool.axes)))
        for axis in where:
            shape[axis] = len(self.pool.axes[axis].values)
        if not where and found[0] is not None:
            return found[0].reshape(shape)
        whole = np.full(shape, np.inf)
        for index, x in zip(cells, found, strict=True):
            if x is None:
                continue
            at: list[Any] = [slice(None)] * len(shape)
            mine: list[Any] = [slice(None)] * len(shape)
            x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
            for axis, i in zip(where, index, strict=True):
                at[axis] = slice(i, i + 1)
                mine[axis] = slice(i, i + 1) if x.shape[axis] > 1 else slice(None)
            whole[tuple(at)] = x[tuple(mine)]
        return whole

    def distinct(self) -> Array:
        """One of all designs that are the same chip under the same loads, by their indices, the first each: designs
        differ where some setting of a part that they have does, or what a load says."""
        rows = np.stack([x.ravel() for x in np.indices(self.pool.shape)], 1)
        said = {p[0] for load in self.pool.loads.values() for o in load.options for p, _ in paths(o.value)}
        said |= {p[0] for let in self.pool.lets.values() for p, _ in paths(let.value)}
        shared = [rows[:, i] for i, a in enumerate(self.pool.axes) if a.name in said]
        first = []
        for kind in self.fleet:
            mine = np.flatnonzero(self.taken(np.broadcast_to(kind.where, self.pool.shape), rows))
            columns = [x[mine] for x in shared]
            columns += [_codes(np.broadcast_to(self.taken(x, rows), len(rows))[mine]) for x in _numbers(kind.chip)]
            if columns:
                first.append(mine[np.unique(np.stack(columns, 1), axis=0, return_index=True)[1]])
            else:
                first.append(mine[:1])
        return rows[np.sort(np.concatenate(first))]

    # ---- designs by their indices ---------------------------------------------------------------

    def at_rows(self, rows: Array) -> Bounded:
        """The least and the most that figures may be for designs by their indices `[design, axis]`."""
        held: dict[tuple[str, ...], Ends] = {}

        def known(path: tuple[str, ...]) -> Ends:
            if path not in held:
                low, high = self.ends(path)
                first = self.taken(low, rows)
                held[path] = first, first if high is low else self.taken(high, rows)
            return held[path]

        return known

    def taken(self, figure: Array, rows: Array) -> Array:
        """A figure over the grid of the designs in `rows`."""
        read = [i for i, n in enumerate(np.shape(figure)) if n > 1]
        if not read:
            return np.asarray(figure).reshape(-1)[:1]
        shape = [figure.shape[i] for i in read]
        at = rows[:, read[0]]
        for i, n in zip(read[1:], shape[1:], strict=True):
            at = at * n + rows[:, i]
        return np.asarray(figure).reshape(-1).take(at)


def _numbers(chip: Chip) -> Iterator[Array]:
    """All that a chip of many designs has an array for."""
    parts = [x for p in chip.parts.values() for x in (p.instances, *p.template.settings().values())]
    levels = [x for u in chip.units.values() for level in u.levels for x in vars(level).values()]
    yield from (x for x in (chip.clock_hz, chip.uncore_mm2, *parts, *levels) if np.ndim(x))


def _codes(x: Array) -> Array:
    return np.unique(x, return_inverse=True)[1].reshape(-1)
