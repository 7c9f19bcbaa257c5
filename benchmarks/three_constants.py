"""The model that every other has to better: two efficiencies and a floor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import minimize
from silicon import Table

from dfcompiler.kernels import Device
from dfcompiler.kernels.tables import roofline_s

START = (8, 0.7, 0.7)  # a floor in us, parts of the peaks of arithmetic and of memory


def simple(kind: str, table: Table, on: Device, x: Sequence[float], width: float = 2.0) -> Any:
    """Two efficiencies and a floor: the model that everything must beat."""
    compute_s, memory_s = roofline_s(kind, table, on, width)
    floor, compute, memory = np.exp(x)
    return floor + 1e6 * np.maximum(compute_s / compute, memory_s / memory)


def nearest(seconds: Callable[[Any], Any], start: Sequence[float], us: Any) -> Any:
    """Parameters with the least mean log error, by Nelder and Mead from two starts."""
    best = None
    for scale in (1.0, 0.7):
        first = np.asarray(start) + np.log(scale)
        found = minimize(lambda x: float(np.abs(np.log(seconds(x) / us)).mean()), first, method="Nelder-Mead")
        best = found if best is None or found.fun < best.fun else best
    assert best is not None
    return best.x


def fitted(kind: str, table: Table, on: Device, width: float = 2.0) -> Any:
    """The constants, in logs, with the least mean log error on some rows."""
    return nearest(lambda x: simple(kind, table, on, x, width), np.log(START), table["latency_us"])
