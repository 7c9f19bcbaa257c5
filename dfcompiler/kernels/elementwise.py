"""Work without contractions: norms, softmax, activations. Bytes at the DRAM's pace, lanes, and a floor of launches.

A row that must be read again (after its maximum, its sum) is found in cache while the rows in flight fit; what it
costs there is a part of a pass over DRAM. On the host's clock a launch takes at least `host_us`, however little it does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import Device
from dfcompiler.kernels.latency import Floats, Latency, held, rows


@dataclass(frozen=True)
class ElementwiseKernels:
    """The constants of one kernel generation."""

    launch_us: float
    dram_efficiency: float
    again: float  # cost of reading a row again from cache, over reading it from DRAM
    one_pass_bytes: float  # rows up to this stay in registers and are read once
    rows_per_sm: float  # in flight
    l2_part: float


def elementwise(
    read_bytes: object, write_bytes: object, plain: object, special: object, device: Device,
    kernels: ElementwiseKernels, *, passes: object = 1.0, row_bytes: object = 0.0,
) -> Latency:  # fmt: skip
    """Price `plain` and `special` scalar operations over these bytes; sizes broadcast over rows.

    `passes` is how often a row of `row_bytes` is read: once, and once more after each reduction that must end first.
    """
    read, write, ops, hard, times, row = rows(read_bytes, write_bytes, plain, special, passes, row_bytes)
    peak = kernels.dram_efficiency * np.asarray(device.dram_bytes_per_s)
    fits = held(row * kernels.rows_per_sm * device.sms, kernels.l2_part * np.asarray(device.l2_bytes), 8)
    again = np.where(row <= kernels.one_pass_bytes, 0.0, kernels.again * fits + (1 - fits))
    memory_s: Floats = (read * (1 + (times - 1) * again) + write) / peak
    compute_s: Floats = np.asarray((ops / device.lanes + hard / device.specials) / (device.sms * device.clock_hz))
    launch_s = np.full_like(read, kernels.launch_us * MICRO)
    return Latency(launch_s + np.maximum(memory_s, compute_s), launch_s, compute_s, memory_s)
