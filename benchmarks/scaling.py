"""How the integer program grows: CPU time and gap over the number of tasks and over the number of cores."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tables import milliseconds, table

from dfcompiler.api import compile_model
from dfcompiler.content import find
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.steps import Step, phase, step

CHUNKS = (1, 2, 4, 8, 15)  # prefill chunks of a step, each of another length: each is a chain of tasks of its own
CORES = (1, 4, 16, 32, 64)


def of_chunks(count: int) -> Step:
    """A step of so many prefill chunks of unlike lengths."""
    return step(prefill=[(128 + 32 * i, 0) for i in range(count)])


def with_cores(count: int, scratch: Path) -> Chip:
    """`ador` with so many cores."""
    source = find("templates/chips", "ador.chip")
    assert source is not None
    text = source.read_text(encoding="utf-8")
    path = scratch / "ador.chip"
    path.write_text(text.replace("group core x 32", f"group core x {count}"), encoding="utf-8")
    return load_chip(str(path))


def solved(model: str, chip: Chip, what: Step, limit_s: float) -> list[str]:
    """Tasks, columns, CPU seconds of search and of the solver, gap, and time of a layer."""
    start = time.process_time()
    found = compile_model(load_model(model), chip, what, time_limit_s=limit_s)
    cpu, report = time.process_time() - start, found.report
    tasks = max(len(x.segment.nodes) for x in found.graph.mapping.layers) if found.graph.mapping else 0
    mapped = report.seconds["map-ilp"]
    return [
        str(tasks),
        f"{report.columns:,}",
        f"{cpu:.2f}",
        f"{mapped:.2f}",
        report.status,
        f"{report.gap:.2%}",
        milliseconds(report.layer_latency_s),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="llama3-8b")
    parser.add_argument("--time-limit", type=float, default=20, help="seconds for each integer program")
    args = parser.parse_args()
    headers = ["tasks", "columns", "CPU s", "solver s", "status", "gap", "layer"]
    ador = load_chip("ador")
    rows = [[str(n), *solved(args.model, ador, of_chunks(n), args.time_limit)] for n in CHUNKS]
    notes = [f"Prefill chunks of 128, 160, ... tokens on `ador`; the integer program has {args.time_limit:g} s."]
    print(table(f"{args.model}: over the number of tasks", ["chunks", *headers], rows, notes))
    with tempfile.TemporaryDirectory() as scratch:
        chips = {n: with_cores(n, Path(scratch)) for n in CORES}
        rows = [
            [str(n), *solved(args.model, c, phase("prefill", 1, 2048, 0), args.time_limit)] for n, c in chips.items()
        ]
    notes = ["Prefill of 1 x 2048 on `ador` with so many cores, all else as it is."]
    print()
    print(table(f"{args.model}: over the number of cores", ["cores", *headers], rows, notes))


if __name__ == "__main__":
    main()
