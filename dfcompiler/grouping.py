"""Contractions that look up their weights, as loops over the places looked up: for x in e, the rows with id == x.

`w[id[t, j], n, k]` makes every row fetch its own weights. Rows with the same id can share them: the points (t, j) are
as well the pairs (x, row), where `row` counts the rows that picked x. Subscripts change, values do not; that this is
so follows from the text alone. What is touched x and how many rows each has is known in expectation only, from
`routing`: the loop over x has as many points as places are touched, and `row` ends where its rows end, which on
average leaves as many tiles as E[ceil(rows of x / tile)] in all. Which rows those are is read once, and not counted.

A sum over j adds up what different x give: it leaves unfinished and comes back for each.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from math import ceil, prod

import numpy as np
import numpy.typing as npt

from dfcompiler.compose import Group
from dfcompiler.facts import facts
from dfcompiler.masks import Mask
from dfcompiler.opshape import Operand, OpShape, Statement, accesses, children, indices_of
from dfcompiler.problem import NestLoop, NestOperand, Problem
from dfcompiler.routing import crowd
from dfcompiler.scalars import attributes
from dfcompiler.text import tree as t

LOAD = "load"  # the attribute of rows per place, where they are known
RARE = 0.01  # tiles of `row` are as large as the most rows of any place, but for one batch in a hundred


@dataclass(frozen=True)
class Grouping:
    """What an op looks up by: the operand with the ids, the indices that choose one, and the same op in pairs (place,
    row) of places `by` and rows `row`."""

    ids: Operand
    chosen: tuple[str, ...]
    by: str
    row: str
    shape: OpShape


@lru_cache(maxsize=4096)
def grouping(shape: OpShape) -> Grouping | None:
    """The loop form by places; None where ids do not choose what a contraction reads, or not all statements have it."""
    found = {(a.name, s) for a, s in _lookups(shape)}
    if len({s for _, s in found}) != 1 or shape.where or any(s.scan for s in shape.body):
        return None
    lookup = next(s for _, s in found)
    ids, chosen = shape.operand(lookup.name), tuple(s.name for s in lookup.subs if isinstance(s, t.Ref))
    if ids is None or ids.within is None or len(chosen) != len(lookup.subs):
        return None
    held = {name for name, _ in found}
    if not any(held & {c.a, c.b} for c in facts(shape).work.contractions):
        return None
    taken = {i for s in shape.body for i in s.indices} | {n for d in shape.dims for n in (d.name,)}
    if ids.within in taken or any(not set(chosen) <= set(s.indices) for s in shape.body):
        return None
    row = "".join(dict.fromkeys(re.sub(r"\d+$", "", n) for n in chosen))
    row = row if row not in taken - set(chosen) else f"{row}_"
    pairs = _Pairs(lookup, chosen, t.Ref(ids.within), t.Ref(row))
    if not all(pairs.follows(s, {o.name for o in shape.results}) for s in shape.body):
        return None
    params = tuple(pairs.operand(o) for o in shape.params if o.name != ids.name)
    results = tuple(pairs.operand(o) for o in shape.results)
    body = tuple(pairs.statement(s) for s in shape.body)
    return Grouping(ids, chosen, ids.within, row, replace(shape, params=params, results=results, body=body))


def _lookups(shape: OpShape) -> Iterator[tuple[t.Access, t.Access]]:
    """Every access with a subscript that is the value of an operand, and that subscript."""
    for s in shape.body:
        for a in (*accesses(s.expr), *s.targets):
            yield from ((a, x) for x in a.subs if isinstance(x, t.Access) and shape.operand(x.name))


@dataclass(frozen=True)
class _Pairs:
    """Writes the indices that choose a place as (place, row)."""

    lookup: t.Access
    chosen: tuple[str, ...]
    by: t.Ref
    row: t.Ref

    def follows(self, s: Statement, results: set[str]) -> bool:
        """Whether a statement only uses what it can: these indices as plain subscripts, and sums over some of them that
        leave the op."""
        reads = [a for a in accesses(s.expr) if a != self.lookup]
        plain = all(self._plain(x) for a in (*reads, *s.targets) for x in a.subs if x != self.lookup)
        values = all(r not in _bare(s.expr) for r in self.chosen)
        summed = set(s.over) & set(self.chosen)
        rest = [i for i in s.over if i not in self.chosen]
        return plain and values and (not summed or (bool(rest) and {a.name for a in s.targets} <= results))

    def _plain(self, sub: t.Expr) -> bool:
        return isinstance(sub, t.Ref) or not set(indices_of(sub)) & set(self.chosen)

    def subs(self, subs: Sequence[t.Expr]) -> tuple[t.Expr, ...]:
        found: list[t.Expr] = []
        for s in subs:
            if s == self.lookup:
                found.append(self.by)
            elif isinstance(s, t.Ref) and s.name in self.chosen:
                found += [x for x in (self.by, self.row) if x not in found]
            else:
                found.append(s)
        return tuple(found)

    def expr(self, e: t.Expr) -> t.Expr:
        match e:
            case t.Access(name, subs):
                return t.Access(name, self.subs(subs), span=e.span)
            case t.Call(fn, args):
                return t.Call(fn, tuple(self.expr(a) for a in args), span=e.span)
            case t.Bin(op, a, b):
                return t.Bin(op, self.expr(a), self.expr(b), span=e.span)
            case t.Neg(a):
                return t.Neg(self.expr(a), span=e.span)
            case _:
                return e

    def statement(self, s: Statement) -> Statement:
        over = tuple(i for i in s.over if i not in self.chosen)
        targets = tuple(t.Access(a.name, self.subs(a.subs), span=a.span) for a in s.targets)
        return replace(s, targets=targets, over=over, expr=self.expr(s.expr))

    def operand(self, o: Operand) -> Operand:
        """The operand with the axes that its accesses now have."""
        return replace(o, dims=self.subs(o.dims))


def _bare(e: t.Expr) -> set[str]:
    """Indices used as values."""
    if isinstance(e, t.Ref):
        return {e.name}
    return set() if isinstance(e, t.Access) else {i for c in children(e) for i in _bare(c)}


# ---- as a nest ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crowd:
    """Tiles that have rows, where a mask would say it with its band: loop `col` counts the rows of each point of `row`.

    `more[m]` is the expected number of places with more than m rows, `more[0]` that of touched places.
    """

    col: str
    row: str | None
    more: tuple[float, ...]
    others: tuple[str, ...] = ()

    @cached_property
    def _more(self) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return np.asarray(self.more)

    def pairs(self, places: int, rows: int, others: tuple[int, ...] = (), beyond: int = 0) -> float:
        """Expected steps over both loops, where all instances together take `places` places and `rows` rows of each at
        a time: a step runs while one of its places has rows left, here more than `beyond`. Exact for one place at a
        time; places that run together are taken as drawn from all touched ones."""
        left = self._more[beyond::rows]
        if places == 1:
            return float(left.sum())
        blocks = ceil(self._more[0] / places)
        return float(blocks * (1 - (1 - np.minimum(1.0, left / self._more[0])) ** places).sum())

    def pairs_of(self, places: int, rows: npt.NDArray[np.int64], others: tuple[int, ...]) -> npt.NDArray[np.float64]:
        """The same for many numbers of rows at once."""
        each, back = np.unique(rows, return_inverse=True)
        return np.array([self.pairs(places, r, others) for r in each.tolist()])[back.ravel()]

    def width(self, places: int) -> float:
        """Rows of each place, on average over the places of a block, summed over the blocks."""
        return float(self._more.sum() / places)


def form_of(problem: Problem, loops: Collection[str]) -> Problem:
    """That form of a problem that has loops of these names."""
    other = grouped(problem)
    return other if other and {x.name for x in other.loops} == set(loops) else problem


def grouped(problem: Problem) -> Problem | None:
    """The loop form by places of what a problem looks up; None where it has none."""
    form, sizes = grouping(problem.group.shape), problem.group.sizes
    if form is None:
        return None
    differ = form.ids.distinct if form.ids.distinct in form.chosen else None
    places, picked = sizes[form.by], sizes[differ] if differ else 1
    rows = prod(sizes[i] for i in form.chosen if i != differ)
    more = crowd(places, rows, min(picked, places), form.ids.skew)
    most = int(np.count_nonzero(more > RARE))
    sizes = {**sizes, form.by: ceil(more[0] - 1e-9), form.row: most}
    group = _in_pairs(problem.group, form, sizes)
    known = facts(form.shape)
    loops = tuple(
        NestLoop(x.name, x.indices, size, bool(set(x.indices) & known.reduced))
        for x in known.loops
        if (size := prod(sizes[i] for i in x.indices)) > 1
    )
    of = {i: x.name for x in loops for i in x.indices}
    band = Crowd(of[form.row], of.get(form.by), tuple(more.tolist())) if form.row in of else None
    operands = tuple(y for o in problem.operands for y in _operands(o, form, problem, loops))
    mask = Mask(form.shape, sizes, attributes(form.shape, sizes, group.attrs))
    return replace(problem, group=group, facts=known, loops=loops, operands=operands, mask=mask, crowd=band)


def _in_pairs(group: Group, form: Grouping, sizes: Mapping[str, int]) -> Group:
    """The group in pairs (place, row), of so many places and rows each."""
    types = {o.name: replace(group.types[o.name], shape=_axes(group, form, o, sizes)) for o in form.shape.operands}
    return replace(group, shape=form.shape, sizes=sizes, types=types)


def _axes(group: Group, form: Grouping, o: Operand, sizes: Mapping[str, int]) -> tuple[int, ...]:
    old = group.shape.operand(o.name)
    assert old is not None
    rest = iter([n for d, n in zip(old.dims, group.types[o.name].shape, strict=True) if not _chooses(d, form)])
    looked_up = not any(_chooses(d, form) for d in old.dims)
    pair = {t.Ref(form.by), t.Ref(form.row)}
    axes = [(d.name, next(rest) if d not in pair or looked_up else 0) for d in o.dims if isinstance(d, t.Ref)]
    return tuple(sizes[name] if name in (form.by, form.row) else n for name, n in axes)


def routed(group: Group, loops: Collection[str], seed: int = 0) -> Group | None:
    """The group by places, with rows as one random routing gives them, where that form has loops of these names.

    What is known in expectation only is then a mask: `row < load[place]`, and every point is really there."""
    form = grouping(group.shape)
    if form is None or not {form.by, form.row} & set(loops):
        return None
    differ = form.ids.distinct if form.ids.distinct in form.chosen else None
    places, rows = group.sizes[form.by], prod(group.sizes[i] for i in form.chosen if i != differ)
    order = np.random.default_rng(seed).random((rows, places)).argsort(-1)
    load = np.bincount(order[:, : group.sizes[differ] if differ else 1].ravel(), minlength=places)
    rel = t.Rel("<", t.Ref(form.row), t.Access(LOAD, (t.Ref(form.by),)))
    attrs = (*form.shape.attrs, t.Attr(LOAD, (form.by,)))
    masked = replace(form, shape=replace(form.shape, attrs=attrs, where=((rel,),)))
    sizes = {**group.sizes, form.row: int(load.max())}
    return replace(_in_pairs(group, masked, sizes), attrs={**group.attrs, LOAD: tuple(load.tolist())})


def _chooses(d: t.Expr, form: Grouping) -> bool:
    return isinstance(d, t.Ref) and d.name in form.chosen


def _operands(o: NestOperand, form: Grouping, problem: Problem, loops: tuple[NestLoop, ...]) -> Iterator[NestOperand]:
    """An operand on the new loops; a sum over what chooses places is written, and read before, once for each."""
    if o.name == form.ids.name:
        return
    known = facts(form.shape)
    local = {i for s in form.shape.body for a in s.targets if a.name == o.name for i in s.free}
    indices = known.depends(o.name) if o.kind != "local" else frozenset(local)
    moved = replace(o, loops=frozenset(x.name for x in loops if set(x.indices) & indices))
    missing = [s for s in problem.group.shape.body if set(s.over) & set(form.chosen) and o.name == s.targets[0].name]
    if not missing:
        yield moved
        return
    times = prod(problem.group.sizes[i] for i in form.chosen if i in missing[0].over)
    wide = replace(moved, bits=o.partial_bits, total_bytes=o.total_bytes * o.partial_bits / o.bits * times)
    yield replace(wide, kind="read", partial_bits=0)
    yield wide
