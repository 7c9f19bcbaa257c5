"""Loads in all designs of a pool: what is lowered while products that are known already are swept by other threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import product as every
from typing import TypeAlias

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.designs import chip_at
from dfcompiler.explore.energies import least_pj
from dfcompiler.explore.figures import added, grid
from dfcompiler.explore.fleet import Kind, kinds, picked
from dfcompiler.explore.loads import load_at
from dfcompiler.explore.prices.columns import Columns, Group
from dfcompiler.explore.prices.compiled import available, lower
from dfcompiler.explore.prices.layout import Floats
from dfcompiler.explore.prices.products import Product, product_of
from dfcompiler.explore.prices.roofs import exchange_pj, exchange_s, fabrics_of, roof_s, unheld
from dfcompiler.explore.prices.steps import StepWork, step_work
from dfcompiler.explore.references import Array, paths
from dfcompiler.explore.space import Pool
from dfcompiler.hardware.chip import Chip, Unit
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.tiling import unable

Point: TypeAlias = tuple[int, ...]
Swept: TypeAlias = list[tuple[Columns, Group, Future[tuple[list[Floats], int]]]]


@dataclass(frozen=True, eq=False)
class Sampled(Kind):
    """Designs that have the same units, and one of them."""

    design: Point
    one: Chip


@dataclass(frozen=True)
class Answer:
    """A load in all designs: arrays that add up to seconds, what a device's memory must hold, caches among that, new
    tokens and devices; `unheld` is 1 where some op that is no product finds no unit whose memory has room for it."""

    terms: Sequence[Array]
    needed_bytes: Array
    kv_bytes: Array
    tokens: Array
    devices: Array
    unheld: Array


@dataclass
class Pricing:
    """Prices of a pool. `pairs` counts prices of a product in a design, `priced` the tilings in structures that were
    priced for them. With `roofs` products too are rooflines, which no price is below."""

    pool: Pool
    compile_it: bool | None = None
    roofs: bool = False
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    pairs: int = 0
    priced: int = 0
    _machines: dict[object, Columns] = field(default_factory=dict)

    @cached_property
    def kinds(self) -> tuple[Sampled, ...]:
        """The designs by the units that they leave out."""
        found = []
        for kind in kinds(self.pool, grid(self.pool)):
            design = tuple(int(i) for i in np.argwhere(self._ranked(kind.where))[0])
            values = {a.name: a.values[i] for a, i in zip(self.pool.axes, design, strict=True)}
            found.append(Sampled(kind.where, kind.chip, kind.without, design, chip_at(self.pool, values)))
        return tuple(found)

    def answer(self, load: str) -> Answer:
        """A load in all designs; inf is the time of a design that cannot run it.

        Raises what lowering and sharding raise, Diag `no-link`, and `no-static-price` for a chip of kernels.
        """
        axes = self._read_by(load)
        points = [*every(*(range(self.pool.shape[i]) for i in axes))]
        swept: dict[tuple[int, object], Swept] = {}
        products: dict[str, Product] = {}
        works: dict[Point, StepWork] = {}
        with ThreadPoolExecutor(self.workers if self._compiled else 1) as threads:
            for at in points:
                works[at] = self._work(load, dict(zip(axes, at, strict=True)))
                for op in works[at].ops:
                    if self.roofs or op.key in products or (x := product_of(op.problem)) is None:
                        continue
                    products[op.key] = x
                    for i, kind in enumerate(self.kinds):
                        if (i, x.key) not in swept:
                            swept[i, x.key] = self._sweep(x, kind, threads)
            each = [
                self._seconds(
                    kind, axes, works, products, {k[1]: self._gathered(s, kind) for k, s in swept.items() if k[0] == i}
                )
                for i, kind in enumerate(self.kinds)
            ]
        terms = each[0] if len(each) == 1 else [picked(self.kinds, [added(t) for t in each])]
        shape = [n if i in axes else 1 for i, n in enumerate(self.pool.shape)]
        needed, kept, tokens, devices = (
            np.array([float(getattr(w, f)) for w in works.values()]).reshape(shape)
            for f in ("needed_bytes", "kv_bytes", "tokens", "devices")
        )
        unheld = [self._unheld(kind, axes, works, products) for kind in self.kinds]
        return Answer(terms, needed, kept, tokens, devices, picked(self.kinds, unheld))

    def energies(self, load: str) -> Sequence[Array]:
        """What a device works and moves in a step of a load, as arrays that add up to picojoules: no tiling takes less
        (`least_pj`); of several stages the mean."""
        axes = self._read_by(load)
        points = [*every(*(range(self.pool.shape[i]) for i in axes))]
        works = {at: self._work(load, dict(zip(axes, at, strict=True))) for at in points}
        each = [self._terms(axes, works, partial(self._spent, kind, {})) for kind in self.kinds]
        return each[0] if len(each) == 1 else [picked(self.kinds, [added(t) for t in each])]

    def products(self, kind: Sampled, products: Sequence[Product]) -> dict[object, Array]:
        """Seconds of products in the designs of a kind, on the best of the units that may run them."""
        with ThreadPoolExecutor(self.workers if self._compiled else 1) as threads:
            swept = [(x.key, self._sweep(x, kind, threads)) for x in products]
            return {key: self._gathered(some, kind) for key, some in swept}

    # ---- work

    def _read_by(self, load: str) -> list[int]:
        """The axes that the options of a load read."""
        names = {p[0] for o in self.pool.loads[load].options for p, _ in paths(o.value)}
        return [i for i, a in enumerate(self.pool.axes) if a.name in names]

    def _work(self, load: str, at: Mapping[int, int]) -> StepWork:
        values = {a.name: a.values[at.get(i, 0)] for i, a in enumerate(self.pool.axes)}
        return step_work(load_at(self.pool.loads[load], values), self.kinds[0].one)

    def _seconds(
        self,
        kind: Sampled,
        axes: Sequence[int],
        works: Mapping[Point, StepWork],
        products: Mapping[str, Product],
        taken: Mapping[object, Array],
    ) -> list[Array]:
        """Seconds of a load in the designs of a kind."""
        roofs: dict[str, Array] = {}
        return self._terms(axes, works, lambda work: self._parts(kind, work, products, taken, roofs))

    def _terms(
        self, axes: Sequence[int], works: Mapping[Point, StepWork], parts: Callable[[StepWork], Iterable[Array]]
    ) -> list[Array]:
        """What the parts of a load add up to, as arrays by the axes that they read."""
        terms: dict[tuple[bool, ...], Array] = {}
        for at, work in works.items():
            here = self._index(dict(zip(axes, at, strict=True)))
            for part in parts(work):
                a = self._ranked(np.asarray(part, dtype=np.float64))
                mine = a[tuple(h if n > 1 else slice(None) for h, n in zip(here, a.shape, strict=True))]
                shape = tuple(
                    n if i in axes else m for i, (n, m) in enumerate(zip(self.pool.shape, a.shape, strict=True))
                )
                terms.setdefault(tuple(n > 1 for n in shape), np.zeros(shape))[here] += mine
        return [terms[k] for k in sorted(terms)]

    def _unheld(
        self, kind: Sampled, axes: Sequence[int], works: Mapping[Point, StepWork], products: Mapping[str, Product]
    ) -> Array:
        """Where a design of a kind has no room for some op that is no product."""
        ops = {op.key: op.problem for work in works.values() for op in work.ops if op.key not in products}
        known = {key: self._ranked(unheld(p, kind.chip)) for key, p in ops.items()}
        shape = np.broadcast_shapes(*(a.shape for a in known.values()), (1,) * len(self.pool.axes))
        whole = np.zeros([self.pool.shape[i] if i in axes else n for i, n in enumerate(shape)])
        for at, work in works.items():
            here = self._index(dict(zip(axes, at, strict=True)))
            for a in (known[op.key] for op in work.ops if op.key in known):
                whole[here] = np.maximum(whole[here], a)
        return whole

    def _ranked(self, a: Array) -> Array:
        a = np.asarray(a)
        return a.reshape((1,) * (len(self.pool.axes) - a.ndim) + a.shape)

    def _index(self, at: Mapping[int, int]) -> tuple[slice, ...]:
        return tuple(slice(at[i], at[i] + 1) if i in at else slice(None) for i in range(len(self.pool.axes)))

    def _parts(
        self,
        kind: Sampled,
        work: StepWork,
        products: Mapping[str, Product],
        taken: Mapping[object, Array],
        roofs: dict[str, Array],
    ) -> Iterator[Array]:
        """Seconds of a step's work; inf where it does not fit."""
        yield np.where(kind.chip.dram_capacity_bytes >= work.needed_bytes, 0.0, np.inf)
        for op in work.ops:
            if op.key in products:
                yield op.times * taken[products[op.key].key]
                continue
            if op.key not in roofs:
                roofs[op.key] = roof_s(op.problem, kind.chip)
            yield op.times * roofs[op.key]
        if work.exchanges:
            fabrics = self._fabrics(kind)
            yield from (e.times * exchange_s(e, fabrics, kind.chip) for e in work.exchanges)

    def _spent(self, kind: Sampled, held: dict[str, Array], work: StepWork) -> Iterator[Array]:
        """Picojoules of a step's work in one device."""
        for op in work.ops:
            if op.key not in held:
                held[op.key] = np.asarray(least_pj(op.problem, kind.chip))
            yield op.times / work.stages * held[op.key]
        for e in work.exchanges:
            yield e.times / work.stages * exchange_pj(e, self._fabrics(kind), kind.chip)

    def _fabrics(self, kind: Sampled) -> Array:
        if kind not in self._links:
            self._links[kind] = fabrics_of(self.pool, kind.chip, kind.design)
        return self._links[kind]

    @cached_property
    def _links(self) -> dict[Sampled, Array]:
        return {}

    # ---- products

    @cached_property
    def _compiled(self) -> bool:
        return available() if self.compile_it is None else self.compile_it

    def _sweep(self, x: Product, kind: Sampled, threads: ThreadPoolExecutor) -> Swept:
        """Begin the sweeps of a product in the designs of a kind."""
        sweep = lower(self._compiled)
        return [(c, g, threads.submit(c.cycles, x, g, sweep)) for c in self.columns(x, kind) for g in c.groups]

    def _gathered(self, swept: Swept, kind: Sampled) -> Array:
        """Seconds on the best unit, when the sweeps are done."""
        cycles = {columns: np.empty(columns.shape) for columns, _, _ in swept}
        for columns, group, done in swept:
            some, priced = done.result()
            self.priced += priced
            for column, values in zip(group.columns, some, strict=True):
                cycles[columns][column.where] = values
        self.pairs += sum(a.size for a in cycles.values())
        best: Array = np.asarray(np.inf)
        for a in cycles.values():
            best = np.minimum(best, a / kind.chip.clock_hz)
        return np.asarray(best)

    def columns(self, x: Product, kind: Sampled) -> list[Columns]:
        """The units that may run a product."""
        found = []
        for unit in _units(x, kind):
            helper = _helper(x, unit, kind.chip)
            key = kind, unit.name, helper and helper.name
            if key not in self._machines:
                self._machines[key] = Columns(unit, helper, len(self.pool.axes))
            found.append(self._machines[key])
        return found


def _units(x: Product, kind: Sampled) -> list[Unit]:
    """Units that may run a product: those that only multiply, where there are some that can."""
    able = []
    for u in kind.one.units.values():
        if isinstance(u.template, KernelCompute):
            message = f"`{kind.one.name}` runs whole kernels, for which the static model has no tilings"
            raise Diag("no-static-price", message, kind.one.span, hint="compile the designs in full")
        if not unable(x.problem, u, kind.one.units.get(u.vector or "")):
            able.append(kind.chip.units[u.name])
    return [u for u in able if not u.does("mac")] or able


def _helper(x: Product, unit: Unit, chips: Chip) -> Unit | None:
    """The vector unit beside, where a product needs it."""
    beside = any(not unit.does(kind) for kind in x.problem.vector)
    return chips.units[unit.vector] if beside and unit.vector else None
