"""What the text of an operator must keep to beyond its grammar: every name is known, and used as it is declared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from dfcompiler.diagnostics import Diag, Note, Span, nearest
from dfcompiler.text import tree as t


@lru_cache(maxsize=4096)
def check(op: t.OpDecl) -> None:
    """Raises Diag `unknown-name` or `bad-statement` at the first place that is wrong."""
    found = _Reader(op)
    for s in op.body:
        match s:
            case t.Attr():
                found.attr(s)
            case t.DimDef():
                found.number(s.expr)
                found.dims.add(s.name)
            case t.Let():
                found.let(s, ())
            case t.Scan():
                found.scan(s)


@dataclass(frozen=True)
class _Rank:
    """How many subscripts a tensor takes, beside those of its packs, and where that was said."""

    single: int
    packs: Counter[str]
    span: Span | None

    def says(self) -> str:
        packs = "".join(f" and those of `*{p}`" * n for p, n in self.packs.items())
        return f"{self.single} subscript{'' if self.single == 1 else 's'}{packs}"


def _rank(subs: Sequence[t.Expr | t.DeviceDim], span: Span | None) -> _Rank:
    packs = Counter(s.name for s in subs if isinstance(s, t.Pack))
    return _Rank(len(subs) - packs.total(), packs, span)


@dataclass
class _Reader:
    """Reads statements in order; what a statement gives is known from the next one on."""

    op: t.OpDecl
    tensors: dict[str, _Rank] = field(default_factory=dict)
    given: set[str] = field(default_factory=set)
    attrs: set[str] = field(default_factory=set)
    dims: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        operands = (*self.op.params, *self.op.results)
        self.tensors = {p.name: _rank(p.type.dims, p.span) for p in operands}
        self.given = {p.name for p in self.op.params}
        self.dims = {x.name for p in operands for d in p.type.dims for x in _parts(d) if isinstance(x, _NAMED)}

    def attr(self, s: t.Attr) -> None:
        if s.default is not None:
            self.number(s.default)
        self.attrs.add(s.name)
        self.given.add(s.name)
        self.tensors[s.name] = _rank([t.Ref(d) for d in s.dims], s.span)

    def scan(self, s: t.Scan) -> None:
        if s.init not in self.given:
            raise self.unknown(s.init, self.given, s.span)
        state = next((a for b in s.body for a in b.targets if a.name == s.state), None)
        if state is None:
            raise Diag("bad-statement", f"no statement gives the state `{s.state}[.., {s.index}, ..]`", s.span)
        self.tensors.setdefault(s.state, _rank(state.subs, state.span))
        self.given.add(s.state)
        for b in s.body:
            self.let(b, (s.index,))

    def let(self, s: t.Let, outer: tuple[str, ...]) -> None:
        over = {i.name for i in s.reduce.indices} if s.reduce else set()
        free = {x.name for a in s.targets for sub in a.subs for x in _parts(sub) if isinstance(x, t.Ref | t.Pack)}
        if both := sorted(over & (free - self.attrs)):
            raise Diag("bad-statement", f"the reduced index `{both[0]}` cannot be in the result", s.span)
        if len(s.targets) > (2 if s.reduce and s.reduce.fn == "topk" else 1):
            raise Diag("bad-statement", f"one value for {len(s.targets)} targets", s.span)
        known = over | free | self.attrs | set(outer)
        self.values(s.expr, known)
        for a in s.targets:
            self.used(a, self.tensors.setdefault(a.name, _rank(a.subs, a.span)))
            for sub in a.subs:
                self.values(sub, known | self.dims)
            self.given.add(a.name)

    def values(self, e: t.Expr, known: set[str]) -> None:
        """Every name in an expression has a value."""
        for x in _parts(e):
            match x:
                case t.Access(name) if name not in self.given:
                    raise self.unknown(name, self.given, x.span)
                case t.Access(name):
                    self.used(x, self.tensors[name])
                case t.Ref(name) | t.Pack(name) if name not in known:
                    raise self.unknown(name, known, x.span)
                case t.Ext(name) if name not in known | self.dims:
                    raise self.unknown(name, known | self.dims, x.span)

    def number(self, e: t.Expr) -> None:
        """An expression over extents and what is declared before."""
        self.values(e, self.attrs | self.dims)

    def used(self, access: t.Access, declared: _Rank) -> None:
        wants, has = declared, _rank(access.subs, access.span)
        if (wants.single, wants.packs) != (has.single, has.packs):
            message = f"`{access.name}` takes {wants.says()}, not {has.says()}"
            raise Diag("bad-statement", message, access.span, notes=[Note("declared here", wants.span)])

    def unknown(self, name: str, known: Iterable[str], span: Span | None) -> Diag:
        return Diag("unknown-name", f"`{name}` has no value here", span, hint=nearest(name, known))


_NAMED = (t.Ref, t.Pack, t.Ext, t.DeviceDim)


def _parts(e: t.Expr | t.DeviceDim) -> Iterator[t.Expr | t.DeviceDim]:
    """The expression and all below it, parents first."""
    yield e
    match e:
        case t.Access(_, below) | t.Call(_, below):
            children: tuple[t.Expr, ...] = below
        case t.Bin(_, a, b):
            children = (a, b)
        case t.Neg(a):
            children = (a,)
        case _:
            children = ()
    for child in children:
        yield from _parts(child)
