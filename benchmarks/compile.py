"""Whole steps of llama3-8b on `ador`, each by a fresh `python -m dfcompiler compile`, start-up included."""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from tables import milliseconds, table

STEPS = {
    "prefill 1 x 2048": ["--phase", "prefill", "--batch", "1", "--seq", "2048"],
    "decode 16 x 2048": ["--phase", "decode", "--batch", "16", "--context", "2048"],
    "mixed 16 x 2048 + 2048": ["--phase", "mixed", "--batch", "16", "--seq", "2048", "--context", "2048"],
}


def timed(arguments: list[str]) -> tuple[dict[str, Any], float, float]:
    """The answer of one compile, its wall seconds and its CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "dfcompiler", "compile", "llama3-8b", "--on", "ador", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="compiles of which the median is shown")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for the integer program")
    args = parser.parse_args()
    rows = []
    for name, step in STEPS.items():
        done = [timed([*step, "--time-limit", str(args.time_limit)]) for _ in range(args.runs)]
        answer = done[0][0]
        wall, cpu = statistics.median(d[1] for d in done), statistics.median(d[2] for d in done)
        latency, roofline = answer["latency_s"], answer["roofline_s"]
        proof = [answer["status"], f"{answer['gap']:.2%}", f"{answer['candidates']:,}"]
        times = [milliseconds(latency), milliseconds(roofline), f"{latency / roofline:.3f}"]
        rows.append([name, f"{wall:.2f}", f"{cpu:.2f}", *proof, *times])
    headers = ["step", "wall s", "CPU s", "status", "gap", "candidates", "latency", "roofline", "ratio"]
    notes = [
        f"Median of {args.runs}. The roofline is physical: all arithmetic at the peak of all units, all bytes once.",
        "No mapping reaches it where ops depend on each other.",
    ]
    print(table("llama3-8b on ador, compiled from nothing", headers, rows, notes))


if __name__ == "__main__":
    main()
