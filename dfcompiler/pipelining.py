"""Which layers are on which stage of devices: balanced by what is known before mapping, within the devices' memory.

The time of a layer is the sum over its ops of their multiply-accumulates at the peak or their bytes at the bandwidth of
the memory, whichever takes longer, and of its exchanges. A stage takes the time of its layers and of the message that
it sends: every device to its counterpart of the next stage. The cuts are those for which the slowest takes least.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dfcompiler.cost import in_gb, peak_bytes, stored_bytes
from dfcompiler.devices import layouts
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.fabrics import exchange_time
from dfcompiler.graph import Graph, Item, Node, Region, Tensor
from dfcompiler.hardware.chip import Chip
from dfcompiler.partition import Rates, work_seconds
from dfcompiler.stages import Costs, balance, chain
from dfcompiler.staging import Passing, Piece, cut, pieces, reads

AXIS = "pp"
KEPT = ("weight", "state")


def into_stages(graph: Graph, stages: int, rates: Rates, chip: Chip | None = None) -> Graph:
    """The graph in so many stages, on one more axis of the mesh.

    Raises Diag `bad-stages` where it has fewer layers, and Infeasible `does-not-fit` where a stage would need more
    memory than its devices have, however layers are dealt out.
    """
    found = pieces(graph)
    if len(found) < stages:
        message = f"`{graph.name}` has {len(found)} layers, the first and last ops included"
        message += f": not enough for {stages} stages"
        raise Diag("bad-stages", message, hint=f"at most {len(found)} stages")
    seconds = stage_seconds(graph, found, rates, stages)
    starts = balance(seconds, stages)
    if chip is not None:
        held, room = stage_bytes(graph, found), chip.dram_capacity_bytes - peak_bytes(graph)
        _check_room(graph, chip, held, room, stages)
        starts = balance(np.where(held <= room, seconds, np.inf), stages)
    return cut(graph, AXIS, starts, layouts(graph))


def stage_seconds(graph: Graph, found: list[Piece], rates: Rates, stages: int) -> Costs:
    """`[a, b]`: the time of a stage of pieces a to b - 1, one of so many, with what it sends."""
    passing = Passing(graph)
    times = {n.name: work_seconds(graph, n, rates) * graph.repeats[n.name] for n in graph.nodes.values()}
    costs, sends = [], []
    for p in found:
        whole = sum(times[n] for n in _names(p.items))
        costs.append(whole / p.of)
        sends.append(exchange_time("send", stages, passing.at(p), rates.fabric)[0])
    return chain(costs, sends)


def _names(items: tuple[Item, ...]) -> list[str]:
    found = [i.name for i in items if isinstance(i, Node)]
    return found + [n for i in items if isinstance(i, Region) for n in _names(i.body)]


def stage_bytes(graph: Graph, found: list[Piece]) -> Costs:
    """`[a, b]`: bytes of weights and states of a stage of pieces a to b - 1. What is declared outside of layers is on
    every stage that uses it, once."""
    own = [sum(stored_bytes(p.items, kind, 1) for kind in KEPT) for p in found]
    bytes_ = chain(own)
    used = [{a for i in p.items for a in reads(i)} for p in found]
    for x in graph.body:
        if isinstance(x, Tensor) and x.kind in KEPT:
            users = chain([float(x.name in names) for names in used])
            bytes_ = bytes_ + x.type.bytes * (users > 0)
    return bytes_


def _check_room(graph: Graph, chip: Chip, held: Costs, room: float, stages: int) -> None:
    """Raise Infeasible `does-not-fit` where the fullest stage of those cuts for which it holds least is too full."""
    starts = [0, *balance(held, stages), len(held) - 1]
    sizes = [float(held[a, b]) for a, b in pairwise(starts)]
    fullest = int(np.argmax(sizes))
    if sizes[fullest] <= room:
        return
    first, last = starts[fullest] + 1, starts[fullest + 1]
    over = in_gb(sizes[fullest] - room)
    message = (
        f"stage {fullest + 1} of {stages} of `{graph.name}`, layers {first} to {last} of {len(held) - 1}, needs "
        f"{in_gb(sizes[fullest])} for weights and KV cache; beside activations `{chip.name}` has {in_gb(room)}"
    )
    raise Infeasible("does-not-fit", message, hint=f"{over} too much: more stages or devices, or narrower types")
