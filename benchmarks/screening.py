"""Bounds of whole spaces: how fast, how tight. Llama-3-70B, a prefill and a decode on 8 devices of LLMShare's template.

Rates, each for both steps together: building the bounds over the open grid, from the model's text on and once models
are lowered (designs of the grid over CPU seconds); and looking designs up by their indices in blocks of 16,384. What
bounds of a model cost by themselves does not grow with the grid, so there is a finer one of the same axes too.
Tightness is the bound over the exact latency of designs drawn at random, with the default pipeline.
"""

from __future__ import annotations

import argparse
import re
import time

import numpy as np
from tables import markdown

from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.screen import Screen
from dfcompiler.explore.space import Pool, load_space, resolve
from dfcompiler.text.parse import parse_items

BLOCK = 1 << 14
BARS = {"flat": 5e6, "grid": 30e6, "prompt": 0.6, "chat": 0.95}
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


def rates(pool: Pool) -> tuple[Screen, list[float]]:
    """The screen, CPU seconds of its bounds, designs of the grid per second from nothing and once models are lowered,
    and designs looked up per second."""
    built = []
    for _ in range(2):  # plans are kept for the second
        start = time.process_time()
        screen = Screen(pool)
        for load in pool.loads:
            screen.price((load, "latency_s"))
        built.append(time.process_time() - start)
    rng = np.random.default_rng(0)
    rows = np.stack([rng.integers(0, n, BLOCK) for n in pool.shape], 1)
    start, times = time.process_time(), 200
    for _ in range(times):
        for load in pool.loads:
            screen.taken(screen.price((load, "latency_s")), rows)
    return screen, [built[0], *(pool.designs / b for b in built), times * BLOCK / (time.process_time() - start)]


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--designs", type=int, default=12, help="designs that are mapped to see how tight bounds are")
    args = parser.parse_args()
    lines, tight = [], []
    for name, pool in (("ador", load_space("ador").pools["chip"]), ("pair", pair()), ("pair, finer", pair(True))):
        screen, (built, *each) = rates(pool)
        lines.append([name, f"{pool.designs:,}", f"{built:.2f}", *(f"{x / 1e6:.3g} M" for x in each)])
        for load, parts in tightness(screen, args.designs).items() if name in ("ador", "pair") else ():
            if not parts:
                continue
            low, middle = np.quantile(parts, [0.1, 0.5])
            holds = "holds" if middle >= BARS[load] else "misses"
            tight.append([name, load, len(parts), f"{middle:.3f}", f"{low:.3f}", f"{BARS[load]}", holds])
    print(markdown(["space", "designs", "CPU s", "grid designs/s", "once lowered", "looked up/s"], lines))
    print(f"\nBars: {BARS['grid'] / 1e6:.0f} M a second on grids, {BARS['flat'] / 1e6:.0f} M by indices.\n")
    print(markdown(["space", "load", "designs", "bound over exact, median", "p10", "bar", ""], tight))


if __name__ == "__main__":
    main()
