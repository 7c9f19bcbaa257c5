"""One dense contraction by a library of CTA tiles: what cuBLAS and its like do with `[m, k] x [k, n]`.

The library picks one of a few tiles and a split of k. A tile runs its main loop on one SM: tensor cores, operand
delivery from L2 and the latency of a step, whichever is longest; then an epilogue in proportion to the tile. CTAs
run in waves over the SMs; the way to DRAM is filled by the bytes that resident CTAs have in flight. The choice is a
soft minimum over the candidates: the nearer two are, the likelier the library's rule picks either.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from dfcompiler.diagnostics import Diag
from dfcompiler.kernels.device import L2_PORT_BYTES, THREADS, Device
from dfcompiler.kernels.latency import Floats, Latency, ceil_div, held, rows

BLOCK = 256  # rows priced at a time: their candidates stay in a core's cache
STAGES, STEP_BYTES = 3, 128  # tiles of operands in flight and their depth along k: CUTLASS defaults
REGISTERS = 32768  # accumulators of an SM that leave room for fragments: half of its 65,536 32-bit registers
MOST_CTAS = 4  # resident per SM by registers and shared memory of the tiles below
VECTOR_THREADS, VECTOR_COLUMNS, VECTOR_BYTES = 128, 128, 16  # of a thread block that makes columns of one row of many
# products, and of a load of a thread, of which it has two in flight: our estimate
ALL_ROWS = 1e30  # as the last of a rule's tiles takes them
MICRO = 1e-6


@dataclass(frozen=True)
class ContractionKernels:
    """The constants of one kernel generation. Times are in µs or clocks, as the names say."""

    tiles: tuple[
        tuple[float, ...], ...
    ]  # rows and columns of a CTA's tile; where there is a rule, most rows of m for it
    splits: tuple[float, ...]  # of k; 0: stream-K, the steps of all tiles in equal parts to the SMs
    least_k: float  # elements of k that a split keeps
    granule_k: float  # to which k is padded
    launch_clocks: float  # from an empty chip to one that computes, and back
    tensor_efficiency: float  # of the peak at the data sheet's clock; above 1 where a chip runs faster than that
    fragment_elements: float  # a tile of so many elements keeps the tensor cores busy half of the time
    l2_efficiency: float  # of the port between L2 and one SM
    step_clocks: float  # least time of a step of the main loop: one round of loads
    epilogue_clocks: float  # per 32 elements of the tile
    dram_efficiency: float
    dram_latency_us: float
    l2_latency_clocks: float
    l2_part: float  # of the L2 that a working set may fill
    split_clocks: float  # the second kernel that adds up a split
    split_traffic: float  # part of its partial sums that goes through DRAM
    tile_bias: float  # exponent by which small tiles look worse to the library's rule than they are
    split_bias: float  # the same for splits
    choice: float  # exponent of the soft minimum
    throttle: float  # slow-down of long work at full power
    throttle_from: float  # part of the peak from which power limits the clock
    throttle_us: float  # time that the limit takes to bite
    vector_clocks: float  # latency of the matrix-vector kernel; 0: the generation has none
    vector_columns: float  # columns at which it reaches half of its speed

    def __post_init__(self) -> None:
        """Raises Diag `bad-kernels` for tiles, rules or splits that cannot be."""
        most = [tile[2] for tile in self.tiles if len(tile) > 2]
        if not self.tiles or not all(2 <= len(t) <= 4 and all(x > 0 for x in t) for t in self.tiles):
            raise Diag(
                "bad-kernels", "`tiles` are rows and columns, then most rows of m and CTAs of a cluster, above 0"
            )
        if most and (len(most) < len(self.tiles) or any(a >= b for a, b in pairwise(most)) or most[-1] < ALL_ROWS):
            raise Diag(
                "bad-kernels", f"a rule of `tiles` has rising rows of m for each, the last at least {ALL_ROWS:g}"
            )
        if not self.splits or not all(s >= 0 and float(s).is_integer() for s in self.splits):
            raise Diag("bad-kernels", "`splits` are whole numbers, of which 0 is stream-K")


def contraction(
    batch: object, m: object, n: object, k: object, device: Device, kernels: ContractionKernels, *,
    widths: tuple[float, float, float] = (2.0, 2.0, 2.0), copies: float = 0.0,
) -> Latency:  # fmt: skip
    """Price `batch` products `[m, k] x [k, n] -> [m, n]`, one per row; all sizes broadcast.

    `widths` are bytes per element of the three operands. With `copies` > 0 operands may be found in L2, as in a
    benchmark that goes through so many copies of `[k, n]`; with 0 all come from DRAM.
    """
    size = rows(batch, m, n, k)
    parts = [
        _block([x[i : i + BLOCK] for x in size], device, kernels, widths, copies) for i in range(0, len(size[0]), BLOCK)
    ]
    return Latency(*(np.concatenate(p) for p in zip(*parts, strict=True)))


def _block(
    size: list[Floats], device: Device, g: ContractionKernels, widths: tuple[float, float, float], copies: float
) -> tuple[Floats, Floats, Floats, Floats]:
    b, m, n, k = size
    tm, tn, high, s = _candidates(g)
    streams, s = s == 0, np.maximum(s, 1)
    count = b * ceil_div(ceil_div(m, tm), high) * high * ceil_div(n, tn) * s
    compute_s = _compute_s(count, (m, n, k), (tm, tn, s), streams, device, g, widths)
    at_work = np.where(streams, np.asarray(device.sms) * MOST_CTAS, count)
    memory_s = _memory_s(at_work, (b, m, n, k), (tm, tn), device, g, widths, copies)
    both = np.sqrt(np.sqrt(compute_s**4 + memory_s**4))
    busy = b * m * n * k / device.macs_per_s / both
    slow = np.clip((busy - g.throttle_from) / (1 - g.throttle_from), 0, 1) * both / (both + g.throttle_us * MICRO)
    both = both * (1 + g.throttle * slow)
    partial_s = g.split_traffic * 8 * s * b * m * n / np.asarray(device.dram_bytes_per_s)
    launch_s = g.launch_clocks / np.asarray(device.clock_hz)
    time = launch_s + both + (s > 1) * (g.split_clocks / np.asarray(device.clock_hz) + partial_s)
    seems = time * (REGISTERS / (tm * tn)) ** g.tile_bias * s**g.split_bias
    seems = np.where(((s > 1) & (k < g.least_k * s)) | ~_ruled(g, m), np.inf, seems)
    weight = np.exp(-g.choice * np.log(seems / seems.min(0)))
    weight /= weight.sum(0)
    seconds = (weight * time).sum(0)
    alone = (weight * compute_s).sum(0), (weight * memory_s).sum(0)
    if g.vector_clocks and (m == 1).any():
        one, many = _vector_s(n, k, device, g, widths), _vectors_s(b, n, k, device, g, widths)
        seconds = np.where(m > 1, seconds, np.where(b > 1, many, one))
    return seconds, launch_s + np.zeros_like(seconds), *alone


def _candidates(g: ContractionKernels) -> list[Floats]:
    """Rows, columns, CTAs of a cluster along the rows, and split of every candidate, `[candidates, 1]` each."""
    table = [(*tile[:2], tile[3] if len(tile) > 3 else 1, s) for tile in g.tiles for s in g.splits]
    return np.split(np.array(table, dtype=np.float64), 4, axis=1)


def _ruled(g: ContractionKernels, m: Floats) -> npt.NDArray[np.bool_]:
    """Which candidates the library looks at, `[candidates, rows]`: all, or those of the first tile that takes so many
    rows of m."""
    most = np.array([tile[2] if len(tile) > 2 else np.inf for tile in g.tiles])
    least = np.maximum.accumulate(np.concatenate([[0.0], np.where(np.isinf(most), 0, most)[:-1]]))
    return np.repeat((m <= most[:, None]) & (m > least[:, None]), len(g.splits), axis=0)


def _compute_s(
    count: Floats, size: tuple[Floats, Floats, Floats], tile: tuple[Floats, Floats, Floats],
    streams: npt.NDArray[np.bool_], d: Device, g: ContractionKernels, widths: tuple[float, float, float],
) -> Floats:  # fmt: skip
    """The busiest SM: its CTAs one after the other, those resident together sharing the latency of a step. In stream-K
    it has its part of all steps instead, and one tile that it shares: sums of 32 bits out, and in again."""
    (m, n, k), (tm, tn, s) = size, tile
    depth = ceil_div(k / s, g.granule_k) * g.granule_k
    whole, part = ceil_div(count, np.asarray(d.sms)), np.maximum(count / d.sms, g.granule_k / depth)
    queue = np.where(streams, part, whole)
    together = np.minimum(whole, np.clip(REGISTERS / (tm * tn), 1, MOST_CTAS))
    shared = np.where(streams & (part < whole), 2 * 4 * tm * tn / (L2_PORT_BYTES * g.l2_efficiency), 0)
    tensor = tm * tn / d.macs * (1 + g.fragment_elements / (together * tm * tn)) / g.tensor_efficiency
    delivery = (np.minimum(tm, m) * widths[0] + np.minimum(tn, n) * widths[1]) / (L2_PORT_BYTES * g.l2_efficiency)
    latency = g.step_clocks * max(widths[:2]) / STEP_BYTES / together
    step = np.maximum(np.sqrt(np.sqrt(tensor**4 + delivery**4)), latency)
    clocks = queue * step * depth + np.maximum(queue, 1) * g.epilogue_clocks * tm * tn / 32 + shared
    return np.asarray(clocks / d.clock_hz)


def _memory_s(
    count: Floats, size: tuple[Floats, Floats, Floats, Floats], tile: tuple[Floats, Floats], d: Device,
    g: ContractionKernels, widths: tuple[float, float, float], copies: float,
) -> Floats:  # fmt: skip
    """Compulsory bytes from DRAM, or from L2 where a benchmark leaves them there, at what is in flight over latency."""
    (b, m, n, k), (tm, tn) = size, tile
    a, w, c = (x * width for x, width in zip((b * m * k, b * n * k, b * m * n), widths, strict=True))
    room = g.l2_part * np.asarray(d.l2_bytes)
    warm, warm_w = (held(a + w + c, room, 4), held(a + copies * w + c, room, 4)) if copies else (0.0, 0.0)
    far = (a + c) * (1 - warm) + w * (1 - warm_w)
    resident = np.minimum(count, d.sms * np.clip(REGISTERS / (tm * tn), 1, MOST_CTAS))
    depth = STEP_BYTES / max(widths[:2])
    flight = resident * STAGES * depth * (np.minimum(tm, m) * widths[0] + np.minimum(tn, n) * widths[1])
    peak = g.dram_efficiency * np.asarray(d.dram_bytes_per_s)
    rate = peak / np.sqrt(1 + (peak * g.dram_latency_us * MICRO / flight) ** 2)
    near = (a + w + c) - far
    return np.asarray(far / rate + near / np.minimum(d.l2_bytes_per_s / 2, flight * d.clock_hz / g.l2_latency_clocks))


def _vector_s(n: Floats, k: Floats, d: Device, g: ContractionKernels, widths: tuple[float, float, float]) -> Floats:
    """A matrix-vector product, which has no tiles: warps walk along rows, so few columns leave SMs idle."""
    stream_s = n * k * widths[1] / (g.dram_efficiency * np.asarray(d.dram_bytes_per_s))
    start_s = g.vector_clocks / np.asarray(d.clock_hz)
    spread = 1 + np.sqrt(g.vector_columns / n)
    launch_s = g.launch_clocks / np.asarray(d.clock_hz)
    return np.asarray(launch_s + stream_s * spread + start_s * stream_s / (stream_s + start_s))


def _vectors_s(
    b: Floats, n: Floats, k: Floats, d: Device, g: ContractionKernels, widths: tuple[float, float, float]
) -> Floats:
    """Many matrix-vector products: thread blocks of some columns each walk down k, with so few bytes in flight that
    there must be many of them to fill the way to DRAM."""
    count = b * ceil_div(n, VECTOR_COLUMNS)
    most = np.asarray(d.sms) * (THREADS // VECTOR_THREADS)
    peak = g.dram_efficiency * np.asarray(d.dram_bytes_per_s)
    flight = np.minimum(count, most) * VECTOR_THREADS * 2 * VECTOR_BYTES
    rate = peak / np.sqrt(1 + (peak * g.dram_latency_us * MICRO / flight) ** 2)
    stream_s = b * (n * k * widths[1] + k * widths[0] + n * widths[2]) / rate
    starts_s = ceil_div(count, most) * g.vector_clocks / np.asarray(d.clock_hz)
    return np.asarray(g.launch_clocks / np.asarray(d.clock_hz) + np.sqrt(np.sqrt(stream_s**4 + starts_s**4)))
