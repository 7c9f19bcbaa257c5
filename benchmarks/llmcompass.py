"""What the authors of LLMCompass measured on A100s, and how: torch called from Python, `torch.cuda.synchronize()` after
each of 50 calls on the same operands, the median of a host's clock (their software_model/*.py, run_on_gpu).

A host's launch is thus within every time, and operands that fit the L2 are found there. Even rows of a table are fitted
on, odd rows are tested on.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import minimize
from silicon import Table, device, folder, read_csv, take

from dfcompiler.kernels import contraction, load_generation
from dfcompiler.kernels.contraction import ContractionKernels

HOSTED = {"softmax": "softmax", "layernorm": "layernorm", "gelu": "gelu", "gemm": "matmul"}  # kind -> table
PARTS = (0, 0.25, 0.5, 0.75, 1)  # of a launch that work which is longer than it still waits for
# The most that a constant may be: of the DRAM's bandwidth any kernel's, the port of an SM to the L2, the tensor cores.
MOST = {"dram_efficiency": 0.95, "l2_part": 1, "l2_efficiency": 1, "tensor_efficiency": 1}
STRIDE, FARTHER = 0.2, 0.01  # of a fit's first steps, in logs; cost of a factor e away from 1, in mean log error


def measured(name: str) -> Table | None:
    """A table of the folder, None where it is absent."""
    return read_csv(folder() / "llmcompass_a100" / f"{name}.csv")


def even_rows(kind: str) -> Table:
    """Even rows of a kind's table. Raises SystemExit where it is absent."""
    table = measured(f"{HOSTED[kind]}_a100")
    if table is None:
        raise SystemExit("LLMCompass's tables are needed: set DFC_DATA")
    return take(table, slice(None, None, 2))


def odd_rows(kind: str) -> Table | None:
    """Odd rows of a kind's table, None where it is absent."""
    table = measured(f"{HOSTED[kind]}_a100")
    return None if table is None else take(table, slice(1, None, 2))


def launch_us(kind: str) -> float:
    """A host's launch: the shortest of the even rows."""
    return float(even_rows(kind)["latency_us"].min())


def read_by(clock_us: float, part: float, us: Any) -> Any:
    """What a host's clock reads of work on the device: its launch at least, and a part of it before longer work."""
    return np.maximum(clock_us, part * clock_us + us)


def part_of(kind: str, fitted_us: Any) -> tuple[float, float]:
    """Mean log error on the even rows with the part of a launch that fits them best, and that part."""
    table, launch = even_rows(kind), launch_us(kind)
    return min((float(np.abs(np.log(read_by(launch, p, fitted_us) / table["latency_us"])).mean()), p) for p in PARTS)


def on_host(kind: str, fitted_us: Any, us: Any) -> Any:
    """µs on a host's clock of any work of a kind, given what the model says of the even rows."""
    return read_by(launch_us(kind), part_of(kind, fitted_us)[1], us)


def products_us(kernels: ContractionKernels, b: Any, m: Any, n: Any, k: Any) -> Any:
    """µs on the device of products that find operands in L2 where they fit."""
    return 1e6 * contraction(b, m, n, k, device("a100_sxm"), kernels, copies=1).seconds


@cache
def row_major() -> tuple[ContractionKernels, float, float]:
    """The A100's contractions with both operands stored by rows, as torch.matmul of two tensors has them, where our own
    tables are of weights stored by columns; and two factors fitted on the even rows: on the delivery of operands to an
    SM, on the pace of the DRAM."""
    table, kernels = even_rows("gemm"), load_generation("sm80").contraction
    sizes = [1, *(table[c] for c in "mnk")]

    def changed(x: Any) -> ContractionKernels:
        delivery, dram = np.exp(x).tolist()
        return replace(
            kernels,
            l2_efficiency=min(kernels.l2_efficiency * delivery, MOST["l2_efficiency"]),
            step_clocks=kernels.step_clocks / delivery,
            dram_efficiency=min(kernels.dram_efficiency * dram, MOST["dram_efficiency"]),
        )

    def loss(x: Any) -> float:
        return part_of("gemm", products_us(changed(x), *sizes))[0] + FARTHER * float((x**2).sum())

    first = np.vstack([np.zeros(2), STRIDE * np.eye(2)])
    found = changed(minimize(loss, first[0], method="Nelder-Mead", options={"initial_simplex": first}).x)
    return found, kernels.step_clocks / found.step_clocks, found.dram_efficiency / kernels.dram_efficiency
