"""Curves: cycles of pieces over the sizes that they depend on, tabulated once for all of a kind.

Which sizes a piece depends on is found by pricing it at others. A product with weights depends on the tokens that it
works on, whichever part of the step they are of; attention of a chunk on its tokens and those before; attention of what
decodes on sequences and their context. Pieces that are priced alike at every probe share a curve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.outlines import Outline, Sizes
from dfcompiler.serving.pieces import Piece, Pricer
from dfcompiler.serving.refining import Grid, Point, Refiner

Floats = npt.NDArray[np.float64]
NEVER = 1e15  # cycles of a piece that has no tiling at some size: any other schedule is shorter
FIELDS = Sizes._fields
SMALL = 0.01  # part of a step's time below which a piece is not looked at closely
TOKENS = ("prefill", "batch")
KINDS = (("prefill", "past"), ("batch", "context"))  # what the two parts of a step depend on, beside its tokens


@dataclass(frozen=True)
class Reach:
    """The largest sizes that are asked for: prefill tokens of a step, tokens of a sequence, sequences that decode."""

    prefill: int
    context: int
    batch: int

    def most(self, name: str) -> int:
        """The largest value of a size; those of `tokens` are both parts'."""
        most = {"prefill": self.prefill, "past": self.context, "batch": self.batch, "context": self.context}
        return self.prefill + self.batch if name == "tokens" else most[name]


@dataclass(frozen=True)
class Effort:
    """How exactly curves are drawn: error of a straight line between knots, over the step's time, and evaluations."""

    tolerance: float
    points: int
    plane_points: int
    base: int = 2  # knots over tokens and sequences begin as powers of it
    rows: int | None = None  # tiles of which prices may rise by steps that are looked for


@dataclass(frozen=True)
class Curve:
    """A piece with the sizes that move its price: tokens are the sum of those of the parts that do."""

    piece: Piece
    moved: frozenset[str]
    repeat: int

    @property
    def on(self) -> tuple[str, ...]:
        """Its axes. Raises Diag `not-separable` where there is no curve for what moves it."""
        for kind in ((), TOKENS, *KINDS):
            if self.moved <= set(kind):
                return ("tokens",) if kind == TOKENS else kind
        message = f"the price of {', '.join(self.piece.nodes)} depends on {', '.join(sorted(self.moved))} together"
        raise Diag("not-separable", message, hint="compile single steps with `dfc compile`")

    def sizes(self, point: Point) -> Sizes:
        """Sizes of a step at a point of its axes, the others as in the sample."""
        base = self.piece.outline.sizes
        if self.on != ("tokens",):
            return base._replace(**dict(zip(self.on, point, strict=True)))
        if len(self.moved) == 1:
            return base._replace(**dict.fromkeys(self.moved, point[0]))
        batch = max(1, min(base.batch, point[0] - 1))
        return base._replace(prefill=max(1, point[0] - batch), batch=batch)


@dataclass
class Curves:
    """Curves of every piece that some schedules use."""

    pricer: Pricer
    reach: Reach
    effort: Effort
    curves: dict[Piece, Curve] = field(default_factory=dict)
    same: dict[Piece, Curve] = field(default_factory=dict)  # the curve that stands for a piece's
    grids: dict[Curve, Grid] = field(default_factory=dict)
    spine: Outline | None = None  # the make that curves over tokens are drawn in
    rough: tuple[Floats, Floats] = (np.zeros(1), np.zeros(1))  # tokens, and cycles of all its pieces over them

    def add(self, piece: Piece, repeat: int) -> None:
        """A piece that runs so many times a step."""
        if piece in self.curves:
            return
        curve = Curve(piece, self._moved(piece), repeat)
        self.curves[piece] = curve
        if self.spine is None:
            self.spine = piece.outline
        there = piece.inside(self.spine) if curve.on == ("tokens",) else None
        others = (
            [Curve(there, frozenset({"batch"}), repeat)]
            if there and there != piece
            else list(dict.fromkeys(self.same.values()))
        )
        self.same[piece] = next((c for c in others if self._alike(c, curve)), curve)

    def draw(self) -> None:
        """Tabulate all curves, those over tokens first: what they take is what errors of the others are held to."""
        own = list(dict.fromkeys(self.same.values()))
        for on in (("tokens",), *KINDS):
            some = [c for c in own if c.on == on]
            refiners = {c: self._refiner(c) for c in some}
            rough = {c: refiners[c].grid([self._knots(n) for n in on], 0) for c in some}
            if on == ("tokens",):
                mine = [c for p in self.curves if p.outline is self.spine and (c := self.same[p]) in rough]
                whole = sum((rough[c].values * c.repeat for c in mine), start=np.zeros(()))
                self.rough = np.array(self._knots("tokens"), dtype=np.float64), whole
            for c in some:
                most = self.effort.points if len(on) == 1 else self.effort.plane_points
                self.grids[c] = refiners[c].grid(self._starts(c, rough[c]), most)

    def cycles(self, piece: Piece, sizes: Sequence[Floats]) -> Floats:
        """Cycles of a piece at sizes whose coordinates broadcast."""
        curve = self.same[piece]
        if not curve.on:
            return np.asarray(self._price(curve, ()))
        named = dict(zip(FIELDS, sizes, strict=True))
        mine = [named[n] for n in TOKENS if n in self.curves[piece].moved]
        if curve.on == ("tokens",):
            named["tokens"] = sum(mine[1:], start=mine[0])
        return self.grids[curve].at([named[n] for n in curve.on])

    def on_tokens(self, piece: Piece) -> bool:
        """Whether it works on the tokens of both parts at once."""
        return self.curves[piece].moved == set(TOKENS)

    def _moved(self, piece: Piece) -> frozenset[str]:
        """The sizes of which another value is another price."""
        base, priced = piece.outline.sizes, partial(self.pricer.cycles, piece)
        return frozenset(n for n in piece.moved() if abs(priced(piece.other(n)) - priced(base)) > 1e-9 * priced(base))

    def _alike(self, a: Curve, b: Curve) -> bool:
        mine, other = a.piece, b.piece
        if (a.on, mine.unit, mine.share) != (b.on, other.unit, other.share) or mine.outline is other.outline:
            return False
        pairs = [(self._price(a, p), self._price(b, p)) for p in self._probes(a.on)]
        return all(x < NEVER and np.isclose(x, y, rtol=1e-9) for x, y in pairs)

    def _probes(self, on: tuple[str, ...]) -> list[Point]:
        most = [self.reach.most(n) for n in on]
        return [tuple(max(2, m // part) for m in most) for part in (37, 5)]

    def _price(self, curve: Curve, point: Point) -> float:
        cycles = self.pricer.cycles(curve.piece, curve.sizes(point))
        return cycles if isfinite(cycles) else NEVER

    # ---- drawing

    def _refiner(self, curve: Curve) -> Refiner:
        def scale(point: Point, value: float) -> float:
            behind = float(np.interp(point[0], *self.rough)) if curve.on else 0.0
            return (behind + value) / curve.repeat

        return Refiner(partial(self._price, curve), scale, self.effort.tolerance)

    def _knots(self, name: str) -> list[int]:
        """Where a curve begins."""
        most, base = self.reach.most(name), self.effort.base if name in ("tokens", "batch") else 4
        least, low = (1, 0) if name in ("tokens", "prefill", "batch") else (0, 64)
        return sorted({least, *(x for i in range(40) if low < (x := base**i) < most), most})

    def _starts(self, curve: Curve, rough: Grid) -> list[list[int]]:
        """Knots to begin with; what takes much of a step's time may rise with every tile of rows."""
        axes = [list(map(int, a)) for a in rough.axes]
        if curve.on != ("tokens",) or self.effort.rows is None:
            return axes
        part = np.max(rough.values * curve.repeat / self.rough[1])
        rows = range(self.effort.rows, self.reach.most("tokens"), self.effort.rows) if part > SMALL else ()
        return [sorted({*axes[0], *rows})]
