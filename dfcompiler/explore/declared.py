"""The exact front of a space under prices that are arrays over its designs: every system, by combining pools."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.claims import checked, sentence
from dfcompiler.explore.exploration import Exploration, Member, exploration, meets
from dfcompiler.explore.figures import Prices, figures, grid
from dfcompiler.explore.implicit import Implicit, roles
from dfcompiler.explore.references import holds, value
from dfcompiler.explore.space import Space, Value
from dfcompiler.explore.systems import MOST_PAIRS, Signed, Systems, explored, limited_pool, pool_fronts, separated
from dfcompiler.text.show_expressions import show_rel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LISTED = 4096  # points of a front that is too long to list


def explore_prices(space: Space, prices: Mapping[str, Prices], name: str, check: bool = False) -> Exploration:
    """The front of a space that separates, proven by trying every design; with `check` each is computed again by code
    that shares nothing with the search. Raises what `separated` and `claims.checked` raise."""
    start = time.perf_counter()
    goals = separated(space)
    long = too_long(space, goals, prices) if not space.shared else None
    if long is not None:
        again = [sentence(checked(space, prices, long[1], listed=False))] if check else []
        return _implicit(space, *long, name=name, start=start, again=again)
    found = explored(space, prices)
    again = [sentence(checked(space, prices, found))] if check else []
    if not len(found.choice):
        raise _none(space, prices, found)
    designs, legal = (sum(getattr(f, what) for f in found.pools.values()) for what in ("designs", "legal"))
    said = f"all {designs:,} designs of {_pools(space)} were priced, {legal:,} of them within limits and able to run"
    sides = ", ".join(f"{len(f.rows):,} of {n}" for n, f in found.pools.items())
    combined = [f"every one of {space.points:,} systems is matched by one of the pools' fronts ({sides})"]
    return exploration(
        space,
        members(space, found),
        prices=name,
        proof="exhaustive",
        claims=[said, *(combined if len(space.pools) > 1 else []), *again],
        screened=space.points - designs if len(space.pools) > 1 else 0,
        evaluated=designs,
        seconds=time.perf_counter() - start,
    )


def _none(space: Space, prices: Mapping[str, Prices], found: Systems) -> Infeasible:
    """Why there is no front: of each pool, how many designs keep each limit, and how near the others come."""
    said = []
    for name, front in found.pools.items():
        pool = limited_pool(space, space.pools[name])
        said.append(f"{name}: {front.legal:,} of {front.designs:,} designs keep all limits and run all loads")
        known = figures(pool, grid(pool), prices[name])
        for limit in pool.limits:
            kept, a, b = holds(limit, known), value(limit.a, known), value(limit.b, known)
            off = np.abs(a - b)
            at = np.unravel_index(np.argmin(off), off.shape)
            near = f"{np.broadcast_to(a, off.shape)[at]:.4g} against {np.broadcast_to(b, off.shape)[at]:.4g}"
            part = f"{np.count_nonzero(kept) / kept.size:.0%} of them"
            said.append(f"`{show_rel(limit)}` is kept by {part}" + ("" if kept.any() else f"; the nearest has {near}"))
    message = f"no point of `{space.name}` keeps all limits and runs all loads"
    return Infeasible("empty-front", message, hint="\n".join(said))


def members(space: Space, found: Systems) -> list[Member]:
    """The systems of a front, by the names of the space's axes."""
    made = []
    for choice, values in zip(found.choice, found.values, strict=True):
        axes: dict[str, Value] = {}
        for (pool, front), row in zip(found.pools.items(), choice, strict=True):
            own = {a.name: a.values[i] for a, i in zip(front.pool.axes, front.rows[row], strict=True)}
            axes |= {
                (name if len(space.pools) == 1 or any(s.name == name for s in space.shared) else f"{pool}.{name}"): v
                for name, v in own.items()
            }
        objectives = {g.name: float(v) for g, v in zip(found.goals, values, strict=True)}
        made.append(Member({a.name: axes[a.name] for a in space.axes}, objectives))
    return made


# ---- fronts that are counted -------------------------------------------------------------------


def too_long(space: Space, goals: tuple[Signed, ...], prices: Mapping[str, Prices]) -> tuple[Implicit, Systems] | None:
    """The front as two of pools and a rule, where its goals allow that and pairs are too many to compare."""
    order = roles(goals, list(space.pools))
    if order is None or goals[0].kind != "+":
        return None
    fronts = pool_fronts(space, goals, prices, {})
    if prod(len(f.rows) for f in fronts.values()) <= MOST_PAIRS // 64:
        return None
    first, second = (f.values[:, order[n]] for n, f in fronts.items())
    empty = Systems(goals, fronts, np.empty((0, 2), np.int64), np.empty((0, len(goals))), space.points)
    return Implicit(first, second), empty


def _implicit(
    space: Space, whole: Implicit, systems: Systems, *, name: str, start: float, again: Sequence[str]
) -> Exploration:
    """Counted in full; of its systems some are listed, evenly by their place in the sweep."""
    count = whole.count()
    step = max(1, -(-count // LISTED))
    choice = np.array([pair for i, pair in enumerate(whole.systems()) if i % step == 0], dtype=np.int64)
    some = with_choice(systems, choice)
    designs = sum(f.designs for f in systems.pools.values())
    sides = " and ".join(f"{len(f.rows):,} of {n}" for n, f in systems.pools.items())
    claims = [
        f"all {designs:,} designs of {_pools(space)} were priced",
        f"the front has {count:,} of {space.points:.3g} systems: pairs of {sides} designs, counted by a sweep",
        f"{len(choice):,} of them are listed; `--need` asks the whole front",
        *again,
    ]
    return exploration(
        space,
        members(space, some),
        prices=name,
        proof="exhaustive",
        claims=claims,
        screened=space.points - designs,
        evaluated=designs,
        seconds=time.perf_counter() - start,
        front_size=count,
        whole=_Counted(space, whole, systems),
    )


@dataclass(frozen=True)
class _Counted:
    """Two fronts of pools and the rule that makes systems of them."""

    space: Space
    rule: Implicit
    systems: Systems

    def best(self, wanted: Mapping[str, float]) -> Member | None:
        """Two look-ups where the first goal is the sum; a goal that is the sum and is not the first is met or not."""
        found = self.rule.cheapest(*self._limits(wanted))
        if found is None:
            return None
        member = members(self.space, with_choice(self.systems, np.array([found])))[0]
        return member if meets(member, wanted, self.space.goals) else None

    def _limits(self, wanted: Mapping[str, float]) -> tuple[float, float, float]:
        """What the bottleneck and both own goals may be at worst, oriented."""

        def worst(goal: Signed) -> float:
            return wanted[goal.name] * goal.sign if goal.name in wanted else np.inf

        goals = {g.kind if g.kind != "one" else next(iter(g.terms)): g for g in self.systems.goals}
        level = next(g for kind, g in goals.items() if kind in ("minimum", "maximum"))
        first, second = (worst(goals[pool]) for pool in self.space.pools)
        return worst(level), first, second


def with_choice(systems: Systems, choice: Ints) -> Systems:
    """These systems of the pools' fronts, with their goals."""
    values = np.stack([_joined(g, systems, choice) for g in systems.goals], 1)
    return replace(systems, choice=choice, values=values * np.array([g.sign for g in systems.goals]))


def _joined(goal: Signed, systems: Systems, choice: Ints) -> Floats:
    parts = []
    for i, (pool, front) in enumerate(systems.pools.items()):
        mine = [g.name for g in systems.goals if pool in g.terms]
        if goal.name in mine:
            parts.append(front.values[choice[:, i], mine.index(goal.name)])
    return parts[0] if len(parts) == 1 else goal.joined(*parts)


def _pools(space: Space) -> str:
    return " and ".join(f"`{n}`" for n in space.pools)
