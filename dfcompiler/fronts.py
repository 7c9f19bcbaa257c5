"""What a search of tilings has found so far, and what may still better it: by time alone, or by time and energy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.moves import Keep
from dfcompiler.nest import Nest

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Made: TypeAlias = Callable[[int], "Found"]
SAME = 1e-12  # parts by which sums of the same numbers in another order may differ


@dataclass(frozen=True)
class Found:
    """A tiling by where it stands in the search. `beside` is what counts beside its cycles: bytes of DRAM, or pJ."""

    cycles: float
    beside: float
    nest: Nest
    keeps: tuple[Keep, ...]
    room: tuple[float, float]

    @property
    def merit(self) -> tuple[float, float, float]:
        """The less the better; whole tiles' bytes, then their cycles decide between equal times."""
        return self.cycles, self.beside, float(self.nest.tiles.compute[0])


@dataclass
class Best:
    """The best so far for each share, by (cycles, DRAM bytes, compute cycles); none takes more than `limits` say."""

    limits: Mapping[float, float] = field(default_factory=dict)
    found: dict[float, Found] = field(default_factory=dict)

    def bound(self, share: float) -> float:
        """Cycles that others may take at most."""
        return self.found[share].cycles if share in self.found else self.limits.get(share, float("inf"))

    def near(self, share: float, cycles: Floats, beside: Floats) -> Bools:
        """Where tilings that take no less than this may shorten what was found, before they are told apart."""
        return np.asarray(cycles < self.bound(share))

    def open(self, shares: Sequence[float], floors: Sequence[Floats], beside: Floats) -> Bools:
        """Where what was found may be bettered by what takes no less than `floors` say, per share: by time, or by
        bytes in the same time."""
        found = np.zeros(floors[0].shape, dtype=bool)
        for share, cycles in zip(shares, floors, strict=True):
            held, bound = self.found.get(share), self.bound(share)
            fewer = True if held is None else beside < held.beside * (1 - SAME)
            found |= (cycles < bound * (1 - SAME)) | ((cycles <= bound) & fewer)
        return found

    def promise(self, floors: Sequence[Floats], beside: Floats) -> Floats:
        """What to price first: where this is least."""
        return floors[0]

    def offer(
        self, share: float, cycles: Floats, beside: Floats, compute: Floats, made: Callable[[int], Found]
    ) -> None:
        """Take what is better of these tilings, each made by its number."""
        low = cycles.min()
        if not low <= self.bound(share):
            return
        ties = np.flatnonzero(cycles <= low)
        new = made(int(ties[np.lexsort((compute[ties], beside[ties]))[0]]))
        if share not in self.found or new.merit < self.found[share].merit:
            self.found[share] = new

    def every(self) -> Iterator[tuple[float, Found]]:
        """All that was found, with its share."""
        yield from self.found.items()


@dataclass
class Front(Best):
    """For each share all tilings that no other beats in whole cycles and in energy; none takes more than `limits`."""

    cycles: dict[float, Floats] = field(default_factory=dict)  # ascending; energies of the same points descend
    pj: dict[float, Floats] = field(default_factory=dict)
    points: dict[float, list[Found]] = field(default_factory=dict)

    def bound(self, share: float) -> float:
        return self.limits.get(share, float("inf"))

    def near(self, share: float, cycles: Floats, beside: Floats) -> Bools:
        if share not in self.points:
            return np.asarray(cycles <= self.bound(share))
        at = np.searchsorted(self.cycles[share], np.ceil(cycles * (1 - SAME)), side="right")
        least = np.concatenate([[np.inf], self.pj[share]])[at]
        return np.asarray((beside < least * (1 - SAME)) & (cycles <= self.bound(share)))

    def open(self, shares: Sequence[float], floors: Sequence[Floats], beside: Floats) -> Bools:
        return np.asarray(np.logical_or.reduce([self.near(s, c, beside) for s, c in zip(shares, floors, strict=True)]))

    def promise(self, floors: Sequence[Floats], beside: Floats) -> Floats:
        return floors[0] * beside

    def offer(
        self, share: float, cycles: Floats, beside: Floats, compute: Floats, made: Callable[[int], Found]
    ) -> None:
        new = np.flatnonzero(self.near(share, cycles, beside))
        held = self.points.get(share, [])
        if not len(new):
            return
        times = np.concatenate([self.cycles.get(share, np.zeros(0)), np.ceil(cycles[new])])
        pj = np.concatenate([self.pj.get(share, np.zeros(0)), beside[new]])
        first = np.lexsort((np.concatenate([np.zeros(len(held)), compute[new]]), pj, times))
        least = np.minimum.accumulate(pj[first])
        better = np.concatenate([[True], pj[first[1:]] < least[:-1] * (1 - SAME)])
        kept = first[better]
        self.points[share] = [held[i] if i < len(held) else made(int(new[i - len(held)])) for i in kept.tolist()]
        self.cycles[share], self.pj[share] = times[kept], pj[kept]
        self.found[share] = self.points[share][0]

    def every(self) -> Iterator[tuple[float, Found]]:
        yield from ((share, x) for share, points in self.points.items() for x in points)
