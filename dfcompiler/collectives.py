"""Exchanges between devices, written as ops: index notation over a dimension `@p` of devices.

`exchange` writes the op that turns one layout of a tensor into another; `traffic` reads from any op's
text how many bytes a device takes in, and in how many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, log2

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


@lru_cache(maxsize=64)
def send(values: int) -> t.OpDecl:
    """The op by which every device hands so many values of any rank on to the next one, in one message."""
    numbers = range(values) if values > 1 else [""]
    before = t.Bin("%", t.Bin("-", t.Bin("+", t.Ref("q"), t.Ext("p")), t.Num(1)), t.Ext("p"))
    params, results, lets = [], [], []
    for x, y, rest in ((f"x{i}", f"y{i}", t.Pack(f"n{i}")) for i in numbers):
        params.append(t.Param(x, t.TypeExpr(None, (t.DeviceDim("p"), rest))))
        results.append(t.Param(y, t.TypeExpr(None, (t.DeviceDim("q"), rest))))
        lets.append(t.Let((t.Access(y, (t.Ref("q"), rest)),), None, t.Access(x, (before, rest))))
    name = f"send_{values}" if values > 1 else "send"
    return t.OpDecl(name, tuple(params), tuple(results), (t.DimDef("q", t.Ext("p")), *lets))


# ---- what an exchange costs --------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One algorithm: steps one after another, and bytes that a device takes in, in all of them."""

    steps: float
    bytes: float

    def seconds(self, latency_s: float, bytes_per_s: float) -> float:
        """Latency of every step plus the time of the bytes."""
        return self.steps * latency_s + self.bytes / bytes_per_s


def across(op: t.OpDecl) -> tuple[str, ...]:
    """The dimensions of devices that an op has: none, unless it is an exchange."""
    found = (device_index(p) for p in (*op.params, *op.results))
    return tuple(dict.fromkeys(i for i in found if i is not None))


def exchanged(node: Node) -> bool:
    """Whether a node is an exchange between devices of a mesh."""
    return bool(set(across(node.op)) & {i for i, _ in node.over})


def hands_on(node: Node) -> bool:
    """Whether a node brings values from one device to another: what device it is follows from who gets it."""
    return exchanged(node) and shifts(node.op)


@lru_cache(maxsize=1024)
def shifts(op: t.OpDecl) -> bool:
    """Whether all that an op reads of other devices is at a device that is computed, not one of each."""
    mine = [t.Ref(i) for i in across(op)]
    led = {p.name for p in op.params if device_index(p) is not None}
    read = [a.subs[0] for s in op.body if isinstance(s, t.Let) for a in accesses(s.expr) if a.name in led]
    return bool(read) and not any(x in mine for x in read)


def ways_of(graph: Graph, node: Node) -> tuple[Way, ...]:
    """Ways to do the exchange that a node is, among the devices that its dimension of devices is spread over."""
    axes = next(axes for i, axes in node.over if i in across(node.op))
    taken, made = bytes_of(graph, node)
    return traffic(node.op, graph.shape(node), graph.ways(axes), taken, made)


def bytes_of(graph: Graph, node: Node) -> tuple[float, float]:
    """Bytes of a device's operands and of its results."""
    return sum(graph.type_of(a).bytes for a in node.args), sum(r.type.bytes for r in node.results)


def traffic(op: t.OpDecl, shape: OpShape, devices: int, taken: float, made: float) -> tuple[Way, ...]:
    """Ways to do an exchange over `devices` devices, each with `taken` bytes before and `made` bytes after.

    Reductions where all get the same: a ring of reduce-scatter and all-gather, or doubling,
    or halving and doubling. Where each gets a
    slice, or each gets slices of all: a ring, or halving. Where each gets what one other has: one message. An op whose
    devices only read what they have costs nothing. (Thakur, Rabenseifner, Gropp 2005, sections 3 and 4.)
    """
    if shifts(op):
        return (Way(1, made),) if devices > 1 else ()
    mine = across(op)
    ways: list[Way] = []
    for s in shape.body:
        target = {i for a in s.targets for i in index_set(shape, a)} & set(mine)
        source = {i for a in accesses(s.expr) for x in a.subs for i in index_set(shape, x)} & set(mine)
        if devices < 2 or not source - _owners(op, s.targets[0].name, mine):
            continue
        halvings = ceil(log2(devices))
        share = (devices - 1) / devices
        if set(s.over) & set(mine) and not (target & source):
            ways += [Way(2 * (devices - 1), 2 * share * taken), Way(halvings, halvings * taken)]
            ways += [Way(2 * halvings, 2 * share * taken)]
        elif set(s.over) & set(mine):
            ways += [Way(devices - 1, share * taken), Way(halvings, share * taken)]
        else:
            ways += [Way(devices - 1, share * made)]
            ways += [Way(halvings, share * made)] if made > taken else []
    return tuple(ways)


def _owners(op: t.OpDecl, name: str, mine: tuple[str, ...]) -> set[str]:
    """The dimension along which a result's devices lie."""
    return {i for p in (*op.params, *op.results) if p.name == name and (i := device_index(p)) in mine and i}


def cheapest(ways: tuple[Way, ...], latency_s: float, bytes_per_s: float) -> float:
    """Seconds of the best way; 0 where nothing is exchanged."""
    return min((w.seconds(latency_s, bytes_per_s) for w in ways), default=0.0)
