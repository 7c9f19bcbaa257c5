"""Bounds of whole spaces: how fast, how tight. Llama-3-70B, a prefill and a decode on 8 devices of LLMShare's template.

A design counts once for both steps together, in CPU seconds of one core:

- grid: the bounds of all designs of the open grid stand, as sums of arrays over the axes that they read, from which
  any design's are looked up. Lowering a model and reading its ops is not in it, and is given by itself: it is done
  once, whatever the grid.
- written out: the same, and then both bounds of every design are added up, block by block.
- looked up: designs by their indices, in blocks of 16,384.

What it takes to bound ops on small arrays hardly grows with the grid, so there is a finer one of the same axes too.
Tightness is the bound over the exact latency of designs drawn at random, with the default pipeline.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from tables import markdown

from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.plans import plan
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.space import Pool, load_space, resolve
from dfcompiler.explore.sums import spread
from dfcompiler.text.parse import parse_items

T = TypeVar("T")

BLOCK = 1 << 14
RUNS = 3
BARS = {"flat": 5e6, "grid": 30e6, "prompt": 0.6, "chat": 0.95}
NOTES = """\
What it takes to bound both steps' ops on the smallest arrays is most of what the pair's own grid takes, and hardly more
on the finer one: the rate grows with the grid. `ador` has an axis in its loads, so that several steps are bounded, each
for few designs."""
PAIR = """space pair {
  pool chip on llmcompass {
    axis links = 6, 12, 18, 24
    axis memory = 40 GB, 64 GB, 80 GB, 96 GB, 112 GB, 128 GB
    axis global = 20 MB, 30 MB, 40 MB, 50 MB, 60 MB, 70 MB, 80 MB, 90 MB, 100 MB, 110 MB
    axis cores = 72, 96, 108, 132, 156, 180
    axis local = 64 KiB, 128 KiB, 192 KiB, 256 KiB, 320 KiB, 384 KiB, 448 KiB, 512 KiB
    axis lanes = 1, 2, 4, 8
    axis height = 16, 32, 64, 128
    axis vector = 16, 32, 64, 128
    set core = cores
    set sa.rows = height
    set sa.cols = height * lanes
    set vu.lanes = vector * lanes
    set local.capacity = local
    set local.input = 2 * height
    set local.weight = 2 * height * lanes
    set local.psum_read = 4 * height * lanes
    set local.psum_write = 4 * height * lanes
    set global.capacity = global
    set global.dma_read = 40 * cores
    set global.dma_write = 40 * cores
    set noc.trunk = 40 * cores
    set hbm.capacity = memory
    set hbm.bandwidth = 25.6 * memory
    set link.count = links
    load prompt: llama3-70b { phase = prefill, batch = 1, seq = 2048, tp = 8 }
    load chat: llama3-70b { phase = decode, batch = 64, context = 2048, tp = 8 }
  }
  minimize ttft_s = prompt.latency_s
  minimize tbt_s = chat.latency_s
}
"""
FINER = {
    "links": "3, 6, 9, 12, 15, 18, 21, 24",
    "memory": ", ".join(f"{40 + 8 * i} GB" for i in range(12)),
    "global": ", ".join(f"{15 + 5 * i} MB" for i in range(20)),
    "cores": ", ".join(str(72 + 10 * i) for i in range(12)),
    "local": ", ".join(f"{64 + 32 * i} KiB" for i in range(16)),
}


def pair(finer: bool = False) -> Pool:
    """LLMShare's devices under a prefill and a decode of Llama-3-70B."""
    text = PAIR
    for name, values in FINER.items() if finer else ():
        text = re.sub(rf"axis {name} = .*", f"axis {name} = {values}", text)
    source = Source("pair", text)
    (decl,) = parse_items(source)
    return resolve(decl, source).pools["chip"]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Rates:
    """CPU seconds of lowering models and reading their ops, and of both bounds of a grid; designs per CPU second."""

    lowered_s: float
    bound_s: float
    grid: float
    written: float
    looked_up: float


def rates(pool: Pool) -> tuple[Screen, Rates]:
    """The screen of a pool, and how fast it is: the best of `RUNS`, as other work on a machine costs caches."""
    plan.cache_clear()
    screen, first = timed(lambda: bounds(pool))
    bound = min(timed(lambda: bounds(pool))[1] for _ in range(RUNS))
    _, out = timed(lambda: write_out(screen))
    rng = np.random.default_rng(0)
    rows, times = np.stack([rng.integers(0, n, BLOCK) for n in pool.shape], 1), 200

    def look_up() -> None:
        for _ in range(times):
            known = screen.at_rows(rows)
            for load in pool.loads:
                known((load, "latency_s"))

    _, looking = timed(look_up)
    per_s = (pool.designs / bound, pool.designs / (bound + out), times * BLOCK / looking)
    return screen, Rates(first - bound, bound, *per_s)


def timed(f: Callable[[], T]) -> tuple[T, float]:
    """What a function gives, and its CPU seconds."""
    start = time.process_time()
    return f(), time.process_time() - start


def bounds(pool: Pool) -> Screen:
    """The bounds of all steps over the grid."""
    screen = Screen(pool)
    for load in pool.loads:
        screen.summed((load, "latency_s"))
    return screen


def write_out(screen: Screen) -> None:
    """Adds up the bounds of every design, in blocks of the last axes that are as large as a cache holds."""
    shape = screen.pool.shape
    outer = next(i for i in range(len(shape) + 1) if math.prod(shape[i:]) <= BLOCK)
    for index in np.ndindex(shape[:outer]):
        for load in screen.pool.loads:
            parts = screen.summed((load, "latency_s"))
            here = [x[tuple(i if n > 1 else 0 for i, n in zip(index, x.shape, strict=False))] for x in parts]
            np.broadcast_to(spread(here), shape[outer:]).copy()


def tightness(screen: Screen, count: int, seed: int = 1) -> dict[str, list[float]]:
    """Bound over exact of so many random designs that can run, by load."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {load: [] for load in screen.pool.loads}
    while min(map(len, found.values())) < count:
        row = np.array([[rng.integers(0, n) for n in screen.pool.shape]])
        one = Mapped(screen.pool, {a.name: a.values[i] for a, i in zip(screen.pool.axes, row[0], strict=True)})
        for load, parts in found.items():
            low = float(screen.taken(screen.price((load, "latency_s")), row)[0])
            if not np.isfinite(low):
                continue
            try:
                parts.append(low / float(one.figure((load, "latency_s"))))
            except Infeasible:
                continue
    return found


def verdict(value: float, bar: float) -> str:
    return "holds" if value >= bar else f"misses, {bar / value:.1f} times"


def page(designs: int) -> str:
    """The page, with so many designs mapped to see how tight bounds are."""
    lines, tight = [], []
    for name, pool in (("ador", load_space("ador").pools["chip"]), ("pair", pair()), ("pair, finer", pair(True))):
        screen, found = rates(pool)
        seconds = f"{found.lowered_s:.2f}", f"{found.bound_s:.3f}"
        each = (f"{x / 1e6:.3g} M" for x in (found.grid, found.written, found.looked_up))
        bars = [verdict(x, bar) for x, bar in ((found.grid, BARS["grid"]), (found.looked_up, BARS["flat"]))]
        lines.append([name, f"{pool.designs:,}", *seconds, *each, *(bars if name != "ador" else "--")])
        for load, parts in tightness(screen, designs).items() if name in ("ador", "pair") else ():
            if parts:
                low, middle = np.quantile(parts, [0.1, 0.5])
                bar = BARS[load]
                tight.append([name, load, len(parts), f"{middle:.3f}", f"{low:.3f}", f"{bar}", verdict(middle, bar)])
    heads = ["space", "designs", "CPU s to lower", "to bound", "grid designs/s", "written out/s", "looked up/s"]
    return "\n\n".join(
        (
            "# Bounds of whole spaces",
            f"Written by `python benchmarks/screening.py --designs {designs} -o benchmarks/SCREENING.md`.",
            str(__doc__).strip(),
            f"The load of the machine's {os.cpu_count()} cores was {os.getloadavg()[0]:.1f}.",
            markdown([*heads, f"grid, {BARS['grid'] / 1e6:.0f} M", f"looked up, {BARS['flat'] / 1e6:.0f} M"], lines),
            markdown(["space", "load", "designs", "bound over exact, median", "p10", "bar", ""], tight),
            NOTES,
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=12, help="designs that are mapped to see how tight bounds are")
    parser.add_argument("-o", "--out", type=Path, help="a file for the page")
    args = parser.parse_args()
    text = page(args.designs)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
