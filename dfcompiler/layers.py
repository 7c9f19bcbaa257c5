"""Layers that differ: which of them are equal, and how a run of layers folds into nested repetitions.

`repeat L as l` may do different things in different layers. Layers are equal where everything that the text asks
about `l` comes out alike; a sequence such as `sssssg sssssg` is folded into a loop of a loop.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from dfcompiler.checkpoint import Quantization
from dfcompiler.models import Model, read
from dfcompiler.parameters import Names
from dfcompiler.steps import Part
from dfcompiler.text import tree as t

MOST_LAYERS = 4096


@dataclass(frozen=True)
class Loop:
    """`count` times the same layers; a layer is the number of one that does the same."""

    count: int
    body: tuple[Fold, ...]


Fold: TypeAlias = Loop | int


def fold(kinds: Sequence[Hashable]) -> tuple[Fold, ...]:
    """A sequence as nested loops over as few different layers as a greedy choice of the longest repeat finds."""
    numbers = {kind: i for i, kind in reversed(list(enumerate(kinds)))}
    return _fold(np.array([numbers[k] for k in kinds], dtype=np.int64))


def _fold(kinds: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[Fold, ...]:
    saved, negative, start, times = 0, 0, 0, 0
    for period in range(1, len(kinds) // 2 + 1):
        same = np.concatenate([[0], kinds[:-period] == kinds[period:], [0]])
        edges = np.diff(same)
        for first, last in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
            repeats = int(last - first) // period
            saved, negative, start, times = max(
                (saved, negative, start, times), (period * repeats, -period, int(first), repeats + 1)
            )
    if not saved:
        return tuple(map(int, kinds))
    period, end = -negative, start - negative * times
    loop = Loop(times, _fold(kinds[start : start + period]))
    return (*_fold(kinds[:start]), loop, *_fold(kinds[end:]))


@dataclass(frozen=True)
class Layer:
    """Who asks: a model, the parts of the step, the name of the layer's number in the text, and how weights are
    stored."""

    model: Model
    parts: Sequence[Part]
    index: str
    stored: Quantization | None = None


def stored_type(stored: Quantization | None, s: t.TensorDecl, number: int | None) -> str | None:
    """The type in which a checkpoint stores a weight of this layer, None where it says nothing."""
    if stored is None or s.kind != "weight" or s.module is None:
        return None
    return stored.weight_format(s.module, number)


def layer_count(model: Model) -> int:
    """Layers of a model, equal or not."""
    return _layers(model.family.body, Names(model.config, dict(model.params)))


def _layers(stmts: Sequence[t.MStmt], names: Names) -> int:
    total = 0
    for s in stmts:
        match s:
            case t.Repeat(count):
                total += int(names.number(count))
            case t.Cond(clauses, body, orelse):
                total += _layers(body if names.holds(clauses) else orelse, names)
    return total


def kind_of_layer(layer: Layer, stmts: Sequence[t.MStmt], names: Names) -> Hashable:
    """All that the text of a layer asks about its number: equal layers have equal answers.

    `names` binds the number; parameters that the layer binds are evaluated, requirements checked.
    """
    return tuple(_answers(layer, stmts, names, frozenset([layer.index])))


def _answers(layer: Layer, stmts: Sequence[t.MStmt], names: Names, numbers: frozenset[str]) -> Iterator[Hashable]:
    """`numbers` are the names that stand for the layer's number, or are computed from it for a block."""
    model = layer.model
    for s in stmts:
        match s:
            case t.MParam(name):
                read(s, names, model.family, model.library)
                yield _frozen(names.bound[name])
            case t.Require() | t.Reject() | t.Ignore() | t.Read():
                read(s, names, model.family, model.library)
            case t.Cond(clauses, body, orelse):
                holds = names.holds(clauses)
                yield holds
                yield from _answers(layer, body if holds else orelse, names, numbers)
            case t.TensorDecl():
                dims = [d for d in s.type.dims if not isinstance(d, t.DeviceDim)]
                yield from (_frozen(names.value(d)) for d in dims if _asks(d, numbers))
                yield stored_type(layer.stored, s, int(names.number(t.Ref(layer.index))))
            case t.NodeStmt() if s.op in model.library.blocks:
                given = {o.name: names.value(o.value) for o in s.opts}
                told = {o.name for o in s.opts if _asks(o.value, numbers)}
                yield from _answers(layer, model.library.blocks[s.op].body, names.inner(**given), numbers | told)
            case t.NodeStmt():
                yield from (_frozen(names.value(o.value)) for o in s.opts if _asks(o.value, numbers))
            case t.Repeat(count, inner, body):
                times = int(names.number(count))
                yield times
                for i in range(min(times, MOST_LAYERS if inner else 1)):
                    yield from _answers(layer, body, names.inner(**({inner: i} if inner else {})), numbers)
            case t.Each(_, _, body):
                for part in layer.parts:
                    yield from _answers(layer, body, names.inner(**part.names()), numbers)


def _asks(e: t.Expr, numbers: frozenset[str]) -> bool:
    match e:
        case t.Ref(name):
            return name in numbers
        case t.Access(name, subs):
            return name in numbers or any(_asks(s, numbers) for s in subs)
        case t.Field(base, _):
            return _asks(base, numbers)
        case t.Entry(base, i):
            return _asks(base, numbers) or _asks(i, numbers)
        case t.Bin(_, a, b):
            return _asks(a, numbers) or _asks(b, numbers)
        case t.Neg(a):
            return _asks(a, numbers)
        case t.Call(_, args):
            return any(_asks(a, numbers) for a in args)
        case _:
            return False


def _frozen(value: object) -> Hashable:
    match value:
        case Mapping():
            return tuple((k, _frozen(v)) for k, v in value.items())
        case list() | tuple():
            return tuple(map(_frozen, value))
        case _:
            return repr(value)
