"""When requests come: at a rate, evenly at random (Poisson), less evenly (gamma), or in bursts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.serving.requests import MAX_REQUESTS, Floats


@dataclass(frozen=True)
class Arrivals:
    """So many requests a second on average.

    `poisson` has exponential gaps. `gamma` has gaps of the coefficient of variation `spread`: above 1 requests crowd,
    below 1 they keep a distance. `bursty` has bursts at one moment, Poisson between them, of a geometric number of
    requests with the mean `spread`. Raises Diag `bad-workload`.
    """

    kind: str
    rate_per_s: float
    spread: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("arrivals", self.kind, KINDS)
        if not (0 < self.rate_per_s < np.inf):
            message = f"a rate of {self.rate_per_s:g} requests/s: there would be no next request"
            raise Diag("bad-workload", message, hint="the rate is positive and finite")
        least = 1.0 if self.kind == "bursty" else 0.0
        if not (least <= self.spread < np.inf) or self.spread == 0:
            what = "bursts have at least one request" if least else "the spread of gaps is positive and finite"
            raise Diag("bad-workload", f"{what}, got {self.spread:g}")

    def times(self, count: int, rng: np.random.Generator) -> Floats:
        """Seconds of so many arrivals, ascending."""
        if not 0 <= count <= MAX_REQUESTS:
            raise Diag("bad-workload", f"there can be from 0 to {MAX_REQUESTS:,} requests, not {count}")
        if self.kind == "bursty":
            return self._bursts(count, rng)
        shape = 1.0 if self.kind == "poisson" else self.spread**-2
        gaps = rng.gamma(shape, 1 / (shape * self.rate_per_s), count)
        return np.asarray(np.cumsum(gaps), dtype=np.float64)

    def _bursts(self, count: int, rng: np.random.Generator) -> Floats:
        sizes = rng.geometric(1 / self.spread, count)  # more than enough: each has at least one
        starts = np.cumsum(rng.exponential(self.spread / self.rate_per_s, count))
        return np.asarray(np.repeat(starts, sizes)[:count], dtype=np.float64)


KINDS = ("poisson", "gamma", "bursty")
