"""RTL in the loop: an op's tiles on the reference core of its unit, against numpy and against the unit's formula."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.template import Compute, Contraction, Ports, Tile
from dfcompiler.rtl import lines, simulators
from dfcompiler.rtl.benches import Bench
from dfcompiler.rtl.cores import Core
from dfcompiler.rtl.descriptors import Descriptor, image, table
from dfcompiler.rtl.nests import DIMS, Blocks, nest, tiles
from dfcompiler.rtl.params import Table

BATCHED = {"x": ("b", "m", "k"), "w": ("b", "k", "n"), "y": ("b", "m", "n")}


@dataclass(frozen=True)
class Product:
    """`b` products [m, k] x [k, n], in tiles of `tile` points, looped over in this order, the first outermost."""

    extents: Mapping[str, int]
    tile: Mapping[str, int]
    order: tuple[str, ...] = ("m", "n", "k")


@dataclass(frozen=True)
class Outcome:
    """What a simulation found: cycles of the RTL and of the formula, and how many results differ from numpy's."""

    cycles: int
    model_cycles: float
    last_write: int
    wrong: int
    results: int


def model_cycles(unit: Compute, product: Product, core: Core) -> float:
    """The unit's own formula over the tiles as they are, ragged ones as such, with what is paid once."""
    bits, acc = core.ports["x"].bits, core.ports["y"].bits
    total = 0.0
    for count, size in tiles(product.extents, {**product.tile, "b": 1}):
        one = Contraction(*(size[d] for d in ("b", "m", "n", "k")))
        total += count * float(unit.cycles(Tile((one,), {}, bits, bits, acc), Ports()))
    return total + float(unit.fill_cycles())


def check(unit: Compute, ports: Ports, product: Product, core: Core, operand_bits: int) -> None:
    """Raises Infeasible `not-simulated` where the unit's formula counts what the core does not do: passes for operands
    wider than its multipliers, and cycles in which its array waits for a port of the memory beside it."""
    bits, acc = core.ports["x"].bits, core.ports["y"].bits
    if operand_bits > bits:
        said = f"operands of {operand_bits} bits take several passes of multipliers of {bits}, which no core does"
        raise Infeasible("not-simulated", said, hint="narrower types by --dtype, or wider multipliers by --set")
    for _, size in tiles(product.extents, {**product.tile, "b": 1}):
        work = Tile((Contraction(*(size[d] for d in ("b", "m", "n", "k"))),), {}, operand_bits, operand_bits, acc)
        waits, free = float(unit.cycles(work, ports)), float(unit.cycles(work, Ports()))
        if waits > free:
            said = f"a tile of {size} waits for a port: {waits:g} cycles, {free:g} without; the cores have wide ports"
            raise Infeasible("not-simulated", said, hint="widen the ports of the memory by --set")


def simulate(
    made: Bench,
    unit: Compute,
    product: Product,
    *,
    rows: Table | None = None,
    seed: int = 0,
    tool: str = "verilator",
) -> Outcome:
    """Run a product with random integers of the unit's width; sums wrap at the accumulator's width, as numpy's do.
    `rows` are the descriptors, by default one for the product.

    Raises Infeasible `too-large` where a memory of the bench is too small, and as `simulators` does.
    """
    core, rng = made.core, np.random.default_rng(seed)
    walked = nest(core, product.extents, product.tile, product.order)
    whole = {d: min(product.tile.get(d, product.extents[d]), product.extents[d]) for d in DIMS}
    blocks = {o: Blocks(p, product.extents, whole) for o, p in core.ports.items()}
    x, w = (lines.random(rng, product.extents, BATCHED[o], core.ports[o].bits) for o in ("x", "w"))
    wanted = lines.signed(np.matmul(x, w), core.ports["y"].bits)
    texts = {"desc": image(rows or table([Descriptor("", walked)])), "x": lines.image(x, blocks["x"], BATCHED["x"])}
    texts["w"] = lines.image(w, blocks["w"], BATCHED["w"])
    found, text = execute(made, texts, blocks["y"].lines, tool)
    got = lines.read(text, blocks["y"], BATCHED["y"])
    wrong = int(np.count_nonzero(got != wanted))
    return Outcome(found["cycles"], model_cycles(unit, product, core), found["last_write"], wrong, wanted.size)


def execute(made: Bench, texts: Mapping[str, str], count: int, tool: str) -> tuple[dict[str, int], str]:
    """Run a bench on the images `desc`, `x` and `w`; what it prints, and the first `count` lines of its results."""
    longest = max(count, *(t.count("\n") for t in texts.values()))
    if longest > made.depth:
        raise Infeasible(
            "too-large", f"{longest:,} lines, and a bench's memory has {made.depth:,}", hint="smaller sizes"
        )
    program = simulators.build(made.files, made.top, tool)
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for name, text in texts.items():
            (folder / name).write_text(text)
        given = [f"+{name}={folder / name}" for name in (*texts, "y")]
        found = simulators.run(program, [*given, f"+count={count}"])
        return found, (folder / "y").read_text()
