"""Scans, chunked or not, and look-ups in attention, run tile by tile: values, bytes and time as they are claimed."""

from __future__ import annotations

import random
from math import ceil

import numpy as np
import pytest
from nestcases import machine

from dfcompiler.audit.check import check
from dfcompiler.compose import single
from dfcompiler.counts import counts
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.opshape import bind
from dfcompiler.pricing import op_graph, price_op
from dfcompiler.problem import Problem, problem
from dfcompiler.replay import Mapped

DTYPES = parse_dtypes("w16a16kv16acc32")
TILED = {
    "ssd": "b=2 t=7 g=2 r=2 p=3 n=3",
    "ssd_chunked": "b=1 t=7 g=2 r=2 p=3 n=2 chunk=2",
    "gated_delta": "b=2 t=5 g=2 r=2 k=3 v=3",
    "gated_delta_chunked": "b=1 t=5 g=2 r=2 k=2 v=3 chunk=3",
    "conv1d_state": "b=2 t=5 d=4 j=3",
    "sparse_attention": "b=2 s=3 g=2 r=2 e=2 f=2 t=9 j=4",
    "sparse_mla": "b=2 s=3 h=2 c=2 e=2 t=9 j=4",
    "indexer": "b=2 s=2 h=2 e=2 t=6 top=3",
    "block_indexer": "b=1 s=2 g=2 r=2 e=2 t=9 top=2 block=2",
}


def made(name: str) -> Problem:
    dims = {k: (float(v),) for k, v in (part.split("=") for part in TILED[name].split())}
    graph, node = op_graph(library().ops[name], dims, DTYPES)
    return problem(single(graph, node), DTYPES)


@pytest.mark.parametrize("name", TILED)
def test_tiles_of_it_compute_move_and_take_what_is_claimed(name: str) -> None:
    p = made(name)
    for seed in range(8):
        rng = random.Random(seed)
        unit, helper = machine(rng, rng.choice(["mac-tree", "vector-unit"]))
        size = {x.name: rng.randint(1, x.size) for x in p.loops}
        ways, left = dict.fromkeys(size, 1), unit.instances
        for x in (x for x in p.loops if not x.reduced):
            ways[x.name] = rng.choice([n for n in (1, 2, 3) if n <= max(1, min(left, ceil(x.size / size[x.name])))])
            left //= ways[x.name]
        order = [x.name for x in p.loops if ceil(ceil(x.size / size[x.name]) / ways[x.name]) > 1]
        rng.shuffle(order)
        found = check(Mapped(p, unit, helper, size, ways, tuple(order), ()), seed)
        assert found.faults == (), (size, ways, order)


def test_a_sequential_loop_is_tiled_and_never_split() -> None:
    loops = {x.name: x for x in made("ssd").loops}
    assert loops["t"].reduced and not loops["r"].reduced
    local = {o.name: o for o in made("ssd").operands if o.kind == "local"}
    assert "t" not in local["st"].loops


def test_a_decode_reads_and_writes_its_state_once() -> None:
    sizes = {"b": 4, "t": 1, "g": 2, "r": 3, "p": 5, "n": 7}
    found = counts(bind(library().ops["ssd"], (5, 4, 2, 4, 4, 5)), sizes)
    assert found.read["h0"] == found.written["h0"] == 4 * 2 * 3 * 5 * 7


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("ssd", {"b": 1, "t": 2048, "g": 8, "r": 16, "p": 64, "n": 128}),
        ("gated_delta", {"b": 1, "t": 2048, "g": 16, "r": 2, "k": 128, "v": 128}),
    ],
)
def test_a_long_prefill_is_faster_in_chunks(name: str, sizes: dict[str, int]) -> None:
    dims = {k: (float(v),) for k, v in sizes.items()}
    one, other = (price_op(n, dims, load_chip("ador")) for n in (name, f"{name}_chunked"))
    assert other.latency_s < one.latency_s / 5
    state = np.prod([v for k, v in sizes.items() if k != "t"]) * 2 * 2  # in and out, of 2 bytes
    assert min(one.bytes["hbm"], other.bytes["hbm"]) > state
