"""CPU seconds of every pass of the default pipeline but the solver, on llama3-70b, and where the rest goes.

Every run is a process of its own: the first of all on a machine, with nothing kept, and later ones, for which the
searches for tilings are done.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import pstats
import statistics
import subprocess
import sys
import tempfile
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
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_CACHE_HOME"] = home
        profile.runcall(seconds, chip, what)
    text = io.StringIO()
    pstats.Stats(profile, stream=text).strip_dirs().sort_stats("tottime").print_stats(count)
    lines = text.getvalue().splitlines()
    return [x for x in lines[lines.index(next(x for x in lines if "ncalls" in x)) :] if x.strip()]


def apart(chip: str, name: str, home: str) -> dict[str, float]:
    """The same in a process of its own that keeps values in a folder."""
    command = [sys.executable, __file__, "--one", chip, name]
    done = subprocess.run(
        command, env={**os.environ, "XDG_CACHE_HOME": home}, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def runs(chip: str, name: str, count: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians of first runs and of later ones."""
    first, later = [], []
    for _ in range(count):
        with tempfile.TemporaryDirectory() as home:
            first.append(apart(chip, name, home))
            later.append(apart(chip, name, home))
    return medians(first), medians(later)


def medians(done: list[dict[str, float]]) -> dict[str, float]:
    """Pass by pass."""
    return {p: statistics.median(d[p] for d in done) for p in done[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of which the median is shown")
    parser.add_argument("--functions", type=int, default=8, help="functions of the profile that are shown")
    parser.add_argument("--one", nargs=2, metavar=("CHIP", "STEP"), help="print the seconds of one run")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(seconds(args.one[0], STEPS[args.one[1]])))
        return
    rows = []
    for chip in ("ador", "tpu128"):
        for name in STEPS:
            for which, median in zip(("first", "later"), runs(chip, name, args.runs), strict=True):
                total = sum(median.values())
                rest = total - median["tile"]
                times = [f"{x:.3f}" for x in (rest, median["tile"], total)]
                rows.append([chip, name, which, *times, f"{total / BAR_S:.1f} x"])
    headers = ["chip", "step", "run", "before tile", "tile", "all", f"of {BAR_S} s"]
    notes = [
        f"CPU s, median of {args.runs}. Where a first run goes, by function:",
        "",
        *(f"    {line}" for line in slowest("ador", STEPS["prefill 1 x 2048"], args.functions)),
    ]
    print(table("llama3-70b through the default pipeline, without the solver", headers, rows, notes))


if __name__ == "__main__":
    main()
