"""Work without contractions: norms, softmax, activations. Bytes at the DRAM's pace, lanes, and a floor of launches.

A short row stays in the registers of a warp: it is read once. A long one is walked by a thread block, once more after
each reduction that must end first, whose barriers take time of their own; what it reads again costs nothing while the
rows in flight fit the first-level cache of an SM. Arithmetic hides behind bytes, where there is less of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import THREADS, Device
from dfcompiler.kernels.latency import Floats, Latency, held, rows

WARP_BYTES = 2048  # of a row that a warp keeps in registers: 1,024 elements of 16 bits, PyTorch's softmax_warp_forward


@dataclass(frozen=True)
class ElementwiseKernels:
    """The constants of one kernel generation."""

    launch_us: float
    dram_efficiency: float
    again: float  # cost of reading again a row that has left the cache, over reading it first
    cache_bytes: float  # of an SM: shared memory and L1
    special_lanes: float  # operations of the lanes around a special function, which make it exact to 32 bits
    barrier_us: float  # of a thread block's reduction over a row
    quantise_us: float  # of one row that a thread block scales to 8 bits, over all SMs


def elementwise(
    read_bytes: object, write_bytes: object, plain: object, special: object, device: Device,
    kernels: ElementwiseKernels, *, passes: object = 1.0, row_bytes: object = 0.0, row_threads: object = 256.0,
) -> Latency:  # fmt: skip
    """Price `plain` and `special` scalar operations over these bytes; sizes broadcast over rows.

    `passes` is how often a row of `row_bytes` is read where it is long: once, and once more after each reduction that
    must end first; `row_threads` of an SM's work on it.
    """
    read, write, ops, hard, times, row, threads = rows(
        read_bytes, write_bytes, plain, special, passes, row_bytes, row_threads
    )
    again = np.where(row > WARP_BYTES, times - 1, 0)
    peak = kernels.dram_efficiency * np.asarray(device.dram_bytes_per_s)
    kept = held(row * THREADS / threads, kernels.cache_bytes, 4)
    memory_s: Floats = (read * (1 + again * kernels.again * (1 - kept)) + write) / peak
    lanes = (ops + kernels.special_lanes * hard) / device.lanes
    work_s: Floats = np.maximum(lanes, hard / device.specials) / np.asarray(device.sms * device.clock_hz)
    launch_s = np.full_like(read, kernels.launch_us * MICRO)
    barriers_s = again * kernels.barrier_us * MICRO
    both = np.sqrt(np.sqrt(memory_s**4 + work_s**4))
    return Latency(launch_s + barriers_s + both, launch_s, barriers_s + work_s, memory_s)


def quantise(m: object, k: object, device: Device, kernels: ElementwiseKernels) -> Latency:
    """Scale and round `m` rows of `k` 16-bit elements to 8 bits, by the largest of each row: a thread block per row,
    whose barriers stand beside its bytes."""
    m_, k_ = rows(m, k)
    found = elementwise(2 * m_ * k_, m_ * k_, 4 * m_ * k_, 0, device, kernels)
    barriers_s = kernels.quantise_us * MICRO * m_
    return Latency(found.seconds + barriers_s, found.launch_s, found.compute_s + barriers_s, found.memory_s)
