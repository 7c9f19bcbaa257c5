"""Curves: cycles of pieces over the sizes that they depend on, known once for all of a kind.

Which sizes a piece depends on is found by looking at it at others. A product with weights depends on the tokens that it
works on, whichever part of the step they are of; attention of a chunk on its tokens and those before; attention of what
decodes on sequences and their context. Pieces that are the same problem at every probe share a curve.

Prices that are formulas are swept: no size is between others. Prices that are searched for are tabulated, with knots
where a straight line errs; what is shared out in waves has them where a wave ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.serving.outlines import Outline, Sizes
from dfcompiler.serving.pieces import Piece, Pricer
from dfcompiler.serving.refining import Grid, Point, Refiner
from dfcompiler.serving.sweeps import Sweep, sweep
from dfcompiler.serving.terraces import slopes, terraces

Floats = npt.NDArray[np.float64]
NEVER = 1e15  # cycles of a piece that has no tiling at some size: any other schedule is shorter
CLOSE = 1e-9  # part of a price: what is taken for rounding
FIELDS = Sizes._fields
TOKENS = ("prefill", "batch")
LEAST = ("tokens", *TOKENS)  # of which there is at least one
CHUNK, DECODE = ("prefill", "past"), ("batch", "context")  # what the two parts of a step depend on, beside its tokens
KINDS = (CHUNK, DECODE)


@dataclass(frozen=True)
class Reach:
    """The largest sizes that are asked for: prefill tokens of a step, tokens of a sequence, sequences that decode."""

    prefill: int
    context: int
    batch: int

    def part(self, count: int) -> Reach:
        """Of one of so many micro-batches."""
        return Reach(-(-self.prefill // count), self.context, -(-self.batch // count))

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
    alike: dict[object, Curve] = field(default_factory=dict)  # it, by what tells curves apart
    drawn: dict[Curve, Sweep | Grid] = field(default_factory=dict)
    dense: dict[Curve, Floats] = field(default_factory=dict)
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
        first = Curve(there, frozenset({"batch"}), repeat) if there and there != piece else curve
        look = self._look(curve)
        self.same[piece] = self.alike.setdefault(look, first if self._look(first) == look else curve)

    def draw(self) -> None:
        """Know all curves, those over tokens first: what they take is what errors of the others are held to."""
        own = list(dict.fromkeys(self.same.values()))
        for c in own:
            if c.on and (swept := self._swept(c)) is not None:
                self.drawn[c] = swept
        refiners = {c: self._refiner(c) for c in own if c.on and c not in self.drawn}
        lines, knots = {c: r for c, r in refiners.items() if c.on == ("tokens",)}, self._knots("tokens")
        self._sum({c: r.line(knots[:: len(knots) - 1 or 1], 0) for c, r in lines.items()}, knots[:1])
        rough = {c: r.line(r.few(knots), 0) for c, r in lines.items()}
        self._sum(rough, knots)
        for c, r in refiners.items():
            if c in lines:
                self.drawn[c] = r.line(rough[c].axes[0].tolist(), self.effort.points)
            elif c.on == CHUNK:
                self.drawn[c] = slopes(r, self._knots("prefill"), self._knots("past"), self.effort.plane_points)
            else:
                self.drawn[c] = terraces(r, self.reach.batch, self._knots("context"), self.effort.plane_points)

    def cycles(self, piece: Piece, sizes: Sequence[Floats]) -> Floats:
        """Cycles of a piece at sizes whose coordinates broadcast."""
        curve = self.same[piece]
        if not curve.on:
            return np.asarray(self._price(curve, ()))
        named = dict(zip(FIELDS, sizes, strict=True))
        mine = [named[n] for n in TOKENS if n in self.curves[piece].moved]
        if curve.on == ("tokens",):
            return self._over_tokens(curve, np.asarray(sum(mine[1:], start=mine[0])))
        return self.drawn[curve].at([named[n] for n in curve.on])

    def _over_tokens(self, curve: Curve, tokens: Floats) -> Floats:
        """Cycles of a curve over tokens, of which each number is looked up once."""
        most = self.reach.most("tokens")
        if curve not in self.dense:
            known = self.drawn[curve].at([np.arange(1.0, most + 1)])
            self.dense[curve] = np.concatenate([[0.0], known])
        if np.max(tokens) > most:
            return self.drawn[curve].at([np.maximum(tokens, 1.0)])
        return self.dense[curve][tokens.astype(np.int64)]

    def moved(self, piece: Piece) -> frozenset[str]:
        """The sizes that move its price."""
        return self.curves[piece].moved

    def _moved(self, piece: Piece) -> frozenset[str]:
        """The sizes of which another value is another price; tokens that make it another problem are taken to."""
        maybe, base = piece.moved(), piece.outline.sizes
        tokens = maybe & set(TOKENS)
        at = base._replace(**{n: self._amid(n) for n in TOKENS if getattr(base, n)})
        others = {n: at._replace(**{n: getattr(piece.other(n), n)}) for n in maybe - tokens}
        priced = partial(self.pricer.cycles, piece)
        return tokens | {n for n, x in others.items() if abs(priced(x) - priced(at)) > CLOSE * priced(at)}

    def _look(self, curve: Curve) -> tuple[object, ...]:
        """What tells curves apart: the numbers of its formula where it has one, else its price, at two points."""
        found: list[float] = []
        for point in {tuple(map(self._amid, curve.on)), tuple(map(self.reach.most, curve.on))}:
            plan = self.pricer.formula(curve.piece, curve.sizes(point))
            found += plan.numbers if plan else [self._price(curve, point)]
        return curve.on, curve.piece.unit, curve.piece.share, curve.repeat, *(f"{x:.9e}" for x in found)

    def _amid(self, name: str) -> int:
        """A knot amid those that curves begin with."""
        knots = self._knots(name)
        return knots[len(knots) // 2]

    def _price(self, curve: Curve, point: Point) -> float:
        cycles = self.pricer.cycles(curve.piece, curve.sizes(point))
        return cycles if isfinite(cycles) else NEVER

    # ---- drawing

    def _swept(self, curve: Curve) -> Sweep | None:
        if curve.piece.is_exchange:
            return None
        least, most = tuple(int(n in LEAST) for n in curve.on), tuple(self.reach.most(n) for n in curve.on)
        clock_hz = self.pricer.chip.units[curve.piece.unit].clock_hz
        return sweep(lambda p: self.pricer.formula(curve.piece, curve.sizes(p)), least, most, clock_hz)

    def _sum(self, drawn: Mapping[Curve, Grid], tokens: Sequence[int]) -> None:
        """What all products with weights of a step take at some tokens: of the fastest of those that are known."""
        x = np.array(tokens, dtype=np.float64)
        total: dict[Outline, Floats] = {}
        for piece in self.curves:
            c = self.same[piece]
            if c.on == ("tokens",):
                each = (drawn[c] if c in drawn else self.drawn[c]).at([x]) * c.repeat
                total[piece.outline] = total.get(piece.outline, np.zeros(x.shape)) + each
        self.rough = x, np.min(list(total.values()), axis=0) if total else np.zeros(x.shape)

    def _refiner(self, curve: Curve) -> Refiner:
        def scale(point: Point, value: float) -> float:
            behind = float(np.interp(point[0], *self.rough)) if curve.on else 0.0
            return (behind + value) / curve.repeat

        return Refiner(partial(self._price, curve), scale, self.effort.tolerance)

    def _knots(self, name: str) -> list[int]:
        """Where a curve begins."""
        most, (least, low) = self.reach.most(name), (1, 0) if name in LEAST else (0, 64)
        return sorted({least, *(x for i in range(20) if low < (x := 4**i) < most), most})
