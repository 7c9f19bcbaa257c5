"""What a step takes at any sizes: schedules of a few steps, re-timed.

A step is priced as `dfc compile` prices it, with a mapper that needs no solver; but for the nodes behind the last
layer, which work on sampled tokens only (one per sequence), as serving engines do. A few steps are mapped in full;
their schedules are re-timed at all others with every op's own price there, and the shortest one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

import numpy as np
import numpy.typing as npt

from dfcompiler.columns import Column
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.schedule import Layer, mapping_of
from dfcompiler.serving.curves import Curves, Effort, Reach
from dfcompiler.serving.outlines import Outline, Setting, Sizes, outline
from dfcompiler.serving.pieces import Piece, Pricer
from dfcompiler.serving.retiming import Timing, timing

Floats = npt.NDArray[np.float64]
KERNELS = Effort(0.001, 260, 160, rows=128)  # prices are formulas, and libraries have tiles of so many rows
SEARCHED = Effort(0.003, 16, 20, base=4)  # prices are searches


@dataclass(frozen=True, eq=False)
class Schedule:
    """Timings of the parts of a step: of an outline's body, or of its tail."""

    outline: Outline
    timings: tuple[Timing, ...]

    def cycles(self, curves: Curves, sizes: Sequence[Floats]) -> Floats:
        """Cycles at sizes whose coordinates broadcast."""

        def duration(column: Column) -> Floats:
            """A group that is not worth it at some sizes is run as its nodes in turn there."""
            piece = Piece.of(self.outline, column)
            whole, alone = curves.cycles(piece, sizes), [curves.cycles(x, sizes) for x in piece.alone()]
            return np.minimum(whole, reduce(np.add, alone)) if alone else whole

        found = [t.cycles(duration) for t in self.timings]
        return np.asarray(reduce(np.add, found, np.zeros(())))


@dataclass(frozen=True, eq=False)
class StepModel:
    """Schedules that are known, by make, and the curves of their pieces."""

    clock_hz: float
    bodies: dict[str, list[Schedule]]
    tails: list[Schedule]
    curves: Curves

    def seconds(self, sizes: Sequence[Floats]) -> Floats:
        """Seconds of steps `(prefill, past, batch, context of each)`, arrays that broadcast; 0 for an empty step."""
        prefill, _, batch, _ = sizes
        found: Floats = np.zeros(np.broadcast_shapes(*(x.shape for x in sizes)))
        rows = batch + (prefill > 0)
        for make, here in (
            ("mixed", (prefill > 0) & (batch > 0)),
            ("prefill", (prefill > 0) & (batch == 0)),
            ("decode", (prefill == 0) & (batch > 0)),
        ):
            body = reduce(np.minimum, [s.cycles(self.curves, sizes) for s in self.bodies[make]])
            found = np.where(here, body, found)
        behind = [s.cycles(self.curves, (prefill * 0, prefill * 0, rows, rows * 0)) for s in self.tails]
        found = found + np.where(rows > 0, reduce(np.minimum, behind), 0.0)
        return found / self.clock_hz

    def on_tokens(self, tokens: Floats) -> Floats:
        """Seconds of what works on the tokens of both parts of a mixed step at once."""
        total = np.zeros(tokens.shape)
        for piece, repeat in pieces(self.bodies["mixed"][0]):
            if self.curves.on_tokens(piece):
                total = total + repeat * self.curves.grids[self.curves.same[piece]].at([tokens])
        return np.asarray(np.where(tokens > 0, total, 0.0) / self.clock_hz)

    def at(self, prefill: Floats | float, past: Floats | float, batch: Floats | float, total: Floats | float) -> Floats:
        """Seconds by the total context of what decodes, as tables have it."""
        p, c, b, t = (np.asarray(x, dtype=np.float64) for x in (prefill, past, batch, total))
        return self.seconds((p, c, b, t / np.maximum(b, 1)))


def step_model(setting: Setting, reach: Reach, samples: Sequence[Sizes]) -> StepModel:
    """Map steps like the samples, one of each make, and draw the curves of what their schedules use."""
    searched = not all(isinstance(u.template, KernelCompute) for u in setting.chip.units.values())
    pricer = Pricer(setting.chip, setting.context(samples[0]).need("dtypes"))
    curves = Curves(pricer, reach, SEARCHED if searched else KERNELS)
    bodies: dict[str, list[Schedule]] = {"decode": [], "prefill": [], "mixed": []}
    tails = []
    for s in samples:
        for make, sizes in (("decode", Sizes(0, 0, *s[2:])), ("prefill", Sizes(*s[:2], 0, 0)), ("mixed", s)):
            drawn = outline(setting, sizes)
            body, tail = (Schedule(drawn, tuple(timing(drawn.mapped, x) for x in some)) for some in layers(drawn))
            bodies[make].append(body)
            kept = [body, tail] if make == "decode" else [body]
            tails += kept[1:]
            for schedule in kept:
                for piece, repeat in priced(schedule):
                    curves.add(piece, repeat)
    curves.draw()
    return StepModel(setting.chip.clock_hz, bodies, tails, curves)


def layers(drawn: Outline) -> tuple[list[Layer], list[Layer]]:
    """The layers of a mapped sample up to the last one, and those behind."""
    tail = drawn.tail
    every = mapping_of(drawn.mapped).layers
    return [x for x in every if not set(x.segment.nodes) <= tail], [x for x in every if set(x.segment.nodes) <= tail]


def pieces(schedule: Schedule) -> Iterator[tuple[Piece, int]]:
    """Every piece with how often it runs."""
    for t in schedule.timings:
        for c in t.columns:
            yield Piece.of(schedule.outline, c), t.repeat


def priced(schedule: Schedule) -> Iterator[tuple[Piece, int]]:
    """Every piece, and its nodes one by one where they may stand for it."""
    for piece, repeat in pieces(schedule):
        yield from ((x, repeat) for x in (piece, *piece.alone()))


# ---- without tables ----------------------------------------------------------------------------


def direct_s(setting: Setting, sizes: Sizes) -> float:
    """Seconds of one step, compiled by itself: what the table is held to."""
    rows = sizes.batch + (sizes.prefill > 0)
    drawn = outline(setting, sizes)
    body = sum(x.cycles for x in layers(drawn)[0])
    return (body + _tail_cycles(setting, rows)) / setting.chip.clock_hz


@lru_cache(maxsize=1024)
def _tail_cycles(setting: Setting, rows: int) -> int:
    return sum(x.cycles for x in layers(outline(setting, Sizes(0, 0, rows, 1)))[1])
