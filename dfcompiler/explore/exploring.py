"""The one door to exploration: a space, how to search it, and what was found."""

from __future__ import annotations

import time

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.combined import combined_front
from dfcompiler.explore.declared import explore_prices, members
from dfcompiler.explore.designs import values_at
from dfcompiler.explore.exploration import Exploration, Member, exploration
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.space import Space
from dfcompiler.explore.studied import ENGINES, Search, studied


def explore(space: Space, search: Search = Search()) -> Exploration:
    """The front of a space under its own prices; one of static prices needs no study.

    Raises what pricing, compiling and the folder raise, and Infeasible `empty-front`.
    """
    if space.prices == "static":
        _refuse_study(search)
        return explore_prices(space, {n: StaticPrices(p) for n, p in space.pools.items()}, space.prices, search.check)
    if search.check:
        hint = "what `dfc compile -o` writes is checked by `dfc check`"
        raise Diag("bad-option", "--check is for static prices", hint=hint)
    return _one(space, search) if len(space.pools) == 1 or search.sampler else _systems(space, search)


def _refuse_study(search: Search) -> None:
    asked = {"sampler": search.sampler, "resume": search.resume, "engine": search.engine != ENGINES[0]}
    for name, given in asked.items():
        if given:
            hint = "static prices try every design; with --prices mapped there is a study"
            raise Diag("bad-option", f"--{name} is for a study of designs that are mapped", hint=hint)


def _one(space: Space, search: Search) -> Exploration:
    """The front of one study of whole points."""
    start = time.perf_counter()
    found = studied(space, search)
    some = [Member(values_at(space, p), values) for p in found.front if (values := found.answers[p].values) is not None]
    return exploration(
        space, some, prices=space.prices, proof=found.proof, claims=found.claims, screened=found.screened,
        evaluated=len(found.answers), seconds=time.perf_counter() - start,
    )  # fmt: skip


def _systems(space: Space, search: Search) -> Exploration:
    """The front of systems, a study for every pool."""
    start = time.perf_counter()
    found = combined_front(space, search)
    claims = [f"{label}: {said}" for label, one in found.studies.items() for said in one.claims]
    evaluated = sum(len(s.answers) for s in found.studies.values())
    return exploration(
        space, members(space, found.systems), prices=space.prices, proof=found.proof, claims=claims,
        screened=space.points - evaluated if found.proof == "exhaustive" else 0, evaluated=evaluated,
        seconds=time.perf_counter() - start,
    )  # fmt: skip
