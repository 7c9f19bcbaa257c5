"""What an exact front claims, as tables and trees for a checker that shares nothing with what found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dfcompiler.check.designs import Table, front_of_pool, front_of_systems
from dfcompiler.check.verdicts import Verdict
from dfcompiler.diagnostics import Diag
from dfcompiler.explore.figures import Prices, grid
from dfcompiler.explore.references import paths
from dfcompiler.explore.separation import inlined
from dfcompiler.explore.space import Space
from dfcompiler.explore.systems import Systems, limited_pool
from dfcompiler.text import tree as t


def checked(space: Space, prices: Mapping[str, Prices], found: Systems) -> tuple[Verdict, ...]:
    """Every design of every pool, and every pair of the pools' fronts, against what was found. Figures are taken on
    trust: what prices them has oracles of its own. Fronts by value of a shared axis are not checked: none is shared.

    Raises Diag `bad-option` where pools share axes, and of more than two pools.
    """
    if space.shared or len(space.pools) > 2:
        hint = "leave --check out"
        raise Diag("bad-option", f"`{space.name}` has shared axes or more than two pools: no check is made", hint=hint)
    verdicts = []
    for name, front in found.pools.items():
        terms = [(g.terms[name], g.sign) for g in found.goals if name in g.terms]
        verdicts.append(front_of_pool(_table(space, name, prices[name], terms), front.values))
    if len(space.pools) == 2 and len(found.choice):
        parts = [f.values for f in found.pools.values()]
        columns = [[i for i, g in enumerate(found.goals) if n in g.terms] for n in space.pools]
        how = ["one" if g.kind == "one" else "+" if g.kind == "+" else "max" for g in found.goals]
        signs = np.array([g.sign for g in found.goals])
        verdicts.append(front_of_systems(how, parts, columns, found.values * signs))
    return tuple(verdicts)


def sentence(verdicts: Sequence[Verdict]) -> str:
    """What a check looked at and found. Raises Diag `wrong-front` where a design is better than the front."""
    for v in verdicts:
        if v.faults:
            first = f"first `{v.faults[0].path}` {v.faults[0].message}"
            raise Diag("wrong-front", f"not {v.what}: {len(v.faults)} faults, {first}")
    seen = ", ".join(f"{v.count:,} {v.name}" for v in verdicts)
    return f"checked by other code: of {seen} none is better than the front"


def _table(space: Space, name: str, prices: Prices, terms: Sequence[tuple[t.Expr, float]]) -> Table:
    pool = limited_pool(space, space.pools[name])
    wholes = [(inlined(e, pool.lets), sign) for e, sign in terms]
    limits = [t.Rel(r.op, inlined(r.a, pool.lets), inlined(r.b, pool.lets)) for r in pool.limits]
    read = {path for e in (*(e for e, _ in wholes), *limits) for path, _ in paths(e)}
    axes = grid(pool)
    figures = {
        ".".join(path): axes[path[0]] if path[0] in axes else _ranked(prices.price(path), len(pool.axes))
        for path in sorted(read)
    }
    return Table(name, pool.shape, figures, [tree(r) for r in limits], [(tree(e), sign) for e, sign in wholes])


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
