"""CPU seconds of every pass of the default pipeline but the solver, on llama3-70b, and where the rest goes.

Each step runs in this process, where nothing is kept from an earlier one but imports and bound declarations.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import pstats
import statistics
import time

from tables import table

from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.pipeline import PIPELINES, Context, parse_pipeline, run_pipeline
from dfcompiler.steps import Step, step

BAR_S = 0.2  # for all passes before the solver
SOLVER = ("map-ilp", "schedule")
STEPS = {"prefill 1 x 2048": step(prefill=[(2048, 0)]), "decode 16 x 2048": step(decode=[2048] * 16)}


def seconds(chip: str, what: Step) -> dict[str, float]:
    """CPU seconds of each pass."""
    context = Context(load_model("llama3-70b"), what, parse_dtypes("w16a16kv16"), load_chip(chip))
    graph, found = Graph("llama3-70b"), {}
    for one in parse_pipeline(Source("default", PIPELINES["default"])):
        if one.name in SOLVER:
            break
        start = time.process_time()
        graph, _ = run_pipeline((one,), graph, context)
        found[one.name] = time.process_time() - start
    return found


def slowest(chip: str, what: Step, count: int) -> list[str]:
    """The functions in which the passes spend most of their time, as lines."""
    profile = cProfile.Profile()
    profile.runcall(seconds, chip, what)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(count)
    lines = text.getvalue().splitlines()
    return [x for x in lines[lines.index(next(x for x in lines if "ncalls" in x)) :] if x.strip()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median is shown")
    parser.add_argument("--functions", type=int, default=8, help="functions of the profile that are shown")
    args = parser.parse_args()
    rows = []
    for chip in ("ador", "tpu128"):
        for name, what in STEPS.items():
            done = [seconds(chip, what) for _ in range(args.runs)]
            median = {p: statistics.median(d[p] for d in done) for p in done[0]}
            total = sum(median.values())
            rest = total - median["tile"]
            rows.append([chip, name, f"{rest:.3f}", f"{median['tile']:.3f}", f"{total:.3f}", f"{total / BAR_S:.1f} x"])
    headers = ["chip", "step", "before tile", "tile", "all", f"of {BAR_S} s"]
    notes = [
        f"CPU s, median of {args.runs}. Most of it is the exhaustive search for tilings, by function:",
        "",
        *(f"    {line}" for line in slowest("ador", STEPS["prefill 1 x 2048"], args.functions)),
    ]
    print(table("llama3-70b through the default pipeline, without the solver", headers, rows, notes))


if __name__ == "__main__":
    main()
