"""How an index of an op may be split over devices, and what that does to every operand and result.

Device r of P holds the r-th of P equal slices of the index. Statement by statement a tensor is either
the same on every device, *sliced* along the axis that the index names, or *partial*: the devices' values
combine by a reducer. A partial tensor that a later statement reads has to be combined inside the op. An
access that reaches a sliced axis through another subscript (`table[id[t], d]`) is *guarded*: a device
works on the rows that fall into its slice. What none of this covers is `Blocked`, never guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from dfcompiler.clauses import clause_indices
from dfcompiler.diagnostics import Span
from dfcompiler.opshape import Operand, OpShape, Statement, accesses, walk
from dfcompiler.stream import Blocked, streamable
from dfcompiler.text import tree as t
from dfcompiler.work import index_set

REDUCERS = ("sum", "max", "min")  # the order of the parts does not matter


@dataclass(frozen=True)
class Combine:
    """The parts of a local tensor are combined by `fn` before statement number `before` reads it."""

    tensor: str
    fn: str
    before: int


@dataclass(frozen=True)
class Split:
    """What splitting one index means.

    `axes`: operands and results that are sliced, and along which axis; all others are replicated or partial.
    `partial`: results to combine, and by what. `inside`: combinations before later statements may go on.
    `guards`: sliced tensors that are reached through another subscript, so rows belong to devices.
    `offset`: the index is used as a value too, so a device must know where its slice starts.
    """

    index: str
    axes: tuple[tuple[str, int], ...]
    local: tuple[tuple[str, int], ...] = ()  # tensors inside the op that are sliced
    partial: tuple[tuple[str, str], ...] = ()
    inside: tuple[Combine, ...] = ()
    guards: tuple[t.Access, ...] = ()
    dispatch: tuple[str, ...] = ()  # index operands that say which rows a device works on
    whole: tuple[str, ...] = ()  # results that are the same on every device
    offset: bool = False
    groups: tuple[str, ...] = ()  # indices of its groups that are split with it
    rescaled: bool = False  # parts made with their own inner reductions can be rescaled: one exchange is enough

    @property
    def apart(self) -> bool:
        """Whether devices may run the op without an exchange inside: none is needed, or its results are the parts
        themselves, each made with the device's own reductions and rescaled later."""
        named = {name for name, _ in self.partial} | set(self.whole)
        return not self.inside or (self.rescaled and all(c.tensor in named for c in self.inside))

    def axis(self, operand: str) -> int | None:
        """The axis along which an operand or result is sliced."""
        return dict(self.axes).get(operand)

    def describe(self) -> str:
        """One line for people."""
        said = [f"{name} sliced along axis {axis}" for name, axis in self.axes]
        said += [f"{c.tensor} combined by {c.fn} inside" for c in self.inside]
        said += [f"{name} combined by {fn}" for name, fn in self.partial]
        said += ["in one exchange, by rescaling"] if self.rescaled else []
        said += [f"rows dispatched by {name}" for name in self.dispatch]
        said += ["each device counts from where its slice starts"] if self.offset else []
        return ", ".join(said) or "every device does the same"


@lru_cache(maxsize=1 << 14)
def groups_of(shape: OpShape, index: str) -> Mapping[str, str]:
    """Indices that number groups of an index, each with the `dim` that is a group's size: axes of operands that are
    read at `k // |group|` only, with `dim group = |k| // |g|`, as those of scales."""
    found: dict[str, str] = {}
    for d in shape.dims:
        match d.expr:
            case t.Bin("//", t.Ext(whole), t.Ext(count)) if whole == index:
                own = t.Bin("//", t.Ref(index), t.Ext(d.name))
                axes = axes_of(shape, count)
                used = {i for s in shape.body for i in s.indices} | {o.within for o in shape.operands}
                everywhere = [a for s in shape.body for e in (*s.targets, s.expr) for a in accesses(e)]
                everywhere += [a for c in shape.where for r in c for e in (r.a, r.b) for a in accesses(e)]
                read = [a.subs[k] for a in everywhere for name, k in axes if a.name == name]
                if axes and count not in used and all(sub == own for sub in read):
                    found[count] = d.name
    return found


def with_groups(shape: OpShape, answer: Split, alike: Collection[str]) -> Split:
    """The split of an index together with that of its groups, those of them that can be split `alike`."""
    if answer.inside or answer.guards:
        return answer
    groups = tuple(g for g in groups_of(shape, answer.index) if g in alike)
    axes = (axis for g in groups for axis in axes_of(shape, g))
    return replace(answer, axes=(*answer.axes, *axes), groups=groups)


def axes_of(shape: OpShape, index: str) -> tuple[tuple[str, int], ...]:
    """Axes of operands and results that an index names."""
    return tuple((o.name, k) for o in shape.operands for k, d in enumerate(o.dims) if d == t.Ref(index))


@lru_cache(maxsize=1 << 14)
def split(shape: OpShape, index: str) -> Split | Blocked:
    """How the index may be split over devices, or why not, at the statement that forbids it."""
    for whole in dict.fromkeys(d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)):
        if index in groups_of(shape, whole):
            return Blocked(f"it numbers groups of `{whole}`, and is split with it", shape.span)
    try:
        return _Splitting(shape, index).answer()
    except _Stop as stop:
        return stop.blocked


def choice(shape: OpShape, index: str) -> Split | Blocked:
    """As `split`, for an op of a graph: its results must be whole or sliced in the end, which they are not where one
    of them is combined before others are made with it."""
    answer = split(shape, index)
    if isinstance(answer, Blocked):
        return answer
    given = {o.name for o in shape.results} & {c.tensor for c in answer.inside}
    if given:
        return Blocked(f"`{min(given)}` is a result, and others are made with it", shape.span)
    return answer


class _Stop(Exception):
    def __init__(self, why: str, span: Span | None) -> None:
        super().__init__(why)
        self.blocked = Blocked(why, span)


class _Splitting:
    """One walk over the statements; `sliced` and `partial` say what is known of each tensor so far."""

    def __init__(self, shape: OpShape, index: str) -> None:
        self.shape, self.index = shape, index
        self.attrs = {a.name: a for a in shape.attrs}
        self.sliced: dict[str, int] = {}
        self.partial: dict[str, str] = {}
        self.inside: list[Combine] = []
        self.guards: dict[t.Access, None] = {}
        self.dispatch: dict[str, None] = {}
        self.offset = False
        self.written: set[str] = set()

    def answer(self) -> Split:
        shape, index = self.shape, self.index
        self.sizes()
        for p in shape.params:
            axis = self.declared(p)
            if axis is not None:
                self.sliced[p.name] = axis
        for number, s in enumerate(shape.body):
            self.statement(number, s)
        for o, name in self.results():
            declared = self.declared(o)
            if declared != self.sliced.get(name):
                raise _Stop(f"`{o.name}` is not sliced as its dimensions say", o.span)
            if declared is not None:
                self.sliced[o.name] = declared
        partial = tuple((o.name, self.partial[n]) for o, n in self.results() if n in self.partial)
        operands = [o.name for o in (*shape.params, *shape.results)]
        axes = tuple((n, self.sliced[n]) for n in dict.fromkeys(operands) if n in self.sliced)
        local = tuple((n, axis) for n, axis in self.sliced.items() if n not in operands)
        if not axes:
            raise _Stop(f"no operand and no result has `{index}` as a dimension", shape.span)
        rescaled = bool(self.inside) and streamable(shape, index) is None
        return Split(
            index,
            axes,
            local,
            partial,
            tuple(self.inside),
            tuple(self.guards),
            tuple(self.dispatch),
            tuple(o.name for o, n in self.results() if n not in self.sliced and n not in self.partial),
            self.offset,
            rescaled=rescaled,
        )

    def sizes(self) -> None:
        """Extents that follow from the index must not be loops of their own: they would have to follow it."""
        used = {i for s in self.shape.body for i in s.indices} | {
            i for o in self.shape.operands for d in o.dims for i in index_set(self.shape, d)
        }
        used |= {o.within for o in self.shape.operands if o.within}
        for d in self.shape.dims:
            if d.name == self.index:
                raise _Stop(f"the size of `{d.name}` is no operand's", d.span)
            if d.name in used and any(x == t.Ext(self.index) for x in walk(d.expr)):
                raise _Stop(f"the size of `{d.name}` follows from that of `{self.index}`", d.span)

    def declared(self, o: Operand) -> int | None:
        """The axis of an operand that the index names."""
        found = [axis for axis, d in enumerate(o.dims) if d == t.Ref(self.index)]
        if len(found) > 1:
            raise _Stop(f"`{self.index}` names two axes of `{o.name}`", o.span)
        return found[0] if found else None

    def results(self) -> Iterator[tuple[Operand, str]]:
        """Results and the tensors that hold them: themselves, or operands updated in place, in order."""
        written = {a.name for s in self.shape.body for a in s.targets}
        spare = (p.name for p in self.shape.params if p.inout)
        for o in self.shape.results:
            yield o, o.name if o.name in written else next(spare, o.name)

    # ---- statements

    def statement(self, number: int, s: Statement) -> None:
        guarded = self.reads(number, s)
        if s.scan:
            self.sequential(s)
        if self.index in s.over:
            if s.fn not in REDUCERS:
                raise _Stop(f"`{s.fn}` over `{self.index}` needs all of it", s.span)
            if s.scan:
                raise _Stop(f"every step of `{s.scan[0]}` would have to be combined", s.span)
            self.made(s, None, s.fn)
        elif guarded:
            if s.fn not in (None, "sum"):
                raise _Stop(f"`{s.fn}` of rows that other devices hold", s.span)
            self.made(s, None, "sum")
        else:
            if s.fn == "topk" and self.index in s.free and self.index not in index_set(self.shape, s.expr):
                raise _Stop(f"`{self.index}` numbers what `topk` finds", s.span)
            self.made(s, self.index if self.index in s.free else None, None)

    def sequential(self, s: Statement) -> None:
        index, state, init = s.scan or ("", "", "")
        if index == self.index:
            raise _Stop(f"`{index}` is sequential", s.span)
        target = next((a for x in self.shape.body for a in x.targets if x.scan == s.scan and a.name == state), None)
        if target is not None and (t.Ref(self.index) in target.subs) != (init in self.sliced):
            raise _Stop(f"`{state}` and `{init}` are not sliced alike", s.span)

    def made(self, s: Statement, index: str | None, fn: str | None) -> None:
        """What a statement leaves: targets sliced by `index`, or partial by `fn`, or the same everywhere."""
        for a in s.targets:
            self.written.add(a.name)
            inout = (o := self.shape.operand(a.name)) is not None and o.inout
            axis = next((k for k, sub in enumerate(a.subs) if index and sub == t.Ref(index)), None)
            if index and axis is None:
                raise _Stop(f"every device would write other elements of `{a.name}`", a.span or s.span)
            known = self.sliced.get(a.name)
            if known is not None and known != axis:
                if not self.writes_rows(s, a) or fn or index:
                    raise _Stop(f"`{a.name}` is sliced and written in another way", a.span or s.span)
            elif axis is not None:
                if inout and known is None:
                    raise _Stop(f"every device would write other elements of `{a.name}`", a.span or s.span)
                if a.name in self.partial or self.earlier(s, a.name, axis):
                    raise _Stop(f"`{a.name}` is written in several ways", a.span or s.span)
                self.sliced[a.name] = axis
            elif fn:
                if inout or self.earlier(s, a.name, None):
                    raise _Stop(f"parts of `{a.name}` are written over what it holds", a.span or s.span)
                self.partial[a.name] = fn
            elif self.result_axis(a.name) is not None:
                self.sliced[a.name] = self.result_axis(a.name) or 0
                if not self.writes_rows(s, a):
                    raise _Stop(f"`{a.name}` is sliced and written in another way", a.span or s.span)

    def result_axis(self, name: str) -> int | None:
        o = self.shape.operand(name)
        return self.declared(o) if o else None

    def earlier(self, s: Statement, name: str, axis: int | None) -> bool:
        """Whether statements before this one wrote the tensor differently."""
        for x in self.shape.body:
            if x is s:
                return False
            if any(a.name == name for a in x.targets):
                return self.sliced.get(name) != axis or axis is None
        return False

    def writes_rows(self, s: Statement, a: t.Access) -> bool:
        """A write through a subscript into a sliced axis: each device keeps the rows that fall into its slice."""
        if s.scan or len(self.shape.body) > 1:
            return False
        self.guards[a] = None
        return True

    def reads(self, number: int, s: Statement) -> bool:
        """Look at all that a statement reads; whether some of it lies on other devices for some points."""
        guarded = False
        clauses = [c for c in self.shape.where if clause_indices(self.shape, c) <= set(s.indices)]
        sides = [side for c in clauses for rel in c for side in (rel.a, rel.b)]
        subscripts = [x for a in s.targets for x in a.subs]
        for e in (s.expr, *sides, *subscripts):
            for a in accesses(e):
                if a.name in self.attrs:
                    self.attribute(a)
                    continue
                guarded |= self.read(number, s, a)
        values = [v for e in (s.expr, *sides) for v in self.values(e)]
        values += [v for a in s.targets for v in self.values(a)]
        self.offset |= bool(values)
        return guarded

    def attribute(self, a: t.Access) -> None:
        for name, sub in zip(self.attrs[a.name].dims, a.subs, strict=False):
            if name == self.index and sub != t.Ref(name):
                raise _Stop(f"`{a.name}` is read outside of a device's slice of `{name}`", a.span)

    def read(self, number: int, s: Statement, a: t.Access) -> bool:
        if a.name in self.partial:
            if s.scan:
                raise _Stop(f"every step of `{s.scan[0]}` would have to be combined", s.span)
            self.inside.append(Combine(a.name, self.partial.pop(a.name), number))
        axis = self.sliced.get(a.name)
        if axis is None or a.subs[axis] == t.Ref(self.index):
            return False
        sub = a.subs[axis]
        if self.index in index_set(self.shape, sub) or self.index in s.indices:
            raise _Stop(f"`{a.name}` is read outside of a device's slice of `{self.index}`", a.span or s.span)
        if s.scan or len(self.shape.body) > 1 or not index_set(self.shape, sub):
            raise _Stop(f"`{a.name}` is read at elements that other devices hold", a.span or s.span)
        self.guards[a] = None
        self.dispatch |= {x.name: None for x in accesses(sub) if x.name not in self.attrs}
        return True

    def values(self, e: t.Expr) -> Iterator[t.Ref]:
        """Uses of the index other than as the plain subscript of a sliced axis."""
        match e:
            case t.Ref(name) if name == self.index:
                yield e
            case t.Access(name, subs):
                attr = self.attrs.get(name)
                for axis, sub in enumerate(subs):
                    plain = sub == t.Ref(self.index) and (self.index in attr.dims if attr else self.slices(e, axis))
                    if not plain:
                        yield from self.values(sub)
            case t.Bin(_, a, b):
                yield from (*self.values(a), *self.values(b))
            case t.Neg(a):
                yield from self.values(a)
            case t.Call(_, args):
                for a in args:
                    yield from self.values(a)
            case _:
                return

    def slices(self, a: t.Access, axis: int) -> bool:
        """Whether this axis of a tensor is the one that the index slices; of a tensor not yet made it will be."""
        known = self.sliced.get(a.name, self.result_axis(a.name))
        return known == axis or (known is None and a.name not in self.written and self.shape.operand(a.name) is None)
