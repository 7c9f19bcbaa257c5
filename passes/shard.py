"""Rewrite a step into the program of one of many devices, with exchanges between them as ops."""

from __future__ import annotations

from math import prod
from typing import Literal

from dfcompiler.devices import layouts
from dfcompiler.diagnostics import Diag, first_span
from dfcompiler.exchanges import links_of
from dfcompiler.fabrics import Fabric
from dfcompiler.facts import facts
from dfcompiler.graph import Graph, Node, regions
from dfcompiler.kin import Axis, Kin, dispatched, splittable
from dfcompiler.partition import Allowed, Dealing, Partition, Rates, partition
from dfcompiler.pipeline import Context, Pass
from dfcompiler.pipelining import into_stages
from dfcompiler.spreading import spread
from dfcompiler.text import tree as t

# What work and exchanges cost where no chip is given: NVIDIA H100 SXM data sheet, dense bf16, HBM3 and NVLink 4.
RATES = Rates(macs=494.7e12, memory=3.35e12, fabric=Fabric(450e9, 1e-6))  # latency: our estimate of one hop


class Shard(Pass, name="shard"):
    """Split a step over `pp * dp * ep * tp` devices. `dp` splits the sequences. `ep` splits what tokens pick from, the
    experts, and the tokens of all else. `tp` splits weights, heads and caches: which index of which op follows from
    what the op says, such that work and exchanges together take the least time. `sp`, which is 1 or `tp`, lets the
    same devices split the new tokens too, between ops that split something else. `pp` makes stages of layers that take
    alike long, as far as is known before mapping, and fit a chip where there is one. `devices` checks the product."""

    tp: int = 1
    pp: int = 1
    ep: int = 1
    ep_exchange: Literal["auto", "dispatch", "gather"] = "auto"
    sp: int = 1
    dp: int = 1
    devices: int | None = None

    def __post_init__(self) -> None:
        for name in ("tp", "pp", "ep", "sp", "dp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.sp not in (1, self.tp):
            raise ValueError(f"sp={self.sp}: new tokens are split over the devices of tp, so sp is 1 or {self.tp}")
        ways = {"pp": self.pp, "dp": self.dp, "ep": self.ep, "tp": self.tp}
        if self.devices not in (None, made := prod(ways.values())):
            shown = " x ".join(f"{name}={n}" for name, n in ways.items())
            raise ValueError(f"{shown} = {made} does not make {self.devices} devices")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        if graph.mesh:
            raise Diag("bad-shard", "the graph is split over devices already")
        rates = rates_of(ctx)
        if self.dp > 1:
            graph = self._sequences(graph, rates)
        if self.ep > 1:
            graph = self._experts(graph, rates)
        if self.tp > 1:
            graph = self._tensors(graph, rates)
        if self.pp > 1:
            graph = into_stages(graph, self.pp, rates, ctx.chip)
        self._tell(graph, ctx)
        return graph

    def _sequences(self, graph: Graph, rates: Rates) -> Graph:
        for x in graph.tensors.values():
            if x.kind == "input" and x.type.shape and x.type.shape[0] % self.dp:
                raise refused("dp", self.dp, f"`{x.name}` has {x.type.shape[0]} sequences", [x.type.shape[0]], x.loc)
        kin = Kin(graph)
        return cut(graph, "dp", self.dp, rates, among(kin, kin.batch), lambda n, i: kin.of(n, i) in kin.batch)

    def _experts(self, graph: Graph, rates: Rates) -> Graph:
        kin = Kin(graph)
        whole = {graph.sizes(n)[i] for n, i in dispatched(graph) if kin.of(n, i) in kin.picked}
        if not whole:
            raise Diag("bad-shard", f"ep={self.ep}: no op picks what it works with", hint="leave `ep` out")
        if any(size % self.ep for size in whole):
            raise refused("ep", self.ep, f"there are {', '.join(map(str, sorted(whole)))} experts", whole, None)
        found = set(dispatched(graph))

        def must(node: Node, index: str) -> bool:
            return kin.of(node, index) in kin.picked and (node, index) in found

        allowed = among(kin, kin.batch | kin.tokens)
        return cut(graph, "ep", self.ep, rates, lambda n, i: allowed(n, i) or must(n, i), must, self.ep_exchange)

    def _tensors(self, graph: Graph, rates: Rates) -> Graph:
        """One axis of devices, or two: where heads are fewer than devices, each head has a group of them."""
        kin = Kin(graph)
        self._divides(graph, kin)
        best: tuple[float, Graph] | None = None
        for first in (self.tp, *(f for f in range(2, self.tp) if self.tp % f == 0)):
            made, seconds = graph, 0.0
            for name, ways in (("tp", first), ("tpi", self.tp // first))[: 1 + (first < self.tp)]:
                chosen = self._choose(made, ways, rates)
                if chosen is None:
                    break
                made, seconds = spread(made, name, ways, chosen, layouts(made)), chosen.seconds
            else:
                best = min(best or (seconds, made), (seconds, made), key=lambda found: found[0])
        if best is None:
            raise unfit("tp", self.tp)
        return best[1]

    def _choose(self, graph: Graph, ways: int, rates: Rates) -> Partition | None:
        kin = Kin(graph)
        apart = kin.batch | kin.picked | ((kin.handed | kin.tokens) - (kin.tokens if self.sp > 1 else frozenset()))

        def allowed(node: Node, index: str) -> bool:
            return kin.of(node, index) not in apart

        def required(node: Node, index: str) -> bool:
            family = kin.of(node, index)
            return family not in kin.tokens and (family in kin.named or on_weights(graph, node, index))

        return partition(graph, ways, rates, allowed, required)

    def _divides(self, graph: Graph, kin: Kin) -> None:
        """Weights of layers that no index divides must not outweigh a device's share of those that can be."""
        apart = kin.batch | kin.tokens | kin.picked | kin.handed
        total, kept, first = 0.0, 0.0, None
        for node in graph.nodes.values():
            if graph.repeats[node.name] == 1 and any(True for _ in regions(graph.body)):
                continue  # beside layers, such as a vocabulary
            held = sum(graph.type_of(a).bytes for a in node.args if graph.tensors[a].kind == "weight")
            sizes = graph.sizes(node)
            able = [i for i in splittable(graph, node) if kin.of(node, i) not in apart and on_weights(graph, node, i)]
            if able:
                whole = prod(sizes[i] for i in able) % self.tp > 0
                total += held
                kept += held if whole else 0.0
                first = first or ((node, {i: sizes[i] for i in able}) if whole else None)
        if first and kept > total / self.tp:
            node, extents = first
            shown = ", ".join(f"`{i}` {n}" for i, n in extents.items())
            raise refused("tp", self.tp, f"`{node.name}` has {shown}", extents.values(), node.loc)

    def _tell(self, graph: Graph, ctx: Context) -> None:
        """What became of caches: they decide how much fits."""
        held = layouts(graph)
        for x in graph.tensors.values():
            if x.kind == "state":
                axes = [f"axis {k} over {' '.join(a)}" for k, a in enumerate(held[x.name]) if a]
                ctx.note(f"`{x.name}` is {'split along ' + ', '.join(axes) if axes else 'on every device'}")


def rates_of(ctx: Context) -> Rates:
    """What a device does in a second: the chip at its peaks, where there is one."""
    if ctx.chip is None:
        return RATES
    chip, links = ctx.chip, links_of(ctx.chip)
    macs = sum(float(u.template.peak_macs_per_cycle()) * u.instances for u in chip.units.values())
    return Rates(macs * chip.clock_hz, chip.dram_bytes_per_s, links.fabric)


def on_weights(graph: Graph, node: Node, index: str) -> bool:
    """Whether the node contracts weights that have the index."""
    shape = graph.shape(node)
    weights = [o for o, a in zip(shape.params, node.args, strict=True) if graph.tensors[a].kind == "weight"]
    return bool(facts(shape).work.contractions) and any(t.Ref(index) in o.dims for o in weights)


def among(kin: Kin, families: frozenset[Axis]) -> Allowed:
    """Indices of some families."""
    return lambda node, index: kin.of(node, index) in families


def cut(
    graph: Graph, name: str, ways: int, rates: Rates, allowed: Allowed, required: Allowed, dealing: Dealing = "auto"
) -> Graph:
    """The graph with one more axis of devices."""
    chosen = partition(graph, ways, rates, allowed, required, dealing)
    if chosen is None:
        raise unfit(name, ways)
    return spread(graph, name, ways, chosen, layouts(graph))


def unfit(option: str, ways: int) -> Diag:
    """The error where every op could be split, but not all of them at once."""
    message = f"{option}={ways}: what has to be split over devices does not fit together"
    return Diag("bad-shard", message, hint=f"fewer devices, or leave `{option}` out")


def refused(option: str, ways: int, why: str, extents: object, loc: object) -> Diag:
    """The error for a number of devices that does not divide what there is, with some that do."""
    sizes = list(extents)  # type: ignore[call-overload]
    fits = [
        str(n)
        for n in range(2, 129)
        if (option == "tp" and any(s % n == 0 for s in sizes)) or (option != "tp" and all(s % n == 0 for s in sizes))
    ]
    hint = f"{option} of {', '.join(fits[:12])} would divide" if fits else f"leave `{option}` out"
    return Diag("bad-shard", f"{option}={ways} does not divide: {why}", first_span(loc), hint=hint)  # type: ignore[arg-type]
