"""A whole attention head on RTL: an array and a vector unit beside one scratchpad, run by a ROM of descriptors.

Queries are columns throughout, so that a softmax is a reduction along lines: S^T = K Q^T, the softmax of every column,
O^T = V^T P^T, each column divided by its sum. A division is a product with the square of `rsqrt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import fixedpoint as fx
import numpy as np
import pytest
from rtlrig import needs, unit

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.axes import Names
from dfcompiler.hardware.template import Compute, Contraction, Ports, Tile
from dfcompiler.rtl import Axis, PartSpec, lines, package
from dfcompiler.rtl.benches import Bench, tile
from dfcompiler.rtl.descriptors import Descriptor, image, table
from dfcompiler.rtl.loops import execute
from dfcompiler.rtl.nests import Blocks, Nest, Turn, nest

N = 4  # rows, columns and lanes: words of a line
QUERIES, KEYS, DEPTH, WIDTH = 8, 10, 6, 5  # the array is ragged in keys, depth and width
SCALE = round(fx.ONE / np.sqrt(DEPTH) / 64)  # operands have 3 bits of fraction each
BETWEEN = 5  # cycles from the end of one descriptor to the first operand of the next


def parts(**array: str) -> dict[str, Compute]:
    return {
        "sa": unit("systolic-array", rows=N, cols=N, operand_bits=8, acc_bits=24, **array),
        "vu": unit("vector-unit", lanes=N, exp_cycles=4, rsqrt_cycles=2),
    }


def bench(made: dict[str, Compute]) -> Bench:
    specs = [
        PartSpec(
            name,
            t.template_name,
            1,
            tuple(
                Axis(a.name, getattr(t, a.name), a.unit, a.doc, a.legal.names if isinstance(a.legal, Names) else ())
                for a in t.axes()
            ),
        )
        for name, t in made.items()
    ]
    return tile(package("head", specs, [], 10**9), made, depth=256)


@dataclass
class Program:
    """Descriptors and the cycles that the units' formulas give them; regions of the scratchpad, one after another."""

    made: dict[str, Compute]
    bench: Bench
    descriptors: list[Descriptor] = field(default_factory=list)
    cycles: float = 0.0
    room: int = 0
    filled: dict[int, str] = field(default_factory=dict)

    def space(self, count: int) -> int:
        self.room += count
        return self.room - count

    def product(self, x: int, w: int, m: int, n: int, k: int) -> int:
        extents = {"b": 1, "m": m, "n": n, "k": k}
        walked = nest(self.bench.core, extents, {}, ())
        y = self.space(walked.lines["y"])
        self.descriptors.append(Descriptor("product", walked, unit=0, bases=(x, w, y)))
        work = Tile((Contraction(1, m, n, k),), {}, 8, 8, 32)
        self.cycles += float(self.made["sa"].cycles(work, Ports()) + self.made["sa"].fill_cycles())
        return y

    def scalars(self, kind: str, x: int, w: int, rows: int, over: str = "m", each: int = 1, amount: int = 0) -> int:
        """An operation on `rows` lines of every group of N queries; along k it is a reduction to one line. `each` is
        how many lines w has per group: one per line of x, or one for all."""
        codes = {"add": 0, "sub": 1, "mul": 2, "max": 3, "exp": 4, "rsqrt": 5, "sum": 6, "largest": 7}
        out = rows if over == "m" else 1
        inner = Turn(over, 1, {"x": 1, "w": int(each > 1), "y": int(over == "m")})
        turns = (Turn("n", N, {"x": rows, "w": each, "y": out}), inner)
        extents = {"b": 1, "m": 1, "n": QUERIES, "k": 1} | {over: rows}
        y = self.space(out * (QUERIES // N))
        walked = Nest(extents, turns, {})
        self.descriptors.append(Descriptor(kind, walked, codes[kind], 1, amount, bases=(x, w, y)))
        work = Tile((), {{"sum": "add", "largest": "max"}.get(kind, kind): rows * QUERIES}, 32, 32, 32)
        self.cycles += float(self.made["vu"].cycles(work, Ports()) + self.made["vu"].fill_cycles())
        return y

    def fill(self, values: fx.Ints, operand: str, dims: tuple[str, str], sizes: tuple[int, int]) -> int:
        size = dict(zip(dims, sizes, strict=True)) | {"b": 1}
        blocks = Blocks(self.bench.core.ports[operand], size, size)
        port = type(blocks.port)(blocks.port.dims, blocks.port.line, 32)
        text = lines.image(values, Blocks(port, size, size), dims)
        at = self.space(text.count("\n"))
        self.filled |= {at + i: line for i, line in enumerate(text.splitlines())}
        return at

    def constant(self, value: int) -> int:
        at = self.space(QUERIES // N)
        self.filled |= {at + i: f"{value:08x}" * N for i in range(QUERIES // N)}
        return at


def attention(p: Program, q: fx.Ints, k: fx.Ints, v: fx.Ints) -> int:
    """Write the program of a head; where its result lies: WIDTH lines per N queries."""
    keys = p.fill(k, "x", ("m", "k"), (KEYS, DEPTH))
    queries = p.fill(q.T, "w", ("k", "n"), (DEPTH, QUERIES))
    values = p.fill(v.T, "x", ("m", "k"), (WIDTH, KEYS))
    scale, one = p.constant(SCALE), p.constant(1)
    scores = p.scalars("mul", p.product(keys, queries, KEYS, QUERIES, DEPTH), scale, KEYS)
    largest = p.scalars("largest", scores, scores, KEYS, "k")
    weights = p.scalars("exp", p.scalars("sub", scores, largest, KEYS), one, KEYS)
    root = p.scalars("rsqrt", p.scalars("sum", weights, weights, KEYS, "k"), one, 1)
    share = p.scalars("mul", root, root, 1, amount=16)
    narrow = p.scalars("mul", weights, one, KEYS, amount=10)
    return p.scalars("mul", p.product(values, narrow, WIDTH, QUERIES, KEYS), share, WIDTH, amount=12)


def in_numpy(q: fx.Ints, k: fx.Ints, v: fx.Ints) -> fx.Ints:
    """The same integers: [width, query]."""
    scores = fx.mul(k @ q.T, SCALE)
    weights = fx.exp(fx.word(scores - scores.max(0)))
    root = fx.rsqrt(fx.word(weights.sum(0)))
    return fx.mul(v.T @ fx.mul(weights, 1, 10), fx.mul(root, root, 16), 12)


def run(p: Program, tool: str) -> tuple[dict[str, int], str]:
    blank = "0" * (8 * N)
    texts = {"desc": image(table(p.descriptors)), "x": "".join(p.filled.get(i, blank) + "\n" for i in range(p.room))}
    return execute(p.bench, texts, p.room, tool)


@pytest.mark.parametrize(
    ("tool", "array"),
    [
        ("verilator", {"reload": "double-buffered"}),
        ("iverilog", {"reload": "exposed"}),
        ("iverilog", {"reload": "serial"}),
    ],
)
def test_a_head_runs_from_its_rom(tool: str, array: dict[str, str]) -> None:
    needs(tool)
    rng = np.random.default_rng(11)
    q, k, v = (rng.integers(-20, 21, s) for s in ((QUERIES, DEPTH), (KEYS, DEPTH), (KEYS, WIDTH)))
    made = parts(**array)
    p = Program(made, bench(made))
    at = attention(p, q, k, v)
    found, text = run(p, tool)
    rows = [int(line, 16) for line in text.splitlines() if not line.startswith("//")]
    groups = range(QUERIES // N)
    got = np.array(
        [[rows[at + g * WIDTH + i] >> (32 * j) & 0xFFFFFFFF for g in groups for j in range(N)] for i in range(WIDTH)]
    )
    assert np.array_equal(lines.signed(got, 32), in_numpy(q, k, v))
    assert found["cycles"] == p.cycles
    # the sequencer's own cycles; `serial` does not count its last cycle
    late = 2 if array["reload"] == "serial" else 0
    assert found["all"] == p.cycles + BETWEEN * len(p.descriptors) + late


def test_the_integers_are_those_of_attention() -> None:
    """Against softmax attention in floating point: 6 bits of a weight remain in the operand of the second product."""
    rng = np.random.default_rng(12)
    q, k, v = (rng.integers(-20, 21, s) for s in ((QUERIES, DEPTH), (KEYS, DEPTH), (KEYS, WIDTH)))
    scores = (q / 8) @ (k / 8).T / np.sqrt(DEPTH)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    exact = weights / weights.sum(1, keepdims=True) @ v
    assert np.abs(in_numpy(q, k, v).T / 2**10 - exact).max() < KEYS * 20 / 2**6


def test_units_beside_one_scratchpad_have_equal_lines() -> None:
    with pytest.raises(Infeasible, match="one length"):
        bench(parts() | {"vu": unit("vector-unit", lanes=8)})
