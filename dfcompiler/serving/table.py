"""StepTable: how long one step of the engine takes, by what it works on."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.serving import interpolation
from dfcompiler.serving.requests import Floats, Ints

AXES = ("prefill", "past", "batch", "context")


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

    `tokens[prefill + batch]` is added to what is interpolated, and beyond its end its last value: what rises with every
    tile of rows would blur between two grids.

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
        if not all(np.all(np.isfinite(x) & (x >= 0)) for x in (values, tokens)):
            raise Diag("bad-step-table", "the latency of a step must be finite and not negative")
        if not (np.isfinite(self.host_s) and self.host_s >= 0):
            raise Diag("bad-step-table", f"the host cannot add {self.host_s} s to a step")
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
    grids: list[Ints] = []
    shape: list[int] = []
    at = first = 0
    for table in tables:
        for name in AXES:
            grid = getattr(table, name)
            grids.append(grid)
            shape += [at, len(grid)]
            at += len(grid)
        shape += [first, first + table.values.size, len(table.tokens)]
        first += table.values.size + len(table.tokens)
    values = np.concatenate([x for t in tables for x in (t.values.reshape(-1), t.tokens)])
    return np.concatenate(grids), np.array(shape, dtype=np.int64), values
