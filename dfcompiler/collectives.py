"""Exchanges between devices, written as ops: index notation over a dimension `@p` of devices.

`exchange` writes the op that turns one layout of a tensor into another; `traffic` reads from any op's
text how many bytes a device takes in, and in how many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dfcompiler.diagnostics import Source
from dfcompiler.fabrics import Fabric, exchange_time
from dfcompiler.graph import Graph, Node, TensorType, device_index
from dfcompiler.opshape import OpShape, accesses, walk
from dfcompiler.routing import reach
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items
from dfcompiler.work import index_set


@dataclass(frozen=True)
class Exchange:
    """What happens to a tensor: parts combined by `fn`, slices put together along axis `join`, or a slice kept
    along axis `cut`. With `leads`, an index tensor of so many axes and one more says which rows are exchanged: those
    that pick a place that the device which takes or gives them has."""

    fn: str | None = None
    join: int | None = None
    cut: int | None = None
    leads: int = 0

    @property
    def name(self) -> str:
        """A name for people; nothing depends on it."""
        if self.leads:
            parts = ("combine" if self.fn else "dispatch", "rows", str(self.leads))
            return "_".join([*parts, *_number(self.cut if self.fn else self.join)])
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
    if what.leads:
        return _by_rows(what)
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


def _by_rows(what: Exchange) -> t.OpDecl:
    """Rows to the devices that have places which they pick, 0 for those without; or the sum of what these devices made
    of them, back to where rows are at home. Device q has the q-th |l| places."""
    axis = what.join if what.fn is None else what.cut
    rows = [f"i{k}" for k in range(what.leads)]
    mine = ["n" if k == axis else i for k, i in enumerate(rows)]  # where rows are at home
    asked = [f"i{axis} % |n|" if k == axis else i for k, i in enumerate(rows)]
    told = ["q * |n| + n" if k == axis else i for k, i in enumerate(rows)]
    if what.fn is None:
        x, y, takes = mine, rows, "q"
        let = f"y[q, {', '.join(rows)}, *r] = x[i{axis} // |n|, {', '.join(asked)}, *r] * h[q, {', '.join(rows)}]"
    else:
        x, y, takes = rows, mine, "p"
        let = f"y[q, {', '.join(mine)}, *r] = {what.fn}(p) x[p, {', '.join(told)}, *r] * h[p, {', '.join(told)}]"
    home = "" if what.fn is None else f"  dim n = |i{axis}| // |p|\n"
    return _read(f"""op {what.name}(x: [@p, {", ".join(x)}, *r], id: int [{", ".join(rows)}, j] in e distinct j)
    -> (y: [@q, {", ".join(y)}, *r]) {{
  attr places
  dim e = places
  dim q = |p|
  dim l = |e| // |p|
{home}  h[{takes}, {", ".join(rows)}] = max(j) equal(id[{", ".join(rows)}, j] // |l|, {takes})
  {let}
}}""")


@lru_cache(maxsize=64)
def send(values: int) -> t.OpDecl:
    """The op by which every device hands so many values of any rank on to the next one, in one message."""
    tags = [str(i) for i in range(values)] if values > 1 else [""]
    given, made = (", ".join(f"{x}{i}: [@{d}, *n{i}]" for i in tags) for x, d in (("x", "p"), ("y", "q")))
    lets = "\n".join(f"  y{i}[q, *n{i}] = x{i}[(q + |p| - 1) % |p|, *n{i}]" for i in tags)
    name = f"send_{values}" if values > 1 else "send"
    return _read(f"op {name}({given}) -> ({made}) {{\n  dim q = |p|\n{lets}\n}}")


def _read(text: str) -> t.OpDecl:
    (op,) = parse_items(Source("exchange", text))
    assert isinstance(op, t.OpDecl)
    return op


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


def hands_on(node: Node) -> bool:
    """Whether a node brings values from one device to another: what device it is follows from who gets it."""
    return exchanged(node) and shifts(node.op)


@lru_cache(maxsize=1024)
def shifts(op: t.OpDecl) -> bool:
    """Whether all that an op reads of other devices is at a device that is computed, not one of each."""
    mine = {t.Ref(i) for i in across(op)}
    led = {p.name for p in op.params if device_index(p) is not None}
    read = [a.subs[0] for s in op.body if isinstance(s, t.Let) for a in accesses(s.expr) if a.name in led]
    named = ({x for x in walk(sub) if isinstance(x, t.Ref)} for sub in read)
    return bool(read) and not mine & set(read) and all(names <= mine for names in named)


def demands_of(graph: Graph, node: Node) -> tuple[tuple[Demand, ...], int]:
    """What the exchange that a node is asks for, and among how many devices: those that its dimension of devices is
    spread over."""
    axes = next(axes for i, axes in node.over if i in across(node.op))
    devices = graph.ways(axes)
    return demands(node.op, graph.shape(node), devices, *bytes_of(graph, node)), devices


def bytes_of(graph: Graph, node: Node) -> tuple[float, float]:
    """Bytes of a device's operands and of its results. Where index tensors say which rows are exchanged, of a tensor
    with all rows those count that are expected; the index tensors themselves are not exchanged."""
    dealt = rows_of(node)
    if dealt is None:
        return sum(graph.type_of(a).bytes for a in node.args), sum(r.type.bytes for r in node.results)
    rows, ids = dealt
    ways = graph.ways(next(axes for i, axes in node.over if i in across(node.op)))
    share = chosen(graph.type_of(ids), ways)
    found = []
    for p, kind in ((node.op.params[0], graph.type_of(node.args[0])), (node.op.results[0], node.results[0].type)):
        found.append(kind.bytes * (share if p.type.dims[1 : 1 + len(rows)] == rows else 1.0))
    return found[0], found[1]


def rows_of(node: Node) -> tuple[tuple[t.Dim, ...], str] | None:
    """The dimensions of the rows that an exchange deals out by an index tensor, and that tensor; None for others."""
    if not exchanged(node):
        return None
    for p, arg in zip(node.op.params, node.args, strict=True):
        if p.type.within is not None and device_index(p) is None:
            return p.type.dims[:-1], arg
    return None


def chosen(ids: TensorType, devices: int) -> float:
    """The share of rows that is expected to have a pick on a device, of so many that have equally many places each: on
    the one that has most."""
    assert ids.within is not None
    return reach(ids.within, ids.shape[-1], devices, ids.skew)


def demands(op: t.OpDecl, shape: OpShape, devices: int, taken: float, made: float) -> tuple[Demand, ...]:
    """What an op asks for between `devices` devices, each with `taken` bytes before and `made` bytes after.

    A reduction where all get the same is an all-reduce, one where each gets a slice a reduce-scatter. Without a
    reduction slices that become wholes are gathered, and others change places. An op whose devices only read what they
    have asks for nothing. Where each gets what one other has it is a message, and where index tensors say which rows go
    where, all change places.
    """
    if devices > 1 and shifts(op):
        return (Demand("send", made),)
    if devices > 1 and any(p.type.within is not None for p in op.params):
        return (Demand("all_to_all", max(taken, made)),)
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


def exchange_seconds(op: t.OpDecl, shape: OpShape, devices: int, taken: float, made: float, fabric: Fabric) -> float:
    """Seconds of what an op asks for, one after the other."""
    found = demands(op, shape, devices, taken, made)
    return sum(exchange_time(d.pattern, devices, d.bytes, fabric)[0] for d in found)
