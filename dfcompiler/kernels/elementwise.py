"""Work without contractions: norms, softmax, activations. Bytes at the DRAM's pace, lanes, and a floor of launches.

A row that must be read again (after its maximum, its sum) costs nothing while the rows in flight fit the first-level
cache of an SM. Where a row is walked several times, barriers keep special functions from hiding behind memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import THREADS, Device
from dfcompiler.kernels.latency import Floats, Latency, held, rows


@dataclass(frozen=True)
class ElementwiseKernels:
    """The constants of one kernel generation."""

    launch_us: float
    dram_efficiency: float
    again: float  # cost of reading again a row that has left the cache, over reading it first
    cache_bytes: float  # of an SM: shared memory and L1
    quantise_us: float  # of one row that a thread block scales to 8 bits, over all SMs


def elementwise(
    read_bytes: object, write_bytes: object, plain: object, special: object, device: Device,
    kernels: ElementwiseKernels, *, passes: object = 1.0, row_bytes: object = 0.0, row_threads: float = 256.0,
) -> Latency:  # fmt: skip
    """Price `plain` and `special` scalar operations over these bytes; sizes broadcast over rows.

    `passes` is how often a row of `row_bytes` is read: once, and once more after each reduction that must end first;
    `row_threads` of an SM's work on it.
    """
    read, write, ops, hard, times, row = rows(read_bytes, write_bytes, plain, special, passes, row_bytes)
    peak = kernels.dram_efficiency * np.asarray(device.dram_bytes_per_s)
    kept = held(row * THREADS / row_threads, kernels.cache_bytes, 4)
    memory_s: Floats = (read * (1 + (times - 1) * kernels.again * (1 - kept)) + write) / peak
    rate = np.asarray(device.sms * device.clock_hz)
    plain_s, special_s = ops / device.lanes / rate, hard / device.specials / rate
    launch_s = np.full_like(read, kernels.launch_us * MICRO)
    shown = np.where(times > 1, np.maximum(memory_s, plain_s) + special_s, np.maximum(memory_s, plain_s + special_s))
    return Latency(launch_s + shown, launch_s, plain_s + special_s, memory_s)


def quantise(m: object, k: object, device: Device, kernels: ElementwiseKernels) -> Latency:
    """Scale and round `m` rows of `k` 16-bit elements to 8 bits, by the largest of each row: a thread block per row,
    whose barriers stand beside its bytes."""
    m_, k_ = rows(m, k)
    found = elementwise(2 * m_ * k_, m_ * k_, 4 * m_ * k_, 0, device, kernels)
    barriers_s = kernels.quantise_us * MICRO * m_
    return Latency(found.seconds + barriers_s, found.launch_s, found.compute_s + barriers_s, found.memory_s)
