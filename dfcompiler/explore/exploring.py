"""The one door to exploration: a space, how to search it, and what was found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.combined import Combination, combined_front
from dfcompiler.explore.declared import explore_prices, members
from dfcompiler.explore.designs import values_at
from dfcompiler.explore.exploration import Exploration, Member, exploration
from dfcompiler.explore.figures import Prices
from dfcompiler.explore.perturbation import band
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.question import costs
from dfcompiler.explore.recombined import Recombined
from dfcompiler.explore.repriced import Again, Exact, points_of, pool_bands
from dfcompiler.explore.robustness import ERROR, Robustness, robustness
from dfcompiler.explore.space import Space
from dfcompiler.explore.studied import ENGINES, Search, Studied, evaluated, studied
from dfcompiler.explore.uncertainty import known, of_parts


def explore(space: Space, search: Search = Search()) -> Exploration:
    """The front of a space under its own prices; one of static prices needs no study.

    Raises what pricing, compiling and the folder raise, and Infeasible `empty-front`.
    """
    if search.perturb is not None:
        search = replace(search, perturb=known(space, search.perturb))
    if space.prices == "static":
        _refuse_study(search)
        prices = {n: StaticPrices(p) for n, p in space.pools.items()}
        found = explore_prices(space, prices, space.prices, search.check)
        return found if search.perturb is None else replace(found, robustness=_exact(space, prices, found, search))
    if search.check:
        hint = "what `dfc compile -o` writes is checked by `dfc check`"
        raise Diag("bad-option", "--check is for static prices", hint=hint)
    if len(space.pools) == 1 or search.sampler:
        return _one(space, search)
    return _systems(space, search)


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
    whole = exploration(
        space, some, prices=space.prices, proof=found.proof, claims=found.claims, screened=found.screened,
        evaluated=len(found.answers), seconds=time.perf_counter() - start,
    )  # fmt: skip
    return whole if search.perturb is None else replace(whole, robustness=_again(space, found, search))


def _exact(space: Space, prices: Mapping[str, Prices], found: Exploration, search: Search) -> Robustness:
    """What stands of an exact front. Raises Diag `bad-option` for one that is counted, not listed."""
    if found.whole:
        message = f"--perturb is for fronts that are listed: this one has {found.front_size:,} points"
        raise Diag("bad-option", message, hint="fewer goals make a front that is listed")
    constants = search.perturb or ()
    kept = points_of(space, found.front)
    truth = Exact(space, kept, StaticPrices)
    at_ends = of_parts(space, [c.name for c in constants])
    within = pool_bands(space, prices, ERROR)
    return robustness(space.goals, kept, truth, constants, within, seed=search.seed, at_ends=at_ends)


def _near(space: Space, found: Studied, search: Search) -> tuple[Again, tuple[int, int]]:
    """A study under other constants, as far as its designs go: of those that may be on the front as many as the budget
    allows are mapped again. And how many these are, of how many."""
    good = [p for p, a in found.answers.items() if a.values is not None]
    within = band(costs(space.goals, [found.answers[p].values or {} for p in good]), ERROR)
    near = list(dict.fromkeys([*found.front, *(good[i] for i in within)]))[: max(len(found.front), search.budget)]
    truth = Again(space, found.answers, near, lambda there, points: evaluated(there, points, search))
    return truth, (len(within), len(good))


def _again(space: Space, found: Studied, search: Search) -> Robustness:
    """What stands of the front of a study."""
    constants, (truth, counted) = search.perturb or (), _near(space, found, search)
    at_ends = of_parts(space, [c.name for c in constants])
    kept, within = np.array(found.front, dtype=np.int64), {" and ".join(space.pools): counted}
    return robustness(space.goals, kept, truth, constants, within, seed=search.seed, at_ends=at_ends)


def _recombined(space: Space, found: Combination, kept: Exploration, search: Search) -> Robustness:
    """What stands of the front of systems."""
    constants, rows = search.perturb or (), points_of(space, kept.front)
    near = {label: _near(found.parts[label].space, one, search) for label, one in found.studies.items()}
    within = dict.fromkeys(space.pools, (0, 0))
    for label, (_, (some, every)) in near.items():
        name = found.parts[label].pool.name
        within[name] = within[name][0] + some, within[name][1] + every
    truth = Recombined(space, found, rows, {label: one for label, (one, _) in near.items()})
    at_ends = of_parts(space, [c.name for c in constants])
    return robustness(space.goals, rows, truth, constants, within, seed=search.seed, at_ends=at_ends)


def _systems(space: Space, search: Search) -> Exploration:
    """The front of systems, a study for every pool."""
    start = time.perf_counter()
    found = combined_front(space, search)
    claims = [f"{label}: {said}" for label, one in found.studies.items() for said in one.claims]
    evaluated = sum(len(s.answers) for s in found.studies.values())
    whole = exploration(
        space, members(space, found.systems), prices=space.prices, proof=found.proof, claims=claims,
        screened=space.points - evaluated if found.proof == "exhaustive" else 0, evaluated=evaluated,
        seconds=time.perf_counter() - start,
    )  # fmt: skip
    return whole if search.perturb is None else replace(whole, robustness=_recombined(space, found, whole, search))
