"""A front of designs by one who trusts only the tables of figures: every design computed again, and none is better.

Nothing is shared with what found the front. Designs are numbered in the order of their axes, a figure is looked up by
that number (no broadcasting), an expression is a tree of lists, and a design is checked against the front as it is, in
one pass without sorting designs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.check.verdicts import Fault, Verdict, verdict

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Tree: TypeAlias = Sequence[Any]  # ["figure", name], ["number", x], or an operation and its arguments

INNER = 1 << 18  # designs that are computed at once
ROUNDING = 1e-12  # part by which a computed goal may differ: expressions may be evaluated in another order


@dataclass(frozen=True)
class Table:
    """Figures of a pool: arrays with an axis for each of the pool's, of extent 1 where they do not read it. `limits`
    are trees that are not 0 where they hold, `terms` with what they are multiplied by, so that less is better."""

    pool: str
    shape: tuple[int, ...]
    figures: Mapping[str, npt.NDArray[Any]]
    limits: Sequence[Tree]
    terms: Sequence[tuple[Tree, float]]


def front_of_pool(table: Table, front: Floats) -> Verdict:
    """Whether every design within the limits is matched, in every term, by a row of `front` [n, term]; counted."""
    seen, faults = 0, []
    order = front[np.argsort(front[:, 0], kind="stable")]
    for first, values, alive in _designs(table):
        seen += alive.size
        rows = np.flatnonzero(alive)
        better = rows[~_matched(values[rows], order)]
        faults += [Fault(f"{table.pool}[{first + i}]", f"is better than the front: {values[i]}") for i in better[:3]]
    if seen != prod(table.shape):
        faults.append(Fault(table.pool, f"{seen:,} designs were looked at, the axes have {prod(table.shape):,}"))
    what = f"every design of {table.pool} within the limits is matched by one of the front"
    return verdict("designs", what, seen, faults)


def front_is_of_pool(table: Table, rows: Ints, front: Floats) -> Verdict:
    """Whether every row of `front` [n, term] is what the design of these indices [n, axis] has, within the limits."""
    number = rows @ np.array(_strides(table.shape), dtype=np.int64)
    at = {
        name: rows @ np.array([s if n > 1 else 0 for s, n in zip(_strides(x.shape), x.shape, strict=True)], np.int64)
        for name, x in table.figures.items()
    }
    values, alive = _priced(table, {name: np.ravel(x)[at[name]] for name, x in table.figures.items()}, len(rows))
    wrong = np.flatnonzero(~(alive & _equal(values, front)))
    faults = [Fault(f"{table.pool}[{number[i]}]", f"is on the front as {front[i]}, and is {values[i]}") for i in wrong]
    return verdict("rows", f"every row of the front of {table.pool} is a design within the limits", len(rows), faults)


def front_of_systems(
    goals: Sequence[str], parts: Sequence[Floats], columns: Sequence[Sequence[int]], front: Floats
) -> Verdict:
    """Whether every pair of designs of two pools' fronts is matched by a row of `front` [n, goal], less being better.

    `goals` are how two terms make a goal: `+`, `max`, or `one`; `columns[pool]` says which goals its terms are of.
    """
    first, second = parts
    seen, faults = 0, []
    order = front[np.argsort(front[:, 0], kind="stable")]
    step = max(1, INNER // max(1, len(second)))
    for start in range(0, len(first), step):
        i, j = np.indices((min(step, len(first) - start), len(second))).reshape(2, -1)
        values = _paired(goals, [first[start + i], second[j]], columns)
        seen += len(values)
        better = np.flatnonzero(~_matched(values, order))
        faults += [
            Fault(f"systems[{start * len(second) + i}]", f"is better than the front: {values[i]}") for i in better[:3]
        ]
    return verdict("systems", "every pair of designs of the pools' fronts is matched by a system", seen, faults)


def front_is_of_systems(
    goals: Sequence[str],
    parts: Sequence[Floats],
    columns: Sequence[Sequence[int]],
    shared: Sequence[Ints],
    front: Floats,
) -> Verdict:
    """Whether every row of `front` [n, goal] is what the designs of its pools make, `parts[pool]` [n, term], and these
    agree: `shared[pool]` [n, axis] are their indices on the axes that pools share, -1 on one that a pool has not."""
    values = _paired(goals, parts, columns)
    apart = np.any((shared[0] != shared[1]) & (shared[0] >= 0) & (shared[1] >= 0), axis=1)
    wrong = np.flatnonzero(apart | ~_equal(values, front))
    faults = [Fault(f"front[{i}]", f"is {values[i]}, not {front[i]}, or its pools do not agree") for i in wrong]
    return verdict("members", "every row of the front is a system of designs that agree", len(front), faults)


def _paired(goals: Sequence[str], parts: Sequence[Floats], columns: Sequence[Sequence[int]]) -> Floats:
    """Goals of systems `[n, goal]` from the terms of their designs."""
    found = []
    for g, how in enumerate(goals):
        terms = [part[:, own.index(g)] for part, own in zip(parts, columns, strict=True) if g in own]
        both = terms[0] if len(terms) == 1 else terms[0] + terms[1] if how == "+" else np.maximum(*terms)
        found.append(both)
    return np.stack(found, 1)


def _equal(values: Floats, front: Floats) -> npt.NDArray[np.bool_]:
    """Which rows are alike but for rounding."""
    return np.asarray(np.all(np.abs(values - front) <= ROUNDING * np.abs(front), axis=1))


def _matched(values: Floats, front: Floats) -> npt.NDArray[np.bool_]:
    """Which rows some row of the front is no larger than, in every column; the front is in the order of its first."""
    slack = values + ROUNDING * np.abs(values)
    if not len(front):
        return np.zeros(len(values), dtype=bool)
    if front.shape[1] == 1:
        return np.asarray(slack[:, 0] >= front[0, 0])
    until = np.searchsorted(front[:, 0], slack[:, 0], side="right")  # rows no larger in the first
    if front.shape[1] == 2:
        least = np.minimum.accumulate(front[:, 1])
        return np.asarray((until > 0) & (least[np.maximum(until - 1, 0)] <= slack[:, 1]))
    done = np.zeros(len(values), dtype=bool)
    step = len(front)
    while True:  # a few rows of the front match most designs: then more of it for what is left
        some, left = front[::step], np.flatnonzero(~done)
        for i in np.array_split(left, max(1, (len(left) * len(some)) >> 22)):
            no_larger: npt.NDArray[np.bool_] = np.all(some[None] <= slack[i, None], axis=2)
            done[i] = np.any(no_larger, axis=1)
        if step == 1:
            return done
        step = max(1, step // 8)


def _designs(table: Table) -> Iterator[tuple[int, Floats, npt.NDArray[np.bool_]]]:
    """Every design in order: the number of the first of some, their terms `[n, term]`, and which are within limits."""
    strides, whole = _strides(table.shape), prod(table.shape)
    split = next(i for i in range(len(strides) + 1) if (strides[i - 1] if i else whole) <= INNER)
    inner = strides[split - 1] if split else whole
    number = np.arange(inner)
    at = {name: np.zeros(inner, dtype=np.int64) for name in table.figures}
    jumps: dict[str, list[int]] = {}
    for name, figure in table.figures.items():
        jumps[name] = [s if n > 1 else 0 for s, n in zip(_strides(figure.shape), figure.shape, strict=True)]
        for i in range(split, len(table.shape)):
            at[name] += number // strides[i] % table.shape[i] * jumps[name][i]
    flat = {name: np.ascontiguousarray(figure).ravel() for name, figure in table.figures.items()}
    for block, outer in enumerate(np.ndindex(*table.shape[:split])):
        start = {name: sum(o * j for o, j in zip(outer, jumps[name], strict=False)) for name in flat}
        held = {name: flat[name][at[name] + start[name]] for name in flat}
        yield block * inner, *_priced(table, held, inner)


def _priced(table: Table, held: Mapping[str, npt.NDArray[Any]], count: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Terms of so many designs by their figures, and which of them are within limits."""
    with np.errstate(all="ignore"):
        terms = [np.broadcast_to(sign * _value(tree, held), count) for tree, sign in table.terms]
        values = np.stack(terms, 1)
        able = [np.isfinite(x) for x in held.values() if x.dtype.kind == "f"]  # what it lacks is inf
        kept = [np.isfinite(values).all(1), *able, *(_value(limit, held).astype(bool) for limit in table.limits)]
    return values, np.logical_and.reduce(np.broadcast_arrays(*kept))


def _strides(shape: Sequence[int]) -> list[int]:
    return [prod(shape[i + 1 :]) for i in range(len(shape))]


def _value(tree: Tree, held: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    head, *rest = tree
    if head == "figure":
        return held[rest[0]]
    if head == "number":
        return np.asarray(rest[0])
    args = [_value(x, held) for x in rest]
    found: npt.NDArray[Any] = OPERATIONS[head](*args)
    return found


OPERATIONS: Mapping[str, Any] = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "//": np.floor_divide, "%": np.mod,
    "neg": np.negative, "minimum": np.minimum, "maximum": np.maximum, "sqrt": np.sqrt, "exp": np.exp, "log": np.log,
    "<=": np.less_equal, ">=": np.greater_equal, "<": np.less, ">": np.greater, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
