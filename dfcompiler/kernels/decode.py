"""Attention of one new token per sequence over its cache: CTAs stream blocks of keys and values, split where few.

One CTA takes one KV head of one sequence, with the query heads that share it as rows of one tile. Where that fills
too few SMs the cache is split, by FlashAttention's rule, and a second kernel combines the parts. CTAs run in waves;
a tail wave reaches the bandwidth that its CTAs can draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import Device
from dfcompiler.kernels.latency import Floats, Latency, ceil_div, held, rows

ROWS, COLUMNS = 64, 128  # of a CTA's tile of scores: FlashAttention's split-KV kernels for heads up to 128
MOST_SPLITS = 128  # FlashAttention
GOOD_ENOUGH = 0.85  # FlashAttention: the smallest split whose last wave is so full, compared with the best
FULL = 0.8  # FlashAttention: CTAs per SM from which nothing is split


@dataclass(frozen=True)
class DecodeKernels:
    """The constants of one kernel generation."""

    launch_us: float
    single_us: float  # less launch where no query heads share a KV head
    dram_efficiency: float
    tensor_efficiency: float
    resident: float  # CTAs that an SM runs at a time
    cta_us: float  # prologue and epilogue of a CTA
    row_us: float  # more of them per query head of the CTA
    overlap: float  # part of the shorter of memory and CTA overheads that many waves do not hide
    exposed: float  # part of the shorter of memory and arithmetic that a wave does not hide
    fill_us: float  # start of a full first wave
    tail_rate: float  # bandwidth of one CTA, over its share in a full wave
    l2_part: float
    l2_efficiency: float
    combine_us: float
    combine_launch_us: float  # of the kernel that combines, as far as it does not start before the first one ends
    combine_stages: float  # loads of parts that it has in flight
    split_us: float  # more of it per part that is loaded alone
    fill_factor: float  # SMs count so many times in the rule that splits
    splits_single: float  # 1: splits also where no query heads share a KV head
    copy_us: float  # copies of queries and results into the packed order, 0: none are made
    sequence_us: float  # of the scheduler, per sequence
    scheduled: float  # sequences up to which there is such a scheduler


def decode(
    batch: object, keys: object, heads: object, kv_heads: object, width: object, device: Device,
    kernels: DecodeKernels, *, element_bytes: float = 2.0, warm: bool = False,
) -> Latency:  # fmt: skip
    """Price one token per sequence, `keys` cached tokens each; sizes broadcast over rows.

    `warm`: a cache that fits the L2 is found there, as in a benchmark that reads it again and again.
    """
    b, t, h, g, e = rows(batch, keys, heads, kv_heads, width)
    c, d = kernels, device
    group = h / g
    blocks = ceil_div(t, COLUMNS)
    parts = splits(b * g, blocks, np.asarray(d.sms) * c.fill_factor)
    parts = np.where((group == 1) & (c.splits_single == 0), 1, parts)
    count = b * g * parts
    cache = 2 * b * g * t * e * element_bytes
    peak = c.dram_efficiency * np.asarray(d.dram_bytes_per_s)
    hit = held(cache, c.l2_part * np.asarray(d.l2_bytes), 8) if warm else 0.0
    rate = 1 / (hit / (c.l2_efficiency * d.l2_bytes_per_s) + (1 - hit) / peak)
    block_s = 2 * ROWS * COLUMNS * e / (np.asarray(d.macs) * d.clock_hz * c.tensor_efficiency)
    slots = np.asarray(d.sms) * c.resident
    whole = np.floor(count / slots)
    rest = count - whole * slots
    work_s = ceil_div(blocks, parts) * block_s

    def wave_s(ctas: Floats | float) -> Floats:
        stream_s = ctas * cache / count / (rate * np.minimum(1, c.tail_rate * ctas / slots))
        math_s = work_s * ceil_div(ctas, np.asarray(d.sms))
        return np.maximum(stream_s, math_s) + c.exposed * np.minimum(stream_s, math_s)

    waves = ceil_div(count, slots)
    memory_s = whole * wave_s(slots) + np.where(rest > 0, wave_s(np.maximum(rest, 1)), 0)
    ctas_s = waves * (c.cta_us + c.row_us * group) * MICRO
    hidden = c.overlap + (1 - c.overlap) / waves
    ends_s = 2 * b * h * e * element_bytes / peak
    launch = c.launch_us - c.single_us * (group == 1) + c.fill_us * np.minimum(count / slots, 1)
    launch = launch + c.sequence_us * b * (b <= c.scheduled)
    launch = launch + (parts > 1) * (c.combine_us + c.combine_launch_us + c.split_us * parts / c.combine_stages)
    copied = (group > 1) & (b > 1) & (g > 1) & (c.copy_us > 0)
    body = np.maximum(memory_s, ctas_s) + hidden * np.minimum(memory_s, ctas_s)
    seconds = launch * MICRO + body + ends_s + copied * (c.copy_us * MICRO + 2 * ends_s)
    return Latency(seconds, launch * MICRO, ctas_s + ceil_div(count, np.asarray(d.sms)) * work_s, memory_s + ends_s)


def splits(count: Floats, blocks: Floats, sms: Floats) -> Floats:
    """In how many parts FlashAttention cuts a cache of `blocks` for `count` CTAs on `sms` SMs, by row."""
    s = np.arange(1.0, MOST_SPLITS + 1)[:, None]
    waves = count * s / sms
    legal = (s <= blocks) & ((s == 1) | (ceil_div(blocks, s) != ceil_div(blocks, np.maximum(s - 1, 1))))
    full = np.where(legal, waves / np.ceil(waves), 0)
    best = 1.0 + np.argmax(full >= GOOD_ENOUGH * full.max(0), axis=0)
    return np.where(count >= FULL * sms, 1.0, best)
