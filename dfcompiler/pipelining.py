"""Layers in stages, each on devices of its own: where the graph is cut, what is handed over, how long a stage takes.

A stage is a run of segments; a segment of n equal layers may be cut between any two of them. A step passes through the
stages in turn, so its latency is the sum of their times and of the transfers between them. Steps may follow one another
as soon as the slowest stage is free, which with its transfer is the interval; the cuts are those that make it shortest.
A transfer is one message over the links, every device to its counterpart of the next stage. What the values are does
not change: each op runs as before, on other devices.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import ceil

from dfcompiler.columns import Segment, segments
from dfcompiler.diagnostics import Diag
from dfcompiler.exchanges import links_of
from dfcompiler.fabrics import exchange_time
from dfcompiler.graph import Carry, Graph, regions
from dfcompiler.hardware.chip import Chip
from dfcompiler.schedule import mapping_of
from dfcompiler.stages import Stage, balance


def check_stages(graph: Graph, chip: Chip, stages: int) -> None:
    """Raises Diag `bad-stages` where a graph has fewer layers than that, `no-link` where they could not be joined."""
    if stages > 1:
        links_of(chip)
    layers = sum(s.repeat for s in segments(graph))
    if layers < stages:
        message = f"`{graph.name}` has {layers} layers, the first and last ops included: not enough for {stages} stages"
        raise Diag("bad-stages", message, hint=f"at most {layers} stages")


def cut(graph: Graph, chip: Chip, stages: int) -> tuple[Stage, ...]:
    """The stages of a mapped graph; raises Diag `bad-stages` for too many, `no-link`, and `missing-input` before a
    mapper has run."""
    check_stages(graph, chip, stages)
    layers = mapping_of(graph).layers
    items = [i for i, x in enumerate(layers) for _ in range(x.segment.repeat)]
    last = [a != b for a, b in pairwise([*items, -1])]
    costs = [layers[i].solution.cycles if end else layers[i].period for i, end in zip(items, last, strict=True)]
    sizes = [handed_over(graph, [x.segment for x in layers], b, a == b) for a, b in pairwise(items)]
    sends = [_send_cycles(chip, n) for n in sizes]
    apart = [layers[a].solution.cycles - layers[a].period if a == b else 0 for a, b in pairwise(items)]
    starts = balance(costs, stages, [0.0, *(s + x for s, x in zip(sends, apart, strict=True))])
    return tuple(
        Stage(
            tuple(Counter(items[a:b]).items()),
            sum(costs[a:b]) + (apart[b - 1] if b < len(items) else 0),
            sends[b - 1] if b < len(items) else 0,
            sizes[b - 1] if b < len(items) else 0.0,
        )
        for a, b in pairwise([0, *starts, len(items)])
    )


def handed_over(graph: Graph, parts: Sequence[Segment], number: int, inside: bool) -> float:
    """Bytes of the values that go from a device to the next stage, which begins with segment `number`: with its first
    layer, or with a later one where the cut is `inside` of it."""
    at = {n: i for i, s in enumerate(parts) for n in s.nodes}
    made = dict(_made(graph, at))
    used = dict(_used(graph, at))
    crossing = {x for x, i in made.items() if i < number <= used.get(x, -1)}
    if inside:
        crossing -= {c.init for r in regions(graph.body) for c in r.carries if used.get(c.init) == number}
        crossing |= {c.inner.name for c in _carries(graph, parts[number])}
    return sum(graph.type_of(x).bytes for x in crossing)


def _made(graph: Graph, at: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Values with the segment after which they are there."""
    for node in graph.nodes.values():
        yield from ((r.name, at[node.name]) for r in node.results)
    made = {r.name: at[n.name] for n in graph.nodes.values() for r in n.results}
    for region in reversed(list(regions(graph.body))):
        for c in region.carries:
            if c.yielded in made:
                made[c.result.name] = made[c.yielded]
                yield c.result.name, made[c.yielded]


def _used(graph: Graph, at: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Values with the last segment that reads them."""
    last: dict[str, int] = {}
    for node in graph.nodes.values():
        for arg in node.args:
            last[arg] = max(at[node.name], last.get(arg, 0))
    for region in reversed(list(regions(graph.body))):
        for c in region.carries:
            if c.inner.name in last:
                last[c.init] = max(last[c.inner.name], last.get(c.init, 0))
    yield from last.items()


def _carries(graph: Graph, segment: Segment) -> list[Carry]:
    read = {a for n in segment.nodes for a in graph.nodes[n].args}
    return [c for r in regions(graph.body) for c in r.carries if c.inner.name in read]


def _send_cycles(chip: Chip, size: float) -> int:
    """Cycles of one message over the links."""
    return ceil(exchange_time("send", 2, size, links_of(chip).fabric)[0] * chip.clock_hz)
