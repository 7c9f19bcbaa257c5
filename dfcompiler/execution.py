"""What a graph computes: its nodes in order, each as its declaration says, in numpy float64."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import parse_dtype
from dfcompiler.graph import Graph, Item, Node, Region, Tensor, TensorType
from dfcompiler.opshape import OpShape, bind, extents
from dfcompiler.rounding import prune, round_to
from dfcompiler.scalars import Floats
from dfcompiler.semantics import Arrays, run_op

Rounding: TypeAlias = Callable[[Floats, str], Floats]  # values, and the type that is to hold them


def run_graph(graph: Graph, inputs: Arrays, rounding: Rounding | None = None) -> dict[str, Floats]:
    """Outputs of a graph, and every state as it is afterwards, by name.

    `inputs` has a value for every declared tensor. One that is declared in a region has a value per
    layer: a leading axis of `count`, in nested regions of the product of their counts; so have the
    states that are returned. With `rounding`, such as `round_to`, every tensor but indices is brought to what its
    type can hold, where it is declared and where it is made. Raises Diag `bad-operand` for a missing or misshapen
    value.
    """
    run = _GraphRun(inputs, rounding)
    run.body(graph.body, 0, 1, inside=False)
    return {name: run.values[name] for name in graph.outputs} | run.states


def trace(graph: Graph, inputs: Arrays) -> dict[str, Floats]:
    """The value of every tensor; of those in a region, the value in its last layer."""
    run = _GraphRun(inputs)
    run.body(graph.body, 0, 1, inside=False)
    return run.values


def rounding_errors(graph: Graph, inputs: Arrays, rounding: Rounding = round_to) -> dict[str, float]:
    """The error of every output and state that rounding causes, against float64 throughout: its root mean square
    over that of the exact values."""
    exact, rounded = run_graph(graph, inputs), run_graph(graph, inputs, rounding)
    return {name: _rms(rounded[name] - value) / (_rms(value) or 1.0) for name, value in exact.items()}


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


class Walk(ABC):
    """Runs the items of a graph in order; what each of them does is said by who runs it."""

    def body(self, body: Sequence[Item], layer: int, layers: int, inside: bool = True) -> None:
        """Run items in layer `layer` of `layers`, in a region or (not `inside`) outside of all."""
        for item in body:
            match item:
                case Tensor():
                    self.declared(item, layer, layers, inside)
                case Node():
                    self.node(item)
                case Region():
                    self.region(item, layer, layers)

    @abstractmethod
    def declared(self, tensor: Tensor, layer: int, layers: int, inside: bool) -> None:
        """Take the value that is given for a tensor."""

    @abstractmethod
    def node(self, node: Node) -> None:
        """Run an op."""

    @abstractmethod
    def region(self, region: Region, layer: int, layers: int) -> None:
        """Run a region as often as it says."""


class _GraphRun(Walk):
    def __init__(self, inputs: Arrays, rounding: Rounding | None = None) -> None:
        self.inputs, self.rounding = inputs, rounding
        self.values: dict[str, Floats] = {}
        self.states: dict[str, Floats] = {}
        self.homes: dict[str, tuple[str, int | None]] = {}  # which state, and layer of it, a tensor is a version of

    def declared(self, tensor: Tensor, layer: int, layers: int, inside: bool) -> None:
        value = given_value(self.inputs, tensor.name, (layers, *tensor.type.shape) if inside else tensor.type.shape)
        own = self.values[tensor.name] = self.held(value[layer] if inside else value, tensor.type)
        if tensor.kind == "state":
            home = self.homes[tensor.name] = (tensor.name, layer if inside else None)
            self.states.setdefault(tensor.name, value.copy())[... if home[1] is None else layer] = own

    def held(self, value: Floats, kind: TensorType) -> Floats:
        """What a tensor of this type makes of a value."""
        return value if self.rounding is None or kind.within is not None else self.rounding(value, kind.dtype)

    def node(self, node: Node) -> None:
        shape, sizes = bound(node, [self.values[a].shape for a in node.args])
        operands = {p.name: self.values[a] for p, a in zip(shape.params, node.args, strict=True)}
        exact = run_op(shape, sizes, dict(node.attrs), operands)
        types = dict(zip((o.name for o in shape.results), (r.type for r in node.results), strict=True))
        once = {id(v): self.held(v, types[name]) for name, v in exact.items() if name in types}
        found = {name: once.get(id(v), v) for name, v in exact.items()}
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
            self.body(region.body, layer * region.count + i, layers * region.count)
            held = [self.values[c.yielded] for c in region.carries]
        self.values |= {c.result.name: v for c, v in zip(region.carries, held, strict=True)}


def given_value(inputs: Arrays, name: str, wants: tuple[int, ...]) -> Floats:
    """The value of a declared tensor; raises Diag `bad-operand` for a missing one, and one of another shape."""
    given = inputs.get(name)
    if given is None or given.shape != wants:
        found = "no value" if given is None else f"a value of shape {list(given.shape)}"
        raise Diag("bad-operand", f"`{name}` has {found}, wants {list(wants)}")
    return np.asarray(given, dtype=np.float64)


def bound(node: Node, shapes: Sequence[tuple[int, ...]]) -> tuple[OpShape, dict[str, int]]:
    """A node's op with the ranks and extents that operands of these shapes give it."""
    shape = bind(node.op, tuple(len(s) for s in shapes))
    return shape, extents(shape, shapes, dict(node.attrs))


def random_inputs(graph: Graph, seed: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """A value for every declared tensor, as `run_graph` wants them.

    A tensor's value depends on its name, type and the seed only, so graphs that share a tensor share its
    value. Indices lie within their dimension, and differ along the last axis where their type says so; a sparse
    tensor has the zeros that its type says.
    """
    return {
        tensor.name: _draw(tensor.type, lead, np.random.default_rng([seed, zlib.crc32(tensor.name.encode())]))
        for tensor, lead in _declared(graph.body, ())
    }


def scale_name(tensor: str, level: int = 0) -> str:
    """What a tensor of codes calls its scales; levels are counted from the codes outwards."""
    return f"{tensor}_scale{level or ''}"


def zero_name(tensor: str) -> str:
    """What a tensor of codes calls its zero points."""
    return f"{tensor}_zero"


def dequantised(name: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Floats:
    """What a tensor of codes stands for with those scales and zero points that `inputs` has for it by name:
    (code - zero point) * scales. A scale serves as many elements along each axis as its own extent divides.
    Raises Diag `bad-operand` for one that does not fit."""
    value = np.asarray(inputs[name], dtype=np.float64)
    if zero_name(name) in inputs:
        value = value - _stretched(zero_name(name), inputs, value.shape)
    level = 0
    while scale_name(name, level) in inputs:
        value = value * _stretched(scale_name(name, level), inputs, value.shape)
        level += 1
    return value


def _stretched(name: str, inputs: Mapping[str, npt.NDArray[np.generic]], shape: tuple[int, ...]) -> Floats:
    found = np.asarray(inputs[name], dtype=np.float64)
    held = (*found.shape, *(1 for _ in shape[found.ndim :]))
    if len(held) != len(shape) or any(extent % n for extent, n in zip(shape, held, strict=True)):
        raise Diag("bad-operand", f"`{name}` of shape {list(found.shape)} does not divide codes of shape {list(shape)}")
    found = found.reshape(held)
    for axis, extent in enumerate(shape):
        found = np.repeat(found, extent // held[axis], axis)
    return found


def _declared(body: Sequence[Item], lead: tuple[int, ...]) -> list[tuple[Tensor, tuple[int, ...]]]:
    found: list[tuple[Tensor, tuple[int, ...]]] = []
    for item in body:
        if isinstance(item, Tensor):
            found.append((item, lead))
        elif isinstance(item, Region):
            found += _declared(item.body, (int(np.prod(lead, dtype=int)) * item.count,))
    return found


def _draw(kind: TensorType, lead: tuple[int, ...], rng: np.random.Generator) -> npt.NDArray[np.generic]:
    shape, held = (*lead, *kind.shape), parse_dtype(kind.dtype)
    if kind.within is not None and kind.distinct:
        return np.asarray(np.argsort(rng.random((*shape[:-1], kind.within)), axis=-1)[..., : shape[-1]])
    if kind.within is not None:
        return rng.integers(kind.within, size=shape)
    value: npt.NDArray[np.generic] = np.asarray(rng.standard_normal(shape) / np.sqrt(max(1, *shape[-1:])))
    if held.number.integer and not held.scales:
        half = 1 << (min(held.number.bits, 4) - 1)
        value = rng.integers(-half, half, size=shape)
    if held.sparsity:
        kept = prune(rng.random((int(np.prod(shape[:-1])), shape[-1])), held.sparsity) > 0
        value = np.where(kept.reshape(shape), value, 0)
    return value
