"""What every pass of the default pipelines makes of every shipped model can be written and read back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library, load_model, model_names
from dfcompiler.pipeline import PIPELINES, Context, parse_pipeline, run_pipeline
from dfcompiler.steps import Step, step

STEPS = {
    "prefill": step(prefill=[(64, 0)]),
    "decode": step(decode=[5, 90, 17]),
    "mixed": step(prefill=[(5, 2), (7, 0)], decode=[3, 8]),
}


def stages(model: str, what: Step, pipeline: str, *, until: str | None = None) -> Iterator[tuple[str, Graph]]:
    """Name and graph after every pass, up to the pass `until` (without it)."""
    context = Context(load_model(model), what, parse_dtypes("w4a16kv8"), load_chip("ador"), time_limit_s=5.0)
    text = PIPELINES[pipeline].replace(",tile,", ",tile{shares=1},")  # fewer tilings, the same kinds of text
    passes = parse_pipeline(Source("--pipeline", text))
    names = [p.name for p in passes]
    made: list[tuple[str, Graph]] = []
    kept = passes[: names.index(until)] if until else passes
    run_pipeline(kept, Graph(model), context, after=lambda name, graph, _: made.append((name, graph)))
    yield from made


def check(name: str, graph: Graph) -> None:
    text = show_graph(graph)
    again = parse_graph(Source(name, text), library())
    assert again == graph
    assert show_graph(again) == text


@pytest.mark.parametrize("what", STEPS)
@pytest.mark.parametrize("model", model_names())
def test_every_model_and_step_up_to_the_tiles(model: str, what: str) -> None:
    made = list(stages(model, STEPS[what], "default", until="tile"))
    assert made[0][0] == "lower-model" and made[-1][1].offers
    for name, graph in made:
        check(name, graph)


@pytest.mark.parametrize(("pipeline", "what"), [*(("default", what) for what in STEPS), ("greedy", "mixed")])
def test_every_stage_with_places(pipeline: str, what: str) -> None:
    made = list(stages("llama3-8b", STEPS[what], pipeline))
    assert made[-1][0] == "schedule" and made[-1][1].places
    for name, graph in made:
        check(name, graph)
