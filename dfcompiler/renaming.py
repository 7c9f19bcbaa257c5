"""Other names for what an op's text names: the same op in the words of a graph, or in words of no one's choice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from dfcompiler.opshape import Operand, OpShape, Statement, rebuilt
from dfcompiler.text import tree as t


def rename(
    shape: OpShape, index: Callable[[str], str], tensor: Callable[[str], str], attr: Callable[[str], str]
) -> OpShape:
    """The shape with its indices, tensors (operands and locals) and attributes renamed; its own name stays."""
    attrs = {a.name for a in shape.attrs}

    def named(name: str, otherwise: Callable[[str], str]) -> str:
        return attr(name) if name in attrs else otherwise(name)

    def access(a: t.Access) -> t.Access:
        return t.Access(named(a.name, tensor), tuple(go(s) for s in a.subs), span=a.span)

    def go(e: t.Expr) -> t.Expr:
        match e:
            case t.Ref(name):
                return t.Ref(named(name, index), span=e.span)
            case t.Ext(name):
                return t.Ext(index(name), span=e.span)
            case t.Access():
                return access(e)
            case _:
                return rebuilt(e, go)

    def operand(o: Operand) -> Operand:
        within, distinct = o.within and index(o.within), o.distinct and index(o.distinct)
        dims, skewed = tuple(go(d) for d in o.dims), o.skewed and attr(o.skewed)
        return replace(o, name=tensor(o.name), dims=dims, within=within, distinct=distinct, skewed=skewed)

    def statement(s: Statement) -> Statement:
        return replace(
            s,
            targets=tuple(access(a) for a in s.targets),
            over=tuple(index(i) for i in s.over),
            expr=go(s.expr),
            scan=s.scan and (index(s.scan[0]), tensor(s.scan[1]), tensor(s.scan[2])),
        )

    def attribute(a: t.Attr) -> t.Attr:
        return replace(a, name=attr(a.name), dims=tuple(index(i) for i in a.dims), default=a.default and go(a.default))

    return OpShape(
        shape.name,
        tuple(operand(o) for o in shape.params),
        tuple(operand(o) for o in shape.results),
        tuple(attribute(a) for a in shape.attrs),
        tuple(t.DimDef(index(d.name), go(d.expr), span=d.span) for d in shape.dims),
        tuple(tuple(t.Rel(r.op, go(r.a), go(r.b), span=r.span) for r in c) for c in shape.where),
        tuple(statement(s) for s in shape.body),
        shape.span,
        tuple(operand(o) for o in shape.inner),
    )


def index_names(shape: OpShape) -> tuple[str, ...]:
    """All indices: of operands first, then of dims, statements and attributes; each once."""
    dims = [d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)]
    defined = [d.name for d in shape.dims]
    used = [i for s in shape.body for i in s.indices]
    return tuple(dict.fromkeys((*dims, *defined, *used, *(i for a in shape.attrs for i in a.dims))))


def canonical(shape: OpShape) -> OpShape:
    """The shape in words of no one's choice: shapes that differ in names only become equal."""
    made = [a.name for s in shape.body for a in s.targets]
    states = [s.scan[1] for s in shape.body if s.scan]
    indices = _numbered("i", index_names(shape))
    tensors = _numbered("t", (*(o.name for o in (*shape.params, *shape.results)), *made, *states))
    attrs = _numbered("a", tuple(a.name for a in shape.attrs))
    whole = rename(shape, lambda i: indices.get(i, i), lambda x: tensors.get(x, x), lambda a: attrs.get(a, a))
    return replace(whole, name="")


def _numbered(letter: str, names: tuple[str, ...]) -> dict[str, str]:
    return {name: f"{letter}{i}" for i, name in enumerate(dict.fromkeys(names))}
