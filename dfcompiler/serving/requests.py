"""Requests as arrays, one entry each, sorted by arrival."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Requests:
    """Arrival, lengths, priority and objectives of every request; `prefix_id` is -1 where nothing is shared."""

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    ttft_slo_s: Floats
    tbt_slo_s: Floats
    shared_tokens: Ints
    prefix_id: Ints
