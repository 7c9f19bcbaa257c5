"""A whole attention head on RTL: compiled onto an array and a vector unit beside one scratchpad, run by the ROM of
descriptors that the package of its mapping holds; and other ops that are programs for two units.
"""

from __future__ import annotations

from dataclasses import dataclass

import fixedpoint as fx
import numpy as np
import pytest
from rtlrig import needs

from dfcompiler.api import compile_graph
from dfcompiler.audit import chosen
from dfcompiler.compose import single
from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import run_graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.hardware.template import Compute, Contraction, Ports, Tile
from dfcompiler.models import library
from dfcompiler.outputs import rtl_package
from dfcompiler.problem import problem as problem_of
from dfcompiler.rtl import Package, lines
from dfcompiler.rtl.benches import tile
from dfcompiler.rtl.cores import core_of
from dfcompiler.rtl.descriptors import image, table
from dfcompiler.rtl.loops import execute
from dfcompiler.rtl.params import Table
from dfcompiler.rtl.programs import Program, program
from dfcompiler.schedule import columns_of

N = 4  # rows, columns and lanes: words of a line
KEYS, DEPTH, WIDTH = 10, 6, 5  # the array is ragged in all of them
SCALE = 1 / np.sqrt(DEPTH) / 64  # operands have 3 bits of fraction each
BETWEEN = 5  # cycles from the end of one descriptor to the first operand of the next
STEPS = 11  # descriptors of a tile of queries


def head(queries: int) -> str:
    return f"""graph "head" {{
  input q: int8 [1, {queries}, 1, 1, {DEPTH}]
  state k: int8 [1, {KEYS}, 1, {DEPTH}]
  state v: int8 [1, {KEYS}, 1, {WIDTH}]
  o: int8 [1, {queries}, 1, 1, {WIDTH}] = attention_full(q, k, v) {{scale = {SCALE:.6f}}}
  output o
}}
"""


SMALL = f"sa.rows={N} sa.cols={N} sa.operand_bits=8 sa.acc_bits=24 vu.lanes={N} vu.rsqrt_cycles=2".split()


@dataclass(frozen=True)
class Made:
    """An op on a chip: its package, the ROM and the constants that are run, and where its operands lie."""

    parts: dict[str, Compute]
    package: Package
    rom: Table
    constants: dict[int, int]  # line -> word
    program: Program
    tile: int = 0


def small(changes: str = "") -> Chip:
    return load_chip("edge", overrides([*SMALL, *changes.split()]), ["mt"])


def compiled(text: str, changes: str = "") -> Made:
    """As the compiler maps it, from the tables of its package."""
    chip = small(changes)
    done = compile_graph(parse_graph(Source("head", text), library()), chip, dtype="w8a8kv8")
    (column,) = chosen(done.graph)
    problem = columns_of(done.graph).problems[column.nodes]
    parts = {u: chip.units[u].template for u in (column.unit, "vu")}
    one, other = map(core_of, parts.values())
    found = program(problem, column.tiling.tile, column.tiling.ways, (one, other))
    package = rtl_package(chip, done.report, "head", done.graph)
    tables = {t.name: t for t in package.tables}
    words = {line: word for _, _, line, word in tables["constants"].rows}
    return Made(parts, package, tables["desc"], words, found, column.tiling.tile["s"])


def whole(text: str) -> Made:
    """The one op of a graph in one tile."""
    chip, graph = small(), parse_graph(Source("head", text), library())
    problem = problem_of(single(graph, next(iter(graph.nodes.values()))), parse_dtypes("w8a8kv8"))
    parts = {u: chip.units[u].template for u in ("sa", "vu")}
    one, other = map(core_of, parts.values())
    codes = tuple([*chip.parts].index(u) for u in parts)
    found = program(problem, {x.name: x.size for x in problem.loops}, {}, (one, other), (codes[0], codes[1]))
    words = {line: word & 0xFFFFFFFF for line, word in found.constants.items()}
    return Made(parts, rtl_package(chip, None, "head"), table(found.descriptors), words, found)


def run(made: Made, values: dict[str, fx.Ints], tool: str) -> tuple[dict[str, int], dict[str, fx.Ints]]:
    """Fill the scratchpad with operands and the package's constants, run the package's ROM, read the results."""
    blank = "0" * (8 * N)
    filled = dict.fromkeys(range(made.program.lines), blank)
    filled |= {line: f"{word:08x}" * N for line, word in made.constants.items()}
    for name, value in values.items():
        operand = made.program.operands[name]
        text = lines.image(value, operand.blocks, tuple(operand.indices))
        filled |= {operand.base + i: line for i, line in enumerate(text.splitlines())}
    texts = {"desc": image(made.rom), "x": "".join(f"{filled[i]}\n" for i in sorted(filled))}
    found, text = execute(tile(made.package, made.parts, depth=512), texts, made.program.lines, tool)
    rows = [x for x in text.splitlines() if not x.startswith("//")]
    results = {n: o for n, o in made.program.operands.items() if n not in values}
    return found, {
        n: lines.read("\n".join(rows[o.base : o.base + o.blocks.lines]), o.blocks, tuple(o.indices))
        for n, o in results.items()
    }


def modelled(made: Made, line: bool) -> float:
    """The units' own formulas over the rows of the ROM; scalar operations all at once, or line by line, where words of
    a last line without an element idle."""
    codes = {v: k for k, v in core_of(made.parts["vu"]).opcodes.items()}
    names = [c.name for c in made.rom.columns]
    groups = [g.name for g in made.package.groups]
    total = 0.0
    for row in made.rom.rows:
        at = dict(zip(names, row, strict=True))
        m, n, k = (at[f"extent_{d}"] for d in "mnk")
        unit = made.parts[groups[at["part"]]]
        kind = {"rsum": "add", "rmax": "max"}.get(codes[at["opcode"]], codes[at["opcode"]])
        lots = [(1, Tile((Contraction(1, m, n, k),), {}, 8, 8, 24))]
        if groups[at["part"]] == "vu":
            counts = [(m * k * (n // N), N), (m * k, n % N)] if line else [(1, m * n * k)]
            lots = [(many, Tile((), {kind: size}, 32, 32, 32)) for many, size in counts if size]
        total += sum(many * float(unit.cycles(work, Ports())) for many, work in lots) + float(unit.fill_cycles())
    return total


def operands(queries: int, seed: int) -> tuple[fx.Ints, fx.Ints, fx.Ints]:
    rng = np.random.default_rng(seed)
    q, k, v = (rng.integers(-20, 21, s) for s in ((queries, DEPTH), (KEYS, DEPTH), (KEYS, WIDTH)))
    return q, k, v


def in_numpy(q: fx.Ints, k: fx.Ints, v: fx.Ints) -> fx.Ints:
    """The same integers: [width, query], 16 bits of fraction; 6 of a weight remain in the operand of the second
    product, and the scale has 15 in all."""
    bits = 15 - int(np.frexp(SCALE)[1])
    scores = fx.mul(k @ q.T, round(float(f"{SCALE:.6f}") * 2**bits), bits - 16)
    weights = fx.exp(fx.word(scores - scores.max(0)))
    root = fx.rsqrt(fx.word(weights.sum(0)))
    return fx.mul(v.T @ fx.mul(weights, 1, 10), fx.mul(root, root, 16), 6)


@pytest.mark.parametrize(
    ("tool", "queries", "changes"),
    [
        ("verilator", 16, "sa.reload=double-buffered"),
        ("iverilog", 32, "sa.reload=exposed local.capacity=3KiB"),
        ("iverilog", 16, "sa.reload=serial"),
        ("iverilog", 14, "sa.dataflow=output-stationary sa.reload=exposed"),
    ],
)
def test_a_head_runs_from_the_rom_of_its_mapping(tool: str, queries: int, changes: str) -> None:
    needs(tool)
    made = compiled(head(queries), changes)
    own = made.program.operands["o"].blocks.size["n"]  # queries of one instance
    turns = -(-own // made.tile)
    assert len(made.rom.rows) == STEPS * turns
    q, k, v = operands(own, 11)
    found, got = run(made, {"q": q.T, "k": k, "v": v.T}, tool)
    assert np.array_equal(got["o"], in_numpy(q, k, v))
    assert found["cycles"] == modelled(made, line=True)
    assert (found["cycles"] == modelled(made, line=False)) == (own % N == 0)
    late = 2 * turns if "serial" in changes else 0  # which does not count the last cycle of a product
    assert found["all"] == found["cycles"] + BETWEEN * STEPS * turns + late


def test_a_mapping_of_several_tiles_is_among_them() -> None:
    made = compiled(head(32), "sa.reload=exposed local.capacity=3KiB")
    assert made.tile < made.program.operands["o"].blocks.size["n"]


def test_the_integers_are_those_of_attention() -> None:
    """Against softmax attention in floating point: 6 bits of a weight remain in the operand of the second product."""
    q, k, v = operands(16, 12)
    scores = (q / 8) @ (k / 8).T / np.sqrt(DEPTH)
    weights = np.exp(scores - scores.max(1, keepdims=True))
    exact = weights / weights.sum(1, keepdims=True) @ v
    assert np.abs(in_numpy(q, k, v).T / 2**16 - exact).max() < KEYS * 20 / 2**6


def test_units_beside_one_scratchpad_have_equal_lines() -> None:
    wide = small("vu.lanes=8")
    with pytest.raises(Infeasible, match="one length"):
        tile(rtl_package(wide, None, "head"), {u: wide.units[u].template for u in ("sa", "vu")})


SIZES = {"t": 8, "k": 7, "n": 5}
OPERANDS = {"x": "tk", "w": "nk", "r": "tn"}
# Bodies, and how far off they may be: by the last bits of constants and functions, or where 6 bits of a value remain in
# an operand by that over all of a sum.
OPS = {
    "a gate after a product": (
        """
  a[t, n] = sum(k) x[t, k] * w[n, k] * 0.01
  e[t, n] = exp(-a[t, n])
  y[t, n] = a[t, n] / (1 + e[t, n]) + maximum(r[t, n], 3) * 0.5""",
        2**-8,
    ),
    "sums of squares before one": (
        """
  s[t] = sum(k) x[t, k] * x[t, k]
  v[t, k] = x[t, k] * rsqrt(s[t] / 64 + 1) * 0.125
  z[t, n] = sum(k) v[t, k] * w[n, k]
  y[t, n] = z[t, n] - r[t, n]""",
        9 * SIZES["k"] / 2**6,
    ),
}


def own(body: str) -> str:
    """A graph of one op that its source declares."""
    dims = {name: ", ".join(at) for name, at in OPERANDS.items()}
    sizes = {name: ", ".join(str(SIZES[d]) for d in at) for name, at in OPERANDS.items()}
    return f"""op mine({", ".join(f"{n}: [{d}]" for n, d in dims.items())}) -> (y: [t, n]) {{{body}
}}
graph "head" {{
{"".join(f"  input {n}: int8 [{s}]{chr(10)}" for n, s in sizes.items())}  y: int8 [{sizes["r"]}] = mine(x, w, r)
  output y
}}
"""


@pytest.mark.parametrize("name", OPS)
def test_other_ops_are_programs_too(name: str) -> None:
    """Against the numpy semantics of their text."""
    needs("iverilog")
    body, allowed = OPS[name]
    made, rng = whole(own(body)), np.random.default_rng(5)
    given = {n: rng.integers(-9, 10, [SIZES[d] for d in at]) for n, at in OPERANDS.items()}
    wanted = run_graph(parse_graph(Source("head", own(body)), library()), given)["y"]
    places = {n: [*o.indices.values()] for n, o in made.program.operands.items()}
    laid = {n: v.transpose([OPERANDS[n].index(d) for d in places[n]]) for n, v in given.items() if n in places}
    found, got = run(made, laid, "iverilog")
    assert [*got] == ["y"]
    back = got["y"].transpose([places["y"].index(d) for d in "tn"]) / 2 ** made.program.operands["y"].fraction
    assert np.abs(back - wanted).max() < allowed
    assert found["cycles"] == modelled(made, line=True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("y[t, n] = a[t, n] / r[t, n]", "may be zero or negative"),
        ("y[t, n] = a[t, n] + tanh(r[t, n])", "no core has an operation for `tanh`"),
        ("y[t, n] = a[t, n] - t", "an index as a value"),
        ("y[t, n] = max(k) x[t, k] * w[n, k]", "lines along `t`: `w` has no points along them"),
        ("y[t, n] = min(k) a[t, n] * w[n, k]", "no sum, maximum"),
        ("y[t, n] = a[t, n] + r[t, n] + 9000000", "does not fit a word"),
        ("y[t, n] = 2 / a[t, n] + r[t, n]", "a number is divided"),
        ("b[t, k] = sum(n) a[t, n] * w[n, k]\n  y[t, n] = sum(k) b[t, k] * w[n, k]", "`w` is needed in two layouts"),
    ],
)
def test_what_is_no_program_is_an_answer(body: str, said: str) -> None:
    with pytest.raises(Infeasible, match=said) as caught:
        whole(own(f"\n  a[t, n] = sum(k) x[t, k] * w[n, k]\n  {body}"))
    assert caught.value.code == "no-product"
