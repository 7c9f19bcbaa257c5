"""Gives weights, activations and caches narrower types, and makes work of the scales that units cannot apply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal

from dfcompiler.diagnostics import Diag
from dfcompiler.dtypes import Dtype, parse_dtype, show_dtype
from dfcompiler.execution import scale_name, zero_name
from dfcompiler.facts import facts
from dfcompiler.graph import Graph, Item, Node, Region, Tensor, TensorType, regions
from dfcompiler.pipeline import Context, Pass
from dfcompiler.scaling import Companion, with_scales


class Quantize(Pass, name="quantize"):
    """`w` is for weights that contractions multiply with and nothing else reads, `a` for activations, `kv` for caches;
    `sparsity` (`s24`, `d30`) is for the same weights. What is not given stays.

    Where some unit of the chip cannot apply the scales of a weight's type, its ops become ops with scales as operands
    and the weight keeps its codes. `scales` says `explicit` or `native` instead. Scales of activations and caches
    stay in their types.
    """

    w: str | None = None
    a: str | None = None
    kv: str | None = None
    sparsity: str | None = None
    scales: Literal["auto", "explicit", "native"] = "auto"

    def __post_init__(self) -> None:
        for name in (self.w, self.a, self.kv, self.sparsity and f"int8-{self.sparsity}"):
            try:
                parse_dtype(name or "bf16")
            except Diag as error:
                raise ValueError(f"{error.message}; {error.hint}") from None

    def run(self, graph: Graph, ctx: Context) -> Graph:
        typed = _retyped(graph, self._types(graph))
        return _Rewriter(typed, ctx).graph() if self.scales != "native" else typed

    def _types(self, graph: Graph) -> Mapping[str, str]:
        """Types by tensor, of those that change."""
        found = {name: self._weight(graph.type_of(name).dtype) for name in _factors(graph)}
        for node in graph.nodes.values():
            for o, r in zip(graph.shape(node).results, node.results, strict=True):
                wanted = {None: self.a, "act": self.a, "kv": self.kv}.get(o.role)
                if wanted and r.type.within is None:
                    found[r.name] = wanted
        for x in graph.tensors.values():
            wanted = {"input": self.a, "state": self.kv}.get(x.kind)
            if wanted and x.type.within is None:
                found[x.name] = wanted
        for c in (c for r in regions(graph.body) for c in r.carries):
            if c.init in found:
                found[c.inner.name] = found[c.result.name] = found[c.init]
        return found

    def _weight(self, dtype: str) -> str:
        kind = parse_dtype(self.w or dtype)
        sparsity = parse_dtype(f"int8-{self.sparsity}").sparsity if self.sparsity else kind.sparsity
        return show_dtype(replace(kind, sparsity=sparsity))


def _factors(graph: Graph) -> set[str]:
    """Weights that every op that reads them multiplies and sums, and that are no codes with scales yet."""
    uses: dict[str, list[bool]] = {}
    for node in graph.nodes.values():
        shape = graph.shape(node)
        contracted = {name for c in facts(shape).work.contractions for name in (c.a, c.b)}
        for o, arg in zip(shape.params, node.args, strict=True):
            if graph.tensors[arg].kind == "weight" and scale_name(arg) not in graph.tensors:
                uses.setdefault(arg, []).append(o.name in contracted)
    return {name for name, good in uses.items() if all(good)}


def _retyped(graph: Graph, types: Mapping[str, str]) -> Graph:
    def tensor(x: Tensor) -> Tensor:
        return replace(x, type=replace(x.type, dtype=types.get(x.name, x.type.dtype)))

    def item(x: Item) -> Item:
        match x:
            case Tensor():
                return tensor(x)
            case Node():
                return replace(x, results=tuple(map(tensor, x.results)))
            case Region():
                carries = tuple(replace(c, inner=tensor(c.inner), result=tensor(c.result)) for c in x.carries)
                return replace(x, carries=carries, body=tuple(map(item, x.body)))

    return replace(graph, body=tuple(map(item, graph.body)), columns=None, mapping=None)


class _Rewriter:
    """Makes scales operands, where all ops that read a weight allow it."""

    def __init__(self, source: Graph, ctx: Context) -> None:
        self.source, self.ctx = source, ctx
        self.units = [u.template for u in ctx.chip.units.values() if u.template.runs("mac")] if ctx.chip else []
        self.companions = {x.name: c for x in source.tensors.values() if x.kind == "weight" for c in self._of(x) if c}
        self.nodes: dict[str, Node] = {}
        for name in [*self.companions]:
            self._rewrite(name)

    def _of(self, x: Tensor) -> Iterator[tuple[Companion, ...]]:
        """The companions of a weight whose scales some unit cannot apply."""
        kind = parse_dtype(x.type.dtype)
        if not kind.scales or (self.units and all(u.applies_scales(x.type.dtype) for u in self.units)):
            return
        cells = [None if s.rows is None else s.cell(x.type.shape) for s in kind.scales]
        if any(c is None and s.rows for c, s in zip(cells, kind.scales, strict=True)):
            self.ctx.note(f"`{x.name}` of {list(x.type.shape)} keeps its scales in `{x.type.dtype}`: groups are ragged")
            return
        zero = [Companion(zero_name(x.name), cells[0], zero=True)] if kind.zero else []
        yield (*zero, *(Companion(scale_name(x.name, i), c) for i, c in enumerate(cells)))

    def _rewrite(self, weight: str) -> None:
        shape, made = self.source.type_of(weight).shape, dict[str, Node]()
        for node in self.source.nodes.values():
            for o, arg in zip(self.source.shape(node).params, node.args, strict=True):
                if arg == weight:
                    old = made.get(node.name) or self.nodes.get(node.name, node)
                    names = [c.name.replace(weight, o.name, 1) for c in self.companions[weight]]
                    inside = [replace(c, name=n) for c, n in zip(self.companions[weight], names, strict=True)]
                    op = with_scales(old.op, o.name, shape, inside)
                    if op is None:
                        self.ctx.note(f"`{old.op.name}` cannot take the scales of `{weight}` as operands", old.op.span)
                        del self.companions[weight]
                        return
                    made[node.name] = replace(old, op=op, args=(*old.args, *(c.name for c in self.companions[weight])))
        self.nodes |= made

    def graph(self) -> Graph:
        return replace(self.source, body=tuple(y for x in self.source.body for y in self._items(x)))

    def _items(self, item: Item) -> Iterator[Item]:
        match item:
            case Tensor() if item.name in self.companions:
                yield from self._tensors(item)
            case Node():
                yield self.nodes.get(item.name, item)
            case Region():
                yield replace(item, body=tuple(y for x in item.body for y in self._items(x)))
            case _:
                yield item

    def _tensors(self, x: Tensor) -> Iterator[Tensor]:
        """A weight as codes, then its companions."""
        kind = parse_dtype(x.type.dtype)
        bare = show_dtype(Dtype(kind.element, sparsity=kind.sparsity))
        yield replace(x, type=replace(x.type, dtype=bare))
        types = [*([kind.element] if kind.zero else []), *(s.dtype for s in kind.scales)]
        for c, dtype in zip(self.companions[x.name], types, strict=True):
            if c.name in self.source.tensors:
                raise Diag("duplicate-name", f"`{x.name}` needs the name `{c.name}` for its scales, which is taken")
            yield replace(x, name=c.name, type=TensorType(dtype, c.shape(x.type.shape)))
