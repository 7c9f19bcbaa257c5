"""The vector unit: exact against the same algorithm in numpy, cycles of the template, errors of the functions."""

from __future__ import annotations

import math
import re
from pathlib import Path

import fixedpoint as fx
import numpy as np
import pytest
from rtlrig import needs, rig, unit

from dfcompiler import content
from dfcompiler.hardware.template import Ports, Tile
from dfcompiler.rtl import lines
from dfcompiler.rtl.descriptors import Descriptor, image, table
from dfcompiler.rtl.loops import execute
from dfcompiler.rtl.nests import Blocks, nest

LANES = {
    "eight lanes": {"lanes": 8},
    "deep, fast functions": {"lanes": 6, "exp_cycles": 2, "rsqrt_cycles": 3, "stages": 9},
}
COUNTS = (1, 8, 45, 400)


def words(count: int, kind: str, seed: int) -> fx.Ints:
    """Random words: any for most operations, of every magnitude for functions."""
    rng = np.random.default_rng(seed)
    some = rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 31, count)
    edges = np.array([0, -1, 1, 2**31 - 1, -(2**31), fx.ONE, -fx.ONE])[:count]
    some[: len(edges)] = edges
    return -abs(some) if kind == "exp" and seed % 2 else some


def simulate(made, kind: str, x: fx.Ints, w: fx.Ints, tool: str):
    bench, extents = rig(made), {"b": 1, "m": 1, "n": len(x), "k": 1}
    walked = nest(bench.core, extents, {}, ())
    blocks = {o: Blocks(p, extents, extents) for o, p in bench.core.ports.items()}
    texts = {"desc": image(table([Descriptor("", walked, bench.core.opcodes[kind], amount=16)]))}
    texts |= {o: lines.image(v, blocks[o], ("n",)) for o, v in (("x", x), ("w", w))}
    found, text = execute(bench, texts, blocks["y"].lines, tool)
    return found["cycles"], lines.read(text, blocks["y"], ("n",))


@pytest.mark.parametrize("kind", fx.KINDS)
@pytest.mark.parametrize("name", LANES)
def test_values_and_cycles(name: str, kind: str) -> None:
    needs("verilator")
    made = unit("vector-unit", **LANES[name])
    for seed, count in enumerate(COUNTS):
        x, w = words(count, kind, seed), words(count, "", seed + 100)
        cycles, got = simulate(made, kind, x, w, "verilator")
        assert np.array_equal(got, fx.KINDS[kind](x, w)), (kind, count)
        assert cycles == made.cycles(Tile((), {kind: count}, 32, 32, 32), Ports()) + made.fill_cycles()


def test_icarus_agrees() -> None:
    needs("iverilog")
    made = unit("vector-unit", lanes=8)
    for kind in ("exp", "rsqrt", "mul"):
        x, w = words(61, kind, 1), words(61, "", 2)
        assert np.array_equal(simulate(made, kind, x, w, "iverilog")[1], fx.KINDS[kind](x, w)), kind


def test_the_constants_of_the_core_are_what_they_say() -> None:
    text = Path(content.root(), "templates/rtl/cores/dfc_functions.sv").read_text(encoding="utf-8")
    assert int(re.search(r"LOG2E = 32'sd(\d+)", text)[1]) == fx.LOG2E
    assert int(re.search(r"ROOT = 64'd(\d+)", text)[1]) == fx.ROOT
    exact = 2 ** (np.arange(65) / 64) * 2**24
    assert np.abs(fx.POWERS[:64] - exact[:64]).max() <= 0.51


def test_errors_are_within_what_the_core_says() -> None:
    """exp of what is not positive: 2^-15. rsqrt: a part of 2^-15 where the result is at least 1."""
    x = -np.arange(0, 12 * fx.ONE, 7)
    assert np.abs(fx.exp(x) / fx.ONE - np.exp(x / fx.ONE)).max() <= 2**-15
    x = np.concatenate([np.arange(1, fx.ONE + 1, 3), [fx.ONE]])
    exact = 1 / np.sqrt(x / fx.ONE)
    assert (np.abs(fx.rsqrt(x) / fx.ONE - exact) / exact).max() <= 2**-15
    large = np.unique(np.geomspace(fx.ONE, 2**31 - 1, 100_000).astype(np.int64))
    assert np.abs(fx.rsqrt(large) / fx.ONE - 1 / np.sqrt(large / fx.ONE)).max() <= 2**-15
    assert fx.exp(np.array([11 * fx.ONE])) == fx.LARGEST
    assert math.isclose(int(fx.exp(np.array([10 * fx.ONE]))[0]) / fx.ONE, math.exp(10), rel_tol=2**-14)
