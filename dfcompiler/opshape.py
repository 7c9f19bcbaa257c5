"""An op with its ranks known and its sizes not: packs expanded, one shape for all layers and designs.

`bind` turns a declaration and the ranks of its operands into an `OpShape`; `extents` finds the size of
every index from the operands' shapes, or says which two places disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from math import isfinite

from dfcompiler.declarations import check
from dfcompiler.diagnostics import Diag, Note, Span
from dfcompiler.hashes import hashed_once
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Operand:
    """A parameter or result with packs expanded; `dims` are index names, constants or expressions.

    `skewed` is the attribute that says how unlike in popularity the places are that an index tensor points to; `skew`
    is its value, once the tensor is known.
    """

    name: str
    role: str | None
    dims: tuple[t.Expr, ...]
    within: str | None = None
    distinct: str | None = None
    inout: bool = False
    skewed: str | None = None
    skew: float = 0.0
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Statement:
    """`targets = reduce(over) expr`, packs expanded; `fn` is None without a reduction."""

    targets: tuple[t.Access, ...]
    fn: str | None
    over: tuple[str, ...]
    expr: t.Expr
    scan: tuple[str, str, str] | None = None  # index, state, init
    span: Span | None = field(default=None, compare=False, repr=False)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """Indices of the targets, in order."""
        return tuple(dict.fromkeys(i for a in self.targets for s in a.subs for i in indices_of(s)))

    @cached_property
    def indices(self) -> tuple[str, ...]:
        """Free and reduced indices, in order."""
        return tuple(dict.fromkeys((*self.free, *self.over)))


@hashed_once
@dataclass(frozen=True)
class OpShape:
    """An op instance without sizes: what facts are derived from. `inner` are tensors of indices made and used inside,
    of which only the type is known."""

    name: str
    params: tuple[Operand, ...]
    results: tuple[Operand, ...]
    attrs: tuple[t.Attr, ...]
    dims: tuple[t.DimDef, ...]
    where: tuple[tuple[t.Rel, ...], ...]
    body: tuple[Statement, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    inner: tuple[Operand, ...] = ()

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Parameters, then results; what is updated in place is both, and comes once."""
        names = {p.name for p in self.params}
        return (*self.params, *(r for r in self.results if r.name not in names))

    def operand(self, name: str) -> Operand | None:
        """The parameter or result of this name; None for a local tensor."""
        return next((o for o in self.operands if o.name == name), None)

    def pointer(self, name: str) -> Operand | None:
        """The tensor of indices of this name, as far as its type is known."""
        return next((o for o in (*self.operands, *self.inner) if o.name == name and o.within), None)


def children(e: t.Expr) -> tuple[t.Expr, ...]:
    """Direct sub-expressions."""
    match e:
        case t.Access(_, subs):
            return subs
        case t.Call(_, args):
            return args
        case t.Bin(_, a, b):
            return (a, b)
        case t.Neg(a):
            return (a,)
        case _:
            return ()


def rebuilt(e: t.Expr, change: Callable[[t.Expr], t.Expr]) -> t.Expr:
    """The expression with its direct sub-expressions changed."""
    match e:
        case t.Access(name, subs):
            return t.Access(name, tuple(map(change, subs)), span=e.span)
        case t.Call(fn, args):
            return t.Call(fn, tuple(map(change, args)), span=e.span)
        case t.Bin(op, a, b):
            return t.Bin(op, change(a), change(b), span=e.span)
        case t.Neg(a):
            return t.Neg(change(a), span=e.span)
        case _:
            return e


def walk(e: t.Expr) -> Iterator[t.Expr]:
    """The expression and all below it, parents first."""
    yield e
    for c in children(e):
        yield from walk(c)


def indices_of(e: t.Expr) -> tuple[str, ...]:
    """Names used as values or subscripts, in order; attributes are told apart by the caller."""
    if isinstance(e, t.Ref):
        return (e.name,)
    return tuple(dict.fromkeys(x.name for x in walk(e) if isinstance(x, t.Ref)))


def accesses(e: t.Expr) -> Iterator[t.Access]:
    """Every tensor access of an expression, outermost first."""
    return (x for x in walk(e) if isinstance(x, t.Access))


# ---- packs -------------------------------------------------------------------------------------


def bind(decl: t.OpDecl, ranks: tuple[int, ...]) -> OpShape:
    """Expand the packs of `decl` for operands of these ranks.

    Raises what `declarations.check` raises, Diag `op-arity` for a wrong number of operands, `op-rank` for a rank that
    does not fit and `op-ambiguous` where the ranks do not determine every pack.
    """
    return _bind(decl, ranks, decl.span)


@lru_cache(maxsize=4096)
def _bind(decl: t.OpDecl, ranks: tuple[int, ...], place: Span | None) -> OpShape:
    """`bind`; equal declarations at two places are two, so that each error is where it belongs."""
    check(decl)
    if len(ranks) != len(decl.params):
        raise Diag(
            "op-arity",
            f"`{decl.name}` takes {len(decl.params)} operands, got {len(ranks)}",
            decl.span,
        )
    packs = _pack_sizes(decl, ranks)
    expand = _Expander(packs)
    params = tuple(expand.operand(p) for p in decl.params)
    results = tuple(expand.operand(p) for p in decl.results)
    attrs = tuple(s for s in decl.body if isinstance(s, t.Attr))
    dims = tuple(s for s in decl.body if isinstance(s, t.DimDef))
    where = tuple(clause for s in decl.body if isinstance(s, t.Where) for clause in s.clauses)
    body = tuple(st for s in decl.body for st in expand.statement(s))
    return OpShape(decl.name, params, results, attrs, dims, where, body, decl.span)


def _pack_sizes(decl: t.OpDecl, ranks: Sequence[int]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    waiting = list(zip(decl.params, ranks, strict=True))
    while waiting:
        ready = [w for w in waiting if len(_unbound(w[0], sizes)) <= 1]
        if not ready:
            names = ", ".join(f"`*{n}`" for n in _unbound(waiting[0][0], sizes))
            raise Diag("op-ambiguous", f"`{decl.name}`: the ranks do not determine {names}", waiting[0][0].span)
        for param, rank in ready:
            _solve_pack(decl, param, rank, sizes)
        waiting = [w for w in waiting if w not in ready]
    return sizes


def _unbound(param: t.Param, sizes: Mapping[str, int]) -> list[str]:
    return list(dict.fromkeys(d.name for d in param.type.dims if isinstance(d, t.Pack) and d.name not in sizes))


def _solve_pack(decl: t.OpDecl, param: t.Param, rank: int, sizes: dict[str, int]) -> None:
    dims = param.type.dims
    fixed = sum(sizes.get(d.name, 0) if isinstance(d, t.Pack) else 1 for d in dims)
    free = _unbound(param, sizes)
    if (free and rank < fixed) or (not free and rank != fixed):
        wants = f"at least {fixed}" if free else str(fixed)
        raise Diag("op-rank", f"`{decl.name}`: `{param.name}` has {rank} dimensions, wants {wants}", param.span)
    if free:
        sizes[free[0]] = rank - fixed


@dataclass(frozen=True)
class _Expander:
    packs: Mapping[str, int]

    def names(self, pack: t.Pack) -> tuple[str, ...]:
        count = self.packs.get(pack.name, 0)
        return (pack.name,) if count == 1 else tuple(f"{pack.name}{i}" for i in range(count))

    def operand(self, p: t.Param) -> Operand:
        dims = tuple(e for d in p.type.dims for e in self.dim(d))
        w = p.type.within
        within, distinct, skewed = (w.name, w.distinct, w.skew) if w else (None, None, None)
        return Operand(p.name, p.type.role, dims, within, distinct, p.inout, skewed, span=p.span)

    def dim(self, d: t.Dim) -> tuple[t.Expr, ...]:
        if isinstance(d, t.DeviceDim):
            return (t.Ref(d.name, span=d.span),)
        return self.subscript(d)

    def subscript(self, e: t.Expr) -> tuple[t.Expr, ...]:
        if isinstance(e, t.Pack):
            return tuple(t.Ref(n, span=e.span) for n in self.names(e))
        return (self.expr(e),)

    def expr(self, e: t.Expr) -> t.Expr:
        match e:
            case t.Access(name, subs):
                return t.Access(name, tuple(x for s in subs for x in self.subscript(s)), span=e.span)
            case t.Call(fn, args):
                return t.Call(fn, tuple(self.expr(a) for a in args), span=e.span)
            case t.Bin(op, a, b):
                return t.Bin(op, self.expr(a), self.expr(b), span=e.span)
            case t.Neg(a):
                return t.Neg(self.expr(a), span=e.span)
            case _:
                return e

    def statement(self, s: t.Stmt) -> tuple[Statement, ...]:
        match s:
            case t.Let():
                return (self.let(s),)
            case t.Scan(index, state, init, body):
                return tuple(replace(self.let(b), scan=(index, state, init)) for b in body)
            case _:
                return ()

    def let(self, s: t.Let) -> Statement:
        targets = tuple(self.expr(a) for a in s.targets)
        over = tuple(n for i in s.reduce.indices for n in _index_names(self, i)) if s.reduce else ()
        accesses_ = tuple(a for a in targets if isinstance(a, t.Access))
        fn = s.reduce.fn if s.reduce and (over or s.reduce.fn == "topk") else None
        return Statement(accesses_, fn, over, self.expr(s.expr), span=s.span)


def _index_names(expand: _Expander, i: t.Ref | t.Pack) -> tuple[str, ...]:
    return expand.names(i) if isinstance(i, t.Pack) else (i.name,)


# ---- sizes -------------------------------------------------------------------------------------


def extents(
    shape: OpShape,
    shapes: Sequence[tuple[int, ...]],
    attrs: Mapping[str, object] | None = None,
    ways: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """The size of every index, from operands' shapes and `dim` definitions. Where `ways` says that an index is split
    over so many devices its size is that of one slice, but a `dim` is defined by all of them.

    Raises Diag `op-size` naming both operands where one index has two sizes, and where the quotient of an extent is not
    whole.
    """
    sizes: dict[str, int] = {}
    origin: dict[str, tuple[Operand, int]] = {}
    for operand, given in zip(shape.params, shapes, strict=True):
        for axis, (dim, size) in enumerate(zip(operand.dims, given, strict=True)):
            if isinstance(dim, t.Ref):
                if sizes.setdefault(dim.name, size) != size:
                    raise _disagree(shape, dim.name, origin[dim.name], (operand, axis), sizes[dim.name], size)
                origin.setdefault(dim.name, (operand, axis))
    whole = {i: n * (ways or {}).get(i, 1) for i, n in sizes.items()}
    for d in shape.dims:
        _check_quotient(shape, d, origin, whole, attrs or {})
        value = evaluate(d.expr, whole, attrs or {}, _defaults(shape))
        if value is not None:
            whole.setdefault(d.name, value)
        if value is not None and sizes.setdefault(d.name, value) != value:
            operand, axis = origin[d.name]
            raise Diag(
                "op-size",
                f"`{shape.name}`: `{d.name}` must be {value}, but is {sizes[d.name]} in `{operand.name}`",
                d.span,
                notes=(Note(f"`{d.name}` is axis {axis} of `{operand.name}`", operand.span),),
            )
    for d in shape.dims:  # `dim group = |k| // |g|` constrains and names an index of a subscript only
        if d.name not in sizes:
            raise Diag("op-size", f"`{shape.name}`: cannot tell the size of `{d.name}`", d.span)
    for operand in shape.params:
        if operand.within and operand.within not in sizes:
            raise Diag(
                "op-size",
                f"`{shape.name}`: `{operand.name}` indexes `{operand.within}`, whose size no operand gives",
                operand.span,
            )
    return sizes


def _check_quotient(
    shape: OpShape,
    d: t.DimDef,
    origin: Mapping[str, tuple[Operand, int]],
    sizes: Mapping[str, int],
    attrs: Mapping[str, object],
) -> None:
    """`dim i = |e| // 2` is half of `|e|`: of an odd one the op would leave out an element, or touch one beyond."""
    match d.expr:
        case t.Bin("//", t.Ext(name), by) if name in sizes:
            parts = evaluate(by, sizes, attrs, _defaults(shape))
            if parts and sizes[name] % parts:
                message = f"`{shape.name}`: `{d.name}` divides `|{name}|` by {parts}, but it is {sizes[name]}"
                given = [origin[name]] if name in origin else []
                notes = [Note(f"`{name}` is axis {axis} of `{operand.name}`", operand.span) for operand, axis in given]
                raise Diag("op-size", message, d.span, notes=notes)


def _defaults(shape: OpShape) -> dict[str, t.Expr]:
    return {a.name: a.default for a in shape.attrs if a.default is not None}


def evaluate(
    e: t.Expr, sizes: Mapping[str, int], attrs: Mapping[str, object], defaults: Mapping[str, t.Expr]
) -> int | None:
    """An integer expression over extents and scalar attributes; None where a name is unknown."""
    match e:
        case t.Num(value):
            return int(value) if isfinite(value) else None
        case t.Ext(name):
            return sizes.get(name)
        case t.Ref(name):
            given = attrs.get(name)
            if isinstance(given, int | float):
                return int(given) if isfinite(given) else None
            return evaluate(defaults[name], sizes, attrs, defaults) if name in defaults else sizes.get(name)
        case t.Bin(op, a, b):
            x, y = evaluate(a, sizes, attrs, defaults), evaluate(b, sizes, attrs, defaults)
            return None if x is None or y is None else _integer(op, x, y)
        case t.Call("minimum" | "maximum" as fn, (a, b)):
            x, y = evaluate(a, sizes, attrs, defaults), evaluate(b, sizes, attrs, defaults)
            return None if x is None or y is None else min(x, y) if fn == "minimum" else max(x, y)
        case _:
            return None


def operand_axes(operand: Operand, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of an operand, from the extents of its indices; raises Diag `op-size` where one is unknown."""
    axes = []
    for d in operand.dims:
        size = sizes.get(d.name) if isinstance(d, t.Ref) else evaluate(d, sizes, {}, {})
        if size is None:
            raise Diag("op-size", f"cannot tell the size of an axis of `{operand.name}`", d.span or operand.span)
        axes.append(size)
    return tuple(axes)


def _integer(op: str, x: int, y: int) -> int | None:
    match op:
        case "+":
            return x + y
        case "-":
            return x - y
        case "*":
            return x * y
        case "//" | "/":
            return x // y if y else None
        case _:
            return x % y if y else None


def _disagree(
    shape: OpShape, index: str, first: tuple[Operand, int], second: tuple[Operand, int], a: int, b: int
) -> Diag:
    (one, axis_one), (two, axis_two) = first, second
    return Diag(
        "op-size",
        f"`{shape.name}`: `{index}` is {a} in `{one.name}` but {b} in `{two.name}`",
        shape.span,
        notes=(
            Note(f"`{index}` is axis {axis_one} of `{one.name}` = {a}", one.span),
            Note(f"`{index}` is axis {axis_two} of `{two.name}` = {b}", two.span),
        ),
    )
