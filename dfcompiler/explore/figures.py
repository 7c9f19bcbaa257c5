"""Figures of a pool over all of its designs at once: arrays with an axis for every axis of the pool.

An array has extent 1 along an axis that it does not read, so what many designs share is computed once, and what two
figures read together broadcasts. What prices designs answers for `DESIGN` and for loads; axes and `let` are the same
for all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from dfcompiler.explore.references import Array, Known, holds, value
from dfcompiler.explore.space import DESIGN, Pool

Corner: TypeAlias = tuple[slice, ...]  # a part of every axis


class Prices(Protocol):
    """What prices designs of one pool. `path` is one of `DESIGN`, or a load and one of `STEP`.

    inf is the time of a design that cannot run a load (or the price of one that cannot be made), and never nan.
    """

    def price(self, path: tuple[str, ...]) -> Array:
        """A figure over the designs, broadcastable with `grid(pool)`."""
        ...


@runtime_checkable
class Sums(Protocol):
    """Prices some of whose figures are sums of arrays that each read few axes: the whole of such a figure may be a
    hundred times as large as they are, and is held by nobody."""

    def summands(self, path: tuple[str, ...]) -> Sequence[Array]:
        """Arrays that add up, in this order, to what `price` says."""
        ...


def part(prices: Prices, path: tuple[str, ...], corner: Corner) -> Array:
    """A figure of the designs in a part of every axis, and of no other."""
    return added([cut(a, corner) for a in summands(prices, path)])


def summands(prices: Prices, path: tuple[str, ...]) -> Sequence[Array]:
    """Arrays that add up, in this order, to a figure."""
    return prices.summands(path) if isinstance(prices, Sums) else [prices.price(path)]


def cut(a: Array, corner: Corner) -> Array:
    """A part of every axis, of an array over designs; of extent 1 where the array does not read the axis."""
    a = a.reshape((1,) * (len(corner) - a.ndim) + a.shape)
    return a[tuple(s if n > 1 else slice(None) for s, n in zip(corner, a.shape, strict=True))]


def added(terms: Sequence[Array]) -> Array:
    """The sum of arrays that broadcast, in this order; one array is itself."""
    if len(terms) == 1:
        return terms[0]
    total: Array = np.zeros(np.broadcast_shapes(*(a.shape for a in terms)))
    for a in terms:
        total += a
    return total


def grid(pool: Pool) -> dict[str, Array]:
    """The values of every axis, along its own dimension of the pool's designs."""
    count = len(pool.axes)
    return {
        a.name: np.asarray(a.values).reshape([-1 if i == j else 1 for j in range(count)])
        for i, a in enumerate(pool.axes)
    }


def block(pool: Pool, rows: Array) -> dict[str, Array]:
    """The values of every axis for designs by their indices `[design, axis]`."""
    return {a.name: np.asarray(a.values)[rows[:, i]] for i, a in enumerate(pool.axes)}


def figures(pool: Pool, at: Mapping[str, Array], prices: Prices) -> Known:
    """Every name of a pool as expressions read it, over the designs whose axes have the values `at`."""
    held: dict[tuple[str, ...], Array] = {}

    def known(path: tuple[str, ...]) -> Array:
        if path not in held:
            held[path] = found(path)
        return held[path]

    def found(path: tuple[str, ...]) -> Array:
        if path[0] in at:
            return at[path[0]]
        if path[0] in pool.lets:
            return value(pool.lets[path[0]].value, known)
        assert path[0] in DESIGN or path[0] in pool.loads
        return prices.price(path)

    return known


def kept(pool: Pool, known: Known) -> Array:
    """Where all limits of a pool hold; a limit on what is nan does not."""
    found = np.ones((1,) * max(1, len(pool.axes)), dtype=bool)
    for limit in pool.limits:
        found = found & holds(limit, known)
    return found
