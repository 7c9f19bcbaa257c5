"""How much of a front stands where the constants are others, and which designs a model that is a little wrong leaves.

Designs on a front are fragile, its curve is not. So both are told for constants at the ends of their ranges and drawn
within them: how many designs stay on the front, and how much more the old designs cost at each level of the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.explore.fronts import Floats
from dfcompiler.explore.perturbation import Constant, Shift, alone, shift, together
from dfcompiler.explore.question import Goal

Ints: TypeAlias = npt.NDArray[np.int64]
# Factors of all constants -> designs by their indices along the axes `[n, axis]`, no two alike, and their objectives
# `[n, goal]`, all minimised: those of the old front, inf where one cannot be, and at least those of the new front.
Truth: TypeAlias = Callable[[Mapping[str, float]], tuple[Ints, Floats]]

ERROR = 0.05  # of the model: about what the validated chips are off by (benchmarks/VALIDATION.md); the band's
DRAWS = 16  # of all constants at once; our choice


@dataclass(frozen=True)
class Robustness:
    """What stands of a front. `band` has for every pool how many designs may be on the front where each figure of each
    design is wrong by up to `error`, and of how many. Regrets are by the goal `along`."""

    along: str
    error: float
    band: Mapping[str, tuple[int, int]]
    constants: tuple[Constant, ...]
    alone: tuple[Shift, ...]
    together: tuple[Shift, ...]

    def to_json(self) -> dict[str, Any]:
        """As `dfc explore --json` has it; a regret is null where no old design reaches any level."""
        return {
            "along": self.along,
            "error": self.error,
            "band": {pool: {"designs": some, "of": every} for pool, (some, every) in self.band.items()},
            "constants": [{"name": c.name, "low": c.low, "high": c.high, "source": c.source} for c in self.constants],
            "alone": [_plain(s) for s in self.alone],
            "together": [_plain(s) for s in self.together],
        }


def _plain(s: Shift) -> dict[str, Any]:
    regrets = {name: x if np.isfinite(x) else None for name in ("mean", "p95", "worst") for x in (getattr(s, name),)}
    return {"changed": dict(s.changed), "jaccard": s.jaccard, **regrets, "unmet": s.unmet}


def robustness(
    goals: Sequence[Goal],
    kept: Ints,
    truth: Truth,
    constants: Sequence[Constant],
    band: Mapping[str, tuple[int, int]],
    *,
    error: float = ERROR,
    seed: int = 0,
    at_ends: frozenset[str] = frozenset(),
) -> Robustness:
    """What stands of the front whose designs are `kept`, by their indices along the axes `[n, axis]`.

    Constants that change nothing at either end are left out. In the draws of all constants those of `at_ends` are at
    one of their ends or at their value. Raises Diag `bad-perturbation` where no goal is a share of something positive.
    """
    values = {c.name: c.value for c in constants}
    now = _of(kept, truth(values))
    along = _along(goals, now)

    def moved(changed: Mapping[str, float]) -> tuple[Shift, bool]:
        """What a change does to the front, and whether it does anything to the old designs."""
        there = truth({**values, **changed})
        mine = _positions(kept, there[0])
        return shift(mine, changed, _positive(there[1], along), along), not np.array_equal(there[1][mine], now)

    ends = [(c, moved(changed)) for c in constants for changed in alone([c])]
    reading = [c for c in constants if any(does for one, (_, does) in ends if one is c)]
    drawn = together(reading, DRAWS, seed, at_ends) if reading else []
    return Robustness(
        goals[along].name,
        error,
        band,
        tuple(reading),
        tuple(found for c, (found, _) in ends if c in reading),
        tuple(moved(d)[0] for d in drawn),
    )


def _positions(kept: Ints, points: Ints) -> npt.NDArray[np.intp]:
    at = {tuple(p): i for i, p in enumerate(points.tolist())}
    return np.array([at[tuple(p)] for p in kept.tolist()], dtype=np.intp)


def _of(kept: Ints, there: tuple[Ints, Floats]) -> Floats:
    return there[1][_positions(kept, there[0])]


def _along(goals: Sequence[Goal], values: Floats) -> int:
    """The goal that regrets are shares of: the first that is to be small, else the first."""
    order = sorted(range(len(goals)), key=lambda i: goals[i].sense != "min")
    for i in order:
        if (values[:, i] > 0).all() or (values[:, i] < 0).all():
            return i
    raise Diag("bad-perturbation", "no goal has one sign on the front: a regret is a share of something positive")


def _positive(values: Floats, along: int) -> Floats:
    """Objectives where that of the regret is above 0: of what is to be large, the reciprocal."""
    if not (values[:, along] < 0).any():
        return values
    changed = values.copy()
    changed[:, along] = np.where(np.isfinite(values[:, along]), -1 / values[:, along], np.inf)
    return changed
