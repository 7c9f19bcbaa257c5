"""What the integer program gains over the greedy baseline, over models, phases and chips."""

from __future__ import annotations

import argparse
import math

from tables import milliseconds, table

from dfcompiler.api import compile_model
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.steps import phase

MODELS = ("llama3-8b", "qwen3-8b", "llama2-7b")
CHIPS = ("ador", "tpu128")
PHASES = {"prefill": (1, 2048, 0), "decode": (16, 1, 2048), "mixed": (16, 2048, 2048)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time-limit", type=float, default=20, help="seconds for each integer program")
    limit_s = parser.parse_args().time_limit
    rows, ratios = [], []
    for chip_name in CHIPS:
        chip = load_chip(chip_name)
        for model_name in MODELS:
            model = load_model(model_name)
            for name, sizes in PHASES.items():
                step = phase(name, *sizes)
                best = compile_model(model, chip, step, time_limit_s=limit_s).report
                base = compile_model(model, chip, step, pipeline="greedy").report
                ratios.append(base.latency_s / best.latency_s)
                times = [milliseconds(best.latency_s), milliseconds(base.latency_s), f"{ratios[-1]:.3f}"]
                rows.append([chip_name, model_name, name, *times, best.status, f"{best.gap:.2%}"])
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    headers = ["chip", "model", "phase", "integer program", "greedy", "greedy / ours", "status", "gap"]
    notes = [f"Geometric mean {mean:.3f}, largest {max(ratios):.3f}, smallest {min(ratios):.3f}."]
    print(table("The integer program against the greedy baseline", headers, rows, notes))


if __name__ == "__main__":
    main()
