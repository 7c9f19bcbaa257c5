"""Exchanges between devices, written as ops: index notation over a dimension `@p` of devices.

`exchange` writes the op that turns one layout of a tensor into another; `demands` reads from any op's text which
pattern of exchange it is, and of how many bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dfcompiler.fabrics import Fabric, exchange_time
from dfcompiler.graph import Graph, Node, device_index
from dfcompiler.opshape import OpShape, accesses
from dfcompiler.text import tree as t
from dfcompiler.work import index_set


@dataclass(frozen=True)
class Exchange:
    """What happens to a tensor: parts combined by `fn`, slices put together along axis `join`, or a slice kept
    along axis `cut`."""

    fn: str | None = None
    join: int | None = None
    cut: int | None = None

    @property
    def name(self) -> str:
        """A name for people; nothing depends on it."""
        if self.fn:
            kind = "all_reduce" if self.cut is None else "reduce_scatter"
            return "_".join([kind, *([self.fn] if self.fn != "sum" else []), *_number(self.cut)])
        if self.join is None:
            return "_".join(["keep", *_number(self.cut)])
        return "_".join(["all_gather" if self.cut is None else "all_to_all", *_number(self.join), *_number(self.cut)])


def _number(axis: int | None) -> list[str]:
    return [] if axis is None else [str(axis)]


@lru_cache(maxsize=1024)
def exchange(what: Exchange) -> t.OpDecl:
    """The op of an exchange, for tensors of any rank that has its axes."""
    last = max((a for a in (what.join, what.cut) if a is not None), default=-1)
    given: list[t.Expr] = [t.Ref(f"i{k}") for k in range(last + 1)]
    made, read, write = list(given), list(given), list(given)
    alone = what.fn is None and what.join is None  # every device works on what it has
    target, dims = t.Ref("p" if alone else "q"), [] if alone else [t.DimDef("q", t.Ext("p"))]
    if what.join is not None:
        given[what.join] = read[what.join] = t.Ref("n")
        made[what.join], write[what.join] = t.Ref("m"), _place("p", "n")
        dims.append(t.DimDef("m", t.Bin("*", t.Ext("p"), t.Ext("n"))))
    if what.cut is not None:
        given[what.cut], made[what.cut] = t.Ref("l"), t.Ref("k")
        read[what.cut], write[what.cut] = _place(target.name, "k"), t.Ref("k")
        dims.append(t.DimDef("k", t.Bin("//", t.Ext("l"), t.Ext("p"))))
    rest = t.Pack("n" if last < 0 else "r")
    x = t.Param("x", t.TypeExpr(None, (t.DeviceDim("p"), *given, rest)))
    y = t.Param("y", t.TypeExpr(None, (t.DeviceDim(target.name), *made, rest)))
    reduce = t.Reduce(what.fn, (t.Ref("p"),)) if what.fn else None
    let = t.Let((t.Access("y", (target, *write, rest)),), reduce, t.Access("x", (t.Ref("p"), *read, rest)))
    return t.OpDecl(what.name, (x,), (y,), (*dims, let))


def _place(device: str, index: str) -> t.Expr:
    """Where element `index` of a device's slice lies in the whole."""
    return t.Bin("+", t.Bin("*", t.Ref(device), t.Ext(index)), t.Ref(index))


# ---- what an exchange costs --------------------------------------------------------------------


@dataclass(frozen=True)
class Demand:
    """An exchange by its pattern, one of `algorithms.WAYS`, and the bytes of its message."""

    pattern: str
    bytes: float


def across(op: t.OpDecl) -> tuple[str, ...]:
    """The dimensions of devices that an op has: none, unless it is an exchange."""
    found = (device_index(p) for p in (*op.params, *op.results))
    return tuple(dict.fromkeys(i for i in found if i is not None))


def exchanged(node: Node) -> bool:
    """Whether a node is an exchange between devices of a mesh."""
    return bool(set(across(node.op)) & {i for i, _ in node.over})


def demands_of(graph: Graph, node: Node) -> tuple[tuple[Demand, ...], int]:
    """What the exchange that a node is asks for, and among how many devices: those that its dimension of devices is
    spread over."""
    axes = next(axes for i, axes in node.over if i in across(node.op))
    devices = graph.ways(axes)
    return demands(node.op, graph.shape(node), devices, *bytes_of(graph, node)), devices


def bytes_of(graph: Graph, node: Node) -> tuple[float, float]:
    """Bytes of a device's operands and of its results."""
    return sum(graph.type_of(a).bytes for a in node.args), sum(r.type.bytes for r in node.results)


def demands(op: t.OpDecl, shape: OpShape, devices: int, taken: float, made: float) -> tuple[Demand, ...]:
    """What an op asks for between `devices` devices, each with `taken` bytes before and `made` bytes after.

    A reduction where all get the same is an all-reduce, one where each gets a slice a reduce-scatter. Without a
    reduction slices that become wholes are gathered, and others change places. An op whose devices only read what they
    have asks for nothing.
    """
    mine = across(op)
    found: list[Demand] = []
    for s in shape.body:
        target = {i for a in s.targets for i in index_set(shape, a)} & set(mine)
        source = {i for a in accesses(s.expr) for x in a.subs for i in index_set(shape, x)} & set(mine)
        if devices < 2 or not source - _owners(op, s.targets[0].name, mine):
            continue
        if set(s.over) & set(mine):
            found.append(Demand("reduce_scatter" if target & source else "all_reduce", taken))
        else:
            found.append(Demand("all_gather" if made > taken else "all_to_all", made))
    return tuple(found)


def _owners(op: t.OpDecl, name: str, mine: tuple[str, ...]) -> set[str]:
    """The dimension along which a result's devices lie."""
    return {i for p in (*op.params, *op.results) if p.name == name and (i := device_index(p)) in mine and i}


def exchange_seconds(found: tuple[Demand, ...], devices: int, fabric: Fabric) -> float:
    """Seconds of what is asked for, one after the other."""
    return sum(exchange_time(d.pattern, devices, d.bytes, fabric)[0] for d in found)
