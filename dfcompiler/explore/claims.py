"""What an exact front claims, as tables and trees for a checker that shares nothing with what found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from dfcompiler.check.designs import Table, front_is_of_pool, front_is_of_systems, front_of_pool, front_of_systems
from dfcompiler.check.verdicts import Verdict, joined
from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import Prices, grid, summands
from dfcompiler.explore.pools import PoolFront
from dfcompiler.explore.references import paths
from dfcompiler.explore.separation import inlined
from dfcompiler.explore.space import Space
from dfcompiler.explore.systems import Systems, limited_pool
from dfcompiler.text import tree as t


def checked(space: Space, prices: Mapping[str, Prices], found: Systems, listed: bool = True) -> tuple[Verdict, ...]:
    """Every design of every pool, and every pair of the pools' fronts, against what was found, for each value of axes
    that pools share. Figures are taken on trust: what prices them has oracles of its own. Of a front that is not
    `listed` only the pools' fronts are looked at.

    Raises Diag `bad-option` for more than two pools.
    """
    if len(space.pools) > 2:
        message = f"`{space.name}` has {len(space.pools)} pools: fronts of up to two are checked"
        raise Diag("bad-option", message, hint="leave --check out")
    values = {a.name: range(len(a.values)) for a in space.shared}
    every = [dict(zip(values, at, strict=True)) for at in product(*values.values())]
    verdicts = []
    for name, front in found.pools.items():
        terms = [(g.terms[name], g.sign) for g in found.goals if name in g.terms]
        own = {a.name for a in front.pool.axes}
        fixed = list({tuple((a, i) for a, i in at.items() if a in own): None for at in every})
        pieces = []
        for at in map(dict, fixed):
            here, table = _at(front, at), _table(space, name, prices[name], terms, at)
            mine = front.rows[here] * [a.name not in at for a in front.pool.axes]  # within the part of the table
            pieces += [front_of_pool(table, front.values[here]), front_is_of_pool(table, mine, front.values[here])]
        verdicts += [joined(pieces[::2]), joined(pieces[1::2])]
    if len(space.pools) == 2 and listed:
        verdicts += _systems(found, every)
    return tuple(verdicts)


def _systems(found: Systems, every: Sequence[Mapping[str, int]]) -> list[Verdict]:
    """Pairs of designs that agree on the axes that pools share, and the systems of the front."""
    columns = [[i for i, g in enumerate(found.goals) if n in g.terms] for n in found.pools]
    how = ["one" if g.kind == "one" else "+" if g.kind == "+" else "max" for g in found.goals]
    values = found.values * np.array([g.sign for g in found.goals])
    pieces = []
    for at in every:
        parts = [f.values[_at(f, at)] for f in found.pools.values()]
        pieces.append(front_of_systems(how, parts, columns, values))
    chosen = [f.values[found.choice[:, i]] for i, f in enumerate(found.pools.values())]
    agreed = [_shared(f, list(every[0]))[found.choice[:, i]] for i, f in enumerate(found.pools.values())]
    return [joined(pieces), front_is_of_systems(how, chosen, columns, agreed, values)]


def _shared(front: PoolFront, names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Indices of designs on axes that pools share `[design, axis]`; -1 on one that a pool does not have."""
    at = {a.name: i for i, a in enumerate(front.pool.axes)}
    none = np.full(len(front.rows), -1)
    return np.stack([front.rows[:, at[n]] if n in at else none for n in names] or [none], 1)


def _at(front: PoolFront, at: Mapping[str, int]) -> np.ndarray[Any, Any]:
    """Which designs have these indices, on the axes that the pool has."""
    wanted = np.array(list(at.values()), dtype=np.int64)
    mine = _shared(front, list(at))[:, : len(at)]
    return np.asarray(np.all((mine == wanted) | (mine < 0), axis=1))


def sentence(verdicts: Sequence[Verdict]) -> str:
    """What a check looked at and found. Raises Diag `wrong-front` where a design is better than the front, or a part of
    it is no design."""
    for v in verdicts:
        if v.faults:
            first = f"first `{v.faults[0].path}` {v.faults[0].message}"
            raise Diag("wrong-front", f"not {v.what}: {len(v.faults)} faults, {first}")
    seen = ", ".join(f"{v.count:,} {v.name}" for v in verdicts)
    return f"checked by other code: {seen}; none is better than the front, and all of it is there"


def _table(
    space: Space, name: str, prices: Prices, terms: Sequence[tuple[t.Expr, float]], at: Mapping[str, int]
) -> Table:
    """The designs of a pool that have these indices on some axes."""
    pool = limited_pool(space, space.pools[name])
    wholes = [(inlined(e, pool.lets), sign) for e, sign in terms]
    limits = [t.Rel(r.op, inlined(r.a, pool.lets), inlined(r.b, pool.lets)) for r in pool.limits]
    read = {path for e in (*(e for e, _ in wholes), *limits) for path, _ in paths(e)}
    axes = grid(pool)
    corner = [at.get(a.name) for a in pool.axes]
    figures: dict[str, np.ndarray[Any, Any]] = {}
    sums: dict[str, list[Any]] = {}
    for path in sorted(read):
        parts = [axes[path[0]]] if path[0] in axes else summands(prices, path)
        names = [".".join(path)] if len(parts) == 1 else [f"{'.'.join(path)} {i}" for i in range(len(parts))]
        figures |= {n: _cut(_ranked(x, len(corner)), corner) for n, x in zip(names, parts, strict=True)}
        leaves: list[list[Any]] = [["figure", n] for n in names]
        sums[".".join(path)] = reduce(lambda a, b: ["+", a, b], leaves)
    shape = tuple(n if i is None else 1 for n, i in zip(pool.shape, corner, strict=True))
    wanted = [(_summed(tree(e), sums), sign) for e, sign in wholes]
    return Table(name, shape, figures, [_summed(tree(r), sums) for r in limits], wanted)


def _summed(e: list[Any], sums: Mapping[str, list[Any]]) -> list[Any]:
    """A tree whose figures are what adds up to them."""
    if e[0] == "figure":
        return sums[e[1]]
    return e if e[0] == "number" else [e[0], *(_summed(a, sums) for a in e[1:])]


def _cut(x: np.ndarray[Any, Any], corner: Sequence[int | None]) -> np.ndarray[Any, Any]:
    """The part of an array that has these indices."""
    parts = zip(corner, x.shape, strict=True)
    return x[tuple(slice(None) if i is None or n == 1 else slice(i, i + 1) for i, n in parts)]


def _ranked(x: np.ndarray[Any, Any], ndim: int) -> np.ndarray[Any, Any]:
    return x.reshape((1,) * ndim) if x.ndim == 0 else x


def tree(e: t.Expr | t.Rel) -> list[Any]:
    """An expression as a list: its operation and its arguments, `["figure", name]` or `["number", x]`."""
    match e:
        case t.Num(number):
            return ["number", float(number)]
        case t.Text(text):
            return ["number", text]
        case t.Ref() | t.Field():
            return ["figure", ".".join(next(paths(e))[0])]
        case t.Neg(a):
            return ["neg", tree(a)]
        case t.Bin(op, a, b) | t.Rel(op, a, b):
            return [op, tree(a), tree(b)]
        case t.Call(fn, args):
            return [fn, *map(tree, args)]
    raise Diag("bad-expression", "a space has no such expression", e.span)
