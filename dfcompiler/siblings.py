"""Nodes of one op that share operands, side by side: parts of a step that meet the same weights, or several
projections of the same activations. What the shared operands do not have becomes one dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from dfcompiler.graph import Graph, Node, Tensor
from dfcompiler.opshape import Operand, OpShape, accesses, indices_of
from dfcompiler.stream import Blocked
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Parts:
    """Tensors one after another along a dimension that stands after `before` and before `after` others."""

    tensors: tuple[str, ...]
    before: int = 0
    after: int = 0


@dataclass(frozen=True)
class Joined:
    """One node that does what the siblings do, on operands that hold theirs side by side."""

    node: Node
    operands: tuple[Tensor, ...]  # those that no sibling has
    parts: Mapping[str, Parts]


def siblings(nodes: Sequence[Node]) -> list[list[Node]]:
    """The nodes, those together that have the op, the attributes and an operand in common, where no node needs or
    makes what they do not share."""
    made = {r.name for n in nodes for r in n.results}
    used = {a for n in nodes for a in n.args}
    found: list[list[Node]] = []
    left = list(nodes)
    while left:
        mates = max((_mates(left, i, used) for i in range(len(left[0].args))), key=len, default=[])
        own = {n.args[i] for i in _apart(mates) for n in mates}
        found.append(mates if mates and not own & made else left[:1])
        left = [n for n in left if n not in found[-1]]
    return found


def _mates(nodes: Sequence[Node], i: int, used: set[str]) -> list[Node]:
    """The nodes that are like the first one and have its operand `i`; none where others use their results."""
    first = nodes[0]
    alike = [
        n
        for n in nodes
        if (n.op, n.attrs, n.over) == (first.op, first.attrs, first.over) and n.args[i] == first.args[i]
    ]
    return [n for n in alike if not used & {r.name for r in n.results}]


def _apart(nodes: Sequence[Node]) -> list[int]:
    """Positions of operands that the nodes do not share."""
    return [i for i, same in enumerate(zip(*(n.args for n in nodes), strict=True)) if len(set(same)) > 1]


def side_by_side(graph: Graph, nodes: Sequence[Node]) -> Joined | Blocked:
    """One node for siblings, or the reason why there is none: its ranks are those of the node with the fewest."""
    shapes = [graph.shape(n) for n in nodes]
    model = min(range(len(nodes)), key=lambda i: sum(len(o.dims) for o in shapes[i].params))
    first, shape, apart = nodes[model], shapes[model], _apart(nodes)
    along = [_along(s, apart) for s in shapes]
    if len(apart) == len(first.args) or not all(along):
        return Blocked("no dimension to join", shape.span)
    blocked = next((b for s, a in zip(shapes, along, strict=True) if (b := _inseparable(s, a))), None)
    if blocked:
        return blocked
    whole = _Whole(graph, along[model])
    operands = {i: whole.tensor(shape.params[i], [n.args[i] for n in nodes]) for i in apart}
    results = [whole.tensor(o, [n.results[j].name for n in nodes]) for j, o in enumerate(shape.results)]
    tensors = [*operands.values(), *results]
    uneven = next((x for x in tensors if isinstance(x, Blocked)), None)
    if uneven:
        return uneven
    made = [x for x in tensors if isinstance(x, Tensor)]
    args = tuple(made[apart.index(i)].name if i in operands else a for i, a in enumerate(first.args))
    node = replace(first, args=args, results=tuple(made[len(apart) :]))
    return Joined(node, tuple(made[: len(apart)]), whole.parts)


class _Whole:
    """Tensors that hold others side by side along these indices."""

    def __init__(self, graph: Graph, along: Sequence[str]) -> None:
        self.graph, self.along = graph, along
        self.parts: dict[str, Parts] = {}

    def tensor(self, operand: Operand, names: Sequence[str]) -> Tensor | Blocked:
        """The tensor for `operand`; its first joined dimension has all, the others have one place."""
        if t.Ref(self.along[0]) not in operand.dims:
            return Blocked(f"{', '.join(names)} have no dimension to join", operand.span)
        tensors = [self.graph.tensors[n] for n in names]
        before = operand.dims.index(t.Ref(self.along[0]))
        after = len(operand.dims) - before - len(self.along)
        types = [x.type for x in tensors]
        ends = {replace(y, shape=(*y.shape[:before], *y.shape[len(y.shape) - after :])) for y in types}
        if len(ends) > 1:
            return Blocked(f"{', '.join(names)} differ in more than the dimension to join", operand.span)
        joined = sum(prod(y.shape[before : len(y.shape) - after]) for y in types)
        rest = types[0].shape
        shape = (*rest[:before], joined, *(1 for _ in self.along[1:]), *rest[len(rest) - after :])
        name = "_".join(names)
        while name in self.graph.tensors:
            name += "_"
        self.parts[name] = Parts(tuple(names), before, after)
        return Tensor(name, replace(types[0], shape=shape), tensors[0].kind)


def _along(shape: OpShape, apart: Sequence[int]) -> tuple[str, ...]:
    """The indices of the results that no shared operand has."""
    fixed = {i for k, o in enumerate(shape.params) if k not in apart for d in o.dims for i in indices_of(d)}
    return tuple(
        dict.fromkeys(d.name for o in shape.results for d in o.dims if isinstance(d, t.Ref) and d.name not in fixed)
    )


def _inseparable(shape: OpShape, along: Sequence[str]) -> Blocked | None:
    """Why the indices cannot be taken for one: each must stand for nothing but itself, next to the others."""
    for s in shape.body:
        if set(s.over) & set(along) or s.scan:
            return Blocked("a sum runs over the dimension to join", s.span)
        values = set(indices_of(_bare(s.expr)))
        for a in (*s.targets, *accesses(s.expr)):
            here = [x.name if isinstance(x, t.Ref) else None for x in a.subs]
            values |= {i for x in a.subs if not isinstance(x, t.Ref | t.Access) for i in indices_of(x)}
            seen = [i for i in here if i in along]
            if seen and (tuple(seen) != tuple(along) or here.index(along[-1]) - here.index(along[0]) != len(along) - 1):
                return Blocked(f"`{a.name}` has only some of the dimensions to join", s.span)
        if values & set(along):
            return Blocked("the dimension to join is used as a value", s.span)
    for o in shape.operands:
        here = [d.name if isinstance(d, t.Ref) else None for d in o.dims]
        if any(i in here for i in along) and here[here.index(along[0]) :][: len(along)] != list(along):
            return Blocked(f"`{o.name}` has only some of the dimensions to join", o.span)
    named = {i for a in shape.attrs for i in a.dims} | {
        i for c in shape.where for r in c for e in (r.a, r.b) for i in indices_of(e)
    }
    return Blocked("an attribute or a mask follows the dimension to join", shape.span) if named & set(along) else None


def _bare(e: t.Expr) -> t.Expr:
    """The expression with its tensor accesses taken out: what is left are values."""
    match e:
        case t.Access():
            return t.Num(0)
        case t.Call(fn, args):
            return t.Call(fn, tuple(_bare(a) for a in args))
        case t.Bin(op, a, b):
            return t.Bin(op, _bare(a), _bare(b))
        case t.Neg(a):
            return t.Neg(_bare(a))
        case _:
            return e
