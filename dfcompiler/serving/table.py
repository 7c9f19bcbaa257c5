"""Step latencies at knots of four axes, with what lies between interpolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StepTable:
    """Seconds of a step by prefill tokens, their past context, decoding sequences and their total context.

    `values_s[prefill, past, batch, context]` is multilinear between knots, and `tokens_s[prefill + batch]` is added to
    it: what follows the tokens of the step in steps (whole tiles of kernels) does not blur there.
    """

    prefill: Ints
    past: Ints
    batch: Ints
    context: Ints
    values_s: Floats
    tokens_s: Floats
    host_s: float
    tokens_capacity: int

    def step_s(self, prefill: float, past: float, batch: float, context: float) -> float:
        """Seconds of one step on the device, without the host's."""
        point = np.array([[prefill], [past], [batch], [context]], dtype=np.float64)
        return float(self.steps_s(point)[0])

    def steps_s(self, points: Floats) -> Floats:
        """The same for points `[4, n]`."""
        axes = (self.prefill, self.past, self.batch, self.context)
        value = self.values_s
        total = np.zeros(points.shape[1])
        low, part = [], []
        for axis, x in zip(axes, points, strict=True):
            at = np.clip(np.searchsorted(axis, x, side="right") - 1, 0, max(len(axis) - 2, 0))
            low.append(at)
            width = np.diff(axis)[at] if len(axis) > 1 else np.ones_like(x)
            part.append(np.clip((x - axis[at]) / width, 0, 1) if len(axis) > 1 else np.zeros_like(x))
        for corner in range(16):
            weight, index = np.ones(points.shape[1]), []
            for k in range(4):
                up = corner >> k & 1
                weight = weight * (part[k] if up else 1 - part[k])
                index.append(np.minimum(low[k] + up, len(axes[k]) - 1))
            total += weight * value[tuple(index)]
        tokens = np.minimum((points[0] + points[2]).astype(np.int64), len(self.tokens_s) - 1)
        return np.asarray(total + self.tokens_s[tokens])
