"""Bounds of a pool's loads for all of its designs at once: no schedule that a mapper may find is shorter.

A bound is an array with extent 1 along the axes that it does not read, so what many designs share is computed once;
designs by their indices look theirs up. How a load is shared out over devices (`plans`) is the same for all designs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.alike import first_of_alike
from dfcompiler.explore.figures import grid
from dfcompiler.explore.fleet import Kind, design_figures, kinds, picked
from dfcompiler.explore.intervals import Bounded, Ends, ends
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.plans import PIPELINE, Plan, own_chip, plan
from dfcompiler.explore.references import Array, paths
from dfcompiler.explore.space import DESIGN, STEP, Pool
from dfcompiler.explore.steps import step_cycles
from dfcompiler.explore.sums import Parts, aligned, parts, spread
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
        self._steps: dict[tuple[str, ...], Parts] = {}
        self._designs: dict[str, Array] = {}
        self.ends = self._seen(lambda figure: figure)  # the least and the most that figures may be, over the grid

    # ---- figures --------------------------------------------------------------------------------

    def price(self, path: tuple[str, ...]) -> Array:
        """The least that a figure may be, over the grid."""
        return self.ends(path)[0]

    def at_rows(self, rows: Array) -> Bounded:
        """The least and the most that figures may be for designs by their indices `[design, axis]`."""
        return self._seen(lambda figure: self.taken(figure, rows))

    def _seen(self, view: Callable[[Array], Array]) -> Bounded:
        """Ends of figures for those designs of the grid that `view` takes from an array over it."""
        held: dict[tuple[str, ...], Ends] = {}

        def known(path: tuple[str, ...]) -> Ends:
            if path not in held:
                held[path] = self._found(path, known, view)
            return held[path]

        return known

    def _found(self, path: tuple[str, ...], known: Bounded, view: Callable[[Array], Array]) -> Ends:
        name = path[0]
        if name in self.pool.lets:
            return ends(self.pool.lets[name].value, known)
        if name in self.at or name in DESIGN:
            found = view(self.at[name] if name in self.at else self._design(name))
            return found, found
        if path[1] not in STEP:
            span = self.pool.loads[name].span
            message = f"no bound is proven of `{'.'.join(path)}`, which requests decide"
            raise Diag("no-bound", message, span, hint="goals and limits of steps have bounds")
        if path[1] == "energy_j":
            least = known((name, "devices"))[0] * known(("static_w",))[0] * known((name, "latency_s"))[0]
            return least, np.asarray(np.inf)
        least = spread([view(x) for x in self.summed(path)])
        return least, least if path[1] in EXACT else np.asarray(np.inf)

    def _design(self, name: str) -> Array:
        if name not in self._designs:
            self._designs[name] = design_figures(self.fleet, name)
        return self._designs[name]

    # ---- steps ----------------------------------------------------------------------------------

    def summed(self, path: tuple[str, ...]) -> Parts:
        """The least that a figure of a load may be over the grid, as a sum of arrays over the axes that they read."""
        if path not in self._steps:
            self._steps |= {(path[0], figure): x for figure, x in self._step(self.pool.loads[path[0]]).items()}
        return self._steps[path]

    def _step(self, load: t.SLoad) -> dict[str, Parts]:
        """The figures of a load. Designs on which it cannot be shared out, or does not fit, take forever."""
        axes = [a for a in self.pool.axes if any((a.name,) == p for o in load.options for p, _ in paths(o.value))]
        cells: dict[tuple[int, ...], dict[str, Parts]] = {}
        fault: Diag | None = None
        for index in np.ndindex(*(len(a.values) for a in axes)):
            values = {a.name: a.values[i] for a, i in zip(axes, index, strict=True)}
            try:
                cells[index] = self._cell(load, values)
            except Diag as found:
                cells[index], fault = {}, fault or found
        if fault and not any(cells.values()):
            raise fault
        where, never = [self.pool.axes.index(a) for a in axes], (np.asarray(np.inf),)
        every = {name: [c.get(name, never) for c in cells.values()] for name in ("latency_s", *EXACT)}
        return {name: tuple(self._put(where, cells, x) for x in aligned(found)) for name, found in every.items()}

    def _cell(self, load: t.SLoad, values: Mapping[str, Any]) -> dict[str, Parts]:
        """The figures of a load whose options have values."""
        found: dict[str, list[Parts]] = {}
        for kind in self.fleet:
            one = self.plan(load, values, kind)
            free = kind.chip.dram_capacity_bytes - one.capacity.needed_bytes
            unheld = np.where(np.asarray(free) >= 0, 0.0, np.inf)
            known = {
                "latency_s": parts((*(x / kind.chip.clock_hz for x in step_cycles(one.work, kind.chip)), unheld)),
                "tokens": parts([one.tokens]),
                "devices": parts([one.devices]),
                "kv_bytes": parts([one.capacity.kv_bytes]),
                "free_bytes": parts([free]),
            }
            for name, x in known.items():
                found.setdefault(name, []).append(x)
        return {name: tuple(picked(self.fleet, list(x)) for x in aligned(each)) for name, each in found.items()}

    def plan(self, load: t.SLoad, values: Mapping[str, Any], kind: Kind) -> Plan:
        """The plan of a load whose options have values, on designs that leave out the same units."""
        here = load_at(load, {a.name: values.get(a.name, a.values[0]) for a in self.pool.axes})
        return plan(here, own_chip(self.pool.chip, kind.without), self.pipeline)

    def _put(self, where: Sequence[int], cells: Iterable[tuple[int, ...]], found: Sequence[Array]) -> Array:
        """One array of those of cells, which lie along some axes of the grid."""
        shape = list(np.broadcast_shapes(*(np.shape(x) for x in found), (1,) * len(self.pool.axes)))
        if not where:
            return found[0].reshape(shape)
        for axis in where:
            shape[axis] = len(self.pool.axes[axis].values)
        whole = np.empty(shape)
        for index, x in zip(cells, found, strict=True):
            at: list[Any] = [slice(None)] * len(shape)
            mine: list[Any] = [slice(None)] * len(shape)
            x = x.reshape((1,) * (len(shape) - x.ndim) + x.shape)
            for axis, i in zip(where, index, strict=True):
                at[axis] = slice(i, i + 1)
                mine[axis] = slice(i, i + 1) if x.shape[axis] > 1 else slice(None)
            whole[tuple(at)] = x[tuple(mine)]
        return whole

    def distinct(self) -> Array | None:
        """One of all designs that are the same chip under the same loads, by their indices, the first each; None where
        no two are."""
        said = {p[0] for load in self.pool.loads.values() for o in load.options for p, _ in paths(o.value)}
        said |= {p[0] for let in self.pool.lets.values() for p, _ in paths(let.value)}
        return first_of_alike(self.fleet, self.pool.shape, {i for i, a in enumerate(self.pool.axes) if a.name in said})

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
