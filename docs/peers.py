"""Compile the steps that docs/peers.md compares, and write its table again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dfcompiler.api import compile_model
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.steps import phase

PAGE = Path(__file__).resolve().parent / "peers.md"
TABLE = re.compile(r"(<!-- steps -->\n)(?:\|.*\n)*")
HEAD = """\
| model, device | step | measured kernels, ms | GenZ, ms | off | ours, ms | off |
|---|---|---:|---:|---:|---:|---:|
"""
STEPS = {
    "prefill 2048": phase("prefill", 1, 2048, 0),
    "decode 1": phase("decode", 1, 1, 2048),
    "decode 16": phase("decode", 16, 1, 2048),
}


@dataclass(frozen=True)
class Case:
    """Milliseconds of each of STEPS: NVIDIA's kernel times of vLLM (aiconfigurator-core 0.12) added up, and GenZ's
    answer, both taken in November 2026."""

    model: str
    chip: str
    tp: int
    measured: tuple[float, float, float]
    genz: tuple[float, float, float]


CASES = (
    Case("llama3-8b", "a100_sxm", 1, (125.2, 12.01, 15.03), (112.5, 6.99, 8.95)),
    Case("llama3-8b", "h100_sxm", 1, (43.5, 6.24, 8.25), (35.5, 4.19, 5.37)),
    Case("llama3-70b", "a100_sxm", 4, (337.2, 27.32, 31.80), (294.9, 17.75, 19.37)),
    Case("llama3-70b", "h100_sxm", 4, (130.2, 14.98, 16.62), (95.2, 11.35, 12.22)),
    Case("mixtral-8x7b", "a100_sxm", 2, (175.3, 10.69, 29.04), (96.1, 6.57, 7.63)),
)


def latency_ms(case: Case, step: str) -> float:
    """What we say that a step takes."""
    parallel = Parallel(tp=case.tp)
    found = compile_model(load_model(case.model), load_chip(case.chip), STEPS[step], parallel=parallel)
    return found.report.latency_s * 1e3


def rows(case: Case) -> Iterator[str]:
    """The lines of a case."""
    many = f"{case.tp} x " if case.tp > 1 else ""
    for step, measured, genz in zip(STEPS, case.measured, case.genz, strict=True):
        ours = latency_ms(case, step)
        off = [f"{100 * (x / measured - 1):+.0f} %" for x in (genz, ours)]
        said = (f"{case.model}, {many}{case.chip}", step, f"{measured:g}", f"{genz:g}", off[0], f"{ours:.4g}", off[1])
        yield f"| {' | '.join(said)} |\n"


def write() -> None:
    """Write the table into docs/peers.md."""
    text = PAGE.read_text(encoding="utf-8")
    made = HEAD + "".join(line for case in CASES for line in rows(case))
    PAGE.write_text(TABLE.sub(lambda t: t[1] + made, text), encoding="utf-8")


if __name__ == "__main__":
    write()
