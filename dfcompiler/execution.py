"""What a graph computes: its nodes in order, each as its declaration says, in numpy float64."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import bits
from dfcompiler.graph import Graph, Item, Node, Region, Tensor, TensorType
from dfcompiler.masks import Floats
from dfcompiler.opshape import OpShape, bind, extents
from dfcompiler.semantics import Arrays, run_op


def run_graph(graph: Graph, inputs: Arrays) -> dict[str, Floats]:
    """Outputs of a graph, and every state as it is afterwards, by name.

    `inputs` has a value for every declared tensor. One that is declared in a region has a value per
    layer: a leading axis of `count`, in nested regions of the product of their counts; so have the
    states that are returned. Raises Diag `bad-operand` for a missing or misshapen value.
    """
    run = _GraphRun(inputs)
    run.body(graph.body, 0, 1)
    return {name: run.values[name] for name in graph.outputs} | run.states


def trace(graph: Graph, inputs: Arrays) -> dict[str, Floats]:
    """The value of every tensor; of those in a region, the value in its last layer."""
    run = _GraphRun(inputs)
    run.body(graph.body, 0, 1)
    return run.values


class _GraphRun:
    def __init__(self, inputs: Arrays) -> None:
        self.inputs = inputs
        self.values: dict[str, Floats] = {}
        self.states: dict[str, Floats] = {}
        self.homes: dict[str, tuple[str, int | None]] = {}  # which state, and layer of it, a tensor is a version of

    def body(self, body: Sequence[Item], layer: int, layers: int, inside: bool = False) -> None:
        for item in body:
            match item:
                case Tensor():
                    self.declared(item, layer, layers, inside)
                case Node():
                    self.node(item)
                case Region():
                    self.region(item, layer, layers)

    def declared(self, tensor: Tensor, layer: int, layers: int, inside: bool) -> None:
        wants = (layers, *tensor.type.shape) if inside else tensor.type.shape
        given = self.inputs.get(tensor.name)
        if given is None or given.shape != wants:
            found = "no value" if given is None else f"a value of shape {list(given.shape)}"
            raise Diag("bad-operand", f"`{tensor.name}` has {found}, wants {list(wants)}")
        value = np.asarray(given, dtype=np.float64)
        self.values[tensor.name] = value[layer] if inside else value
        if tensor.kind == "state":
            self.states.setdefault(tensor.name, value.copy())
            self.homes[tensor.name] = (tensor.name, layer if inside else None)

    def node(self, node: Node) -> None:
        shape, sizes = bound(node, [self.values[a].shape for a in node.args])
        operands = {p.name: self.values[a] for p, a in zip(shape.params, node.args, strict=True)}
        found = run_op(shape, sizes, dict(node.attrs), operands)
        self.values |= {r.name: found[o.name] for o, r in zip(shape.results, node.results, strict=True)}
        for p, arg in zip(shape.params, node.args, strict=True):
            if p.inout and arg in self.homes:
                state, layer = self.homes[arg]
                self.states[state][... if layer is None else layer] = found[p.name]
                same = [
                    r.name for o, r in zip(shape.results, node.results, strict=True) if found[o.name] is found[p.name]
                ]
                self.homes |= dict.fromkeys(same, (state, layer))

    def region(self, region: Region, layer: int, layers: int) -> None:
        held = [self.values[c.init] for c in region.carries]
        for i in range(region.count):
            self.values |= {c.inner.name: v for c, v in zip(region.carries, held, strict=True)}
            self.body(region.body, layer * region.count + i, layers * region.count, inside=True)
            held = [self.values[c.yielded] for c in region.carries]
        self.values |= {c.result.name: v for c, v in zip(region.carries, held, strict=True)}


def bound(node: Node, shapes: Sequence[tuple[int, ...]]) -> tuple[OpShape, dict[str, int]]:
    """A node's op with the ranks and extents that operands of these shapes give it."""
    shape = bind(node.op, tuple(len(s) for s in shapes))
    return shape, extents(shape, shapes, dict(node.attrs))


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """A value for every declared tensor, as `run_graph` wants them.

    A tensor's value depends on its name, type and the seed only, so graphs that share a tensor share its
    value. Indices lie within their dimension, and differ along the last axis where their type says so.
    """
    return {
        tensor.name: _draw(tensor.type, lead, np.random.default_rng([seed, zlib.crc32(tensor.name.encode())]))
        for tensor, lead in _declared(graph.body, ())
    }


def _declared(body: Sequence[Item], lead: tuple[int, ...]) -> list[tuple[Tensor, tuple[int, ...]]]:
    found: list[tuple[Tensor, tuple[int, ...]]] = []
    for item in body:
        if isinstance(item, Tensor):
            found.append((item, lead))
        elif isinstance(item, Region):
            found += _declared(item.body, (int(np.prod(lead, dtype=int)) * item.count,))
    return found


def _draw(kind: TensorType, lead: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.generic]:
    shape = (*lead, *kind.shape)
    if kind.within is not None and kind.distinct:
        return np.asarray(np.argsort(rng.random((*shape[:-1], kind.within)), axis=-1)[..., : shape[-1]])
    if kind.within is not None:
        return rng.integers(kind.within, size=shape)
    if kind.dtype.startswith("int"):
        half = 1 << (int(min(bits(kind.dtype), 4)) - 1)
        return rng.integers(-half, half, size=shape)
    return np.asarray(rng.standard_normal(shape) / np.sqrt(max(1, shape[-1])))
