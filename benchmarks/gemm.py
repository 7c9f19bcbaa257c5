"""Three GEMMs on `tpu128`: our best mapping, proven best of its map space, beside ZigZag's.

ZigZag 3.9.1 (LOMA) was run on the same machine description: 8-bit operands, 16-bit partial sums, the ports of
templates/chips/tpu128.chip. Its seconds are user-CPU seconds of one call on a 2-core machine, imports excluded;
ours are CPU seconds of one call, median of five.
"""

from __future__ import annotations

import argparse
import statistics

from tables import table

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.pricing import Priced, price_op

DTYPE = "w8a8kv8acc16"
# (M, K, N): cycles and CPU seconds of ZigZag 3.9.1.
ZIGZAG = {
    (2048, 4096, 14336): (7_844_480, 3.2),
    (16, 4096, 14336): (543_616, 1.6),
    (1, 4096, 14336): (491_888, 0.8),
}


def measured(m: int, k: int, n: int, runs: int) -> tuple[Priced, float, float]:
    """The price of one GEMM, CPU seconds of the first call and the median of `runs` calls."""
    chip = load_chip("tpu128")
    prices = [price_op("linear", {"t": [m], "k": [k], "n": [n]}, chip, dtype=DTYPE, unit="sa") for _ in range(runs)]
    assert len({p.cycles for p in prices}) == 1
    return prices[0], prices[0].seconds, statistics.median(p.seconds for p in prices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="calls of which the median is shown")
    runs = parser.parse_args().runs
    rows = []
    for (m, k, n), (their_cycles, their_s) in ZIGZAG.items():
        ours, first, seconds = measured(m, k, n, runs)
        cycles = [f"{ours.cycles:,.0f}", f"{their_cycles:,}", f"{ours.cycles / their_cycles:.3f}"]
        times = [f"{first:.3f}", f"{seconds:.3f}", f"{their_s:.1f}", f"{their_s / seconds:,.0f} x"]
        rows.append([f"{m} x {k} x {n}", *cycles, f"{ours.candidates:,}", *times])
    headers = [
        "M x K x N",
        "cycles",
        "ZigZag",
        "ratio",
        "candidates",
        "first call s",
        "CPU s",
        "ZigZag CPU s",
        "faster",
    ]
    notes = [
        "Optimal over all candidates: every one is priced or cut by a lower bound. ZigZag's figures are from",
        "one earlier run of it on a machine of two cores: take its seconds as within 30 %.",
    ]
    print(table("One GEMM on tpu128", headers, rows, notes))


if __name__ == "__main__":
    main()
