"""What tables of steps cost to make, and how far they are from steps compiled by themselves: Llama-3-70B on 8 devices.

Nothing is kept from before. The random steps are none of those that a table is made from.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

from tables import table as printed

REACH = 2048, 16384, 256  # prefill tokens, context, sequences
TOKENS = 1_000_000  # in all caches


def row(name: str, count: int) -> list[object]:
    """The table of a chip: CPU seconds, size, and its errors."""
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
    return [name, f"{spent_s:.1f}", f"{size:,}", f"{error.mean:.2%}", f"{error.p95:.2%}", f"{error.worst:.2%}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("chips", nargs="*", default=["h200", "ador"], help="chips; default h200 and ador")
    parser.add_argument("--steps", type=int, default=45, help="random steps that are compiled by themselves")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        rows = [row(name, arguments.steps) for name in arguments.chips]
    headers = ["chip", "CPU s", "numbers", "mean error", "p95", "worst"]
    print(printed("Tables of steps", headers, rows, [f"Errors at {arguments.steps} random steps."]))


if __name__ == "__main__":
    main()
