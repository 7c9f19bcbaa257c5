"""Whole steps of llama3-8b on `ador`, each by a fresh `python -m dfcompiler compile`, start-up included.

Wall seconds are from the start of the process to its end: Python's start, imports, reading the files of the model and
the chip, every search, the proof, printing. Python's own bytecode is there, as an installation makes it. What else is
kept between runs differs: `first` finds an empty folder, so it builds the tables of the grammar and parses every file
too; `new` finds what a compile of another step has kept, and searches all its tilings; `again` finds them as well.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from tables import milliseconds, table

STEPS = {
    "prefill 1 x 2048": ["--phase", "prefill", "--batch", "1", "--seq", "2048"],
    "decode 16 x 2048": ["--phase", "decode", "--batch", "16", "--context", "2048"],
    "mixed 16 x 2048 + 2048": ["--phase", "mixed", "--batch", "16", "--seq", "2048", "--context", "2048"],
}


OTHER = ["--phase", "decode", "--batch", "3", "--context", "77"]  # a step that shares no search with those above
WHEN = ("first", "new", "again")


def timed(arguments: list[str], home: str, bytecode: str) -> tuple[dict[str, Any], float, float]:
    """The answer of one compile that keeps values in a folder, its wall seconds and its CPU seconds, on all cores."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "dfcompiler", "compile", "llama3-8b", "--on", "ador", *arguments, "--json"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"XDG_CACHE_HOME": home, "PYTHONPYCACHEPREFIX": bytecode}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:])} ended with {done.returncode}:\n{done.stderr}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), wall, cpu


def runs(arguments: list[str], bytecode: str) -> dict[str, tuple[dict[str, Any], float, float]]:
    """One compile of a step with nothing kept, with what another step has kept, and once more."""
    found = {}
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryDirectory() as home:
        found["first"] = timed(arguments, empty, bytecode)
        timed(OTHER, home, bytecode)
        found["new"] = timed(arguments, home, bytecode)
        found["again"] = timed(arguments, home, bytecode)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="compiles of which the median is shown")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for the integer program")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as bytecode, tempfile.TemporaryDirectory() as home:
        timed(OTHER, home, bytecode)  # makes the bytecode
        for name, step in STEPS.items():
            done = [runs([*step, "--time-limit", str(args.time_limit)], bytecode) for _ in range(args.runs)]
            answer = done[0]["first"][0]
            walls = [f"{statistics.median(d[when][1] for d in done):.2f}" for when in WHEN]
            cpu = f"{statistics.median(d['new'][2] for d in done):.2f}"
            latency, roofline = answer["latency_s"], answer["roofline_s"]
            proof = [answer["status"], f"{answer['gap']:.2%}", f"{answer['candidates']:,}"]
            times = [milliseconds(latency), milliseconds(roofline), f"{latency / roofline:.3f}"]
            rows.append([name, *walls, cpu, *proof, *times])
    headers = ["step", *(f"{when} s" for when in WHEN), "new CPU s", "status", "gap", "candidates"]
    notes = [
        f"Wall seconds of the whole process, median of {args.runs}; CPU seconds are those of all its cores.",
        "First: an empty cache, so the tables of the grammar are built and all files parsed; new: another step was",
        "compiled before, so only what this one asks is searched; again: its searches are kept, too. Python's bytecode",
        "is there each time. The roofline is physical: all arithmetic at the peak of all units, all bytes once.",
        "No mapping reaches it where ops depend on each other.",
    ]
    print(table("llama3-8b on ador, compiled", [*headers, "latency", "roofline", "ratio"], rows, notes))


if __name__ == "__main__":
    main()
