"""A mapped op that is one product, as what a core runs: the share of one instance, in the tiles of its mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, prod

from dfcompiler.diagnostics import Infeasible
from dfcompiler.problem import NestLoop, Problem
from dfcompiler.rtl.loops import Product


def product_of(problem: Problem, tile: Mapping[str, int], ways: Mapping[str, int], order: Sequence[str]) -> Product:
    """The product that an instance runs, where the op is nothing else: one contraction of all points of a box.

    `tile` and `ways` are by loop, `order` is the loops' with several tiles, outermost first. Raises Infeasible
    `no-product` with what there is besides.
    """
    work = problem.facts.work
    if len(work.contractions) != 1 or work.terms:
        kinds = ", ".join(sorted({t.kind for t in work.terms}))
        said = f"{len(work.contractions)} contractions and {kinds or 'nothing else'}"
        raise Infeasible("no-product", f"a core runs one contraction and nothing beside it, here are {said}")
    one, sizes = work.contractions[0], problem.group.sizes
    if problem.mask.count(one.indices) != prod(sizes[i] for i in one.indices):
        raise Infeasible("no-product", "a core runs all points of a product, here some are masked")
    extents: dict[str, int] = {}
    tiles: dict[str, int] = {}
    roles: dict[str, str] = {}
    for role, indices in (("b", one.batch), ("m", one.m), ("n", one.n), ("k", one.k)):
        loop, rest = _loop(problem, indices, role)
        if loop is None:
            extents[role] = tiles[role] = rest
            continue
        extents[role] = ceil(loop.size / ways.get(loop.name, 1)) * rest
        tiles[role] = min(tile[loop.name] * rest, extents[role])
        roles[loop.name] = role
    return Product(extents, tiles, tuple(roles[name] for name in order if name in roles))


def _loop(problem: Problem, indices: Sequence[str], role: str) -> tuple[NestLoop | None, int]:
    """The loop over a role's indices, if there is one, and the points of those that no loop is over."""
    found = [x for x in problem.loops if set(x.indices) & set(indices)]
    if len(found) > 1:
        raise Infeasible("no-product", f"{len(found)} loops over the indices of {role}: a core has one per dimension")
    rest = prod(problem.group.sizes[i] for i in indices if not any(i in x.indices for x in found))
    return (found[0] if found else None), rest
