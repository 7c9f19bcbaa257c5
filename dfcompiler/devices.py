"""A graph on simulated devices: every tensor has a value per device, exchanges run over groups of them.

Inputs and results are those of the whole: slices are dealt out at the start and put together at the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TypeAlias

import numpy as np

from dfcompiler.collectives import across, exchanged
from dfcompiler.diagnostics import Diag, first_span
from dfcompiler.execution import random_inputs
from dfcompiler.graph import Graph, Item, Node, Region, Tensor, device_index, regions
from dfcompiler.opshape import OpShape, extents
from dfcompiler.scalars import Floats
from dfcompiler.semantics import Arrays, run_op
from dfcompiler.sharding import Split, split
from dfcompiler.slices import Slice, own_attributes, sliced
from dfcompiler.text import tree as t

Layout: TypeAlias = tuple[tuple[str, ...], ...]  # axes of the mesh along each axis of a tensor, major first
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
    states = {
        name: run.gather(v, ((),) * (v[0].ndim - len(run.layouts[name])) + run.layouts[name])
        for name, v in run.states.items()
    }
    return outputs | states


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
    place = run.places.index(busiest(graph))
    return {name: values[place] for name, values in run.values.items()}


class _Devices:
    def __init__(self, graph: Graph, inputs: Arrays) -> None:
        self.graph, self.inputs = graph, inputs
        self.places, self.layouts = places(graph), layouts(graph)
        self.values: dict[str, list[Floats]] = {}
        self.states: dict[str, list[Floats]] = {}
        self.homes: dict[str, tuple[str, int | None]] = {}

    # ---- whole values and slices

    def deal(self, value: Floats, layout: Layout) -> list[Floats]:
        """A device's slice, for every device."""
        return [np.array(value[self.window(value.shape, layout, p)]) for p in self.places]

    def gather(self, values: Sequence[Floats], layout: Layout) -> Floats:
        """The whole; raises Diag `bad-layout` where devices that should hold the same do not."""
        shape = tuple(n * self.graph.ways(axes) for n, axes in zip(values[0].shape, layout, strict=True))
        whole = np.full(shape, np.nan)
        for place, value in zip(self.places, values, strict=True):
            window = self.window(shape, layout, place)
            held = whole[window]
            if not np.all(np.isnan(held)) and not np.allclose(held, value, rtol=1e-9, atol=1e-12, equal_nan=True):
                raise Diag("bad-layout", "devices that should hold the same hold different values")
            whole[window] = value
        return whole

    def window(self, shape: Sequence[int], layout: Layout, place: Place) -> tuple[slice, ...]:
        cuts = []
        for n, axes in zip(shape, layout, strict=True):
            size = n // self.graph.ways(axes)
            start = rank(self.graph, place, axes) * size
            cuts.append(slice(start, start + size))
        return tuple(cuts)

    # ---- running

    def body(self, body: Sequence[Item], layer: int, layers: int, inside: bool = True) -> None:
        for item in body:
            match item:
                case Tensor():
                    self.declared(item, layer, layers, inside)
                case Node():
                    self.node(item)
                case Region():
                    self.region(item, layer, layers)

    def declared(self, tensor: Tensor, layer: int, layers: int, inside: bool) -> None:
        layout = self.layouts[tensor.name]
        wants = ((layers,) if inside else ()) + whole_shape(self.graph, tensor, layout)
        given = self.inputs.get(tensor.name)
        if given is None or given.shape != wants:
            found = "no value" if given is None else f"a value of shape {list(given.shape)}"
            raise Diag("bad-operand", f"`{tensor.name}` has {found}, wants {list(wants)}")
        value = np.asarray(given, dtype=np.float64)
        self.values[tensor.name] = self.deal(value[layer] if inside else value, layout)
        if tensor.kind == "state":
            lead: Layout = ((),) if inside else ()
            self.states.setdefault(tensor.name, self.deal(value, lead + layout))
            self.homes[tensor.name] = (tensor.name, layer if inside else None)

    def node(self, node: Node) -> None:
        run = self.exchanged if exchanged(node) else self.computed
        shape = self.graph.shape(node)
        found = run(node, shape)
        self.values |= {r.name: [f[o.name] for f in found] for o, r in zip(shape.results, node.results, strict=True)}
        for p, arg in zip(shape.params, node.args, strict=True):
            if p.inout and arg in self.homes:
                state, layer = self.homes[arg]
                for held, f in zip(self.states[state], found, strict=True):
                    held[... if layer is None else layer] = f[p.name]
                written = {a.name for s in shape.body for a in s.targets}
                same = [r.name for o, r in zip(shape.results, node.results, strict=True) if o.name not in written]
                self.homes |= dict.fromkeys(same, (state, layer))

    def computed(self, node: Node, shape: OpShape) -> list[dict[str, Floats]]:
        """An op on every device's own slices."""
        found = []
        for d, place in enumerate(self.places):
            own = {p.name: self.values[a][d] for p, a in zip(shape.params, node.args, strict=True)}
            local = extents(shape, [v.shape for v in own.values()], dict(node.attrs))
            slices = own_slices(self.graph, node, local, place)
            attrs = own_attributes(shape, slices, dict(node.attrs))
            mine = sliced(shape, slices)
            sizes = extents(mine, [v.shape for v in own.values()], attrs)
            found.append(run_op(mine, sizes, attrs, own))
        return found

    def exchanged(self, node: Node, shape: OpShape) -> list[dict[str, Floats]]:
        """An op over groups of devices: each group runs it once, on all of its slices."""
        spread = set(across(node.op))
        axes = next(axes for i, axes in node.over if i in spread)
        groups: dict[tuple[int, ...], list[int]] = {}
        for d, place in enumerate(self.places):
            groups.setdefault(tuple(v for a, v in place.items() if a not in axes), []).append(d)
        found: list[dict[str, Floats]] = [{} for _ in self.places]
        for members in groups.values():
            members.sort(key=lambda d: rank(self.graph, self.places[d], axes))
            operands = {
                p.name: np.stack([self.values[a][d] for d in members])
                if device_index(declared) in spread
                else self.values[a][members[0]]
                for p, declared, a in zip(shape.params, node.op.params, node.args, strict=True)
            }
            sizes = extents(shape, [v.shape for v in operands.values()], dict(node.attrs))
            made = run_op(shape, sizes, dict(node.attrs), operands)
            for o, declared in zip(shape.results, node.op.results, strict=True):
                for r, d in enumerate(members):
                    found[d][o.name] = made[o.name][r] if device_index(declared) in spread else made[o.name]
        return found

    def region(self, region: Region, layer: int, layers: int) -> None:
        held = [self.values[c.init] for c in region.carries]
        for i in range(region.count):
            self.values |= {c.inner.name: v for c, v in zip(region.carries, held, strict=True)}
            self.body(region.body, layer * region.count + i, layers * region.count)
            held = [self.values[c.yielded] for c in region.carries]
        self.values |= {c.result.name: v for c, v in zip(region.carries, held, strict=True)}
