"""Attention of many new tokens: one CTA per tile of queries walks the blocks of keys that the mask leaves it.

CTAs differ in length under a causal mask, so the time of a grid is a list-scheduling bound: no less than the longest
CTA, no less than the mean load, and a part of the longest for the tail. Writing new keys and values into a paged
cache is a kernel of its own that runs one CTA per token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dfcompiler.kernels.contraction import MICRO
from dfcompiler.kernels.device import Device
from dfcompiler.kernels.latency import Floats, Latency, ceil_div, held, rows

WRITE_WIDTH = 128  # elements of keys that one fourth of a writing CTA takes: vLLM's reshape_and_cache, 512 threads


@dataclass(frozen=True)
class PrefillKernels:
    """The constants of one kernel generation."""

    rows: float  # of a CTA's tile of queries
    columns: float  # of its blocks of keys
    packs: float  # 1: query heads that share a KV head lie in one tile
    resident: float  # CTAs that an SM runs at a time
    launch_us: float
    tensor_efficiency: float
    dram_efficiency: float
    cta_us: float
    tail: float  # part of the longest CTA that the end of a grid adds
    overlap: float  # part of the shorter of compute and memory that is not hidden
    l2_part: float
    l2_efficiency: float
    split_us: float  # combining parts where a small grid is split along keys; 0: it is not
    write_traffic: float  # of the cache write, in passes over the new keys and values
    write_clocks: float  # of an SM per token of one narrow head
    write_exponent: float  # growth of that with the width of a token's keys
    throttle: float
    throttle_us: float
    sequence_us: float
    scheduled: float
    single_decodes: float  # 1: one token per sequence runs the kernel of decoding


def prefill(
    batch: object, queries: object, past: object, heads: object, kv_heads: object, width: object, device: Device,
    kernels: PrefillKernels, *, causal: bool = True, element_bytes: float = 2.0, warm: bool = False,
    writes: bool = False, alone: Latency | None = None,
) -> Latency:  # fmt: skip
    """Price `queries` new tokens per sequence after `past` cached ones; sizes broadcast over rows.

    `writes` adds the kernel that writes new keys and values; `warm` lets operands that fit be found in L2. `alone` is
    what rows of one token take without a past where the kernel of decoding runs them.
    """
    b, s, past_, h, g, e = rows(batch, queries, past, heads, kv_heads, width)
    c, d = kernels, device
    group = h / g
    packed = group if c.packs else np.ones_like(group)
    tiles, total, longest = key_blocks(s, past_, packed, c.rows, c.columns, causal)
    count = b * h / packed * tiles
    block_s = 2 * c.rows * c.columns * e / (np.asarray(d.macs) * d.clock_hz * c.tensor_efficiency)
    cta_s, slots = c.cta_us * MICRO, np.asarray(d.sms) * c.resident
    beside = np.clip(ceil_div(count, np.asarray(d.sms)), 1, c.resident)  # CTAs that share an SM's tensor cores
    longest_s = longest * block_s * beside + cta_s
    mean_s = (b * h / packed * total * block_s + count * cta_s / c.resident) / d.sms
    listed_s = np.maximum(longest_s, mean_s + c.tail * longest_s * (count > slots))
    waves_s = ceil_div(count, slots) * cta_s + ceil_div(count, np.asarray(d.sms)) * longest * block_s
    compute_s = np.where(tiles == 1, waves_s, listed_s)
    parts = np.clip(np.floor(d.sms / count), 1, longest)
    split_s = np.maximum(longest_s / parts, mean_s) + c.split_us * MICRO
    compute_s = np.where((c.split_us > 0) & (parts > 1), np.minimum(compute_s, split_s), compute_s)
    busy = 2 * b * h / packed * total * c.rows * c.columns * e / d.macs_per_s / compute_s
    compute_s = compute_s * (1 + c.throttle * busy * compute_s / (compute_s + c.throttle_us * MICRO))
    ends, fresh = 2 * b * s * h * e * element_bytes, 2 * b * s * g * e * element_bytes
    moved = ends + 2 * b * (s + past_) * g * e * element_bytes
    peak = c.dram_efficiency * np.asarray(d.dram_bytes_per_s)
    hit = held(moved, c.l2_part * np.asarray(d.l2_bytes), 8) if warm else 0.0
    rate = 1 / ((1 - hit) / peak + hit / (c.l2_efficiency * d.l2_bytes_per_s))
    memory_s = moved / rate
    write_s = np.zeros_like(b)
    if writes:
        narrow = np.minimum(g * e / WRITE_WIDTH, 4)
        clocks = c.write_clocks * b * s * narrow**c.write_exponent
        write_s = c.write_traffic * fresh / rate + clocks / (d.sms * d.clock_hz)
    launch_s = (c.launch_us + c.sequence_us * b * (b <= c.scheduled)) * MICRO + np.zeros_like(b)
    body = np.maximum(compute_s, memory_s) + c.overlap * np.minimum(compute_s, memory_s)
    found = Latency(launch_s + body, launch_s, compute_s, memory_s)
    if alone is not None:
        single = (s == 1) & (past_ == 0)
        found = Latency(*(np.where(single, getattr(alone, f), getattr(found, f)) for f in Latency.__annotations__))
    return Latency(found.seconds + write_s, found.launch_s, found.compute_s, found.memory_s + write_s)


def key_blocks(
    queries: Floats, past: Floats, packed: Floats, height: float, width: float, causal: bool
) -> tuple[Floats, Floats, Floats]:
    """Tiles of queries of one head (or one packed group), blocks of keys of all of them, and of the longest.

    Exact but for tiles that end between blocks, of which the mean over a period is taken.
    """
    tiles = ceil_div(queries * packed, height)
    longest = ceil_div(queries + past, width)
    if not causal:
        return tiles, tiles * longest, longest
    slope = height / (packed * width)
    period = packed * width / np.gcd((packed * width).astype(np.int64), int(height))
    whole = np.maximum(tiles - 1, 0)
    rising = slope * whole * tiles / 2 + whole * (past / width + (1 - 1 / period) / 2)
    return tiles, np.minimum(rising, whole * longest) + longest, longest
