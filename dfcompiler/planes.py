"""What time and energy of a step cannot both be below: planes of weighted sums, and the least product above them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

NEAR = 1e-9  # parts by which a corner may be off the planes that meet there


@dataclass(frozen=True)
class Plane:
    """No step takes less than `least` by so much for each cycle and for each pJ."""

    per_cycle: float
    per_pj: float
    least: float

    def at(self, cycles: float, pj: float) -> float:
        """What a step of so much time and energy comes to."""
        return self.per_cycle * cycles + self.per_pj * pj


def least_product(planes: Sequence[Plane]) -> float:
    """The least product of time and energy above all planes, 0 where they bound none. It is at a corner: between two of
    them the product is greater than at one of the two."""
    corners = (_corner(a, b) for a, b in combinations(planes, 2))
    return min(
        (c * e for c, e in filter(None, corners) if all(p.at(c, e) >= p.least * (1 - NEAR) for p in planes)),
        default=0.0,
    )


def _corner(a: Plane, b: Plane) -> tuple[float, float] | None:
    """Cycles and pJ at which two planes meet."""
    turn = a.per_cycle * b.per_pj - b.per_cycle * a.per_pj
    if not turn:
        return None
    cycles, pj = a.least * b.per_pj - b.least * a.per_pj, a.per_cycle * b.least - b.per_cycle * a.least
    return (cycles / turn, pj / turn) if min(cycles / turn, pj / turn) >= 0 else None
