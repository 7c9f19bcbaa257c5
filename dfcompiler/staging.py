"""Stages of devices: layers one after another on devices of their own, and what is handed from one to the next.

A cut between two items of a graph is a node for each value that is needed behind it, which hands it on. A cut between
two layers of a region is one of the region's `runs`: what has to pass there is carried, and handed on `between`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from dfcompiler.calls import Names
from dfcompiler.collectives import across, hands_on, send
from dfcompiler.graph import Carry, Graph, Item, Node, Region, Tensor
from dfcompiler.opshape import bind
from dfcompiler.text.tree import Ref


def stage_axis(graph: Graph) -> str | None:
    """The axis of the mesh along which values are handed on and nothing is split: its devices are stages, each of which
    runs the nodes between two that hand on."""
    passing = {a for n in graph.nodes.values() if hands_on(n) for _, axes in n.over for a in axes}
    split = {a for n in graph.nodes.values() if not hands_on(n) for _, axes in n.over for a in axes}
    return next(iter(passing - split), None)


# ---- a graph in stages -------------------------------------------------------------------------


@dataclass(frozen=True)
class Staged:
    """A node or region outside of regions, the stage on which it begins, how often each stage from there on runs it,
    and whether it hands values on to the next stage."""

    item: Node | Region
    stage: int
    runs: tuple[int, ...]
    sends: bool = False

    @property
    def on(self) -> dict[int, int]:
        """How often each stage runs it."""
        return dict(enumerate(self.runs, self.stage))


def staged(graph: Graph) -> Iterator[Staged]:
    """Nodes and regions of a graph in program order; all are on stage 0 where there are no stages."""
    axis, stage, sent = stage_axis(graph), 0, False
    for item in graph.body:
        match item:
            case Node():
                sends = axis is not None and hands_on(item)
                stage, sent = stage + (sent and not sends), sends
                yield Staged(item, stage, (1,), sends)
            case Region():
                runs = item.runs or (item.count,)
                yield Staged(item, stage + sent, runs)
                stage, sent = stage + sent + len(runs) - 1, False


# ---- cutting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Piece:
    """What no cut parts: a run of nodes outside of regions, or one layer of a region outside of others. `number` is
    that of its first item in the graph's body."""

    number: int
    items: tuple[Item, ...]
    inside: bool = False  # not the first layer of its region
    of: int = 1  # layers that the region has


def pieces(graph: Graph) -> list[Piece]:
    """All that stages may be made of, in order."""
    found: list[Piece] = []
    run: dict[int, Item] = {}
    for number, item in enumerate((*graph.body, Region(0, (), ()))):
        if isinstance(item, Node):
            run[number] = item
        elif isinstance(item, Region):
            found += [Piece(min(run), tuple(run.values()))] if run else []
            found += [Piece(number, (*item.body,), inside=i > 0, of=item.count) for i in range(item.count)]
            run = {}
    return found


class Passing:
    """Which values have to pass a cut."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.made: dict[str, int] = {}
        self.last: dict[str, int] = {}
        for number, item in enumerate(graph.body):
            self.last |= dict.fromkeys(reads(item), number)
            self.made |= dict.fromkeys(_made(item), number)

    def before(self, number: int) -> list[str]:
        """Values that are made before an item of the body, and needed in it or later."""
        return [x for x, i in self.made.items() if i < number <= self.last.get(x, -1)]

    def through(self, number: int) -> list[str]:
        """Values beside those that it carries that have to pass between the layers of a region."""
        region = self.graph.body[number]
        assert isinstance(region, Region)
        read = set(reads(replace(region, carries=())))
        return [x for x in self.before(number) if x in read or self.last[x] > number]

    def at(self, piece: Piece) -> float:
        """Bytes that have to pass where a stage begins with this piece."""
        names = self.before(piece.number)
        if piece.inside:
            region = self.graph.body[piece.number]
            assert isinstance(region, Region)
            names = [*self.through(piece.number), *(c.inner.name for c in region.carries)]
        return sum(self.graph.type_of(x).bytes for x in names)


def cut(graph: Graph, axis: str, starts: Sequence[int], layouts: Mapping[str, Sequence[tuple[str, ...]]]) -> Graph:
    """The graph in stages on one more axis of the mesh; `starts` are the numbers of the pieces with which all stages
    but the first begin, `layouts` those of the graph's tensors."""
    return _Cutting(graph, axis, starts, layouts).graph()


class _Cutting:
    def __init__(
        self, graph: Graph, axis: str, starts: Sequence[int], layouts: Mapping[str, Sequence[tuple[str, ...]]]
    ) -> None:
        self.source, self.axis, self.layouts = graph, axis, layouts
        self.passing, self.names = Passing(graph), Names(dict.fromkeys(graph.tensors, 0))
        self.now: dict[str, str] = {}  # what a value is called on the stage that is being written
        first = pieces(graph)
        self.heads = {first[s].number for s in starts if not first[s].inside}
        self.runs: dict[int, tuple[int, ...]] = {}
        for number in {first[s].number for s in starts if first[s].inside}:
            at = next(i for i, p in enumerate(first) if p.number == number)
            end = at + sum(p.number == number for p in first)
            ends = [at, *(s for s in starts if at < s < end), end]
            self.runs[number] = tuple(b - a for a, b in pairwise(ends))
        self.mesh = (*graph.mesh, (axis, len(starts) + 1))

    def graph(self) -> Graph:
        body: list[Item] = []
        for number, item in enumerate(self.source.body):
            if number in self.heads:
                body += self.handed_on(self.passing.before(number))
            body.append(self.in_runs(item, number) if number in self.runs else _renamed(item, self.now))
        return replace(self.source, body=tuple(body), mesh=self.mesh, offers=(), places=())

    def handed_on(self, names: Sequence[str]) -> Iterator[Node]:
        """What hands values on to the stage that is written next."""
        if names:
            node = self.send(names, [self.now.get(x, x) for x in names])
            self.now |= dict(zip(names, (r.name for r in node.results), strict=True))
            yield node

    def send(self, names: Sequence[str], sources: Sequence[str]) -> Node:
        """A node that hands values on, which `sources` are called now."""
        types = [self.source.type_of(x) for x in names]
        op, made = send(len(names)), [Tensor(self.names.fresh(x), k) for x, k in zip(sources, types, strict=True)]
        over: dict[str, tuple[str, ...]] = dict.fromkeys(across(op), (self.axis,))
        for o, x in zip(bind(op, tuple(1 + len(k.shape) for k in types)).params, names, strict=True):
            over |= {d.name: a for d, a in zip(o.dims[1:], self.layouts[x], strict=True) if a and isinstance(d, Ref)}
        return Node(op, tuple(sources), tuple(made), (), None, tuple(over.items()))

    def in_runs(self, item: Item, number: int) -> Region:
        assert isinstance(item, Region)
        through = self.passing.through(number)
        own = {x: Tensor(self.names.fresh(x), self.source.type_of(x)) for x in through}
        done = {x: Tensor(self.names.fresh(x), self.source.type_of(x)) for x in through}
        inner = {**self.now, **{x: y.name for x, y in own.items()}}
        carries = tuple(
            replace(c, init=self.now.get(c.init, c.init), yielded=inner.get(c.yielded, c.yielded)) for c in item.carries
        )
        carries += tuple(Carry(own[x], self.now.get(x, x), own[x].name, done[x]) for x in through)
        sources = [*(c.inner.name for c in item.carries), *through]
        between = (self.send(sources, [c.yielded for c in carries]),) if carries else ()
        self.now |= {x: y.name for x, y in done.items()}
        body = tuple(_renamed(i, inner) for i in item.body)
        return replace(item, carries=carries, body=body, runs=self.runs[number], between=between)


def reads(item: Item) -> Iterator[str]:
    """Names that an item reads, also those that it declares itself."""
    match item:
        case Node():
            yield from item.args
        case Region():
            for c in item.carries:
                yield from (c.init, c.yielded)
            for x in item.body:
                yield from reads(x)


def _made(item: Item) -> Iterator[str]:
    """Names that an item makes for those after it."""
    match item:
        case Node():
            yield from (r.name for r in item.results)
        case Region():
            yield from (c.result.name for c in item.carries)


def _renamed(item: Item, names: Mapping[str, str]) -> Item:
    """An item that reads values by other names."""
    match item:
        case Node():
            return replace(item, args=tuple(names.get(a, a) for a in item.args))
        case Region():
            carries = tuple(
                replace(c, init=names.get(c.init, c.init), yielded=names.get(c.yielded, c.yielded))
                for c in item.carries
            )
            return replace(item, carries=carries, body=tuple(_renamed(i, names) for i in item.body))
        case _:
            return item
