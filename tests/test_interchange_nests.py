"""Mappings that leave as Timeloop's: the nest of every op visits each point once, moves the bytes that the price of
the mapping says, and is what the YAML holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import pytest
from timeloop import read

from dfcompiler.api import Compiled, compile_graph
from dfcompiler.cli import main
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.explanation import Mapped
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.interchange.export import letters, timeloop_text
from dfcompiler.interchange.nests import Nest, nest_of, nests
from dfcompiler.models import library
from dfcompiler.outputs import write_outputs
from dfcompiler.outputs.recall import recalled

SMALL = """\
chip small {
  node = 7 nm
  clock = 1 GHz
  part mem: dram { capacity = 1 GB, bandwidth = 64 B/cycle }
  part shared: sram { capacity = 16 KiB, dma_read = 64 B/cycle, dma_write = 64 B/cycle }
  group core x 4 {
    part local: sram { capacity = 2 KiB }
    part sa: systolic-array { rows = 4, cols = 8, share = 80 % }
    part vu: vector-unit { lanes = 4, share = 20 % }
  }
  connect mem - shared - local - sa
  connect local - vu
}
"""
SIZES = [(64, 96, 48), (13, 50, 37), (1, 100, 64), (40, 8, 200), (5, 7, 11)]
OP = "op product(x: [m, k], w: w [k, n]) -> (y: [m, n]) {\n  y[m, n] = sum(k) x[m, k] * w[k, n]\n}\n"


def graph_text(sizes: Sequence[tuple[int, int, int]]) -> str:
    lines = [
        line
        for i, (m, n, k) in enumerate(sizes)
        for line in (
            f"input x{i}: bf16 [{m}, {k}]",
            f"weight w{i}: bf16 [{k}, {n}]",
            f"y{i}: bf16 [{m}, {n}] = product(x{i}, w{i})",
        )
    ]
    return f'{OP}graph "g" {{\n' + "".join(f"  {x}\n" for x in [*lines, f"output y{len(sizes) - 1}"]) + "}\n"


def compiled(folder: Path, chip: str = "small") -> Compiled:
    (folder / "small.chip").write_text(SMALL, encoding="utf-8")
    graph = parse_graph(Source("g.dfir", graph_text(SIZES)), library())
    return compile_graph(graph, load_chip(str(folder / "small.chip") if chip == "small" else chip), pipeline="list")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nests")
    write_outputs(compiled(made), made / "out", "g")
    return made / "out"


def mapped_in(folder: Path) -> Mapped:
    import json

    return recalled(json.loads((folder / "mapping.json").read_text(encoding="utf-8")), folder)


def blocks(nest: Nest, stop: int | None = None) -> Iterator[tuple[dict[str, tuple[int, int]], tuple[int, ...]]]:
    """Every step of the loops of the first `stop` storages, outermost first: the run of points of each dimension, and
    which instance of a fan-out it is on."""
    chain = [
        (x, i, s.across != () and x in s.across) for i, s in enumerate(nest.storages) for x in s.temporal + s.across
    ]
    outside = [(n, x, across) for n, (x, i, across) in enumerate(chain) if stop is None or i < stop]

    def walk(at: int, runs: dict[str, tuple[int, int]], last: dict[str, bool], place: tuple[int, ...]) -> Any:
        if at == len(outside):
            yield dict(runs), place
            return
        n, x, across = outside[at]
        inside = prod(y.bound for y, _, _ in chain[n + 1 :] if y.dim == x.dim)
        rounds = x.last if last[x.dim] else x.bound
        start, end = runs[x.dim]
        for r in range(rounds):
            first = start + r * inside
            run = (first, min(end, first + inside))
            yield from walk(
                at + 1,
                {**runs, x.dim: run},
                {**last, x.dim: last[x.dim] and r == rounds - 1},
                (*place, r) if across else place,
            )

    return walk(0, {d: (0, n) for d, n in nest.sizes.items()}, dict.fromkeys(nest.sizes, True), ())


def every(folder: Path) -> list[Nest]:
    found, refused = nests(mapped_in(folder))
    assert len(found) == len(SIZES) and not refused
    return found


def test_a_nest_visits_every_point_once(folder: Path) -> None:
    for nest in every(folder):
        seen: set[tuple[int, ...]] = set()
        for runs, _ in blocks(nest):
            points = set(product(*(range(*run) for run in runs.values())))
            assert points and not points & seen, nest.name
            seen |= points
        assert len(seen) == prod(nest.sizes.values()), nest.name


def test_last_rounds_are_what_is_left(folder: Path) -> None:
    loops = [x for nest in every(folder) for s in nest.storages for x in (*s.temporal, *s.across)]
    assert all(1 <= x.last <= x.bound for x in loops) and any(x.last < x.bound for x in loops)


def test_fan_outs_are_those_of_the_chip(folder: Path) -> None:
    unit = load_chip(str(folder / "chip.chip")).units["sa"]
    for nest in every(folder):
        if nest.unit == "sa":
            for s in nest.storages:
                assert prod(x.bound for x in s.across) <= (4 * 8 if s.inside else unit.instances)


def moved(nest: Nest, operand: str) -> int:
    """Elements of an operand that come from DRAM or go there, where every instance has a storage of its own that keeps
    a tile until the next one is another."""
    below = next(i for i, s in enumerate(nest.storages) if i > 0 and operand in s.holds)
    dims = [d for d in nest.sizes if d in nest.operands[operand]]
    held, total = dict[tuple[int, ...], tuple[tuple[int, int], ...]](), 0
    for runs, place in blocks(nest, below):
        tile = tuple(runs[d] for d in dims)
        if held.get(place) != tile:
            held[place], total = tile, total + prod(b - a for a, b in tile)
    return total


def test_the_nest_moves_the_bytes_of_the_price(folder: Path) -> None:
    mapped = mapped_in(folder)
    tasks = {t.column.nodes[-1]: t for x in mapped.layers for t in x.solution.tasks}
    for nest in every(folder):
        bits = sum(16 * moved(nest, o) for o in nest.operands)
        assert bits / 8 == tasks[nest.name].column.tiling.dram_bytes, nest.name


# ---- text --------------------------------------------------------------------------------------


def test_timeloop_reads_the_nest(folder: Path) -> None:
    """By the rules of its front end and of its model's parser, which check the sizes that factors make."""
    chip = load_chip(str(folder / "chip.chip"))
    for nest in every(folder):
        said, name = read(timeloop_text(nest, chip)), letters(nest.sizes)
        assert said.sizes == {name[d]: n for d, n in nest.sizes.items()}
        assert {o: set(dims) for o, dims in said.operands.items()} == {
            o: {name[d] for d in dims} for o, dims in nest.operands.items()
        }
        wanted = [
            (s, loops, n > 0) for s in nest.storages for n, loops in enumerate((s.temporal, s.across)) if loops or not n
        ]
        assert len(said.levels) == len(wanted)
        for level, (s, loops, spatial) in zip(said.levels, wanted, strict=True):
            assert level.spatial is spatial and (spatial or (level.name == s.name and set(level.keeps) == s.holds))
            assert [x for x in level.loops if x[1:] != (1, 1)] == [
                (name[x.dim], x.bound, x.last) for x in loops if (x.bound, x.last) != (1, 1)
            ]


def test_what_timeloop_keeps_fits_into_the_memory(folder: Path) -> None:
    """Storages that are parts of one memory hold together at most what it has."""
    chip = load_chip(str(folder / "chip.chip"))
    for nest in every(folder):
        said, filled = read(timeloop_text(nest, chip)), dict[str, int]()
        parts = {s.name: s.part for s in nest.storages}
        for n, level in enumerate(said.levels):
            if level.name in said.depth and not level.spatial:
                part = parts[level.name]
                filled[part] = filled.get(part, 0) + sum(said.tile(n, o) for o in level.keeps)
                assert 0 < filled[part] <= said.depth[level.name], (nest.name, level.name)
        assert filled


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("factors: [", "factors: [Q=2, "),  # of no dimension
        ("type: temporal", "type: temporary"),
        ("version: 0.4", "version: 0.3"),
        ("keep: [", "keep: [z, "),
        ("datawidth: 16", "bits: 16"),
        ("class: intmac", "class: multiplier"),
        ("target: mem,", "target: memory,"),
        ("{meshX: 32}", "{meshX: 31}"),
    ],
)
def test_what_timeloop_would_refuse_is_refused(folder: Path, old: str, new: str) -> None:
    chip, nest = load_chip(str(folder / "chip.chip")), every(folder)[0]
    text = timeloop_text(nest, chip)
    assert old in text
    with pytest.raises((AssertionError, KeyError)):
        read(text.replace(old, new))


def test_every_dimension_has_a_letter_of_its_own() -> None:
    assert letters(["m", "n", "k"]) == {"m": "M", "n": "N", "k": "K"}
    assert letters(["x", "x1", "_x", "a"]) == {"x": "X", "x1": "A", "_x": "B", "a": "C"}


def test_the_command_writes_a_file_per_op(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(folder), "-o", str(tmp_path / "t")]) == 0
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [f"y{i}.yaml" for i in range(len(SIZES))]
    capsys.readouterr()
    assert main(["export", str(folder), "--op", "y0"]) == 0
    assert capsys.readouterr().out == (tmp_path / "t" / "y0.yaml").read_text(encoding="utf-8")


def test_what_has_no_nest_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """\
graph "g" {
  input x: bf16 [8, 32]
  weight g: bf16 [32]
  weight w: bf16 [16, 32]
  h: bf16 [8, 32] = rmsnorm(x, g) {eps = 1e-05}
  y: bf16 [8, 16] = linear(h, w)
  output y
}
"""
    (tmp_path / "g.dfir").write_text(text, encoding="utf-8")
    out = str(tmp_path / "out")
    plain = ["--pipeline", "tile,map-list,schedule"]
    assert main(["compile", str(tmp_path / "g.dfir"), "--on", "ador", "-o", out, *plain]) == 0
    capsys.readouterr()
    assert main(["export", out, "-o", str(tmp_path / "t")]) == 0
    assert "`h` is not exported: it is no product of two operands alone" in capsys.readouterr().err
    with pytest.raises(Infeasible, match="no product"):
        nest_of(mapped_in(Path(out)), "h")
    with pytest.raises(Diag, match="unknown node"):
        nest_of(mapped_in(Path(out)), "z")
    assert main(["export", out]) == 2 and main(["export", str(tmp_path)]) == 2
    assert main(["export", out, "--op", "h"]) == 1
