"""What goes into the serving engines: requests, tables, settings, clusters; and what is wrong with bad ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servecases import table

from dfcompiler.diagnostics import Diag
from dfcompiler.serving import compiled
from dfcompiler.serving.cluster import Cluster, Link, Pool, Spill
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.offline import lower_bound
from dfcompiler.serving.policy import Policy, policy
from dfcompiler.serving.requests import MAX_TOKENS, Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import Rows, StepTable

NAN, INF = float("nan"), float("inf")
POOL = Pool(table())
LINK = Link(1e9, 100)


def pools(*roles: Any) -> tuple[Pool, ...]:
    return tuple(Pool(table(), role=role) for role in roles)


def flat(**changed: Any) -> StepTable:
    made: dict[str, Any] = {"prefill": [0, 8], "past": [0], "batch": [0, 4], "context": [0, 64]}
    values = np.ones((2, 1, 2, 2))
    return StepTable(**{**{k: np.array(v) for k, v in made.items()}, "values": values, **changed})


class NotANumber(Policy):
    def key(self, requests: Requests, now_s: Any, generated: Any) -> float:
        return NAN


class WrongShape(Policy):
    def key(self, requests: Requests, now_s: Any, generated: Any) -> list[float]:
        return [1.0, 2.0, 3.0]


NotANumber.name = WrongShape.name = "wrong"
TWO = Requests.of([0, 1], [5, 5], [2, 2])

BAD: dict[str, tuple[str, str, Callable[[], object]]] = {
    "negative time": ("bad-requests", "`arrival_s` of request 1 is -1.0", lambda: Requests.of([0, -1], 1, 1)),
    "no time": ("bad-requests", "`arrival_s` of request 0 is nan", lambda: Requests.of([NAN], 1, 1)),
    "endless time": ("bad-requests", "`arrival_s` of request 0 is inf", lambda: Requests.of([INF], 1, 1)),
    "no prompt": ("bad-requests", "`prompt_tokens` of request 0 is 0", lambda: Requests.of([0], [0], 1)),
    "no output": ("bad-requests", "`output_tokens` of request 0 is 0", lambda: Requests.of([0], 1, 0)),
    "huge": ("bad-requests", "from 1 to 16,777,216", lambda: Requests.of([0], [MAX_TOKENS + 1], 1)),
    "half a token": ("bad-requests", "a whole number", lambda: Requests.of([0], [1.5], 1)),
    "nan tokens": ("bad-requests", "a whole number", lambda: Requests.of([0], [NAN], 1)),
    "words": ("bad-requests", "not an array of numbers", lambda: Requests.of([0], ["many"], 1)),
    "lengths": ("bad-requests", "for each of 2 requests", lambda: Requests.of([0, 1], [1, 2, 3], 1)),
    "a table of times": ("bad-requests", "one number per request", lambda: Requests.of([[0.0]], 1, 1)),
    "too much shared": ("bad-requests", "within the prompt", lambda: Requests.of([0], 4, 1, shared_tokens=5)),
    "promise": ("bad-requests", "`ttft_slo_s`", lambda: Requests.of([0], 4, 1, ttft_slo_s=0)),
    "prefix": ("bad-requests", "`prefix_id`", lambda: Requests.of([0], 4, 1, prefix_id=7)),
    "grid": ("bad-step-table", "must ascend from 0", lambda: flat(batch=np.array([0, 4, 4]))),
    "grid start": ("bad-step-table", "must ascend from 0", lambda: flat(past=np.array([1]))),
    "values": ("bad-step-table", "the grids want", lambda: flat(values=np.ones((2, 2)))),
    "nan": ("bad-step-table", "finite", lambda: flat(values=np.full((2, 1, 2, 2), NAN))),
    "host": ("bad-step-table", "the host", lambda: flat(host_s=-1)),
    "no cache": ("bad-step-table", "at least one token", lambda: flat(tokens_capacity=0)),
    "semantics": ("unknown-semantics", "unknown semantics `vllm`", lambda: Settings("vllm")),
    "seats": ("bad-engine", "`max_sequences`", lambda: Settings(max_sequences=0)),
    "budget": ("bad-engine", "256 sequences cannot decode", lambda: Settings(max_batched_tokens=8)),
    "no devices": ("bad-cluster", "at least one replica", lambda: Pool(table(), replicas=0)),
    "no way in": ("bad-cluster", "no pool takes requests", lambda: Cluster(())),
    "no decode": ("bad-cluster", "need each other", lambda: Cluster(pools("prefill"), link=LINK)),
    "no link": ("bad-cluster", "they need one", lambda: Cluster(pools("prefill", "decode"))),
    "link": ("bad-cluster", "they need one", lambda: Cluster(pools("both"), link=LINK)),
    "slow link": ("bad-cluster", "positive bandwidth", lambda: Link(0, 1)),
    "no layers": ("bad-cluster", "at least one layer", lambda: Link(1, 1, layers=0)),
    "spill": ("bad-cluster", "spill into each other", lambda: Cluster(pools("both"), spill=Spill(1, 1))),
    "price": ("bad-cluster", "mixed steps never do", lambda: Cluster(pools("both"), policy("lagrangian"))),
    "nan key": ("bad-policy", "not numbers", lambda: simulate(TWO, Cluster((POOL,), NotANumber()))),
    "keys": ("bad-policy", "each of 2 requests", lambda: simulate(TWO, Cluster((POOL,), WrongShape()))),
    "engine": ("unknown-engine", "unknown engine", lambda: simulate(TWO, Cluster((POOL,)), engine="eager")),  # type: ignore[arg-type]
    "bound": ("bad-bound", "prefixes", lambda: lower_bound(TWO, Pool(table(), Settings(prefix_caching=True)))),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    code, words, make = BAD[case]
    with pytest.raises(Diag) as caught:
        make()
    assert caught.value.code == code and words in caught.value.message


def test_numba_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "available", lambda: False)
    with pytest.raises(Diag, match="not installed"):
        simulate(TWO, Cluster((POOL,)), fast=True)
    assert not simulate(TWO, Cluster((POOL,))).rejected.any()


def test_requests_are_sorted_and_equal_arrivals_keep_their_order() -> None:
    r = Requests.of([2, 1, 1, 0], [1, 2, 3, 4], 1, priority=[9, 8, 7, 6])
    assert r.arrival_s.tolist() == [0, 1, 1, 2] and r.prompt_tokens.tolist() == [4, 2, 3, 1]
    assert r.priority.tolist() == [6, 8, 7, 9]
    assert r.shared_tokens.strides == (0,), "what holds for all takes no memory"


@pytest.mark.parametrize(("prompt", "output"), [(600, 1), (500, 14), (16, 500)])
@pytest.mark.parametrize("engine", ["iter", "jump", "lazy"])
def test_what_never_fits_is_rejected_and_counted(prompt: int, output: int, engine: Any) -> None:
    """512 tokens fit: a request may need one less than prompt and output."""
    served = simulate(Requests.of([0, 0], [prompt, 9], [output, 3]), Cluster((Pool(table(0, 512)),)), engine=engine)
    assert served.rejected.tolist() == [prompt + output - 1 > 512, False]
    assert np.isnan(served.done_s).tolist() == served.rejected.tolist() == (served.replica < 0).tolist()


@pytest.mark.parametrize("engine", ["iter", "jump", "lazy"])
def test_a_cache_smaller_than_a_block_rejects_all(engine: Any) -> None:
    assert simulate(TWO, Cluster((Pool(table(0, 15)),)), engine=engine).rejected.all()


# ---- the table


def line(grid: np.ndarray, x: float) -> tuple[int, float]:
    """The cell of a grid and how far `x` is in it; cells at the ends go on."""
    i = int(np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2))
    return i, (x - grid[i]) / (grid[i + 1] - grid[i])


def row(rows: Rows, number: int, x: float) -> float:
    """One part of a step by itself; past the last row in proportion to it."""
    last = len(rows.starts) - 2
    here = slice(rows.starts[min(number, last)], rows.starts[min(number, last) + 1])
    knots, values = rows.knots[here], rows.values[here]
    i, w = line(knots, x) if len(knots) > 1 else (0, 0.0)
    straight = values[i] + w * (values[min(i + 1, len(values) - 1)] - values[i])
    return float(straight) * max(1.0, number / last)


def each(values: np.ndarray, number: int) -> float:
    """A value for every number; past the last one in proportion to it, if there are several."""
    last = len(values) - 1
    return float(values[min(number, last)]) * (max(1.0, number / last) if last else 1.0)


def reference(t: StepTable, point: tuple[int, float, int, int]) -> float:
    """A part alone by its rows; else linear in one number after the other, by numpy, with what tokens and parts add."""
    prefill, past, batch, context = point
    alone = context / max(batch, 1)
    if t.chunks and t.decodes and not (prefill and batch):
        return max(row(t.decodes, batch, alone) if prefill == 0 else row(t.chunks, prefill, past), 0.0)
    values = t.values
    for name, x in zip(("prefill", "past", "batch", "context"), point, strict=True):
        grid = getattr(t, name)
        i, w = line(grid, x) if len(grid) > 1 else (0, 0.0)
        values = values[i] if len(grid) == 1 else (1 - w) * values[i] + w * values[i + 1]
    whole = float(values) + each(t.tokens, prefill + batch)
    for rows, number, x in ((t.chunks, prefill, past), (t.decodes, batch, alone)):
        if rows is not None and rows.beside is not None:
            whole += row(rows, number, x) - each(rows.beside, number)
    return max(whole, 0.0)


@given(
    st.integers(1, 4),
    st.booleans(),
    st.tuples(st.integers(0, 9000), st.floats(-500, 9000), st.integers(0, 130), st.integers(0, 20000)),
)
def test_steps_are_interpolated_and_go_on_outside(seed: int, coarse: bool, point: tuple[int, float, int, int]) -> None:
    t = table(seed, coarse=coarse)
    assert t.step_s(*point) == pytest.approx(reference(t, point), rel=1e-11, abs=1e-14)


def test_points_of_the_grid_are_exact() -> None:
    t = table(2)
    for i, q in enumerate(t.prefill.tolist()):
        for m, c in enumerate(t.context.tolist()):
            assert t.step_s(q, 256, 4, c) == pytest.approx(t.values[i, 1, 2, m], rel=1e-15)
