"""Prices of all designs of a pool under a static model: the ops of a step run one after another.

Products are priced by exact enumeration of the compiler's own map space (see `kernel`), whatever else is a roofline of
its work and compulsory bytes, and exchanges take the links by the alpha-beta model. What a unit does beside another,
fusion and queueing are left out. Products run on units that only multiply, where there are some.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product as every

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.designs import dropped, known_of
from dfcompiler.explore.figures import grid
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.prices.chipgrid import ChipGrid, UnitGrid, chip_grid
from dfcompiler.explore.prices.columns import Columns, Where
from dfcompiler.explore.prices.compiled import available, lower
from dfcompiler.explore.prices.device import design_figure
from dfcompiler.explore.prices.products import Product, product_of
from dfcompiler.explore.prices.roofs import exchange_s, fabrics_of, roof_s
from dfcompiler.explore.prices.steps import StepWork, step_work
from dfcompiler.explore.references import Array, paths
from dfcompiler.explore.space import DESIGN, Pool
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.tiling import unable

Point = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """Designs that have the same units: where they are, one of them, and all of them as arrays."""

    here: Array
    design: Point
    chips: ChipGrid


@dataclass
class StaticPrices:
    """Figures of a pool over all of its designs. `compile_it` says whether numba compiles the sweep over tilings; None
    where that depends on whether it is installed.

    `pairs` counts prices of a product in a design, `priced` the tilings in structures that were priced for them.
    """

    pool: Pool
    compile_it: bool | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    pairs: int = 0
    priced: int = 0
    _held: dict[tuple[str, ...], Array] = field(default_factory=dict)
    _works: dict[str, dict[Point, StepWork]] = field(default_factory=dict)
    _terms: dict[str, list[Array]] = field(default_factory=dict)

    def price(self, path: tuple[str, ...]) -> Array:
        """One of `DESIGN`, or a load and one of `latency_s`, `tokens`, `devices`, `free_bytes`; inf is the time of a
        design that cannot run a load. Raises Diag `no-static-price` for what the model does not say."""
        if path not in self._held:
            self._held[path] = self._figure(path)
        return self._held[path]

    def terms(self, load: str) -> Sequence[Array]:
        """Arrays that broadcast and add up to the latency of a load, in this order; each reads few axes."""
        if load not in self._terms:
            each = [self._latency(load, kind) for kind in self.kinds]
            whole = [np.where(k.here, _added(terms), 0.0) for k, terms in zip(self.kinds, each, strict=True)]
            self._terms[load] = each[0] if len(each) == 1 else [_added(whole)]
        return self._terms[load]

    @cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The designs by the units that they leave out."""
        absent = dropped(self.pool, known_of(grid(self.pool)))
        shape = np.broadcast_shapes((1,) * len(self.pool.axes), *(a.shape for a in absent.values()))
        found = []
        for states in every(*((False, True) for _ in absent)):
            same = [np.broadcast_to(a == s, shape) for a, s in zip(absent.values(), states, strict=True)]
            here = np.logical_and.reduce([np.ones(shape, dtype=bool), *same])
            if here.any():
                design = tuple(int(i) for i in np.argwhere(here)[0])
                found.append(Kind(here, design, chip_grid(self.pool, design)))
        return tuple(found)

    def _figure(self, path: tuple[str, ...]) -> Array:
        if path[0] in DESIGN:
            return self._chosen([design_figure(k.chips, path[0]) for k in self.kinds])
        load, figure = path
        match figure:
            case "latency_s":
                return _added(self.terms(load))
            case "tokens" | "devices":
                return self._by_load(load, {at: float(getattr(w, figure)) for at, w in self.works(load).items()})
            case "free_bytes":
                needed = self._by_load(load, {at: w.needed_bytes for at, w in self.works(load).items()})
                return np.asarray(self.price(("dram_bytes",)) - needed)
        message = f"the static model has no `{figure}` of `{load}`"
        raise Diag("no-static-price", message, self.pool.loads[load].span, hint="it has `latency_s` and `free_bytes`")

    def _chosen(self, each: Sequence[Array]) -> Array:
        """What the designs of every kind have of their own."""
        found = each[0]
        for kind, more in zip(self.kinds[1:], each[1:], strict=True):
            found = np.where(kind.here, more, found)
        return np.asarray(found)

    # ---- loads

    def read_by(self, load: str) -> list[int]:
        """The axes that the options of a load read."""
        names = {p[0] for o in self.pool.loads[load].options for p, _ in paths(o.value)}
        return [i for i, a in enumerate(self.pool.axes) if a.name in names]

    def works(self, load: str) -> Mapping[Point, StepWork]:
        """The work of a load for every combination of the axes that it reads, by index along these."""
        if load not in self._works:
            axes, kind = self.read_by(load), self.kinds[0]
            found: dict[Point, StepWork] = {}
            for at in every(*(range(self.pool.shape[i]) for i in axes)):
                design = dict(zip(axes, at, strict=True))
                values = {a.name: a.values[design.get(i, 0)] for i, a in enumerate(self.pool.axes)}
                found[at] = step_work(load_at(self.pool.loads[load], values), kind.chips.one)
            self._works[load] = found
        return self._works[load]

    def _by_load(self, load: str, values: Mapping[Point, float]) -> Array:
        axes = self.read_by(load)
        found = np.zeros([n if i in axes else 1 for i, n in enumerate(self.pool.shape)])
        for at, v in values.items():
            found[self._index(axes, at)] = v
        return found

    def _index(self, axes: Sequence[int], at: Point) -> Where:
        of = dict(zip(axes, at, strict=True))
        return tuple(slice(of[i], of[i] + 1) if i in of else slice(None) for i in range(len(self.pool.axes)))

    def _latency(self, load: str, kind: Kind) -> list[Array]:
        """Seconds of a load in the designs of a kind, as arrays by the axes that they read."""
        axes, works = self.read_by(load), self.works(load)
        products = {op.key: x for w in works.values() for op in w.ops if (x := product_of(op.problem))}
        taken = self._products(kind, list({x.key: x for x in products.values()}.values()))
        roofs: dict[str, Array] = {}
        terms: dict[tuple[bool, ...], Array] = {}
        for at, work in works.items():
            here = self._index(axes, at)
            for part in self._parts(kind, work, products, taken, roofs):
                part = self._spread(part)
                mine = part[tuple(h if n > 1 else slice(None) for h, n in zip(here, part.shape, strict=True))]
                shape = tuple(
                    n if i in axes else m for i, (n, m) in enumerate(zip(self.pool.shape, part.shape, strict=True))
                )
                terms.setdefault(tuple(n > 1 for n in shape), np.zeros(shape))[here] += mine
        return [terms[k] for k in sorted(terms)]

    def _spread(self, a: Array) -> Array:
        a = np.asarray(a, dtype=np.float64)
        return a.reshape((1,) * (len(self.pool.axes) - a.ndim) + a.shape)

    def _parts(
        self,
        kind: Kind,
        work: StepWork,
        products: Mapping[str, Product],
        taken: Mapping[object, Array],
        roofs: dict[str, Array],
    ) -> list[Array]:
        """Seconds of a step's work; inf where it does not fit."""
        room = design_figure(kind.chips, "dram_bytes") >= work.needed_bytes
        found = [np.where(room, 0.0, np.inf)]
        for op in work.ops:
            if op.key in products:
                found.append(op.times * taken[products[op.key].key])
                continue
            if op.key not in roofs:
                roofs[op.key] = roof_s(op.problem, kind.chips)
            found.append(op.times * roofs[op.key])
        if work.exchanges:
            fabrics = fabrics_of(self.pool, kind.chips, kind.design)
            found += [e.times * exchange_s(e, fabrics, kind.chips) for e in work.exchanges]
        return found

    # ---- products

    def _products(self, kind: Kind, products: Sequence[Product]) -> dict[object, Array]:
        """Seconds of products in the designs of a kind, on the best of the units that may run them."""
        compiled = available() if self.compile_it is None else self.compile_it
        sweep, found = lower(compiled), {}
        with ThreadPoolExecutor(self.workers if compiled else 1) as pool:
            for x in products:
                each = []
                for unit in _units(x, kind.chips):
                    columns = Columns(unit, _helper(x, unit, kind.chips), len(self.pool.axes))
                    cycles = np.empty(columns.shape)
                    places = list(columns)
                    for where, (some, priced) in zip(
                        places, pool.map(lambda w: columns.cycles(x, w, sweep), places), strict=True
                    ):
                        cycles[where] = some.reshape(cycles[where].shape)
                        self.priced += priced
                    self.pairs += cycles.size
                    each.append(cycles / kind.chips.clock_hz)
                found[x.key] = np.asarray(_least(each))
        return found


def _units(x: Product, chips: ChipGrid) -> list[UnitGrid]:
    """Units that may run a product: those that only multiply, where there are some that can."""
    able = []
    for u in chips.units.values():
        if isinstance(u.template, KernelCompute):
            message = f"`{chips.one.name}` runs whole kernels, for which the static model has no tilings"
            raise Diag("no-static-price", message, chips.one.span, hint="compile the designs in full")
        if not unable(x.problem, u.one, chips.one.units.get(u.one.vector or "")):
            able.append(u)
    return [u for u in able if not u.one.does("mac")] or able


def _helper(x: Product, unit: UnitGrid, chips: ChipGrid) -> UnitGrid | None:
    """The vector unit beside, where a product needs it."""
    beside = any(not unit.one.does(kind) for kind in x.problem.vector)
    return chips.units[unit.one.vector] if beside and unit.one.vector else None


def _least(each: Sequence[Array]) -> Array:
    found: Array = np.asarray(np.inf)
    for a in each:
        found = np.minimum(found, a)
    return found


def _added(terms: Sequence[Array]) -> Array:
    total: Array = np.zeros(1)
    for a in terms:
        total = total + a
    return total
