"""What a kernel model answers: seconds, and what they are made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BOUNDS = ("launch", "compute", "memory")


@dataclass(frozen=True)
class Latency:
    """Of every row: `seconds` in all; `launch_s`, `compute_s` and `memory_s` would each take alone, unoverlapped."""

    seconds: Floats
    launch_s: Floats
    compute_s: Floats
    memory_s: Floats

    def bound(self) -> npt.NDArray[np.str_]:
        """Which of the three is longest, by row."""
        parts = np.stack([self.launch_s, self.compute_s, self.memory_s])
        return np.asarray([BOUNDS[i] for i in parts.argmax(0)])


def rows(*values: object) -> list[Floats]:
    """The values as float arrays of one common length."""
    found = [np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in values]
    if all(a.shape == found[0].shape for a in found):
        return found
    return [np.ascontiguousarray(a) for a in np.broadcast_arrays(*found)]


def ceil_div(a: Floats | float, b: Floats | float) -> Floats:
    """`ceil(a / b)` of whole numbers held as floats."""
    return np.ceil(np.asarray(a) / b)


def held(nbytes: Floats | float, room: Floats | float, sharpness: int) -> Floats:
    """Part of a working set that a cache with this room serves: 1 where it fits well, 0 where it is far too large."""
    return np.asarray(1 / (1 + (np.asarray(nbytes) / room) ** sharpness))
