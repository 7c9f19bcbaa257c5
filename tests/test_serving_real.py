"""Against a real server: what vLLM 0.19 made of 300 requests, from a chip file and one constant of the host.

The same steps also go through the server of `iteration`, written apart from the engines.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from iteration import serve

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.models import load_model
from dfcompiler.serving.capacity import HOST_S
from dfcompiler.serving.replicas import Replicas, replicas

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
BOARD = "1792 GB/s, as shipped"  # see benchmarks/validate_serving.py


@cache
def benchmark() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import validate_serving
    finally:
        sys.path.remove(str(BENCHMARKS))
    if not validate_serving.RUN.is_dir():
        pytest.skip("no run of vLLM in DFC_DATA")
    module: ModuleType = validate_serving
    return module


@cache
def served() -> Replicas:
    b = benchmark()
    requests, _ = b.measured()
    chip = load_chip(b.CHIP, overrides(b.BOARDS[BOARD]))
    return replicas(load_model(b.MODEL), chip, requests, b.settings(), host_s=HOST_S)


def test_means_are_those_of_the_real_server() -> None:
    b = benchmark()
    requests, real = b.measured()
    errors = b.modelled(requests, b.settings(), b.BOARDS[BOARD], HOST_S).errors(real)
    for name, bar in b.BARS.items():
        assert abs(errors[name]) <= bar, f"mean {name} is {errors[name]:+.1%} off"


def test_a_server_written_apart_says_the_same() -> None:
    b = benchmark()
    requests, _ = b.measured()
    steps = served().pool.table

    def step_s(chunks: list[tuple[int, int]], contexts: list[int]) -> float:
        new = sum(n for n, _ in chunks)
        past = sum(n * p + n * n / 2 for n, p in chunks) / new - new / 2 if new else 0.0
        return steps.step_s(new, past, len(contexts), sum(contexts)) + HOST_S

    rows = list(
        zip(requests.arrival_s.tolist(), requests.prompt_tokens.tolist(), requests.output_tokens.tolist(), strict=True)
    )
    how = b.settings()
    first, last, _ = np.array(serve(rows, step_s, how.max_batched_tokens, how.max_sequences)).T
    apart = b.Means.of(requests, first, last)
    mine = b.modelled(requests, how, b.BOARDS[BOARD], HOST_S)
    for name in ("ttft", "tpot", "latency"):
        assert getattr(apart, name) == pytest.approx(getattr(mine, name), rel=1e-6)


def test_the_real_server_held_all_its_caches() -> None:
    """It preempted nobody: what is taken for the room of caches holds 128 of the longest requests."""
    requests, _ = benchmark().measured()
    longest = int((requests.prompt_tokens + requests.output_tokens).max())
    assert served().room.tokens > 128 * longest / 2
    assert served().room.utilization == 0.9
