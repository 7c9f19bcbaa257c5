"""An op in pieces, so that something can happen between its statements.

`pieces` cuts an op before some of its statements; what later pieces need becomes results of the earlier.
`rescaling` is the op that turns parts, each made with its own inner reductions, into parts made with the
combined ones: `sum exp(x - m)` over a slice becomes that of the whole maximum by a factor `exp(m - M)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

from dfcompiler.clauses import clause_indices
from dfcompiler.opshape import Operand, OpShape, Statement, accesses, walk
from dfcompiler.text import tree as t

SIZE = "size_"  # prefix of an attribute that stands for the extent of an index that a piece does not have
WHOLE = "all_"  # prefix of a combined tensor beside the device's own


@lru_cache(maxsize=4096)
def pieces(shape: OpShape, cuts: tuple[int, ...], keep: tuple[str, ...] = ()) -> tuple[t.OpDecl, ...] | None:
    """The op cut before these statements; `keep` names tensors that must be results of the piece that makes them.

    None where a tensor that would have to be handed on has no plain axes."""
    bounds = (0, *cuts, len(shape.body))
    groups = [shape.body[a:b] for a, b in pairwise(bounds)]
    if any(s.scan for s in shape.body):
        return None
    found = []
    for number, group in enumerate(groups):
        earlier = [s for g in groups[:number] for s in g]
        later = [s for g in groups[number + 1 :] for s in g]
        made = list(dict.fromkeys(a.name for s in group for a in s.targets))
        needed = {n for s in later for n in _read(shape, s)} | {o.name for o in shape.results} | set(keep)
        used = [n for n in _tensors(shape, earlier) if n in {x for s in group for x in _read(shape, s)} - set(made)]
        given, results = _params(shape, used), _params(shape, [n for n in made if n in needed])
        if given is None or results is None or set(made) & {p.name for p in shape.params}:
            return None
        ranks = "".join(str(len(p.type.dims)) for p in (*given, *results))
        found.append(_declared(shape, f"{shape.name}_{number + 1}of{len(groups)}_{ranks}", given, results, group))
    return tuple(found)


def _tensors(shape: OpShape, earlier: Sequence[Statement]) -> Iterator[str]:
    yield from (p.name for p in shape.params)
    yield from dict.fromkeys(a.name for s in earlier for a in s.targets)


def _read(shape: OpShape, s: Statement) -> set[str]:
    attrs = {a.name for a in shape.attrs}
    clauses = [c for c in shape.where if clause_indices(shape, c) <= set(s.indices)]
    expressions = [s.expr, *s.targets, *(e for c in clauses for r in c for e in (r.a, r.b))]
    targets = set(s.targets)
    return {a.name for e in expressions for a in accesses(e) if a not in targets} - attrs


def _params(shape: OpShape, names: Sequence[str]) -> list[t.Param] | None:
    """Operands and local tensors as operands of a piece."""
    found = []
    for name in names:
        o: Operand | None = shape.operand(name)
        write = next((a for s in shape.body for a in s.targets if a.name == name), None)
        dims = o.dims if o else write.subs if write else ()
        if not o and not all(isinstance(d, t.Ref) for d in dims):
            return None
        within = t.Within(o.within, o.distinct) if o and o.within else None
        found.append(t.Param(name, t.TypeExpr(o.role if o else None, dims, within), bool(o and o.inout)))
    return found


def _declared(
    shape: OpShape, name: str, params: Sequence[t.Param], results: Sequence[t.Param], body: Sequence[Statement]
) -> t.OpDecl:
    where = [c for c in shape.where if any(clause_indices(shape, c) <= set(s.indices) for s in body)]
    expressions: list[t.Expr] = [e for s in body for e in (s.expr, *s.targets)]
    expressions += [e for c in where for r in c for e in (r.a, r.b)]
    expressions += [d for p in (*params, *results) for d in p.type.dims if not isinstance(d, t.DeviceDim)]
    used = {x.name for e in expressions for x in walk(e) if isinstance(x, t.Ref | t.Ext | t.Access)}
    known = {d.name for p in params for d in p.type.dims if isinstance(d, t.Ref)}
    used |= {p.type.within.name for p in (*params, *results) if p.type.within}
    for d in reversed(shape.dims):
        if d.name in used:
            used |= {x.name for x in walk(d.expr) if isinstance(x, t.Ref | t.Ext)}
    dims = [d for d in shape.dims if d.name in used and d.name not in known]
    sized = known | {d.name for d in dims}
    attrs = [_told(a, sized) for a in shape.attrs if a.name in used]
    sides = [e for c in where for r in c for e in (r.a, r.b)]
    lost = sorted({x.name for e in (*sides, *(s.expr for s in body)) for x in walk(e) if isinstance(x, t.Ext)} - sized)
    attrs += [t.Attr(SIZE + name) for name in lost]
    told: dict[t.Expr, t.Expr] = {t.Ext(name): t.Ref(SIZE + name) for name in lost}
    lets = tuple(
        t.Let(s.targets, t.Reduce(s.fn, tuple(t.Ref(i) for i in s.over)) if s.fn else None, _replaced(s.expr, told))
        for s in body
    )
    clauses = tuple(tuple(t.Rel(r.op, _replaced(r.a, told), _replaced(r.b, told)) for r in c) for c in where)
    head = (*attrs, *dims, *((t.Where(clauses),) if where else ()))
    return t.OpDecl(name, tuple(params), tuple(results), (*head, *lets))


def _replaced(e: t.Expr, told: Mapping[t.Expr, t.Expr]) -> t.Expr:
    """The expression with some of its parts replaced."""
    match e:
        case _ if e in told:
            return told[e]
        case t.Access(name, subs):
            return t.Access(name, tuple(_replaced(s, told) for s in subs))
        case t.Bin(op, a, b):
            return t.Bin(op, _replaced(a, told), _replaced(b, told))
        case t.Neg(a):
            return t.Neg(_replaced(a, told))
        case t.Call(fn, args):
            return t.Call(fn, tuple(_replaced(a, told) for a in args))
        case _:
            return e


def _told(a: t.Attr, sized: set[str]) -> t.Attr:
    """An attribute whose default needs an extent that the piece does not have must be told."""
    lost = a.default is not None and any(isinstance(x, t.Ext) and x.name not in sized for x in walk(a.default))
    return t.Attr(a.name, a.dims, None) if lost else a


# ---- rescaling ---------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def rescaling(shape: OpShape, combined: tuple[str, ...], parts: tuple[str, ...]) -> t.OpDecl | None:
    """The op from `combined` tensors (the device's own, then those of all) and `parts` to rescaled parts."""
    factors: dict[str, t.Expr | None] = {}
    for s in shape.body:
        factor = _factor(s.expr, factors, set(combined))
        factors |= {a.name: factor for a in s.targets if a.name not in combined}
    own = _params(shape, [*combined, *parts])
    if own is None or not parts or any(factors.get(n) is None for n in parts):
        return None
    whole = [t.Param(WHOLE + p.name, p.type) for p in own[: len(combined)]]
    given = own[len(combined) :]
    results = [t.Param(WHOLE + p.name, p.type) for p in given]
    lets = []
    for p, r in zip(given, results, strict=True):
        subs = tuple(d for d in p.type.dims if isinstance(d, t.Ref))
        scaled = t.Bin("*", t.Access(p.name, subs), factors[p.name] or t.Num(1))
        lets.append(t.Let((t.Access(r.name, subs),), None, scaled))
    ranks = "".join(str(len(p.type.dims)) for p in given)
    return t.OpDecl(
        f"{shape.name}_rescale_{ranks}", (*own[: len(combined)], *whole, *given), tuple(results), tuple(lets)
    )


def _factor(e: t.Expr, known: dict[str, t.Expr | None], combined: set[str]) -> t.Expr | None:
    """By what the value changes when combined tensors replace the device's own; None where by nothing."""

    def both(op: str, a: t.Expr | None, b: t.Expr | None) -> t.Expr | None:
        if b is None:
            return a
        return t.Bin(op, a or t.Num(1), b) if a or op == "/" else b

    match e:
        case t.Access(name, subs) if name in combined:
            return t.Bin("/", t.Access(WHOLE + name, subs), e)
        case t.Access(name, _):
            return known.get(name)
        case t.Bin("*" | "/" as op, a, b):
            return both(op, _factor(a, known, combined), _factor(b, known, combined))
        case t.Neg(a):
            return _factor(a, known, combined)
        case t.Call("exp", (arg,)):
            terms = [x for x in _signed(arg) if any(a.name in combined for a in accesses(x[1]))]
            shift: t.Expr | None = None
            for sign, term in terms:
                change = t.Bin("-", _all(term, combined), term) if sign > 0 else t.Bin("-", term, _all(term, combined))
                shift = change if shift is None else t.Bin("+", shift, change)
            return shift and t.Call("exp", (shift,))
        case _:
            return None


def _signed(e: t.Expr, sign: int = 1) -> list[tuple[int, t.Expr]]:
    match e:
        case t.Bin("+" | "-" as op, a, b):
            return [*_signed(a, sign), *_signed(b, sign if op == "+" else -sign)]
        case t.Neg(a):
            return _signed(a, -sign)
        case _:
            return [(sign, e)]


def _all(e: t.Expr, combined: set[str]) -> t.Expr:
    """The expression with combined tensors in place of the device's own."""
    match e:
        case t.Access(name, subs) if name in combined:
            return t.Access(WHOLE + name, subs)
        case t.Bin(op, a, b):
            return t.Bin(op, _all(a, combined), _all(b, combined))
        case t.Neg(a):
            return t.Neg(_all(a, combined))
        case t.Call(fn, args):
            return t.Call(fn, tuple(_all(a, combined) for a in args))
        case _:
            return e
