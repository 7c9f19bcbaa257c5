"""StepTable: how long one step of the engine takes, by what it works on."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.serving import interpolation
from dfcompiler.serving.requests import Floats, Ints

AXES = ("prefill", "past", "batch", "context")
PARTS, ROWS = ("chunks", "decodes"), ("starts", "knots", "values", "beside")


@dataclass(frozen=True, eq=False)
class Rows:
    """Seconds of one part of a step by itself: a row for each number of its tokens or sequences, from 0 on, straight
    between knots over their context, past or each; row `n` has the knots from `starts[n]` to `starts[n + 1]`.

    `beside[n]` is what it need not do where the other part is in the step as well, since both do it together.
    Raises Diag `bad-step-table`.
    """

    starts: Ints
    knots: Ints
    values: Floats
    beside: Floats | None = None

    def __post_init__(self) -> None:
        lengths = np.diff(self.starts)
        inner = np.delete(np.diff(self.knots), np.cumsum(lengths)[:-1] - 1)
        if self.starts[0] != 0 or np.any(lengths < 1) or self.starts[-1] != len(self.knots) or np.any(inner <= 0):
            raise Diag("bad-step-table", "the knots of every row must ascend, and there must be one at least")
        if len(self.values) != len(self.knots) or not np.all(np.isfinite(self.values) & (self.values >= 0)):
            raise Diag("bad-step-table", "every knot of a row must have a latency that is finite and not negative")
        if self.beside is not None and len(self.beside) != len(lengths):
            raise Diag("bad-step-table", "what is done together must be told for every row")


@dataclass(frozen=True)
class StepTable:
    """Seconds of a step on a grid of four numbers, interpolated linearly in each of them.

    `prefill` is the number of prompt tokens that the step computes and `past` how many tokens lie before them in
    the cache; `batch` is the number of sequences that decode one token each and `context` how many tokens they have
    in the cache, all together. Grids ascend from 0; `values` has seconds for each of their combinations. Nobody asks
    for `prefill` 0 with `batch` 0, but steps with little of both are interpolated from there. Outside of its grid an
    axis goes on as in its last cell; no step takes less than 0 seconds.

    A step with several chunks `(new, past)` is looked up as one chunk with as many new tokens and as many pairs of
    a token and one that it attends to: `past = sum(new * past) / n - (n * n - sum(new * new)) / (2 * n)`, where `n`
    is `sum(new)`. For one chunk that is its past; for many short prompts it is negative.

    `tokens[prefill + batch]` is added to what is interpolated, beyond its end in proportion to its last value: what
    rises with every tile of rows would blur between two grids.

    Where there are `chunks` and `decodes`, these rows tell what steps of one part take. Where their `beside` is given a
    step of both parts takes what each does by itself, less that, and what is interpolated is added; else what is
    interpolated is all of it.

    With several `stages` of devices a step is one round of as many micro-batches, each of which has its part of the
    tokens and of the sequences: it takes so many times what is told for a micro-batch on the slowest stage.

    `host_s` is what the host adds to every step, `tokens_capacity` the number of tokens whose keys and values fit.
    Raises Diag `bad-step-table`.
    """

    prefill: Ints
    past: Ints
    batch: Ints
    context: Ints
    values: Floats
    host_s: float = 0.0
    tokens_capacity: int = 1 << 40
    tokens: Floats = field(default_factory=lambda: np.zeros(1))
    chunks: Rows | None = None
    decodes: Rows | None = None
    stages: int = 1

    def __post_init__(self) -> None:
        for name in AXES:
            grid = np.asarray(getattr(self, name))
            if grid.ndim != 1 or not len(grid) or grid[0] != 0 or np.any(np.diff(grid) <= 0):
                raise Diag("bad-step-table", f"the grid `{name}` must ascend from 0, not {grid.tolist()}")
            object.__setattr__(self, name, np.ascontiguousarray(grid, dtype=np.int64))
        values = np.ascontiguousarray(self.values, dtype=np.float64)
        wanted = tuple(len(getattr(self, name)) for name in AXES)
        if values.shape != wanted:
            raise Diag("bad-step-table", f"there are values of shape {values.shape}; the grids want {wanted}")
        tokens = np.ascontiguousarray(self.tokens, dtype=np.float64)
        if tokens.ndim != 1 or not len(tokens):
            raise Diag("bad-step-table", f"what tokens add must be one number for each, not of shape {tokens.shape}")
        known = [x is not None for r in (self.chunks, self.decodes) for x in (r, r and r.beside)]
        if known not in ([False] * 4, [True, False] * 2, [True] * 4):
            raise Diag("bad-step-table", "rows must be told for both parts of a step, or for none")
        signed = self.chunks is not None  # what is interpolated is then a rest
        if not all(np.all(np.isfinite(x) & ((x >= 0) | signed)) for x in (values, tokens)):
            raise Diag("bad-step-table", "the latency of a step must be finite and not negative")
        if not (np.isfinite(self.host_s) and self.host_s >= 0):
            raise Diag("bad-step-table", f"the host cannot add {self.host_s} s to a step")
        if self.stages < 1 or (self.stages > 1 and self.decodes is None):
            raise Diag("bad-step-table", f"{self.stages} stages: there is at least one, and several need rows")
        if self.tokens_capacity < 1:
            raise Diag("bad-step-table", f"the cache must hold at least one token, not {self.tokens_capacity}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "tokens", tokens)

    def step_s(self, prefill: int, past: float, batch: int, context: int) -> float:
        """Seconds of one step, without the host's."""
        grid, shape, values = self.flat
        return interpolation.step_s(grid, shape, values, 0, prefill, past, batch, context)

    @functools.cached_property
    def flat(self) -> tuple[list[int], list[int], list[float]]:
        """The table alone, as `interpolation` reads it."""
        grid, shape, values = flattened((self,))
        return grid.tolist(), shape.tolist(), values.tolist()


def flattened(tables: tuple[StepTable, ...]) -> tuple[Ints, Ints, Floats]:
    """Tables one after the other, as `interpolation` reads them: grids, places and lengths of these, values."""
    whole, real = _Line(), _Line()
    shape: list[int] = []
    for table in tables:
        for name in AXES:
            grid = getattr(table, name)
            shape += [whole.add(grid), len(grid)]
        shape += [real.add(table.values.reshape(-1)), real.add(table.tokens), len(table.tokens)]
        for rows in (table.chunks, table.decodes):
            if rows is None:
                shape += [0, 0, 0, -1]
                continue
            knots = whole.add(rows.knots)
            starts = whole.add(rows.starts + knots)
            beside = -1 if rows.beside is None else real.add(rows.beside)
            shape += [starts, len(rows.starts) - 1, real.add(rows.values) - knots, beside]
        shape.append(table.stages)
    return np.concatenate(whole.parts), np.array(shape, dtype=np.int64), np.concatenate(real.parts)


@dataclass
class _Line:
    """Arrays one after the other."""

    parts: list[Any] = field(default_factory=list)
    length: int = 0

    def add(self, part: Ints | Floats) -> int:
        """Where the part begins."""
        self.parts.append(part)
        self.length += len(part)
        return self.length - len(part)


def to_plain(table: StepTable) -> dict[str, Any]:
    """Steps as numbers and bytes, without host and capacity, which are not of the model."""
    plain: dict[str, Any] = {name: getattr(table, name).tobytes() for name in (*AXES, "values", "tokens")}
    plain["stages"] = table.stages
    for name in PARTS:
        rows = getattr(table, name)
        plain[name] = rows and [x if x is None else x.tobytes() for x in (getattr(rows, f) for f in ROWS)]
    return plain


def from_plain(plain: dict[str, Any]) -> StepTable:
    """What `to_plain` was given."""
    prefill, past, batch, context = (np.frombuffer(plain[name], dtype=np.int64) for name in AXES)
    values = np.frombuffer(plain["values"]).reshape(len(prefill), len(past), len(batch), len(context))
    chunks, decodes = (plain[name] and _rows(*plain[name]) for name in PARTS)
    tokens = np.frombuffer(plain["tokens"])
    return StepTable(
        prefill, past, batch, context, values, tokens=tokens, chunks=chunks, decodes=decodes, stages=plain["stages"]
    )


def _rows(starts: bytes, knots: bytes, values: bytes, beside: bytes | None) -> Rows:
    kept = np.frombuffer(starts, dtype=np.int64), np.frombuffer(knots, dtype=np.int64), np.frombuffer(values)
    return Rows(*kept, None if beside is None else np.frombuffer(beside))
