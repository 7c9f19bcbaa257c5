"""What tables of steps cost to make and to look up, and how far they are from steps compiled by themselves: Llama-3-70B
on 8 devices.

Nothing is kept from before. The random steps are none of those that a table is made from. Look-ups are of random steps
one after the other, in a loop that numba compiles, as the engine's are.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
from tables import table as printed

REACH = 2048, 16384, 256  # prefill tokens, context, sequences
TOKENS = 1_000_000  # in all caches
LOOKS, TIMES = 3_000, 300  # random steps that are looked up, and how often


def look_ns(made: Any) -> float:
    """Nanoseconds of CPU of one look-up of a random step."""
    from numba import njit

    from dfcompiler.serving.compiled import functions
    from dfcompiler.serving.curves import Reach
    from dfcompiler.serving.sampling import random_sizes
    from dfcompiler.serving.table import flattened

    step_s = functions(True).step_s

    @njit
    def looked(grid, shape, values, steps, times):  # type: ignore[no-untyped-def]
        total = 0.0
        for _ in range(times):
            for i in range(len(steps)):
                p, past, b, each = steps[i]
                total += step_s(grid, shape, values, 0, p, float(past), b, b * each)
        return total

    asked = *flattened((made.steps,)), np.array(random_sizes(Reach(*REACH), TOKENS, LOOKS, seed=5))
    looked(*asked, 1)
    start = time.process_time()
    looked(*asked, TIMES)
    return (time.process_time() - start) / (LOOKS * TIMES) * 1e9


def row(name: str, count: int) -> list[object]:
    """The table of a chip: CPU seconds, size, a look-up, and its errors."""
    from dfcompiler.hardware.elaboration import load_chip
    from dfcompiler.models import load_model
    from dfcompiler.parallelism import Parallel
    from dfcompiler.serving.curves import Reach
    from dfcompiler.serving.latency import measured, step_latency
    from dfcompiler.serving.table import flattened

    model, chip = load_model("llama3-70b"), load_chip(name)
    start = time.process_time()
    made = step_latency(model, chip, Reach(*REACH), TOKENS, parallel=Parallel(tp=8))
    spent_s = time.process_time() - start
    size = sum(len(x) for x in flattened((made.steps,)))
    error = measured(made, count, seed=11)
    looks = f"{look_ns(made):.0f}"
    return [name, f"{spent_s:.1f}", f"{size:,}", looks, f"{error.mean:.2%}", f"{error.p95:.2%}", f"{error.worst:.2%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("chips", nargs="*", default=["h200", "ador"], help="chips; default h200 and ador")
    parser.add_argument("--steps", type=int, default=45, help="random steps that are compiled by themselves")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        rows = [row(name, arguments.steps) for name in arguments.chips]
    headers = ["chip", "CPU s", "numbers", "ns a look-up", "mean error", "p95", "worst"]
    print(printed("Tables of steps", headers, rows, [f"Errors at {arguments.steps} random steps."]))


if __name__ == "__main__":
    main()
