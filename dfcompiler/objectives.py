"""From the name of an objective to goals of segments, and the schedules that are best by it for the whole step.

Time and energy of a step are sums over its segments, so a weighted sum of both is least where it is least in each. Of
a product of two sums the least lies on a corner of the convex hull of all that can be reached, and every corner is
least by some weights: so the energy-delay product is found exactly, by the weights between corners found so far.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TypeAlias

from dfcompiler.diagnostics import Infeasible
from dfcompiler.goals import AREA_DELAY, ENERGY, FIRST_LATENCY, LATENCY, Goal
from dfcompiler.hardware.chip import Chip
from dfcompiler.planes import Plane, least_product
from dfcompiler.power import static_w
from dfcompiler.solution import Solution
from dfcompiler.spending import Spending

Solve: TypeAlias = Callable[[Sequence[Goal], Sequence[Solution] | None], Sequence[Solution]]  # from these hints
SAME = 1e-9  # of costs: nearer than whole numbers of the solver can tell


@dataclass(frozen=True)
class Found:
    """Schedules of all segments with the time and energy of the step; proven to be the best, or not. All steps are
    above the `planes`."""

    solutions: Sequence[Solution]
    cycles: float
    pj: float
    optimal: bool
    least: float
    planes: tuple[Plane, ...] = ()

    @property
    def product(self) -> float:
        """Energy times delay."""
        return self.cycles * self.pj


def limits(chip: Chip, power_w: float | None) -> Goal:
    """What every goal on a chip begins with: its energy at rest, and the watts that it may take on average.

    Raises Infeasible `over-power` where the chip takes more at rest.
    """
    rest = static_w(chip)
    pj_per_cycle = 1e12 / chip.clock_hz
    if power_w is None:
        return Goal(static_pj=rest * pj_per_cycle)
    if power_w <= rest:
        hint = f"allow more than {rest:.4g} W, or a smaller chip or a lower clock"
        raise Infeasible(
            "over-power", f"`{chip.name}` takes {rest:.4g} W at rest, of {power_w:.4g} W allowed", hint=hint
        )
    return Goal(static_pj=rest * pj_per_cycle, pj_per_cycle=(power_w - rest) * pj_per_cycle)


def spending(objective: str, base: Goal, thin: float = 0.0) -> Spending | None:
    """How energy counts for the columns of an objective, within the limits of `base`; None where only time does."""
    timed = objective in (LATENCY, AREA_DELAY)
    if timed and base.pj_per_cycle == inf:
        return None
    return Spending(base.static_pj, base.pj_per_cycle, thin, timed or objective == FIRST_LATENCY)


def thinned(found: Found, counts: Spending | None, loss: float) -> Found:
    """What is found among columns, of all those from which they were thinned out at a `loss` of energy: time is not
    lost where it comes first and power has no limit."""
    if counts is None or not loss:
        return found
    timed = counts.first and counts.pj_per_cycle == inf
    return replace(found, optimal=False, least=found.least if timed else found.least / (1 + loss))


def best(objective: str, base: Goal, repeats: Sequence[int], solve: Solve) -> Found:
    """Schedules that are best by an objective; `base` holds limits and static energy, `repeats` how often each segment
    runs. `least` is what the objective comes to at least, in cycles, pJ, or pJ times cycles."""

    def by(goals: Sequence[Goal], hints: Sequence[Solution] | None = None) -> Found:
        found = solve(goals, hints)
        cycles = sum(n * s.cycles for n, s in zip(repeats, found, strict=True))
        pj = sum(n * g.pj(s) for n, s, g in zip(repeats, found, goals, strict=True))
        least = sum(n * s.least for n, s in zip(repeats, found, strict=True))
        return Found(found, cycles, pj, all(s.optimal for s in found), least)

    def weighted(per_cycle: float, per_pj: float) -> Found:
        found = by([replace(base, per_cycle=per_cycle, per_pj=per_pj)] * len(repeats))
        return replace(found, planes=(Plane(per_cycle, per_pj, found.least),))

    def then_energy(first: Found) -> Found:
        goals = [replace(base, per_cycle=0.0, per_pj=1.0, most_cycles=s.cycles) for s in first.solutions]
        return by(goals, first.solutions)

    def then_latency(first: Found) -> Found:
        return by([replace(base, most_pj=base.pj(s) * (1 + SAME)) for s in first.solutions], first.solutions)

    if objective in (LATENCY, AREA_DELAY):
        return weighted(1.0, 0.0)
    if objective == FIRST_LATENCY:
        fast = weighted(1.0, 0.0)
        return _after(fast, then_energy(fast))
    frugal = weighted(0.0, 1.0)
    frugal = _after(frugal, then_latency(frugal))
    if objective == ENERGY:
        return frugal
    fast = weighted(1.0, 0.0)
    return _least_product(_after(fast, then_energy(fast)), frugal, weighted)


def _after(first: Found, second: Found) -> Found:
    """The second, found within what the first has reached, with the first's bounds."""
    pairs = zip(first.solutions, second.solutions, strict=True)
    solutions = [replace(b, bound=max(a.bound, b.bound)) for a, b in pairs]
    proven = first.optimal and second.optimal
    return replace(second, solutions=solutions, optimal=proven, least=first.least, planes=first.planes)


def _least_product(fast: Found, frugal: Found, weighted: Callable[[float, float], Found]) -> Found:
    """The corner with the least product of time and energy between the fastest and the most frugal one."""
    best, proven = min(fast, frugal, key=lambda f: f.product), fast.optimal and frugal.optimal
    planes = [*fast.planes, *frugal.planes]
    waiting = [(fast, frugal)]
    while waiting:
        a, b = waiting.pop()
        corner = a.cycles * b.pj  # no schedule between them is better in both
        if corner >= best.product * (1 - SAME) or a.pj <= b.pj:
            continue
        between = weighted(a.pj - b.pj, b.cycles - a.cycles)
        proven &= between.optimal
        planes += between.planes
        on = (a.pj - b.pj) * a.cycles + (b.cycles - a.cycles) * a.pj
        here = (a.pj - b.pj) * between.cycles + (b.cycles - a.cycles) * between.pj
        if here < on * (1 - SAME):
            best = min(best, between, key=lambda f: f.product)
            waiting += [(a, between), (between, b)]
    least = best.product if proven else min(best.product, least_product(planes))
    return replace(best, optimal=proven, least=least, planes=tuple(planes))
