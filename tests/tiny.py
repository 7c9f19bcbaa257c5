"""Models small enough to run: families with sizes of a few, as a configuration would give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dfcompiler import registry
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import random_inputs, run_graph
from dfcompiler.graph import Graph, Item, Region, Tensor
from dfcompiler.models import Model, bound, library
from dfcompiler.parameters import Config
from dfcompiler.pipeline import Context
from dfcompiler.steps import Step, step

LLAMA = {
    "num_hidden_layers": 2,
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "intermediate_size": 12,
    "vocab_size": 11,
    "rms_norm_eps": 1e-5,
}
DEEPSEEK = {
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "hidden_size": 8,
    "num_attention_heads": 3,
    "q_lora_rank": 6,
    "kv_lora_rank": 5,
    "qk_nope_head_dim": 4,
    "qk_rope_head_dim": 2,
    "v_head_dim": 3,
    "intermediate_size": 9,
    "moe_intermediate_size": 7,
    "n_routed_experts": 5,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "vocab_size": 11,
}


def tiny(fields: Mapping[str, Any], family: str = "llama") -> Model:
    """A family with the parameters that these fields give it."""
    lib = library()
    return bound("tiny", lib.models[family], lib, Config(Source("tiny.json", ""), fields))


def lower(what: Mapping[str, Any] | Model, on: Step, family: str = "llama", stored: bool = False) -> Graph:
    """One step of a model, or of a family with these fields; `stored` takes the checkpoint's number types."""
    model = what if isinstance(what, Model) else tiny(what, family)
    context = Context(model=model, dtypes=parse_dtypes("bf16"), step=on, stored=stored)
    lower_model = registry.lookup("pass", "lower-model")
    return lower_model().run(Graph("tiny"), context)  # type: ignore[no-any-return]


def states(body: Sequence[Item]) -> Iterator[Tensor]:
    """Every state of a graph."""
    for item in body:
        if isinstance(item, Tensor) and item.kind == "state":
            yield item
        elif isinstance(item, Region):
            yield from states(item.body)


def check_steps(model: Model, cuts: Sequence[int] = (5, 1, 1)) -> None:
    """Assert that a prefill of all tokens at once equals steps of `cuts` tokens that hand on their states."""
    total = sum(cuts)
    whole = lower(model, step(prefill=[(total, 0)]))
    inputs = random_inputs(whole)
    tokens = [x.name for x in whole.body if isinstance(x, Tensor) and x.kind == "input"]
    for x in states(whole.body):
        inputs[x.name] = np.zeros(inputs[x.name].shape)
    expected = run_graph(whole, inputs)[whole.outputs[0]]
    held: dict[str, Any] = {}
    done = 0
    for new in cuts:
        graph = lower(model, step(decode=[done]) if new == 1 else step(prefill=[(new, done)]))
        given = {**inputs, **{n: inputs[n][:, done : done + new] for n in tokens}}
        for x in states(graph.body):
            layers = inputs[x.name].shape[: inputs[x.name].ndim - len(x.type.shape)]
            value = np.zeros((*layers, *x.type.shape))
            if x.name in held:
                old = held[x.name]
                value[tuple(slice(0, min(a, b)) for a, b in zip(old.shape, value.shape, strict=True))] = old
            given[x.name] = value
        out = run_graph(graph, given)
        held = {x.name: out[x.name] for x in states(graph.body)}
        np.testing.assert_allclose(out[graph.outputs[0]], expected[:, done : done + new], rtol=0, atol=1e-9)
        done += new
    assert np.abs(expected).max() > 1e-3
