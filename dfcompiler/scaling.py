"""An operator whose operand is codes, derived from the operator: scales and zero points become operands.

In every statement `w[n, k]` becomes `(w[n, k] - z[n, k // |group|]) * c[n, k // |group|]`, in parentheses, so that it
is one factor. A scale that does not change along an index that the statement sums over, as `w[n, k]` does, is taken
out of the sum: there the derived op multiplies once per sum. The result is a declaration like any other one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from dfcompiler.opshape import rebuilt, walk
from dfcompiler.text import tree as t
from dfcompiler.work import factors


@dataclass(frozen=True)
class Companion:
    """A tensor beside a tensor of codes: `cell` is how many codes along each axis share one of its elements, or
    None where there is one for the whole tensor. `zero` ones are subtracted, all others are factors."""

    name: str
    cell: tuple[int, ...] | None
    zero: bool = False

    def shape(self, codes: tuple[int, ...]) -> tuple[int, ...]:
        """The companion's shape beside codes of this shape; cells must divide it."""
        return (1,) if self.cell is None else tuple(n // c for n, c in zip(codes, self.cell, strict=True))


def with_scales(
    decl: t.OpDecl, operand: str, shape: tuple[int, ...], companions: Sequence[Companion]
) -> t.OpDecl | None:
    """The op with codes of this shape as its operand, and its companions as further operands in this order.

    Packs of the operand that a cell divides are spelt out, one index per axis. None where the text does not allow
    it: the operand is updated in place, or some dimension or subscript of it is no single index.
    """
    param = next(p for p in decl.params if p.name == operand)
    places = _places(param, shape)
    if param.inout or places is None:
        return None
    split = {d.name: n for d, n in places.items() if isinstance(d, t.Pack) and _divided(companions, *_range(places, d))}
    wide = _spelt_out(decl, split)
    dims = next(p for p in wide.params if p.name == operand).type.dims
    axes = _axes(dims, shape)
    made = [_Made(c, dims, axes, shape, _names(wide)) for c in companions]
    if any(len(a.subs) != len(dims) for s in _lets(wide) for a in _reads(s, operand)):
        return None
    body = tuple(_statement(s, operand, made) for s in wide.body)
    defined = {d.name: d for m in made for d in m.dim_defs}
    params = tuple(t.Param(m.companion.name, t.TypeExpr("w" if m.companion.zero else "f32", m.dims)) for m in made)
    name = "_".join([decl.name, operand, *dict.fromkeys(m.pattern for m in made)])
    name += "_zero" if any(c.zero for c in companions) else ""
    return t.OpDecl(name, (*wide.params, *params), wide.results, (*defined.values(), *body), span=decl.span)


# ---- packs -------------------------------------------------------------------------------------


def _places(param: t.Param, shape: tuple[int, ...]) -> dict[t.Dim, int] | None:
    """How many axes each dimension of the operand stands for; None with two packs, or with what is no index."""
    dims = param.type.dims
    packs = [d for d in dims if isinstance(d, t.Pack)]
    if len(packs) > 1 or not all(isinstance(d, t.Pack | t.Ref) for d in dims) or len(set(dims)) < len(dims):
        return None
    return {d: len(shape) - len(dims) + 1 if isinstance(d, t.Pack) else 1 for d in dims}


def _range(places: Mapping[t.Dim, int], dim: t.Dim) -> tuple[int, int]:
    before = [*places.values()][: [*places].index(dim)]
    return sum(before), sum(before) + places[dim]


def _divided(companions: Sequence[Companion], start: int, stop: int) -> bool:
    """Whether a cell spans more than one element of these axes."""
    return any(n > 1 for c in companions if c.cell for n in c.cell[start:stop])


def _axes(dims: Sequence[t.Dim], shape: tuple[int, ...]) -> list[int | None]:
    """The axis of each dimension; None for a pack, which no cell divides."""
    pack = next((i for i, d in enumerate(dims) if isinstance(d, t.Pack)), len(dims))
    late = len(shape) - len(dims)
    return [None if i == pack else i if i < pack else i + late for i in range(len(dims))]


def _spelt_out(decl: t.OpDecl, split: Mapping[str, int]) -> t.OpDecl:
    """The declaration with these packs as so many single indices."""
    if not split:
        return decl

    def several(e: t.Dim) -> tuple[t.Dim, ...]:
        if isinstance(e, t.Pack) and e.name in split:
            count = split[e.name]
            return tuple(t.Ref(e.name if count == 1 else f"{e.name}{i}", span=e.span) for i in range(count))
        return (e if isinstance(e, t.DeviceDim) else go(e),)

    def go(e: t.Expr) -> t.Expr:
        return _mapped(e, lambda a: t.Access(a.name, tuple(x for s in a.subs for x in several(s)), span=a.span))  # type: ignore[misc]

    def let(s: t.Let) -> t.Let:
        over = s.reduce and replace(s.reduce, indices=tuple(x for i in s.reduce.indices for x in several(i)))  # type: ignore[misc]
        targets = tuple(a for x in s.targets if isinstance(a := go(x), t.Access))
        return replace(s, targets=targets, reduce=over, expr=go(s.expr))

    def param(p: t.Param) -> t.Param:
        return replace(p, type=replace(p.type, dims=tuple(x for d in p.type.dims for x in several(d))))

    body = tuple(_each_let(s, let) for s in decl.body)
    return replace(decl, params=tuple(map(param, decl.params)), results=tuple(map(param, decl.results)), body=body)


# ---- statements --------------------------------------------------------------------------------


class _Made:
    """A companion as an operand: its dimensions, and how it is read where the codes are.

    `pattern` has a letter per axis: `i` an element for each index, `g` one per group, `o` one for all.
    """

    def __init__(
        self,
        companion: Companion,
        dims: Sequence[t.Dim],
        axes: Sequence[int | None],
        shape: tuple[int, ...],
        taken: set[str],
    ) -> None:
        self.companion = companion
        self.letters = [self._letter(axis, shape) for axis in axes]
        self.pattern = "t" if companion.cell is None else "".join(self.letters)
        self.dims: tuple[t.Dim, ...] = (t.Num(1),)
        self.dim_defs: list[t.DimDef] = []
        self.groups: dict[int, str] = {}
        if companion.cell is not None:
            self.dims = tuple(self._dim(i, d, taken) for i, d in enumerate(dims))

    def _letter(self, axis: int | None, shape: tuple[int, ...]) -> str:
        n = 1 if axis is None or self.companion.cell is None else self.companion.cell[axis]
        return "i" if axis is None or n == 1 else "o" if n == shape[axis] else "g"

    def _dim(self, place: int, dim: t.Dim, taken: set[str]) -> t.Dim:
        if self.letters[place] == "i" or not isinstance(dim, t.Ref):
            return dim
        if self.letters[place] == "o":
            return t.Num(1)
        count, group = (_fresh(f"{dim.name}_{what}", taken) for what in ("groups", "group"))
        self.groups[place] = group
        self.dim_defs.append(t.DimDef(group, t.Bin("//", t.Ext(dim.name), t.Ext(count))))
        return t.Ref(count)

    def read(self, codes: t.Access) -> t.Access:
        """The element that belongs to an element of the codes."""
        if self.companion.cell is None:
            return t.Access(self.companion.name, (t.Num(0),))
        pick: dict[str, Callable[[int, t.Expr], t.Expr]] = {
            "i": lambda _, s: s,
            "o": lambda _, s: t.Num(0),
            "g": lambda i, s: t.Bin("//", s, t.Ext(self.groups[i])),
        }
        subs = zip(self.letters, codes.subs, strict=True)
        return t.Access(self.companion.name, tuple(pick[x](i, s) for i, (x, s) in enumerate(subs)))


def _statement(s: t.Stmt, operand: str, made: Sequence[_Made]) -> t.Stmt:
    return _each_let(s, lambda let: _let(let, operand, made))


def _let(s: t.Let, operand: str, made: Sequence[_Made]) -> t.Let:
    """The statement with codes scaled: what is constant along a summed index of the codes last, all else in place."""
    summed = {i.name for i in s.reduce.indices} if s.reduce and s.reduce.fn == "sum" else set()
    whole = [f for f in factors(s.expr)[0] if isinstance(f, t.Access) and f.name == operand]
    out = {
        m.companion.name for m in made for a in whole if not m.companion.zero and summed & (_used(a) - _used(m.read(a)))
    }

    def scaled(a: t.Access) -> t.Expr:
        value: t.Expr = a
        for m in sorted(made, key=lambda m: not m.companion.zero):
            if m.companion.zero or m.companion.name not in out:
                value = t.Bin("-" if m.companion.zero else "*", value, m.read(a))
        return value

    expr = _mapped(_second(s.expr, operand), lambda a: scaled(a) if a.name == operand else a)
    for m in made:
        for a in whole[:1] if m.companion.name in out else []:
            expr = t.Bin("*", expr, m.read(a))
    return replace(s, expr=expr)


def _second(e: t.Expr, operand: str) -> t.Expr:
    """The product with codes that are its first factor as its second: a product in front would not be one factor."""
    match e:
        case t.Bin("*", t.Access(name) as a, b) if name == operand and not isinstance(b, t.Bin):
            return t.Bin("*", b, a, span=e.span)
        case t.Bin("*" | "/" as op, a, b):
            return t.Bin(op, _second(a, operand), b, span=e.span)
        case _:
            return e


# ---- trees -------------------------------------------------------------------------------------


def _mapped(e: t.Expr, change: Callable[[t.Access], t.Expr]) -> t.Expr:
    """The expression with every access changed, inner ones first."""
    inner = rebuilt(e, lambda x: _mapped(x, change))
    return change(inner) if isinstance(inner, t.Access) else inner


def _each_let(s: t.Stmt, change: Callable[[t.Let], t.Let]) -> t.Stmt:
    match s:
        case t.Let():
            return change(s)
        case t.Scan():
            return replace(s, body=tuple(map(change, s.body)))
        case _:
            return s


def _lets(decl: t.OpDecl) -> Iterator[t.Let]:
    for s in decl.body:
        if isinstance(s, t.Let | t.Scan):
            yield from s.body if isinstance(s, t.Scan) else (s,)


def _reads(s: t.Let, name: str) -> Iterator[t.Access]:
    sides = (s.expr, *(x for a in s.targets for x in a.subs))
    return (x for e in sides for x in walk(e) if isinstance(x, t.Access) and x.name == name)


def _used(a: t.Access) -> set[str]:
    return {x.name for s in a.subs for x in walk(s) if isinstance(x, t.Ref | t.Pack)}


def _names(decl: t.OpDecl) -> set[str]:
    """Every name of an index or a dimension."""
    dims = {d.name for p in (*decl.params, *decl.results) for d in p.type.dims if isinstance(d, t.Ref | t.Pack)}
    return dims | {s.name for s in decl.body if isinstance(s, t.DimDef | t.Attr)} | {p.name for p in decl.params}


def _fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
