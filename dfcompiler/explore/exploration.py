"""What an exploration found: the front, how it is known, and a point of it that meets what is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag, Infeasible, unknown
from dfcompiler.explore.fronts import hypervolume
from dfcompiler.explore.perturbation import choice
from dfcompiler.explore.robustness import ERROR, Robustness
from dfcompiler.explore.space import Goal, Space, Value
from dfcompiler.frames import Columns, Tabular

Floats: TypeAlias = npt.NDArray[np.float64]
Proof: TypeAlias = Literal["exhaustive", "bounded", "sampled"]

BEYOND = 0.1  # of the front's extent: how far the reference of a hypervolume lies past the worst of each goal


@dataclass(frozen=True)
class Member:
    """A point of the front: the values of all axes, and of the goals as they are stated."""

    axes: Mapping[str, Value]
    objectives: Mapping[str, float]


class Whole(Protocol):
    """A front that is not listed in full."""

    def best(self, wanted: Mapping[str, float]) -> Member | None:
        """The point that is best in the first goal of those that reach all that is wanted; None where none does."""


@dataclass(frozen=True)
class Exploration(Tabular):
    """The front of a space; its table has a row per point, goals before axes.

    Of `points_in_space`, `screened` were ruled out without a price of their own and `evaluated` designs were priced.

    `proof`: `exhaustive`, no point of the space is better in all goals than one of the front; `bounded`, what is not
    evaluated is no better than the bounds say (`claims`); `sampled`, nothing is known of the rest. `front` lists the
    front, or of one of `front_size` points some that are spread over it. `robustness`
    is there where it was asked for.
    """

    space: str
    goals: tuple[Goal, ...]
    prices: str
    points_in_space: int
    screened: int
    evaluated: int
    seconds: float
    proof: Proof
    claims: tuple[str, ...]
    front: tuple[Member, ...]
    front_size: int
    hypervolume: float
    reference: Mapping[str, float]
    units: Mapping[str, str] = field(default_factory=dict)  # of axes that have one
    whole: Whole | None = None
    robustness: Robustness | None = None

    def best(self, wanted: Mapping[str, float]) -> Member:
        """The point that is best in the first goal of those that reach all that is wanted. Raises Infeasible
        `unmet-need` with the nearest miss."""
        able = [m for m in self.front if meets(m, wanted, self.goals)]  # sorted by the first goal
        found = self.whole.best(wanted) if self.whole else next(iter(able), None)
        if found is None:
            near, why = nearest_miss(self.front, wanted, self.goals)
            values = ", ".join(f"{name} {value:.4g}" for name, value in near.objectives.items())
            raise Infeasible(
                "unmet-need", "no point of the front reaches all of that", hint=f"nearest: {values}; {why}"
            )
        return found

    def alike(self, best: Member, wanted: Mapping[str, float], error: float = ERROR) -> int:
        """How many other listed points that reach all that is wanted may be as good in the first goal, each being wrong
        by up to a share."""
        able = [best, *(m for m in self.front if meets(m, wanted, self.goals) and m != best)]
        found = choice(costs(self.goals, able), np.full(len(self.goals), np.inf), 0, error)
        return len(found.others) if found else 0

    def title(self) -> str:
        """The space and how its front is known."""
        return f"{self.space}: {self.front_size:,} points on the front, {self.proof}"

    def facts(self) -> Mapping[str, str]:
        """What the proof rests on."""
        return {f"claim {i}": said for i, said in enumerate(self.claims, 1)}

    def columns(self) -> Columns:
        """A row per listed point of the front."""
        goals = {g.name: [m.objectives[g.name] for m in self.front] for g in self.goals}
        return goals | {f"axis.{name}": [m.axes[name] for m in self.front] for name in self.front[0].axes}

    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command line's contract."""
        stands = {"robustness": self.robustness.to_json()} if self.robustness else {}
        return stands | {
            "space": self.space,
            "prices": self.prices,
            "points_in_space": self.points_in_space,
            "screened": self.screened,
            "evaluated": self.evaluated,
            "seconds": self.seconds,
            "proof": self.proof,
            "claims": list(self.claims),
            "front": [{"axes": dict(m.axes), "objectives": dict(m.objectives)} for m in self.front],
            "front_size": self.front_size,
            "hypervolume": self.hypervolume,
            "reference": dict(self.reference),
            "directions": {g.name: g.sense for g in self.goals},
            "units": dict(self.units),
        }


def exploration(
    space: Space,
    members: Sequence[Member],
    *,
    prices: str,
    proof: Proof,
    claims: Sequence[str],
    screened: int,
    evaluated: int,
    seconds: float,
    front_size: int | None = None,
    whole: Whole | None = None,
) -> Exploration:
    """An exploration with the hypervolume of what it lists. Raises Infeasible `empty-front` where nothing was found."""
    if not members:
        message = f"no point of `{space.name}` keeps all limits and runs all loads"
        raise Infeasible("empty-front", message, hint="\n".join(claims) or None)
    oriented = costs(space.goals, members)
    corner = reference(oriented)
    return Exploration(
        space.name,
        space.goals,
        prices,
        space.points,
        screened,
        evaluated,
        seconds,
        proof,
        tuple(claims),
        tuple(sorted(members, key=lambda m: tuple(m.objectives[g.name] * sign(g) for g in space.goals))),
        len(members) if front_size is None else front_size,
        hypervolume(oriented, corner),
        {g.name: float(c * sign(g)) + 0.0 for g, c in zip(space.goals, corner, strict=True)},
        {a.name: a.unit for a in space.axes if a.unit},
        whole,
    )


def sign(goal: Goal) -> float:
    """1 where less is better, else -1."""
    return 1.0 if goal.sense == "min" else -1.0


def costs(goals: Sequence[Goal], members: Sequence[Member]) -> Floats:
    """Goals `[member, goal]`, oriented so that less is better."""
    return np.array([[m.objectives[g.name] * sign(g) for g in goals] for m in members], dtype=np.float64)


def reference(oriented: Floats) -> Floats:
    """A corner that all points are better than: the worst of each goal, and a tenth of the extent beyond (of the worst
    itself where there is no extent); of what is above 0 and is to be large, no less than 0."""
    worst, extent = oriented.max(0), np.ptp(oriented, axis=0)
    found: Floats = worst + BEYOND * np.where(extent > 0, extent, np.maximum(np.abs(worst), 1e-300))
    return np.where(worst < 0, np.minimum(found, 0.0), found)


def needs(text: str, goals: Sequence[Goal]) -> dict[str, float]:
    """`rate_req_s=20,ttft_s=1` as numbers by goal; raises Diag `unknown-goal`, `bad-option`."""
    found: dict[str, float] = {}
    known = [g.name for g in goals]
    for item in text.split(","):
        name, sign_, number = (x.strip() for x in item.partition("="))
        if name not in known:
            raise unknown("goal", name, known)
        try:
            found[name] = float(number)
        except ValueError:
            found[name] = math.nan
        if not sign_ or not math.isfinite(found[name]):
            raise Diag("bad-option", f"`{item}` is no need", hint="write GOAL=NUMBER,GOAL=NUMBER")
    return found


def meets(member: Member, wanted: Mapping[str, float], goals: Sequence[Goal]) -> bool:
    """Whether a point reaches all that is needed."""
    return all(member.objectives[g.name] * sign(g) <= wanted[g.name] * sign(g) for g in goals if g.name in wanted)


def nearest_miss(members: Sequence[Member], wanted: Mapping[str, float], goals: Sequence[Goal]) -> tuple[Member, str]:
    """The point that misses what is needed by least, and in what: by the largest part by which a goal fails."""

    def missed(m: Member) -> tuple[float, str]:
        return max(
            ((m.objectives[g.name] - wanted[g.name]) * sign(g) / max(abs(wanted[g.name]), 1e-300), g.name)
            for g in goals
            if g.name in wanted
        )

    best = min(members, key=missed)
    part, name = missed(best)
    return best, f"`{name}` misses by {part:.1%}"
