"""Writing a partition into a graph: one device's slices, and the exchanges between layouts as nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dfcompiler.calls import Names
from dfcompiler.collectives import Exchange, exchange
from dfcompiler.diagnostics import Loc
from dfcompiler.fission import SIZE, pieces, rescaling
from dfcompiler.fission import WHOLE as ALL
from dfcompiler.graph import AttrValue, Carry, Graph, Item, Node, Region, Tensor, TensorType, device_index
from dfcompiler.opshape import OpShape, bind
from dfcompiler.partition import WHOLE as SAME
from dfcompiler.partition import Lay, Option, Partition
from dfcompiler.scalars import attributes
from dfcompiler.sharding import Combine, Split, split
from dfcompiler.text import tree as t

Over = dict[str, tuple[str, ...]]
PART = "fp32"  # what parts of a reduction inside an op are kept in


def spread(
    graph: Graph, axis: str, ways: int, chosen: Partition, layouts: Mapping[str, Sequence[tuple[str, ...]]]
) -> Graph:
    """One device's program of `graph` with one more axis of the mesh; `layouts` are those of its tensors so far."""
    return _Spreading(graph, axis, ways, chosen, dict(layouts)).graph()


class _Spreading:
    def __init__(
        self, graph: Graph, axis: str, ways: int, chosen: Partition, layouts: dict[str, Sequence[tuple[str, ...]]]
    ) -> None:
        self.source, self.axis, self.ways, self.chosen = graph, axis, ways, chosen
        self.layouts = layouts
        self.names = Names(dict.fromkeys(graph.tensors, 0))
        self.now: dict[tuple[str, Lay], str] = {}  # the tensor of the new graph that has a tensor in a layout
        self.types: dict[str, TensorType] = {}
        self.items: list[Item] = []

    def graph(self) -> Graph:
        body = self.body(self.source.body)
        outputs = tuple(self.now[n, self.chosen.used[n]] for n in self.source.outputs)
        mesh = (*self.source.mesh, (self.axis, self.ways))
        return replace(self.source, body=body, outputs=outputs, mesh=mesh, offers=(), places=())

    def body(self, body: Sequence[Item]) -> tuple[Item, ...]:
        outer, self.items = self.items, []
        for item in body:
            match item:
                case Tensor():
                    lay = self.declared_lay(item.name)
                    self.items.append(self.tensor(item, lay))
                    self.use(item.name, lay)
                case Node():
                    self.node(item)
                case Region():
                    self.region(item)
        done, self.items = tuple(self.items), outer
        return done

    # ---- tensors

    def declared_lay(self, name: str) -> Lay:
        return self.chosen.made[name]

    def tensor(self, x: Tensor, lay: Lay, name: str | None = None) -> Tensor:
        """A tensor as one device holds it."""
        made = replace(x, name=name or x.name, type=self.own(x.type, lay))
        self.types[made.name] = made.type
        self.now[x.name, lay] = made.name
        return made

    def own(self, kind: TensorType, lay: Lay) -> TensorType:
        if lay.kind != "split":
            return kind
        shape = tuple(n // self.ways if a == lay.axis else n for a, n in enumerate(kind.shape))
        return replace(kind, shape=shape)

    def use(self, name: str, lay: Lay, loc: Loc | None = None) -> None:
        """Bring a tensor, just made, into the layout in which it is used."""
        self.brought(name, lay, self.chosen.used[name], loc)

    def brought(self, name: str, a: Lay, b: Lay, loc: Loc | None) -> str:
        """The name under which a tensor that lies as `a` lies as `b`."""
        if (name, b) not in self.now:
            what, source = self.chosen.moves[name, a, b], self.now[name, a]
            if what == Exchange():
                self.now[name, b] = source
            else:
                kind, rows = self.own(self.source.type_of(name), b), (a.rows or b.rows if what.leads else "")
                self.now[name, b] = self.exchange(what, source, kind, self.layouts[name], loc, rows)
        return self.now[name, b]

    def exchange(
        self,
        what: Exchange,
        source: str,
        kind: TensorType,
        layout: Sequence[tuple[str, ...]],
        loc: Loc | None,
        rows: str = "",
    ) -> str:
        """A node for an exchange of `source`, of all or of those `rows` that an index tensor deals out."""
        op, ids = exchange(what), [self.source.type_of(rows)] if rows else []
        shape = bind(op, (len(kind.shape) + 1, *(len(i.shape) for i in ids)))
        over: Over = {"p": (self.axis,), "q": (self.axis,)}
        x, (y,) = shape.params[0], shape.results
        for o, own_axis in ((x, what.join), (y, what.cut)):
            for k, d in enumerate(o.dims[1:]):
                axes = (*layout[k], *((self.axis,) if k == own_axis else ()))
                if isinstance(d, t.Ref) and axes:
                    over[d.name] = axes
        if device_index(op.results[0]) == "p":
            del over["q"]
        made = Tensor(self.names.fresh(source), kind, "value", loc)
        self.types[made.name] = kind
        args = (source, *([self.now[rows, SAME]] if rows else []))
        attrs = tuple((a.name, i.within or 0) for a, i in zip(shape.attrs, ids, strict=True))  # places in all
        self.items.append(Node(op, args, (made,), attrs, loc, tuple(over.items())))
        return made.name

    # ---- nodes

    def node(self, node: Node) -> None:
        option = self.chosen.options[node.name]
        args = tuple(
            self.brought(a, self.lay_for(node, k, option), need, node.loc)
            for k, (a, need) in enumerate(zip(node.args, option.needs, strict=True))
        )
        results = tuple(self.tensor(r, lay) for r, lay in zip(node.results, option.gives, strict=True))
        over = dict(node.over)
        for i in (option.index, *option.groups) if option.index else ():
            over[i] = (*over.get(i, ()), self.axis)
        made = replace(node, args=args, results=results, over=tuple(over.items()))
        answer = split(self.source.shape(node), option.index) if option.index else None
        if isinstance(answer, Split) and answer.inside:
            self.items += self.apart(made, self.source.shape(node), answer)
        else:
            self.items.append(made)
        for r, lay in zip(node.results, option.gives, strict=True):
            self.use(r.name, lay, node.loc)

    def lay_for(self, node: Node, k: int, option: Option) -> Lay:
        """The layout that an operand is taken from: as it was made where it is updated in place."""
        arg = node.args[k]
        inout = self.source.shape(node).params[k].inout
        return option.needs[k] if inout else self.chosen.used[arg]

    # ---- reductions inside an op

    def apart(self, node: Node, shape: OpShape, answer: Split) -> list[Item]:
        """The node in pieces, with what has to be combined between them."""
        outer, self.items = self.items, []
        given = dict(zip((p.name for p in shape.params), node.args, strict=True))
        cut = 1 + max(k for k, s in enumerate(shape.body) if answer.index in s.over)
        inner = tuple(c for c in answer.inside if c.before < cut)
        parts = tuple(c for c in answer.inside if c.before >= cut)
        scale = rescaling(shape, tuple(c.tensor for c in inner), tuple(c.tensor for c in parts)) if inner else None
        if answer.rescaled and scale and (two := pieces(shape, (cut,), tuple(c.tensor for c in inner))):
            first, last = two
            self.piece(first, node, shape, given, answer)
            for c in inner:
                given[ALL + c.tensor] = self.combined(c, given[c.tensor], node, shape)
            self.piece(scale, node, shape, given, answer)
            given |= {c.tensor: given[ALL + c.tensor] for c in inner}
            for c in parts:
                given[c.tensor] = self.combined(c, given[ALL + c.tensor], node, shape)
            self.piece(last, node, shape, given, answer)
        else:
            cuts = tuple(sorted({c.before for c in answer.inside}))
            for number, piece in enumerate(pieces(shape, cuts) or ()):
                for c in (c for c in answer.inside if number and c.before == cuts[number - 1]):
                    given[c.tensor] = self.combined(c, given[c.tensor], node, shape)
                self.piece(piece, node, shape, given, answer)
        done, self.items = self.items, outer
        return done

    def combined(self, c: Combine, source: str, node: Node, shape: OpShape) -> str:
        dims = next(a for s in shape.body for a in s.targets if a.name == c.tensor).subs
        over = dict(node.over)
        axes = (over.get(d.name, ()) if isinstance(d, t.Ref) else () for d in dims)
        layout = [tuple(a for a in x if a != self.axis) for x in axes]
        return self.exchange(Exchange(fn=c.fn), source, self.types[source], layout, node.loc)

    def piece(self, op: t.OpDecl, node: Node, shape: OpShape, given: dict[str, str], answer: Split) -> None:
        sizes = self.source.sizes(self.source.nodes[node.name])
        finals = dict(zip((o.name for o in shape.results), node.results, strict=True))
        results = []
        for r in op.results:
            axes = tuple(
                sizes[d.name] // (self.ways if d.name == answer.index else 1)
                for d in r.type.dims
                if isinstance(d, t.Ref)
            )
            made = finals.get(r.name) or Tensor(
                self.names.fresh(f"{node.name}_{r.name}"), TensorType(PART, axes), "value", node.loc
            )
            results.append(made)
            self.types[made.name] = made.type
            given[r.name] = made.name
        named = {d.name for p in (*op.params, *op.results) for d in p.type.dims if isinstance(d, t.Ref)}
        attrs = self.attributes(op, node, shape)
        self.items.append(
            Node(
                op,
                tuple(given[p.name] for p in op.params),
                tuple(results),
                attrs,
                node.loc,
                tuple((i, a) for i, a in node.over if i in named),
            )
        )

    def attributes(self, op: t.OpDecl, node: Node, shape: OpShape) -> tuple[tuple[str, AttrValue], ...]:
        """What a piece must be told: what the node was told, and defaults that follow from the whole op only."""
        known = {s.name: s for s in op.body if isinstance(s, t.Attr)}
        attrs = {n: v for n, v in node.attrs if n in known}
        missing = [n for n, a in known.items() if n not in attrs and a.default is None]
        if missing:
            sizes = {
                i: n * self.source.ways([a for a in dict(node.over).get(i, ()) if a != self.axis])
                for i, n in self.source.sizes(self.source.nodes[node.name]).items()
            }
            values = attributes(shape, sizes, dict(node.attrs))
            told = {SIZE + i: size for i, size in sizes.items()}
            attrs |= {
                n: told[n] if n in told else float(values[n].flat[0]) for n in missing
            }  # a default is the same for every entry
        return tuple(attrs.items())

    # ---- regions

    def region(self, region: Region) -> None:
        heads = []
        for c in region.carries:
            lay = self.declared_lay(c.inner.name)
            init = self.brought(c.init, self.chosen.used[c.init], lay, region.loc)
            heads.append((c, lay, init, self.tensor(c.inner, lay)))
        outer, self.items = self.items, []
        for c, lay, _, _ in heads:
            self.use(c.inner.name, lay, region.loc)
        entering = self.items
        self.items = outer
        body = (*entering, *self.body(region.body))
        outer, self.items = self.items, []
        yielded = [self.brought(c.yielded, self.chosen.used[c.yielded], lay, region.loc) for c, lay, _, _ in heads]
        body, self.items = (*body, *self.items), outer
        carries = tuple(
            Carry(inner, init, last, self.tensor(c.result, lay))
            for (c, lay, init, inner), last in zip(heads, yielded, strict=True)
        )
        self.items.append(Region(region.count, carries, body, region.loc))
        for c, lay, _, _ in heads:
            self.use(c.result.name, lay, region.loc)
