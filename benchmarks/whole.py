"""Whole steps of large models on several chips, and one layer of GPT-3 on four A100, from nothing: time and proof."""

from __future__ import annotations

import argparse
import statistics
import time

from tables import milliseconds, table

from dfcompiler.api import compile_model
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.report import Report
from dfcompiler.steps import phase
from dfcompiler.text.tree import Quantity

MODELS = {
    "llama3-70b": ("h200", Parallel(tp=8)),
    "mixtral-8x7b": ("h200", Parallel(tp=8)),
    "deepseek-v3": ("h200", Parallel(tp=8)),
    "gpt3-175b": ("a100_sxm", Parallel(tp=4)),
}
# All 96 layers of GPT-3 are more than four of these hold: room for one layer's time is made, not bandwidth.
ROOM = {"gpt3-175b": {"hbm.capacity": Quantity(320, "GB")}}
PHASES = {"prefill": (1, 2048, 0), "decode": (16, 1, 2048)}
BAR_S, BAR_GAP = 5.0, 0.01


def compiled(model: str, name: str, limit_s: float) -> tuple[Report, float, float]:
    """The report of a step, its CPU seconds and its wall seconds."""
    chip, parallel = MODELS[model]
    cpu, wall = time.process_time(), time.perf_counter()
    step = phase(name, *PHASES[name])
    found = compile_model(
        load_model(model), load_chip(chip, ROOM.get(model)), step, parallel=parallel, time_limit_s=limit_s
    )
    return found.report, time.process_time() - cpu, time.perf_counter() - wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="compiles of which the median is shown")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for each integer program")
    args = parser.parse_args()
    rows = []
    for model, (chip, parallel) in MODELS.items():
        for name in PHASES:
            done = [compiled(model, name, args.time_limit) for _ in range(args.runs)]
            report = done[0][0]
            cpu, wall = (statistics.median(d[i] for d in done) for i in (1, 2))
            holds = cpu <= BAR_S and report.gap <= BAR_GAP
            proof = [report.status, f"{report.gap:.2%}", f"{report.columns:,}"]
            times = [milliseconds(report.latency_s), milliseconds(report.layer_latency_s)]
            where = f"{parallel.tp} x {chip}"
            rows.append(
                [model, where, name, f"{cpu:.2f}", f"{wall:.2f}", *proof, *times, "holds" if holds else "misses"]
            )
    headers = ["model", "on", "step", "CPU s", "wall s", "status", "gap", "columns", "latency", "layer"]
    notes = [
        f"Median of {args.runs}, searches not kept between runs; prefill of 1 x 2048, decode of 16 x 2048.",
        f"Right: whether it takes at most {BAR_S:g} s of CPU with a gap of at most {BAR_GAP:.0%}.",
        "LLMCompass takes 537 s of CPU for a layer of GPT-3 on four A100, prefill and decode (its published run).",
    ]
    print(table("Whole steps on several chips", [*headers, f"{BAR_S:g} s"], rows, notes))


if __name__ == "__main__":
    main()
