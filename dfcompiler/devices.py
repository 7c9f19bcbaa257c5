"""A graph on simulated devices: every tensor has a value per device, exchanges run over groups of them.

Inputs and results are those of the whole: slices are dealt out at the start and put together at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import accumulate, product
from typing import TypeAlias

import numpy as np

from dfcompiler.collectives import across, exchanged
from dfcompiler.diagnostics import Diag, first_span
from dfcompiler.execution import Walk, given_value, random_inputs
from dfcompiler.graph import Graph, Item, Node, Region, Tensor, device_index, regions
from dfcompiler.opshape import OpShape, extents
from dfcompiler.scalars import Floats
from dfcompiler.semantics import Arrays, run_op
from dfcompiler.sharding import Split, split
from dfcompiler.slices import Slice, own_attributes, sliced
from dfcompiler.staging import reads, stage_axis, staged
from dfcompiler.text import tree as t

Layout: TypeAlias = tuple[tuple[str, ...], ...]  # axes of the mesh along each axis of a tensor, major first
Values: TypeAlias = list[Floats | None]  # of every device that has one
Place: TypeAlias = Mapping[str, int]  # a device: its coordinate along each axis of the mesh


def places(graph: Graph) -> list[Place]:
    """Every device of a graph's mesh; one where it has none."""
    names = [name for name, _ in graph.mesh]
    return [dict(zip(names, at, strict=True)) for at in product(*(range(n) for _, n in graph.mesh))]


def rank(graph: Graph, place: Place, axes: Sequence[str]) -> int:
    """Which of the devices along these axes a device is, the first axis counting most."""
    found = 0
    for a in axes:
        found = found * dict(graph.mesh)[a] + place[a]
    return found


def own_slices(graph: Graph, node: Node, local: Mapping[str, int], place: Place) -> dict[str, Slice]:
    """The slices of a node's indices that a device has, where `local` are the extents of one device."""
    return {
        i: Slice(rank(graph, place, axes) * local[i], local[i], graph.ways(axes) * local[i]) for i, axes in node.over
    }


def busiest(graph: Graph) -> Place:
    """The device that is priced for all: that with the largest entries of attributes, such as the most cached tokens,
    and of these the last one, which has the last of the new tokens."""

    def load(place: Place) -> int:
        total = 0
        for node in graph.nodes.values():
            if node.over and any(isinstance(v, tuple) for _, v in node.attrs):
                slices = own_slices(graph, node, graph.sizes(node), place)
                own = own_attributes(graph.shape(node), slices, dict(node.attrs))
                total += sum(sum(v) for v in own.values() if isinstance(v, tuple))
        return total

    return max(places(graph), key=lambda p: (load(p), *p.values()))


def own_op(graph: Graph, node: Node, guards: bool = True) -> tuple[OpShape, dict[str, object]]:
    """A node's op and attributes as the busiest device runs it. Without `guards` all rows are in it, also where
    look-ups decide which of them are the device's."""
    shape, attrs = graph.shape(node), dict[str, object](node.attrs)
    if not node.over or exchanged(node):
        return shape, attrs
    found = {i: split(shape, i) for i, _ in node.over}
    slices = {
        i: s
        for i, s in own_slices(graph, node, graph.sizes(node), busiest(graph)).items()
        if guards or not (isinstance(answer := found[i], Split) and answer.guards)
    }
    return sliced(shape, slices), own_attributes(shape, slices, attrs)


def dealers(graph: Graph, node: Node) -> Iterator[str]:
    """Operands whose values say which rows of a node are the device's."""
    if node.over and not exchanged(node):
        shape = graph.shape(node)
        for answer in (split(shape, i) for i, _ in node.over):
            if isinstance(answer, Split):
                yield from (a for p, a in zip(shape.params, node.args, strict=True) if p.name in answer.dispatch)


def layouts(graph: Graph) -> dict[str, Layout]:
    """How every tensor lies on the mesh: as its producer leaves it, or as those that use it want it.

    Raises Diag `bad-layout` where a value is used in another layout than it has.
    """
    found: dict[str, Layout] = {}
    if not graph.mesh:
        return {name: ((),) * len(x.type.shape) for name, x in graph.tensors.items()}
    for node in graph.nodes.values():
        shape, over = graph.shape(node), dict(node.over)
        for r, o, p in zip(node.results, shape.results, node.op.results, strict=True):
            found[r.name] = _layout(o.dims[1:] if device_index(p) in over else o.dims, over)
    for node in graph.nodes.values():
        shape, over = graph.shape(node), dict(node.over)
        for arg, o, p in zip(node.args, shape.params, node.op.params, strict=True):
            wants = _layout(o.dims[1:] if device_index(p) in over else o.dims, over)
            if found.setdefault(arg, wants) != wants:
                message = f"`{arg}` lies as {_shown(found[arg])}, `{node.name}` wants {_shown(wants)}"
                raise Diag("bad-layout", message, first_span(node.loc))
    for region in reversed(list(regions(graph.body))):
        for c in region.carries:
            known = [found[n] for n in (c.inner.name, c.init, c.yielded, c.result.name) if n in found]
            if any(x != known[0] for x in known):
                raise Diag("bad-layout", f"`{c.inner.name}` changes its layout from layer to layer")
            for name in (c.inner.name, c.init, c.yielded, c.result.name):
                found |= {name: known[0]} if known else {}
    return {name: found.get(name, ((),) * len(x.type.shape)) for name, x in graph.tensors.items()}


def _layout(dims: Sequence[t.Expr], over: Mapping[str, tuple[str, ...]]) -> Layout:
    return tuple(over.get(d.name, ()) if isinstance(d, t.Ref) else () for d in dims)


def _shown(layout: Layout) -> str:
    return "[" + ", ".join(" ".join(axes) or "-" for axes in layout) + "]"


def whole_shape(graph: Graph, tensor: Tensor, layout: Layout) -> tuple[int, ...]:
    """The shape of a tensor over all devices."""
    return tuple(n * graph.ways(axes) for n, axes in zip(tensor.type.shape, layout, strict=True))


def run_devices(graph: Graph, inputs: Arrays) -> dict[str, Floats]:
    """Outputs of a graph and its states afterwards, whole, as `run_graph` gives them; `inputs` are whole too.

    Raises Diag `bad-operand` for a missing or misshapen value, `bad-layout`, `bad-split`.
    """
    run = _Devices(graph, inputs)
    run.body(graph.body, 0, 1, inside=False)
    outputs = {name: run.gather(run.values[name], run.layouts[name]) for name in graph.outputs}
    return outputs | {name: run.state(name) for name in run.states}


def trace_device(graph: Graph, seed: int = 0) -> dict[str, Floats]:
    """The value that every tensor has on the busiest device, for random inputs; of those in a region, the value in its
    last layer."""
    lay = layouts(graph)

    def whole(item: Item) -> Item:
        match item:
            case Tensor():
                return replace(item, type=replace(item.type, shape=whole_shape(graph, item, lay[item.name])))
            case Region():
                return replace(item, body=tuple(map(whole, item.body)))
            case _:
                return item

    run = _Devices(graph, random_inputs(replace(graph, body=tuple(map(whole, graph.body))), seed))
    run.body(graph.body, 0, 1, inside=False)
    busy = {a: v for a, v in busiest(graph).items() if a != run.axis}
    peers = [d for d, place in enumerate(run.places) if busy.items() <= place.items()]  # itself on every stage
    return {name: next(v for d in peers if (v := values[d]) is not None) for name, values in run.values.items()}


class _Devices(Walk):
    """A run. A device has a value for every tensor of its stage, and None for those of others."""

    def __init__(self, graph: Graph, inputs: Arrays) -> None:
        self.graph, self.inputs = graph, inputs
        self.places, self.layouts = places(graph), layouts(graph)
        self.values: dict[str, Values] = {}
        self.states: dict[str, dict[int | None, Values]] = {}  # by layer
        self.homes: dict[str, tuple[str, int | None]] = {}
        self.axis, self.stage = stage_axis(graph), 0
        self.begins = {id(x.item): x.stage for x in staged(graph)}
        self.users: dict[str, set[int]] = {}  # stages on which a tensor that is declared outside of layers is read
        for x in staged(graph):
            for name in reads(x.item):
                self.users.setdefault(name, set()).update(x.on)

    def on(self, stage: int) -> list[int]:
        """The devices of a stage; all where there are none."""
        return [d for d, place in enumerate(self.places) if self.axis is None or place[self.axis] == stage]

    # ---- whole values and slices

    def deal(self, value: Floats, layout: Layout, devices: Sequence[int]) -> Values:
        """A device's slice, for each of these."""
        return [
            np.array(value[self.window(value.shape, layout, p)]) if d in devices else None
            for d, p in enumerate(self.places)
        ]

    def gather(self, values: Values, layout: Layout) -> Floats:
        """The whole; raises Diag `bad-layout` where devices that should hold the same do not."""
        kept = [(v, place) for v, place in zip(values, self.places, strict=True) if v is not None]
        shape = tuple(n * self.graph.ways(axes) for n, axes in zip(kept[0][0].shape, layout, strict=True))
        whole = np.full(shape, np.nan)
        for value, place in kept:
            window = self.window(shape, layout, place)
            held = whole[window]
            if not np.all(np.isnan(held)) and not np.allclose(held, value, rtol=1e-9, atol=1e-12, equal_nan=True):
                raise Diag("bad-layout", "devices that should hold the same hold different values")
            whole[window] = value
        return whole

    def state(self, name: str) -> Floats:
        """A state afterwards, of all layers where it has one in each."""
        found = {layer: self.gather(values, self.layouts[name]) for layer, values in self.states[name].items()}
        return found[None] if None in found else np.stack([found[k] for k in sorted(k for k in found if k is not None)])

    def window(self, shape: Sequence[int], layout: Layout, place: Place) -> tuple[slice, ...]:
        cuts = []
        for n, axes in zip(shape, layout, strict=True):
            size = n // self.graph.ways(axes)
            start = rank(self.graph, place, axes) * size
            cuts.append(slice(start, start + size))
        return tuple(cuts)

    # ---- running

    def declared(self, tensor: Tensor, layer: int, layers: int, inside: bool) -> None:
        layout = self.layouts[tensor.name]
        shape = whole_shape(self.graph, tensor, layout)
        value = given_value(self.inputs, tensor.name, (layers, *shape) if inside else shape)
        stages = {self.stage} if inside else self.users.get(tensor.name, {0})
        devices = [d for s in stages for d in self.on(s)]
        dealt = self.values[tensor.name] = self.deal(value[layer] if inside else value, layout, devices)
        if tensor.kind == "state":
            at = layer if inside else None
            self.states.setdefault(tensor.name, {})[at] = list(dealt)
            self.homes[tensor.name] = tensor.name, at

    def node(self, node: Node) -> None:
        self.stage = self.begins.get(id(node), self.stage)
        run = self.exchanged if exchanged(node) else self.computed
        shape = self.graph.shape(node)
        found = run(node, shape)
        self.values |= {
            r.name: [f.get(o.name) for f in found] for o, r in zip(shape.results, node.results, strict=True)
        }
        for p, arg in zip(shape.params, node.args, strict=True):
            if p.inout and arg in self.homes:
                state, layer = self.homes[arg]
                for d in self.on(self.stage):
                    self.states[state][layer][d] = found[d][p.name]
                written = {a.name for s in shape.body for a in s.targets}
                same = [r.name for o, r in zip(shape.results, node.results, strict=True) if o.name not in written]
                self.homes |= dict.fromkeys(same, (state, layer))

    def value(self, name: str, device: int, node: Node) -> Floats:
        """What a device has of a tensor that a node reads."""
        found = self.values[name][device]
        if found is None:
            message = f"`{node.name}` runs on stage {self.stage}, where `{name}` is not"
            raise Diag("bad-layout", message, first_span(node.loc))
        return found

    def computed(self, node: Node, shape: OpShape) -> list[dict[str, Floats]]:
        """An op on every device's own slices."""
        found: list[dict[str, Floats]] = [{} for _ in self.places]
        for d in self.on(self.stage):
            place = self.places[d]
            own = {p.name: self.value(a, d, node) for p, a in zip(shape.params, node.args, strict=True)}
            slices = own_slices(self.graph, node, self.graph.sizes(node), place)
            attrs = own_attributes(shape, slices, dict(node.attrs))
            mine = sliced(shape, slices)
            sizes = extents(mine, [v.shape for v in own.values()], attrs)
            found[d] = run_op(mine, sizes, attrs, own)
        return found

    def held(self, name: str, device: int, node: Node, here: Sequence[int]) -> Floats:
        """What a device has of a tensor; nothing that is a number where it is on another stage."""
        return (
            self.value(name, device, node) if device in here else np.full_like(self.value(name, here[0], node), np.nan)
        )

    def exchanged(self, node: Node, shape: OpShape) -> list[dict[str, Floats]]:
        """An op over groups of devices: each group runs it once, on all of its slices. What is handed on is on the next
        stage then, and made from what this one has."""
        spread = set(across(node.op))
        axes = next(axes for i, axes in node.over if i in spread)
        handed = self.axis in axes
        here, there = self.on(self.stage), self.on(self.stage + handed)
        groups: dict[tuple[int, ...], list[int]] = {}
        for d in range(len(self.places)) if handed else here:
            place = self.places[d]
            groups.setdefault(tuple(v for a, v in place.items() if a not in axes), []).append(d)
        found: list[dict[str, Floats]] = [{} for _ in self.places]
        for members in groups.values():
            members.sort(key=lambda d: rank(self.graph, self.places[d], axes))
            operands = {
                p.name: np.stack([self.held(a, d, node, here) for d in members])
                if device_index(declared) in spread
                else self.value(a, members[0], node)
                for p, declared, a in zip(shape.params, node.op.params, node.args, strict=True)
            }
            sizes = extents(shape, [v.shape for v in operands.values()], dict(node.attrs))
            made = run_op(shape, sizes, dict(node.attrs), operands)
            for o, declared in zip(shape.results, node.op.results, strict=True):
                for r, d in ((r, d) for r, d in enumerate(members) if d in there):
                    found[d][o.name] = made[o.name][r] if device_index(declared) in spread else made[o.name]
        return found

    def region(self, region: Region, layer: int, layers: int) -> None:
        self.stage = self.begins.get(id(region), self.stage)
        held = [self.values[c.init] for c in region.carries]
        ends = set(accumulate(region.runs[:-1]))
        for i in range(region.count):
            self.values |= {c.inner.name: v for c, v in zip(region.carries, held, strict=True)}
            self.body(region.body, layer * region.count + i, layers * region.count)
            held = [self.values[c.yielded] for c in region.carries]
            if i + 1 in ends:
                self.body(region.between, layer, layers)
                held = [self.values[r.name] for n in region.between for r in n.results]
                self.stage += 1
        self.values |= {c.result.name: v for c, v in zip(region.carries, held, strict=True)}
