"""Tables of what a step model tells: rows for steps of one part, and what steps of both parts take.

A row has its knots where the function bends, as a unit's tiles and waves make it, and few of them where a straight line
stays close: so a step of one part is told for every number of tokens or sequences. Where ops run one after the other a
step of both parts is what each does, with what works on all tokens done once, told for every number of these. Where
parts overlap it is a table of four numbers, with knots as cuts through it bend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dfcompiler.serving.curves import Reach
from dfcompiler.serving.sampling import random_sizes
from dfcompiler.serving.schedules import StepModel
from dfcompiler.serving.table import Rows, StepTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NOWHERE: Ints = np.zeros(1, dtype=np.int64)
AXES = NOWHERE, NOWHERE, NOWHERE, NOWHERE, np.zeros((1, 1, 1, 1))  # of a table that has nothing of four numbers
NONE = np.zeros(1)
LINE = 0.004  # of a step's time: how far a table may be from what it tabulates along each axis
EQUAL = 1e-6  # of a step's time: what is taken for rounding
BENDS = 400  # of a row that are looked at, at most
EACH, FAR = 1 << 14, 2000  # tokens of context that are looked at one by one, and coordinates beyond
EVENLY = 48  # coordinates of a row beside its bends


def tabulate(known: StepModel, reach: Reach, tokens: int) -> StepTable:
    """The table up to `reach`, and to so many tokens in the caches of all that decode."""
    sequences, chunk = np.arange(1.0, reach.batch + 1), np.arange(1.0, reach.prefill + 1)
    deep = _coordinates(lambda n, x: known.at(0.0, 0.0, n, n * x), reach.batch, reach.context)
    past = _coordinates(lambda n, x: known.at(n, x, 0.0, 0.0), reach.prefill, reach.context)
    decodes = _rows(known.at(0.0, 0.0, sequences[:, None], sequences[:, None] * deep), deep, tokens / sequences)
    chunks = _rows(known.at(chunk[:, None], past, 0.0, 0.0), past)
    every = np.arange(reach.prefill + reach.batch + 1.0)
    whole = known.on_tokens(every)
    beside = _beside(known, reach, tokens, chunk, sequences)
    if beside is not None:
        apart = replace(chunks, beside=beside[0]), replace(decodes, beside=beside[1])
        return StepTable(*AXES, tokens=whole, chunks=apart[0], decodes=apart[1])
    made = [
        _both(known, reach, tokens, StepTable(*AXES, tokens=by, chunks=chunks, decodes=decodes)) for by in (whole, NONE)
    ]
    return min(made, key=lambda t: _blur(known, t, reach, tokens))


# ---- one part ----------------------------------------------------------------------------------


def _coordinates(function: Callable[[Floats, Floats], Floats], rows: int, most: int) -> Floats:
    """Where rows may have their knots: where some of them bend, and evenly between."""
    far = np.geomspace(EACH, max(EACH, most), FAR).astype(np.int64)
    x = np.unique([*range(min(EACH, most) + 1), *far[far <= most]]).astype(np.float64)
    found: Ints = np.zeros(0, dtype=np.int64)
    for n in {1, max(1, rows // 7), rows}:
        values = function(np.array(float(n)), x)
        line = values[:-2] + (values[2:] - values[:-2]) * (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
        bend = np.abs(line / values[1:-1] - 1)
        sharp = np.flatnonzero(bend > EQUAL)
        found = np.union1d(found, x[sharp[np.argsort(-bend[sharp])][:BENDS] + 1].astype(np.int64))
    evenly = np.geomspace(1, max(most, 2), EVENLY).astype(np.int64)
    return np.asarray(np.unique([0, *found, *evenly[evenly <= most], most]), dtype=np.float64)


def _rows(values: Floats, x: Floats, most: Floats | None = None) -> Rows:
    """Rows from 1 on as straight pieces, those of 0 being nothing; each up to its most."""
    kept = straight(x, values, LINE * values)
    if most is not None:
        kept &= np.cumsum(x[None, :] >= most[:, None], axis=1) <= 1
        last = kept.shape[1] - 1 - np.argmax((np.cumsum(x[None, :] >= most[:, None], axis=1) <= 1)[:, ::-1], axis=1)
        kept[np.arange(len(kept)), last] = True
    starts = np.concatenate([[0, 1], 1 + np.cumsum(kept.sum(1))])
    knots = np.concatenate([[0.0], np.broadcast_to(x, values.shape)[kept]]).astype(np.int64)
    return Rows(starts, knots, np.concatenate([[0.0], values[kept]]))


def straight(x: Floats, values: Floats, room: Floats) -> npt.NDArray[np.bool_]:
    """Which points to keep, `[rows, points]`, so that lines between them pass all others within their room: each line
    goes as far as it can."""
    count, points = values.shape
    kept = np.zeros(values.shape, dtype=np.bool_)
    kept[:, [0, -1]] = True
    start, low, high = np.zeros(count, dtype=np.int64), np.full(count, -np.inf), np.full(count, np.inf)
    each = np.arange(count)
    for i in range(1, points):
        slope = (values[:, i] - values[each, start]) / (x[i] - x[start])
        ends = (slope < low) | (slope > high)
        kept[ends, i - 1], start[ends], low[ends], high[ends] = True, i - 1, -np.inf, np.inf
        run, rise = x[i] - x[start], values[:, i] - values[each, start]
        low, high = np.maximum(low, (rise - room[:, i]) / run), np.minimum(high, (rise + room[:, i]) / run)
    return kept


# ---- both parts --------------------------------------------------------------------------------


def _beside(
    known: StepModel, reach: Reach, tokens: int, chunk: Floats, sequences: Floats
) -> tuple[Floats, Floats] | None:
    """What chunks and what decodes need not do beside each other; None where they overlap."""
    some = [s for s in random_sizes(reach, tokens, 300, seed=2) if s.prefill and s.batch]
    p, c, b, each = np.array(some, dtype=np.float64).T
    zero = np.zeros(1)
    parts = known.apart((p, c, b, each))
    if parts is None:
        return None
    whole = known.on_tokens(p + b) + parts[0] + parts[1] + known.behind(b + 1)
    if np.max(np.abs(whole / known.at(p, c, b, b * each) - 1)) > EQUAL:
        return None
    mine, other = (known.apart((q, zero, n, zero)) for q, n in ((chunk, zero + 1), (zero + 1, sequences)))
    assert mine is not None and other is not None
    of_chunk = known.at(chunk, 0.0, 0.0, 0.0) - mine[0]
    of_decodes = known.at(0.0, 0.0, sequences, 0.0) - other[1] - known.behind(sequences + 1)
    return np.concatenate([[0.0], of_chunk]), np.concatenate([[0.0], of_decodes])


def _both(known: StepModel, reach: Reach, tokens: int, rows: StepTable) -> StepTable:
    """Steps of both parts without what tokens add, beside the rows. Knots lie as far apart as straight lines between
    them stay within `LINE` of cuts through it."""

    def rest(p: Floats | float, c: Floats | float, b: Floats | float, t: Floats | float) -> Floats:
        p, b = np.maximum(p, 1.0), np.maximum(b, 1.0)
        at = np.minimum(p + b, len(rows.tokens) - 1).astype(np.int64)
        return known.at(p, c, b, t) - rows.tokens[at]

    prefill = np.arange(1.0, reach.prefill + 1)
    past = np.unique([0, *np.geomspace(1, reach.context, 400).astype(np.int64)]).astype(np.float64)
    batch = np.arange(1.0, reach.batch + 1)
    context = np.unique([0, *np.geomspace(1, max(tokens, 2), 800).astype(np.int64)]).astype(np.float64)
    few = [float(x) for x in np.unique(np.geomspace(1, reach.batch, 5).astype(np.int64))]
    some = [float(x) for x in np.unique(np.geomspace(4, reach.prefill, 5).astype(np.int64))]
    held = [float(x) for x in np.geomspace(reach.batch, tokens, 4)]
    found = (
        _knots(
            prefill, [rest(prefill, q, b, t) for q in (0.0, reach.context / 4) for b in few[:4:2] for t in held[1:]]
        ),
        _knots(past, [rest(p, past, b, t) for p in some for b in few[1:3] for t in held[1:3]]),
        _knots(batch, [rest(p, 0.0, batch, t) for t in held for p in some]),
        _knots(context, [rest(p, 0.0, b, context) for b in few for p in some[:4]]),
    )
    first, second, third, fourth = (np.unique([0, *a]).astype(np.int64) for a in found)
    p, c, b, t = (a.astype(np.float64) for a in (first, second, third, fourth))
    values = rest(p[:, None, None, None], c[:, None, None], b[:, None], t)
    return replace(rows, prefill=first, past=second, batch=third, context=fourth, values=values)


def _knots(x: Floats, cuts: Sequence[Floats]) -> list[int]:
    """Of these coordinates few between which straight lines stay close to all cuts."""
    values = np.stack([np.broadcast_to(c, x.shape) for c in cuts])
    found, start = [0], 0
    low, high = np.full(len(values), -np.inf), np.full(len(values), np.inf)
    room = LINE * np.abs(values)
    for i in range(1, len(x)):
        rise, run = values[:, i] - values[:, start], x[i] - x[start]
        if np.any((rise / run < low) | (rise / run > high)):
            start = i - 1
            found.append(start)
            low, high = np.full(len(values), -np.inf), np.full(len(values), np.inf)
            rise, run = values[:, i] - values[:, start], x[i] - x[start]
        low, high = np.maximum(low, (rise - room[:, i]) / run), np.minimum(high, (rise + room[:, i]) / run)
    return [int(x[i]) for i in dict.fromkeys([*found, len(x) - 1])]


def _blur(known: StepModel, made: StepTable, reach: Reach, tokens: int) -> float:
    """The mean part by which a table is off what it tabulates, at steps as they come."""
    some = random_sizes(reach, tokens, 300, seed=1)
    seen = [made.step_s(s.prefill, s.past, s.batch, s.batch * s.context) for s in some]
    p, c, b, each = np.array(some, dtype=np.float64).T
    return float(np.mean(np.abs(seen / known.at(p, c, b, b * each) - 1)))
