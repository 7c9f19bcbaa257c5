"""Which index of every node is split over one axis of devices: the exact minimum of time on and between devices.

A value lies in one layout when it is made and in one (maybe another) when it is used; each node may do
the same on every device or split one of its indices. All of it follows from `sharding.split`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Literal

import numpy as np

from dfcompiler.collectives import Exchange, across, bytes_of, chosen, exchange, exchange_seconds
from dfcompiler.elimination import Table, minimum
from dfcompiler.fabrics import Fabric
from dfcompiler.facts import facts
from dfcompiler.fission import pieces
from dfcompiler.graph import Graph, Node, Tensor, TensorType, device_index, regions
from dfcompiler.opshape import Operand, OpShape, bind
from dfcompiler.sharding import Split, choice, split, with_groups
from dfcompiler.text import tree as t


@dataclass(frozen=True)
class Lay:
    """How a tensor lies on one axis of devices: `whole` on each, `split` along `axis`, `partial` by `fn` (of rows
    that `rows` deals out, where there is one), or `rows`: right only in the rows that each device works on."""

    kind: str
    axis: int = -1
    fn: str = ""
    rows: str = ""


WHOLE = Lay("whole")


@dataclass(frozen=True)
class Rates:
    """What a device does in a second, to weigh work against exchanges."""

    macs: float
    memory: float  # bytes
    fabric: Fabric  # what lies between devices


@dataclass(frozen=True)
class Option:
    """One way to run a node: an index to split (None: the same on every device), and the layouts that it needs."""

    index: str | None
    needs: tuple[Lay, ...]
    gives: tuple[Lay, ...]
    seconds: float = 0.0
    groups: tuple[str, ...] = ()  # indices that are split too


@dataclass(frozen=True)
class Partition:
    """The choice: an option per node, the layouts in which each tensor is made and used, and the seconds in all."""

    options: Mapping[str, Option]
    made: Mapping[str, Lay]
    used: Mapping[str, Lay]
    seconds: float
    moves: Mapping[tuple[str, Lay, Lay], Exchange]  # how a tensor is brought from one layout to another


Allowed = Callable[[Node, str], bool]
Dealing = Literal["auto", "dispatch", "gather"]  # how rows come to the devices that hold what they pick


def partition(
    graph: Graph, ways: int, rates: Rates, allowed: Allowed, required: Allowed, dealing: Dealing = "auto"
) -> Partition | None:
    """The best way to split the graph over `ways` devices; None where there is none.

    `allowed` says which indices of a node may be split, `required` that an index must be where it can be. Rows that an
    index tensor deals out are exchanged alone where that takes less time than exchanging all, or as `dealing` says.
    """
    return _Search(graph, ways, rates, allowed, required, dealing).best()


class _Search:
    def __init__(
        self, graph: Graph, ways: int, rates: Rates, allowed: Allowed, required: Allowed, dealing: Dealing
    ) -> None:
        self.graph, self.ways, self.rates = graph, ways, rates
        self.allowed, self.required, self.dealing = allowed, required, dealing
        self.moves: dict[tuple[str, Lay, Lay], Exchange] = {}

    @cached_property
    def lookups(self) -> list[Tensor]:
        """Index tensors that the graph computes and that deal rows out where a node is split as it may be."""
        found: dict[str, None] = {}
        for node in self.graph.nodes.values():
            for answer in self.answers(node):
                dealt = zip(self.graph.shape(node).params, node.args, strict=True)
                found |= dict.fromkeys(a for p, a in dealt if p.name in answer.dispatch)
        return [x for x in map(self.graph.tensors.__getitem__, found) if x.kind == "value"]

    def answers(self, node: Node) -> Iterator[Split]:
        """What splitting each index of a node means that may be split."""
        shape, sizes, over = self.graph.shape(node), self.graph.sizes(node), dict(node.over)
        for index in dict.fromkeys(d.name for o in shape.operands for d in o.dims if isinstance(d, t.Ref)):
            if index in across(node.op) or sizes.get(index, 1) % self.ways or not self.allowed(node, index):
                continue
            answer = choice(shape, index)
            if isinstance(answer, Split) and (not answer.inside or (not across(node.op) and cuttable(shape, answer))):
                alike = {i for i, n in sizes.items() if n % self.ways == 0 and over.get(i) == over.get(index)}
                yield with_groups(shape, answer, alike)

    @cached_property
    def options(self) -> dict[str, tuple[Option, ...]]:
        return {n.name: tuple(self.options_of(n)) for n in self.graph.nodes.values()}

    def best(self) -> Partition | None:
        tensors = self.graph.tensors
        lays = {name: self.lays(name) for name in tensors}
        made = {name: self.made(name, lays[name]) for name in tensors}
        sizes = {f"node {n}": len(o) for n, o in self.options.items()}
        sizes |= {f"used {name}": len(x) for name, x in lays.items()}
        sizes |= {f"made {name}": len(x) for name, x in made.items()}
        tables = [*self.tables(lays, made)]
        seconds, chosen = minimum(sizes, tables)
        if not np.isfinite(seconds):
            return None
        return Partition(
            {n: o[chosen[f"node {n}"]] for n, o in self.options.items()},
            {name: x[chosen[f"made {name}"]] for name, x in made.items()},
            {name: x[chosen[f"used {name}"]] for name, x in lays.items()},
            seconds,
            self.moves,
        )

    # ---- layouts

    def lays(self, name: str) -> list[Lay]:
        """Layouts in which a tensor may be used."""
        kind = self.graph.type_of(name)
        found = [WHOLE, *(Lay("split", a) for a, n in enumerate(kind.shape) if n % self.ways == 0)]
        found += [Lay("rows", rows=i.name) for i in self.lookups if _leads(i.type, kind, int(i.type.distinct))]
        return found

    def made(self, name: str, lays: list[Lay]) -> list[Lay]:
        """Layouts in which it may be made."""
        gives = [
            o.gives[k]
            for n, options in self.options.items()
            for k, r in enumerate(self.graph.nodes[n].results)
            if r.name == name
            for o in options
        ]
        return list(dict.fromkeys(gives)) or [x for x in lays if x.kind != "rows"]

    # ---- costs

    def tables(self, lays: Mapping[str, list[Lay]], made: Mapping[str, list[Lay]]) -> Iterator[Table]:
        graph = self.graph
        times = self.times
        for n, options in self.options.items():
            node = graph.nodes[n]
            yield Table((f"node {n}",), np.array([o.seconds * times[n] for o in options]))
            shape = graph.shape(node)
            inout = {a for p, a in zip(shape.params, node.args, strict=True) if p.inout}
            for k, arg in enumerate(node.args):
                fixed = arg in inout or graph.tensors[arg].kind != "value"
                scope = (f"node {n}", f"made {arg}" if arg in inout else f"used {arg}")
                rows = made[arg] if arg in inout else lays[arg]
                share = times[n] / self.readers[arg] if all(o.needs[k].kind == "rows" for o in options) else times[n]
                costs = [[self.change(x, o.needs[k], arg, share, fixed) for x in rows] for o in options]
                yield Table(scope, np.array(costs))
            for k, r in enumerate(node.results):
                costs = [[0.0 if o.gives[k] == x else np.inf for x in made[r.name]] for o in options]
                yield Table((f"node {n}", f"made {r.name}"), np.array(costs))
        for name, x in graph.tensors.items():
            fixed = x.kind in ("weight", "state")
            costs = [[self.change(a, b, name, self.layers.get(name, 1), fixed) for b in lays[name]] for a in made[name]]
            yield Table((f"made {name}", f"used {name}"), np.array(costs))
            if name in graph.outputs:
                yield Table((f"used {name}",), np.array([np.inf if b.kind == "rows" else 0.0 for b in lays[name]]))
        for region in regions(graph.body):
            for c in region.carries:
                inner = made[c.inner.name]
                for other, times_ in ((c.init, 1), (c.yielded, region.count)):
                    costs = [[self.change(x, y, other, times_, False) for y in inner] for x in lays[other]]
                    yield Table((f"used {other}", f"made {c.inner.name}"), np.array(costs))
                same = [[0.0 if x == y else np.inf for y in made[c.result.name]] for x in inner]
                yield Table((f"made {c.inner.name}", f"made {c.result.name}"), np.array(same))

    @cached_property
    def times(self) -> Mapping[str, int]:
        return self.graph.repeats

    @cached_property
    def layers(self) -> Mapping[str, int]:
        """How often a tensor is made in one step."""
        return {r.name: self.times[n.name] for n in self.graph.nodes.values() for r in n.results} | {
            c.inner.name: region.count for region in regions(self.graph.body) for c in region.carries
        }

    @cached_property
    def readers(self) -> Mapping[str, int]:
        """How many nodes want a tensor in rows that are dealt out, however they run: it is brought there once."""
        found: dict[str, int] = {}
        for n, options in self.options.items():
            for k, arg in enumerate(self.graph.nodes[n].args):
                found[arg] = found.get(arg, 0) + all(o.needs[k].kind == "rows" for o in options)
        return found

    def change(self, a: Lay, b: Lay, name: str, times: float, fixed: bool) -> float:
        """Seconds to bring a tensor from one layout to another; infinite where it cannot be or must not be."""
        if a == b:
            return 0.0
        what, alone = changed(a, b), None if fixed else self.rows_alone(a, b)
        if fixed and what and what.fn is None and what.join is not None:
            return np.inf
        if self.dealing == "dispatch" and not fixed and (alone or "whole" in (a.kind, b.kind)) and (a.rows or b.rows):
            what = None
        kind = self.graph.type_of(name)
        found = [x for x in (what, alone) if x and not (x.cut is not None and kind.shape[x.cut] % self.ways)]
        seconds = [self.exchange_seconds(x, kind, a, b) for x in found]
        if not found:
            return np.inf
        best = int(np.argmin(seconds))
        self.moves[name, a, b] = found[best]
        return times * seconds[best]

    def rows_alone(self, a: Lay, b: Lay) -> Exchange | None:
        """The exchange of the rows that devices work on, to them or from them."""
        ids = self.graph.tensors.get(a.rows or b.rows)
        if ids is None or self.dealing == "gather" or not ids.type.distinct or (ids.type.within or 1) % self.ways:
            return None
        leads = len(ids.type.shape) - 1
        if a.kind == "split" and b.kind == "rows" and a.axis < leads:
            return Exchange(join=a.axis, leads=leads)
        if a.kind == "partial" and a.fn == "sum" and b.kind == "split" and b.axis < leads:
            return Exchange(fn="sum", cut=b.axis, leads=leads)
        return None

    def exchange_seconds(self, what: Exchange, kind: TensorType, a: Lay, b: Lay) -> float:
        if what == Exchange():
            return 0.0
        taken = kind.bytes / (self.ways if a.kind == "split" else 1)
        made = kind.bytes / (self.ways if what.cut is not None else 1)
        op = exchange(what)
        if what.leads:
            share = chosen(self.graph.type_of(a.rows or b.rows), self.ways)
            taken, made = (taken, made * share) if what.fn is None else (taken * share, made)
        shape = _ranked(op, len(kind.shape), what.leads)
        linked = exchange_seconds(op, shape, self.ways, taken, made, self.rates.fabric)
        return linked + (taken + made) / self.rates.memory

    # ---- options

    def options_of(self, node: Node) -> Iterator[Option]:
        shape, sizes = self.graph.shape(node), self.graph.sizes(node)
        whole = tuple(WHOLE for _ in node.args), tuple(WHOLE for _ in node.results)
        found = [self.split_option(node, shape, sizes, answer) for answer in self.answers(node)]
        forced = [o for o in found if o.index and self.required(node, o.index)]
        yield from forced or found
        if not forced:
            yield Option(None, *whole, work_seconds(self.graph, node, self.rates))
            yield from self.rows_options(node, shape)

    def split_option(self, node: Node, shape: OpShape, sizes: Mapping[str, int], answer: Split) -> Option:
        partial, over = dict(answer.partial), dict(node.over)
        led = {p.name for p in (*node.op.params, *node.op.results) if device_index(p) in over}  # by an axis of devices
        rows = next((node.args[k] for k, p in enumerate(shape.params) if p.name in answer.dispatch), "")
        needs = []
        for p, arg in zip(shape.params, node.args, strict=True):
            axis = answer.axis(p.name)
            if axis is not None:
                needs.append(Lay("split", axis - (p.name in led)))
            elif arg != rows and self.guarded(shape, p, rows, node):
                needs.append(Lay("rows", rows=rows))
            else:
                needs.append(WHOLE)
        gives = []
        for o in shape.results:
            axis = answer.axis(o.name)
            if axis is not None:
                gives.append(Lay("split", axis - (o.name in led)))
            else:
                gives.append(Lay("partial", fn=partial[o.name], rows=rows) if o.name in partial else WHOLE)
        seconds = work_seconds(self.graph, node, self.rates, self.ways, answer)
        for c in answer.inside:
            seconds += self.inside_seconds(shape, sizes, c.tensor, c.fn)
        return Option(answer.index, tuple(needs), tuple(gives), seconds, answer.groups)

    def guarded(self, shape: OpShape, operand: Operand, rows: str, node: Node) -> bool:
        """Whether an operand is read only in those of its rows that an index tensor of the graph deals out."""
        if not any(x.name == rows for x in self.lookups):
            return False
        ids = shape.params[node.args.index(rows)]
        dims = ids.dims[:-1] if ids.distinct else ids.dims
        return bool(dims) and operand.dims[: len(dims)] == dims

    def inside_seconds(self, shape: OpShape, sizes: Mapping[str, int], tensor: str, fn: str) -> float:
        """Combining a tensor inside the op, in four bytes per element."""
        write = next(a for s in shape.body for a in s.targets if a.name == tensor)
        elements = np.prod([sizes.get(x.name, 1) if isinstance(x, t.Ref) else 1 for x in write.subs], dtype=float)
        op, size = exchange(Exchange(fn=fn)), 4 * elements
        return exchange_seconds(op, _ranked(op, len(write.subs)), self.ways, size, size, self.rates.fabric)

    def rows_options(self, node: Node, shape: OpShape) -> Iterator[Option]:
        """The node on rows that an index tensor deals out: possible where rows do not meet."""
        if across(node.op):
            return
        for i in self.lookups:
            led = [_leads(i.type, self.graph.type_of(a)) for a in node.args]
            if i.name in node.args or not any(led) or not all(_leads(i.type, r.type) for r in node.results):
                continue
            indices = {
                o.dims[: len(i.type.shape)]
                for o, is_led in zip(
                    (*shape.params, *shape.results), (*led, *(True for _ in shape.results)), strict=True
                )
                if is_led
            }
            if len(indices) == 1 and all(isinstance(d, t.Ref) and _apart(shape, d.name) for d in next(iter(indices))):
                rows = Lay("rows", rows=i.name)
                needs = tuple(rows if x else WHOLE for x in led)
                yield Option(None, needs, (rows,) * len(node.results), work_seconds(self.graph, node, self.rates))


def work_seconds(graph: Graph, node: Node, rates: Rates, ways: int = 1, answer: Split | None = None) -> float:
    """Time of one device: its multiply-accumulates or the bytes that it touches, whichever takes longer. With an
    `answer` its index is split over `ways` devices more."""
    over, shape, sizes = dict(node.over), graph.shape(node), graph.sizes(node)
    if spread := over.keys() & set(across(node.op)):
        taken, made = (b / ways for b in bytes_of(graph, node))
        linked = exchange_seconds(node.op, shape, graph.ways(over[min(spread)]), taken, made, rates.fabric)
        return linked + (taken + made) / rates.memory
    f = facts(shape)
    own = {a.name: 1.0 for a in shape.attrs} | {i: float(n) for i, n in sizes.items()}
    if answer:
        own[answer.index] /= ways
    dealt = [graph.ways(axes) for i, axes in over.items() if _deals(shape, i)]
    share = 1 / prod((*dealt, ways if answer and answer.dispatch else 1))
    macs = sum(float(np.prod([own[i] for i in c.indices])) for c in f.work.contractions) * share
    types = {o.name: graph.type_of(a) for o, a in zip(shape.params, node.args, strict=True)}
    types |= {o.name: r.type for o, r in zip(shape.results, node.results, strict=True)}
    moved = 0.0
    for o in shape.operands:
        kind = types[o.name]
        axes = tuple(int(n // ways) if answer and answer.axis(o.name) == k else n for k, n in enumerate(kind.shape))
        if f.patterns[o.name]:
            moved += float(f.reach(o.name, own, sizes, axes)) * kind.bytes / max(1, kind.elements)
    return max(macs / rates.macs, moved / rates.memory)


def cuttable(shape: OpShape, answer: Split) -> bool:
    """Whether an op can be run in pieces, between which what is combined inside of it is."""
    cuts = tuple(sorted({c.before for c in answer.inside}))
    return pieces(shape, cuts) is not None


def _deals(shape: OpShape, index: str) -> bool:
    answer = choice(shape, index)
    return isinstance(answer, Split) and bool(answer.dispatch)


def changed(a: Lay, b: Lay) -> Exchange | None:
    """The exchange from one layout to another; an empty one where nothing has to happen, None where none is."""
    cut = b.axis if b.kind == "split" else None
    match a.kind, b.kind:
        case "partial", "rows" if a.rows == b.rows:
            return Exchange()
        case "partial", "whole" | "split":
            return Exchange(fn=a.fn, cut=cut)
        case "whole", "rows":
            return Exchange()
        case "whole", "split":
            return Exchange(cut=cut)
        case "split", "whole" | "split":
            return Exchange(join=a.axis, cut=cut)
        case _:
            return None


@lru_cache(maxsize=1024)
def _ranked(op: t.OpDecl, rank: int, leads: int = 0) -> OpShape:
    return bind(op, (rank + 1, leads + 1) if leads else (rank + 1,))


def _leads(ids: TensorType, kind: TensorType, but: int = 0) -> bool:
    """Whether a tensor has a row for every entry of an index tensor, or for all entries along its last `but` axes."""
    rows = ids.shape[: len(ids.shape) - but]
    return kind.shape[: len(rows)] == rows and len(kind.shape) >= len(rows)


def _apart(shape: OpShape, index: str) -> bool:
    """Whether values of the index never meet: everything that has it is sliced along it."""
    answer = split(shape, index)
    return isinstance(answer, Split) and not (answer.partial or answer.inside or answer.guards or answer.offset)
