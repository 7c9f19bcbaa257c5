"""Rates of servers whose queues are never empty: weights of steps against the engine, design by design."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler.diagnostics import Source
from dfcompiler.explore.prices.backlog import decode_table, decode_weights, decodes, prefill_table, prefill_weights
from dfcompiler.explore.prices.weighted import Weighted
from dfcompiler.explore.space import Pool, Space, resolve
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.cluster import Pool as Replicas
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.text import tree as t
from dfcompiler.text.parse import parse_items

STEPS = """space s {
  pool POOL on tpu128 {
    axis servers = 1 .. 2
    axis rows = 8, 16, 32
    AXES
    set sa.rows = rows
    load work: llama3-8b { phase = decode, batch = 1 }
  }
  minimize s = work.latency_s
}
"""
TOKENS = (16, 64, 300)  # no step has more: prices drawn at random may not go on for ever
BATCHES, CONTEXTS = (1, 2, 4, 6), (8, 40)


@st.composite
def traces(draw: st.DrawFn) -> Requests:
    """A few requests; what they bring and ask for in tokens."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(8, 30))
    return Requests.of(np.sort(rng.random(count)), rng.integers(1, 90, count), rng.integers(1, 20, count))


def rising(rng: np.random.Generator, count: int) -> np.ndarray:
    """Seconds of steps that take longer, the more they have: `[count, 2]`, the second column the larger."""
    low = np.cumsum(rng.random(count)) + 5
    return np.stack([low, low + rng.random(count)], 1)


@settings(max_examples=12)
@given(
    traces(),
    st.sampled_from([1, 2, 4, 6]),
    st.integers(60, 400),
    st.integers(0, 999),
    st.sampled_from(["iter", "lazy"]),
)
def test_steps_of_a_server_that_decodes_are_weighed_as_it_makes_them(
    requests: Requests, seats: int, room: int, seed: int, engine: str
) -> None:
    found = decodes(requests, seats, room)
    if room < (requests.prompt_tokens + requests.output_tokens - 1).max():
        assert found is None
        return
    assert found is not None
    seconds = rising(np.random.default_rng(seed), len(BATCHES))
    table = decode_table(seconds, BATCHES, CONTEXTS, room)
    server = Replicas(table, Settings("orca", max_sequences=seats, block_tokens=1))
    waiting = replace(requests, arrival_s=np.zeros(len(requests)))
    series = simulate(waiting, Cluster((server,)), engine=engine, series=True).series  # type: ignore[arg-type]
    assert series is not None
    busy = series.column("waiting") > 0
    took = (series.column("end_s") - series.column("start_s"))[busy].sum()
    tokens = (series.column("batch") * series.column("steps"))[busy].sum()
    if not tokens:
        assert found.requests == 0
        return
    weights = decode_weights(found, BATCHES, CONTEXTS)
    later = (requests.output_tokens - 1).mean()
    assert (weights * seconds).sum() == pytest.approx(took / (tokens / later))


@settings(max_examples=12)
@given(traces(), st.sampled_from([1, 2, 3]), st.integers(0, 999), st.sampled_from(["iter", "lazy"]))
def test_steps_of_a_server_that_prefills_are_weighed_as_it_makes_them(
    requests: Requests, together: int, seed: int, engine: str
) -> None:
    seconds = rising(np.random.default_rng(seed), len(TOKENS))[:, ::-1]  # halves attend to less
    table = replace(prefill_table(seconds, TOKENS), tokens_capacity=1000)
    server = Replicas(table, Settings("orca", max_sequences=together))
    count = len(requests)
    firsts = replace(requests, arrival_s=np.zeros(count), output_tokens=np.ones(count, dtype=np.int64))
    served = simulate(firsts, Cluster((server,)), engine=engine)  # type: ignore[arg-type]
    weights = prefill_weights(requests, together, TOKENS)
    assert (weights * seconds).sum() * count == pytest.approx(served.done_s.max())


def pool(axes: str) -> Space:
    source = Source("s.space", STEPS.replace("POOL", "one").replace("AXES", axes))
    (decl,) = parse_items(source)
    assert isinstance(decl, t.SpaceDecl)
    return resolve(decl, source)


@dataclass
class Drawn:
    """Steps with random prices, of which some cannot run; terms that read some of the axes."""

    pool: Pool
    seed: int

    def price(self, path: tuple[str, ...]) -> np.ndarray:
        return np.arange(3.0).reshape(1, 1, 1, 3)

    def terms(self, load: str) -> list[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        shapes = [[n if rng.random() < 0.7 else 1 for n in self.pool.shape] for _ in range(3)]
        return [np.where(rng.random(s) < 0.15, np.inf, rng.integers(1, 9, s).astype(float)) for s in shapes]


@given(st.integers(0, 2**32 - 1))
def test_a_load_takes_the_weighted_sum_of_its_steps_in_every_design(seed: int) -> None:
    """Kinds of steps lie before and after axes of designs; weights are of designs and of kinds."""
    (target,) = pool("axis seats = 1, 2").pools.values()
    (steps,) = pool("axis k = 1, 2\n    axis c = 1, 2").pools.values()
    order = [2, 0, 3, 1]  # the axes of steps in some other order
    steps = replace(steps, axes=tuple(steps.axes[i] for i in order))
    rng = np.random.default_rng(seed)
    drawn = Drawn(steps, seed)
    weights = rng.choice([0.0, 1.0, 2.0, np.inf], (1, 3, 2, 2, 2), p=[0.5, 0.2, 0.2, 0.1])
    prices = Weighted(target, drawn, {"work": weights})  # type: ignore[arg-type]
    assert np.array_equal(prices.price(("usd",)), np.arange(3.0).reshape(1, 3, 1))
    found = prices.price(("work", "latency_s"))
    terms = [np.broadcast_to(x, steps.shape) for x in drawn.terms("work")]
    names = [a.name for a in steps.axes]
    for servers, rows, seats in np.ndindex(target.shape):
        total = 0.0
        for k, c in np.ndindex(2, 2):
            at = {"servers": servers, "rows": rows, "k": k, "c": c}
            weight = weights[0, rows, seats, k, c]
            if weight:
                total += weight * sum(x[tuple(at[n] for n in names)] for x in terms)
        assert np.broadcast_to(found, target.shape)[servers, rows, seats] == pytest.approx(total)
