"""Run every benchmark and keep the tables in benchmarks/RESULTS.md."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from baseline import BASELINE, compared, kept

HERE = Path(__file__).resolve().parent
SCRIPTS = (
    "startup.py",
    "passes.py",
    "gemm.py",
    "compile.py",
    "mixed.py",
    "whole.py",
    "scaling.py",
    "ilp_vs_greedy.py",
    "cells.py",
    "serving.py",
)


def processor() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main() -> None:
    packages = ", ".join(f"{p} {version(p)}" for p in ("numpy", "ortools"))
    head = f"Python {platform.python_version()}, {packages}; {os.cpu_count()} cores of {processor()}."
    parts = ["# Results", f"Written by `make bench`. {head}"]
    for script in SCRIPTS:
        print(f"-- {script}", file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, HERE / script], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            sys.exit(f"{script} ended with {done.returncode}")
        print(done.stdout, flush=True)
        parts.append(done.stdout.strip())
    text = "\n\n".join(parts) + "\n"
    beside = compared(text, kept()) if BASELINE.is_file() else ""
    print(beside)
    (HERE / "RESULTS.md").write_text(text + (f"\n{beside}" if beside else ""), encoding="utf-8")


if __name__ == "__main__":
    main()
