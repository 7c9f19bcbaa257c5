"""GEMMs on `tpu128`: our best mapping, proven best of its map space, beside ZigZag's.

ZigZag 3.9.1 (LOMA) has the same machine (`benchmarks/gemm_zigzag.py`): `--zigzag PYTHON` runs it again, by a Python
that has it. Its seconds are CPU seconds of one call, imports excluded; ours are the median of five calls.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
from pathlib import Path

from tables import table

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.pricing import Priced, price_op

DTYPE = "w8a8kv8acc16"
# (M, K, N): cycles and CPU seconds of one run of benchmarks/gemm_zigzag.py.
ZIGZAG = {
    (2048, 4096, 14336): (7_844_225, 3.81),
    (16, 4096, 14336): (543_361, 1.92),
    (1, 4096, 14336): (491_633, 1.16),
    (2048, 14336, 4096): (7_832_961, 3.09),
    (2048, 4096, 4096): (2_317_185, 3.93),
    (2048, 128, 2048): (69_490, 1.09),
}


def again(python: str) -> dict[tuple[int, ...], tuple[int, float]]:
    """What ZigZag finds now."""
    shapes = ["x".join(map(str, shape)) for shape in ZIGZAG]
    command = [python, str(Path(__file__).with_name("gemm_zigzag.py")), *shapes]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for m, k, n, cycles, seconds in map(str.split, lines):
        found[int(m), int(k), int(n)] = int(cycles), float(seconds)
    return found


def measured(m: int, k: int, n: int, runs: int) -> tuple[Priced, float, float]:
    """The price of one GEMM, CPU seconds of the first call and the median of `runs` calls."""
    chip = load_chip("tpu128")
    prices = [price_op("linear", {"t": [m], "k": [k], "n": [n]}, chip, dtype=DTYPE, unit="sa") for _ in range(runs)]
    assert len({p.cycles for p in prices}) == 1
    return prices[0], prices[0].seconds, statistics.median(p.seconds for p in prices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="calls of which the median is shown")
    parser.add_argument("--zigzag", metavar="PYTHON", help="run ZigZag beside it")
    args = parser.parse_args()
    runs, theirs = args.runs, again(args.zigzag) if args.zigzag else ZIGZAG
    rows = []
    for (m, k, n), (their_cycles, their_s) in theirs.items():
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
    when = "this run" if args.zigzag else "an earlier run on a machine of two cores: take its seconds as within 30 %"
    notes = [
        f"Optimal over all candidates: every one is priced or cut by a lower bound. ZigZag's figures are of {when}."
    ]
    print(table("One GEMM on tpu128", headers, rows, notes))


if __name__ == "__main__":
    main()
