"""Prices of all designs of a pool under a static model: the ops of a step run one after another.

Products are priced by exact enumeration of the compiler's own map space (see `kernel`), whatever else is a roofline of
its work and compulsory bytes, and exchanges take the links by the alpha-beta model. What a unit does beside another,
fusion and queueing are left out. Products run on units that only multiply, where there are some.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any

import numpy as np

from dfcompiler import content
from dfcompiler.cache import kept
from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import added
from dfcompiler.explore.fleet import design_figures
from dfcompiler.explore.prices.pricing import Answer, Pricing
from dfcompiler.explore.references import Array
from dfcompiler.explore.space import DESIGN, Pool

PRICED = "it has `latency_s`, `energy_j`, `tokens`, `devices`, `kv_bytes` and `free_bytes`; `prices = mapped` has it"
COUNTED = ("tokens", "devices", "kv_bytes")


@dataclass
class StaticPrices:
    """Figures of a pool over all of its designs. `compile_it` says whether numba compiles the sweep over tilings; None
    where that depends on whether it is installed. The numbers are the same. With `roofs` no tiling is looked at: times
    are bounds from below, by rooflines of all ops."""

    pool: Pool
    compile_it: bool | None = None
    roofs: bool = False
    pricing: Pricing = field(init=False)
    _held: dict[tuple[str, ...], Array] = field(default_factory=dict)
    _answers: dict[str, Answer] = field(default_factory=dict)
    _energies: dict[str, Sequence[Array]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pricing = Pricing(self.pool, self.compile_it, self.roofs)

    def price(self, path: tuple[str, ...]) -> Array:
        """One of `DESIGN`, or a load and one of `latency_s`, `energy_j`, `tokens`, `devices`, `kv_bytes`, `free_bytes`;
        inf is the time of a design that cannot run a load. Raises Diag `no-static-price` for what the model does not
        say."""
        if path[1:] == ("latency_s",):
            return added(self.terms(path[0]))
        if path not in self._held:
            self._held[path] = self._figure(path)
        return self._held[path]

    def summands(self, path: tuple[str, ...]) -> Sequence[Array]:
        """Arrays that add up to a figure."""
        return self.terms(path[0]) if path[1:] == ("latency_s",) else [self.price(path)]

    def terms(self, load: str) -> Sequence[Array]:
        """Arrays that broadcast and add up to the latency of a load, in this order; each reads few axes."""
        return self.answer(load).terms

    def answer(self, load: str) -> Answer:
        """A load in all designs, as an earlier run may have found it."""
        if load not in self._answers:
            found = kept(self._asked(load), lambda: _plain(self.pricing.answer(load)))
            terms, *counts = ([_array(x) for x in some] for some in found)
            self._answers[load] = Answer(terms, *(x for (x,) in counts))
        return self._answers[load]

    def energies(self, load: str) -> Sequence[Array]:
        """Arrays that broadcast and add up to the picojoules that a device works and moves in a step of a load; each
        reads few axes."""
        if load not in self._energies:
            asked = [b"energies", *self._asked(load)]
            found = kept(asked, lambda: [[(a.shape, a.tobytes()) for a in self.pricing.energies(load)]])
            self._energies[load] = [_array(x) for x in found[0]]
        return self._energies[load]

    def refused(self, load: str) -> dict[str, int]:
        """How many designs cannot run a load: `does-not-fit` into their DRAM, and of the others `no-tiling` of a
        product into the memories of any unit; and how many have a price all the same that the full compiler refuses,
        `no-room` for other work."""
        fits = self.price((load, "free_bytes")) >= 0
        slow = np.logical_or.reduce(
            np.broadcast_arrays(*(np.isinf(a) for a in self.terms(load) if np.isinf(a).any()), ~fits)
        )
        priced = ~(slow | ~fits)
        return {
            "does-not-fit": self._count(~fits),
            "no-tiling": self._count(slow & fits),
            "no-room": self._count(self.unheld(load) & priced),
        }

    def unheld(self, load: str) -> Array:
        """Designs that have a price although the full compiler refuses them: no unit has room in its memory for some
        op that is no product, such as a row of a norm."""
        return np.asarray(self.answer(load).unheld > 0)

    def _count(self, where: Array) -> int:
        """Designs of the pool where this holds."""
        return int(where.sum()) * (prod(self.pool.shape) // where.size)

    def _figure(self, path: tuple[str, ...]) -> Array:
        if path[0] in DESIGN:
            return design_figures(self.pricing.kinds, path[0])
        load, figure = path
        if figure == "energy_j":
            rest_j = self.price(("static_w",)) * self.price((load, "latency_s"))
            return np.asarray(self.answer(load).devices * (added(self.energies(load)) * 1e-12 + rest_j))
        if figure == "free_bytes":
            return np.asarray(self.price(("dram_bytes",)) - self.answer(load).needed_bytes)
        if figure in COUNTED:
            found: Array = getattr(self.answer(load), figure)
            return found
        message = f"the static model has no `{figure}` of `{load}`"
        raise Diag("no-static-price", message, self.pool.loads[load].span, hint=PRICED)

    def _asked(self, load: str) -> list[bytes]:
        """All that a load in all designs follows from, besides the engine."""
        pool = self.pool
        axes = [(a.name, a.values, a.unit) for a in pool.axes]
        asked = repr(("roofs" if self.roofs else "static", axes, pool.chip, pool.sets, pool.drops, pool.loads[load]))
        return [asked.encode(), *content.state()]


def _plain(answer: Answer) -> list[list[tuple[tuple[int, ...], bytes]]]:
    """An answer as values that can be kept: shapes and bytes."""
    first, *rest = (getattr(answer, f.name) for f in fields(answer))
    return [[(a.shape, a.tobytes()) for a in some] for some in (first, *([x] for x in rest))]


def _array(plain: Any) -> Array:
    shape, data = plain
    return np.frombuffer(data).reshape(shape)
