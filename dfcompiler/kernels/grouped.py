"""Contractions grouped by expert: each expert's rows are padded to whole tiles, and only touched experts are read.

The tile follows a rule of the library by tokens (Triton's fused experts have a default rule and, for some shapes, a
tuned one). A row of tiles of one expert reads its weights again unless they stay in L2 or tiles are walked in groups.
Everything around the two contractions (activation, zeros for experts of other ranks, the sum over a token's experts)
moves all pairs of token and expert, whether this rank computes them or not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import Device
from dfcompiler.kernels.latency import Floats, Latency, ceil_div, held, rows

HEIGHTS = (16, 32, 64, 128)  # rows of a tile that any rule may ask for
WIDTHS, DEPTHS, GROUPS = (32, 64, 128, 256), (64, 128), (1, 16)  # what a tuner tries beside them: vLLM benchmark_moe
ACCUMULATORS = 32768  # per SM: half of the registers
OPERAND_BYTES = 160 * 1024  # of shared memory, for three stages of operands
MOST_CTAS = 8
VECTOR = 16  # elements: a row pitch that is no multiple is loaded element by element (Triton specialises on 16)


@dataclass(frozen=True)
class GroupedKernels:
    """The constants of one kernel generation. A rule is `(limit, rows, columns, depth, group)`, first that holds."""

    rules: tuple[tuple[float, ...], ...]
    by_experts: float  # 1: limits are tokens per expert of the rank; 0: tokens
    tuned: tuple[tuple[float, ...], ...]  # (experts, inner size) that have the best tile instead
    tuned_gain: float  # time of a tuned kernel over the best of our candidates
    launch_us: float  # all kernels of the fused op
    expert_us: float  # of sorting, per expert of the model
    tensor_efficiency: float
    fragment_elements: float
    step_clocks: float
    epilogue_clocks: float  # per 32 elements of the tile
    dram_efficiency: float
    dram_latency_us: float
    l2_part: float
    sharpness: float  # exponent that joins compute and memory
    around_traffic: float  # of what is around the contractions, over its compulsory bytes
    unaligned: float  # slow-down where rows cannot be loaded as vectors


@dataclass(frozen=True)
class Load:
    """Rows that the experts of one rank get: experts touched, rows in all, tiles by their height; all by row."""

    active: Floats
    rows: Floats
    tiles: Mapping[int, Floats]

    @classmethod
    def of(cls, loads: Floats) -> Load:
        """From `[rows, draws, experts]`: the mean over draws."""
        tiles = {h: np.ceil(loads / h).sum(-1).mean(-1) for h in HEIGHTS}
        return cls((loads > 0).sum(-1).mean(-1), loads.sum(-1).mean(-1), tiles)


def grouped(
    tokens: object, experts: object, n: object, k: object, load: Load, device: Device, kernels: GroupedKernels, *,
    inner: object | None = None, width_bytes: float = 2.0,
) -> Latency:  # fmt: skip
    """One contraction `[rows of an expert, k] x [k, n]` for all experts of a rank, without launch; rows broadcast.

    `experts` are those of the rank; `inner` is the size by which tuned shapes are named, `n` where nothing is said.
    """
    t, e, n_, k_, i = rows(tokens, experts, n, k, n if inner is None else inner)
    compute_s, memory_s = np.zeros_like(t), np.zeros_like(t)
    left = np.ones(len(t), dtype=bool)
    for limit, height, width, depth, group in kernels.rules:
        use = left & (t <= limit * (e if kernels.by_experts else 1.0))
        left &= ~use
        found = _tile(n_, k_, load, (height, width, depth, group), device, kernels, width_bytes)
        compute_s, memory_s = (np.where(use, new, old) for new, old in zip(found, (compute_s, memory_s), strict=True))
    parts = np.array([compute_s, memory_s, _joined(compute_s, memory_s, kernels)])
    best = np.isin(e + 1j * i, [a + 1j * b for a, b in kernels.tuned])
    if best.any():
        tried = [_tile(n_, k_, load, x, device, kernels, width_bytes) for x in _tuner()]
        tuned = np.array([(*x, _joined(*x, kernels)) for x in tried])
        fastest = tuned[tuned[:, 2].argmin(0), :, np.arange(len(t))].T
        parts = np.where(best, fastest * kernels.tuned_gain, parts)
    compute_s, memory_s, seconds = parts
    return Latency(seconds, np.zeros_like(t), compute_s, memory_s)


def fused_experts(
    tokens: object, chosen: object, hidden: object, inner: object, experts: object, experts_here: object,
    gated: object, load: Load, device: Device, kernels: GroupedKernels, *, width_bytes: float = 2.0,
) -> Latency:  # fmt: skip
    """The feed-forward of a mixture of experts on one rank: sort, contraction, activation, contraction, sum.

    `chosen` experts per token; `gated` is 1 where the first contraction makes two halves that are multiplied.
    """
    t, j, h, i, e, here, gate = rows(tokens, chosen, hidden, inner, experts, experts_here, gated)
    wide = i * (1 + gate)
    up = grouped(t, here, wide, h, load, device, kernels, inner=i, width_bytes=width_bytes)
    down = grouped(t, here, h, i, load, device, kernels, inner=i, width_bytes=width_bytes)
    slow = np.where(i % VECTOR != 0, kernels.unaligned, 1.0)
    peak = kernels.dram_efficiency * np.asarray(device.dram_bytes_per_s)
    around = t * j * (2 * wide + i + 2 * h) + t * h
    around_s = kernels.around_traffic * around * width_bytes / peak
    launch_s = (kernels.launch_us + kernels.expert_us * e) * MICRO
    seconds = launch_s + (up.seconds + down.seconds) * slow + around_s
    compute_s, memory_s = up.compute_s + down.compute_s, up.memory_s + down.memory_s + around_s
    return Latency(seconds, launch_s, compute_s * slow, memory_s)


def _tile(
    n: Floats, k: Floats, load: Load, tile: tuple[float, float, float, float], d: Device, g: GroupedKernels,
    width_bytes: float,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Compute and memory seconds of one choice of tile: (rows, columns, depth of a step, tiles walked together)."""
    height, width, depth, group = tile
    stacked = load.tiles[int(height)]
    count = stacked * ceil_div(n, width)
    together = np.clip(ACCUMULATORS / (height * width), 1, MOST_CTAS)
    queue = np.maximum(ceil_div(count, np.asarray(d.sms)), 1)
    tensor = height * width * depth / d.macs / g.tensor_efficiency * (1 + g.fragment_elements / (height * width))
    step = np.maximum(tensor, g.step_clocks / np.minimum(queue, together))
    clocks = queue * (ceil_div(k, depth) * step + g.epilogue_clocks * height * width / 32)
    one = n * k * width_bytes
    lost = 1 - held(one, g.l2_part * np.asarray(d.l2_bytes), 4)
    again = np.maximum(stacked / np.maximum(load.active, 1) / group - 1, 0)
    moved = load.active * one * (1 + again * lost) + load.rows * (k + n) * width_bytes
    flight = np.maximum(np.minimum(count, d.sms * together), 1) * 2 * depth * (height + width) * width_bytes
    peak = g.dram_efficiency * np.asarray(d.dram_bytes_per_s)
    rate = peak / np.sqrt(1 + (peak * g.dram_latency_us * MICRO / flight) ** 2)
    return np.asarray(clocks / d.clock_hz), np.asarray(moved / rate)


def _joined(compute_s: Floats, memory_s: Floats, g: GroupedKernels) -> Floats:
    longer, shorter = np.maximum(compute_s, memory_s), np.minimum(compute_s, memory_s)
    ratio = shorter / np.maximum(longer, 1e-30)
    return np.asarray(longer * (1 + ratio**g.sharpness) ** (1 / g.sharpness))


def _tuner() -> list[tuple[float, float, float, float]]:
    return [
        (h, w, d, g)
        for h in HEIGHTS
        for w in WIDTHS
        for d in DEPTHS
        for g in GROUPS
        if h * w <= ACCUMULATORS and 6 * (h + w) * d <= OPERAND_BYTES
    ]
