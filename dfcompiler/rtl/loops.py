"""RTL in the loop: an op's tiles on the reference core of its unit, against numpy and against the unit's formula."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dfcompiler.diagnostics import Infeasible
from dfcompiler.hardware.template import Compute, Contraction, Ports, Tile
from dfcompiler.rtl import lines, simulators
from dfcompiler.rtl.benches import Bench
from dfcompiler.rtl.cores import LINES, Core
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


def model_cycles(unit: Compute, product: Product, made: Bench) -> float:
    """The unit's own formula over the tiles as they are, ragged ones as such, with what is paid once."""
    total = sum(n * float(unit.cycles(_work(made.core, size), made.ports)) for n, size in _tiles(product))
    return total + float(unit.fill_cycles())


def check(unit: Compute, made: Bench, product: Product, operand_bits: int) -> None:
    """Raises Infeasible `not-simulated` where the unit's formula counts what the core does not do: passes for operands
    wider than its multipliers, cycles in which it waits for a port that the core does not wait for, and parts of a
    cycle."""
    core, bits = made.core, made.core.ports["x"].bits
    if operand_bits > bits:
        said = f"operands of {operand_bits} bits take several passes of multipliers of {bits}, which no core does"
        raise Infeasible("not-simulated", said, hint="narrower types by --dtype, or wider multipliers by --set")
    alone = {port: Ports(**{port: getattr(made.ports, port)}) for port in LINES}
    # Sums of a fold are read as they are written, where k takes several of them.
    paced = [alone[p] for p in core.paced.values()] + [Ports(psum_write=made.ports.psum_read)]
    for _, size in _tiles(product):
        free = float(unit.cycles(_work(core, size), Ports()))
        for port in [p for p in LINES if p not in core.paced.values()]:
            waits = float(unit.cycles(_work(core, size), alone[port]))
            if waits > free:
                said = f"a tile of {size} waits for the port `{port}`: {waits:g} cycles, {free:g} without; "
                raise Infeasible("not-simulated", f"{said}{core.module} does not", hint="widen the port by --set")
        for _, fold in tiles(size, core.folds):
            times = [float(unit.cycles(_work(core, fold), one)) for one in paced]
            if parts := [x for x in times if not x.is_integer()]:
                said = f"a fold of {fold} takes {parts[0]:g} cycles behind its ports, and a core takes whole ones"
                raise Infeasible("not-simulated", said, hint="a port by --set that takes whole cycles per line")


def _tiles(product: Product) -> Iterator[tuple[int, dict[str, int]]]:
    return tiles(product.extents, {**product.tile, "b": 1})


def _work(core: Core, size: Mapping[str, int]) -> Tile:
    bits, acc = core.ports["x"].bits, core.ports["y"].bits
    return Tile((Contraction(*(size[d] for d in ("b", "m", "n", "k"))),), {}, bits, bits, acc)


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
    return Outcome(found["cycles"], model_cycles(unit, product, made), found["last_write"], wrong, wanted.size)


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
