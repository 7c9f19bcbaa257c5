"""What a step takes at any sizes: schedules of a few steps, re-timed.

A step is priced as `dfc compile` prices it, with a mapper that needs no solver; but for the nodes behind the last
layer, which work on sampled tokens only (one per sequence), as serving engines do. A few steps are mapped in full;
their schedules are re-timed at all others with every op's own price there, and the shortest one counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial, reduce

import numpy as np
import numpy.typing as npt

from dfcompiler.columns import Column
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.schedule import Layer, mapping_of
from dfcompiler.serving.curves import CHUNK, DECODE, TOKENS, Curves, Effort, Reach
from dfcompiler.serving.outlines import Outline, Setting, Sizes, outline, outlines
from dfcompiler.serving.pieces import Piece, Pricer
from dfcompiler.serving.retiming import Timing, timing

Floats = npt.NDArray[np.float64]
KERNELS = Effort(0.001, 260, 160)  # prices are formulas
SEARCHED = Effort(0.002, 24, 64)  # prices are searches


@dataclass(frozen=True, eq=False)
class Schedule:
    """Timings of the parts of a step: of an outline's body, or of its tail. Schedules of one make are told in the nodes
    of one outline, so what they have in common is priced once."""

    outline: Outline
    timings: tuple[Timing, ...]

    def cycles(self, curves: Curves, sizes: Sequence[Floats]) -> Floats:
        """Cycles at sizes whose coordinates broadcast."""

        found = [t.cycles(partial(self.duration, curves, sizes=sizes)) for t in self.timings]
        return np.asarray(reduce(np.add, found, np.zeros(())))

    def duration(self, curves: Curves, column: Column, sizes: Sequence[Floats]) -> Floats:
        """Cycles of a column. A group that is not worth it at some sizes is run as its nodes in turn there."""
        piece = Piece.of(self.outline, column)
        whole, alone = curves.cycles(piece, sizes), [curves.cycles(x, sizes) for x in piece.alone()]
        return np.minimum(whole, reduce(np.add, alone)) if alone else whole


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
        rows = batch + (prefill > 0)
        found: Floats = np.zeros(np.broadcast_shapes(*(x.shape for x in sizes)))
        for make, here in (
            ("mixed", (prefill > 0) & (batch > 0)),
            ("prefill", (prefill > 0) & (batch == 0)),
            ("decode", (prefill == 0) & (batch > 0)),
        ):
            if np.any(here):
                body = reduce(np.minimum, [s.cycles(self.curves, sizes) for s in self.bodies[make]])
                found = np.where(here, body / self.clock_hz, found)
        return found + self.behind(rows)

    def behind(self, rows: Floats) -> Floats:
        """Seconds of what lies behind the last layer, for so many sampled tokens."""
        none = rows * 0
        cycles = reduce(np.minimum, [s.cycles(self.curves, (none, none, rows, none)) for s in self.tails])
        return np.where(rows > 0, cycles, 0.0) / self.clock_hz

    def on_tokens(self, tokens: Floats) -> Floats:
        """Seconds of what works on the tokens of both parts of a mixed step at once, and of what no size moves."""
        total = np.zeros(tokens.shape)
        schedule = self.bodies["mixed"][0]
        for column, repeat in columns(schedule):
            if self._kind(schedule, column) == TOKENS:
                nothing = tokens * 0
                total = total + repeat * schedule.duration(self.curves, column, (tokens, nothing, nothing, nothing))
        return np.asarray(np.where(tokens > 0, total, 0.0) / self.clock_hz)

    def apart(self, sizes: Sequence[Floats]) -> tuple[Floats, Floats] | None:
        """Seconds of what works on a chunk alone and on what decodes alone, in a mixed step; None where layers
        overlap, or there are several schedules."""
        schedule, *others = self.bodies["mixed"]
        if others or any(len(t.last) > 1 for t in schedule.timings):
            return None
        found: dict[tuple[str, ...], Floats] = {CHUNK: np.zeros(1), DECODE: np.zeros(1)}
        for column, repeat in columns(schedule):
            kind = self._kind(schedule, column)
            if kind != TOKENS:
                found[kind] = found[kind] + repeat * schedule.duration(self.curves, column, sizes)
        return found[CHUNK] / self.clock_hz, found[DECODE] / self.clock_hz

    def _kind(self, schedule: Schedule, column: Column) -> tuple[str, ...]:
        """What a column of a mixed step works on: a chunk, what decodes, or both at once."""
        moved = self.curves.moved(Piece.of(schedule.outline, column))
        return next((k for k in (CHUNK, DECODE) if moved and moved <= set(k)), TOKENS)

    def at(self, prefill: Floats | float, past: Floats | float, batch: Floats | float, total: Floats | float) -> Floats:
        """Seconds by the total context of what decodes, as tables have it."""
        p, c, b, t = (np.asarray(x, dtype=np.float64) for x in (prefill, past, batch, total))
        return self.seconds((p, c, b, t / np.maximum(b, 1)))


def step_model(setting: Setting, reach: Reach, samples: Mapping[str, Sequence[Sizes]]) -> StepModel:
    """Map the samples of each make, and draw the curves of what their schedules use."""
    searched = not all(isinstance(u.template, KernelCompute) for u in setting.chip.units.values())
    pricer = Pricer(setting.chip, setting.context(samples["decode"][0]).need("dtypes"))
    curves = Curves(pricer, reach, SEARCHED if searched else KERNELS)
    bodies: dict[str, list[Schedule]] = {make: [] for make in samples}
    tails = []
    for make, some in samples.items():
        every = outlines(setting, some)
        for drawn in every:
            stage = slowest(drawn)
            body, tail = (
                Schedule(every[0], tuple(timing(drawn.mapped, x, n) for x in part if (n := x.segment.on.get(stage))))
                for part in layers(drawn)
            )
            bodies[make].append(body)
            kept = [body, tail] if make == "decode" else [body]
            tails += kept[1:]
            for schedule in kept:
                for piece, repeat in priced(schedule):
                    curves.add(piece, repeat)
    curves.draw()
    return StepModel(setting.chip.clock_hz, bodies, tails, curves)


def slowest(drawn: Outline) -> int:
    """The stage of devices that takes longest with what it sends; 0 where there is one."""
    stages = mapping_of(drawn.mapped).stages
    return max(range(len(stages)), key=lambda i: stages[i].cycles + stages[i].send_cycles, default=0)


def layers(drawn: Outline) -> tuple[list[Layer], list[Layer]]:
    """The layers of a mapped sample up to the last one, and those behind."""
    tail = drawn.tail
    every = mapping_of(drawn.mapped).layers
    return [x for x in every if not set(x.segment.nodes) <= tail], [x for x in every if set(x.segment.nodes) <= tail]


def columns(schedule: Schedule) -> Iterator[tuple[Column, int]]:
    """Every column with how often it runs."""
    for t in schedule.timings:
        for c in t.columns:
            yield c, t.repeat


def priced(schedule: Schedule) -> Iterator[tuple[Piece, int]]:
    """Every piece, and its nodes one by one where they may stand for it."""
    for column, repeat in columns(schedule):
        piece = Piece.of(schedule.outline, column)
        yield from ((x, repeat) for x in (piece, *piece.alone()))


# ---- without tables ----------------------------------------------------------------------------


def direct_s(setting: Setting, sizes: Sizes) -> float:
    """Seconds of one step, compiled by itself: what the table is held to. On stages of devices it is a round of as many
    micro-batches, each as long as the slowest stage takes for one."""
    count = setting.parallel.pp
    micro = sizes.part(count)
    body, tail = layers(outline(setting, micro))
    each = [sum(x.cycles_of(n) for x in body if (n := x.segment.on.get(s))) for s in range(count)]
    last = max((s for x in tail for s in x.segment.on), default=0)
    each[last] += _tail_cycles(setting, micro.batch + (micro.prefill > 0))
    return count * max(each) / setting.chip.clock_hz


@lru_cache(maxsize=1024)
def _tail_cycles(setting: Setting, rows: int) -> int:
    return sum(x.cycles for x in layers(outline(setting, Sizes(0, 0, rows, 1)))[1])
