"""First points that tell most of all others, before anything is known of the objectives."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RIDGE = 0.1  # noise over prior variance of the linear model; our choice


def transductive(rows: Floats, count: int) -> list[int]:
    """Rows [n, d] that tell most of all rows by a linear model: greedy transductive experimental design.

    Yu, Bi and Tresp, "Active Learning via Transductive Experimental Design", ICML 2006: sequential design.
    """
    centred = rows - rows.mean(axis=0) if len(rows) else rows
    kernel = centred @ centred.T + 1.0
    chosen: list[int] = []
    for _ in range(min(count, len(rows))):
        told = (kernel**2).sum(axis=0) / (np.diag(kernel) + RIDGE)
        told[chosen] = -np.inf
        best = int(told.argmax())
        chosen.append(best)
        kernel = kernel - np.outer(kernel[:, best], kernel[best]) / (kernel[best, best] + RIDGE)
    return chosen
