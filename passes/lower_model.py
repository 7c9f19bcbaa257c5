"""From a model family and a step to a graph of ops."""

from __future__ import annotations

from dataclasses import replace

from dfcompiler.graph import Graph, Tensor
from dfcompiler.lowering import Lowering
from dfcompiler.parameters import Names
from dfcompiler.pipeline import Context, Pass


class LowerModel(Pass, name="lower-model"):
    """Write the step as ops: every part of the step (its prefill chunks, its decode sequences) is a chain
    of its own through shared weights, so that units may work on different parts at once. Layers stay
    rolled up in a region; a name that is bound again inside one is carried to the next layer."""

    lowers = True

    def run(self, graph: Graph, ctx: Context) -> Graph:
        model = ctx.need("model")
        stored = model.quantization if ctx.stored else None
        lowering = Lowering(model, ctx.need("dtypes"), ctx.need("step").parts, stored)
        scopes = [dict[str, Tensor]() for _ in lowering.parts]
        body = lowering.body(lowering.model.family.body, scopes, Names(lowering.model.config), ())
        return replace(graph, name=lowering.model.name, body=body, outputs=tuple(lowering.outputs))
