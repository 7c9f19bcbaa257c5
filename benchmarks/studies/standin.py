"""A stand-in for priced systems: LLMShare's axes under rooflines, quick enough to develop samplers with.

Its constants are plausible, not sourced: dollars and rates mean nothing, only how they depend on the axes is of the
right kind. The comparison of samplers takes a table of real prices instead where one is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfcompiler.explore.question import Dimension, Goal

Floats = NDArray[np.float64]

POOL = (
    ("servers", tuple(range(1, 11))),
    ("server.devices", (4, 8, 12, 16)),
    ("server.device.links", (6, 12, 18, 24)),
    ("server.device.memory_gb", (40, 64, 80, 96, 112, 128)),
    ("server.device.buffer_mb", (20, 30, 40, 50, 60, 70, 80, 90, 100, 110)),
    ("server.device.cores", (72, 96, 108, 132, 156, 180)),
    ("server.device.core.local_kb", (64, 128, 192, 256, 320, 384, 448, 512)),
    ("server.device.core.lanes", (1, 2, 4, 8)),
    ("server.device.core.lane.height", (16, 32, 64, 128)),
    ("server.device.core.lane.vector", (16, 32, 64, 128)),
)
DIMENSIONS = tuple(Dimension(f"{pool}.{name}", values) for pool in ("prefill", "decode") for name, values in POOL)
GOALS = (Goal("cost", "min"), Goal("rate", "max"))

WEIGHTS_GB, LAYERS, WIDTH, PROMPT, NEW, HZ = 350.0, 96, 12288, 1155, 211, 1.4e9  # GPT-3 at 2 bytes; Azure's means
KV_GB = 2 * 2 * LAYERS * WIDTH * (PROMPT + NEW) / 1e9


def columns(points: NDArray[np.int64], pool: int) -> list[Floats]:
    """The values of a pool's ten axes, each [n]."""
    offset = 10 * pool
    return [np.asarray(DIMENSIONS[offset + i].values, float)[points[:, offset + i]] for i in range(10)]


def server_cost(points: NDArray[np.int64], pool: int) -> Floats:
    """Plausible dollars of a server: dies by yield, memory by capacity, and a share that grows with links."""
    _, devices, links, memory, buffer, cores, local, lanes, height, vector = columns(points, pool)
    core_mm2 = local / 1024 * 0.9 + lanes * (height**2 * 6.5e-4 + vector * 2.2e-3) + 0.35
    die = 60 + cores * core_mm2 + buffer * 0.55 + links * 1.6
    dollars = die / 700 * 110 * (1 + die * 1e-3 / 3) ** 3 + memory * 10 + links * 14
    return devices * dollars * 1.25 + 900


def compute(points: NDArray[np.int64], pool: int, tokens: Floats) -> Floats:
    """Multiply-accumulates a second of a device in GEMMs of so many rows: arrays fill, buffers feed them or do not."""
    _, _, _, memory, buffer, cores, local, lanes, height, _ = columns(points, pool)
    arrays = cores * lanes
    filled = tokens / (np.ceil(tokens / height) * height) * tokens / (tokens + 2 * height)
    peak = arrays * height**2 * HZ * filled
    from_local = cores * 128 * HZ * np.sqrt(local * 1024 / 8) / 2
    from_memory = memory * 25.6e9 * np.sqrt(buffer * 1e6 / 8) / 4
    return np.minimum(np.minimum(peak, from_local), from_memory)


def reduce_s(points: NDArray[np.int64], pool: int, tokens: Floats) -> Floats:
    """Seconds of a step's all-reduces."""
    _, devices, links, *_ = columns(points, pool)
    volume = 2 * LAYERS * 2 * 2 * (devices - 1) / devices * tokens * WIDTH
    return volume / (links * 25e9) + 2 * LAYERS * 12e-6


def rates(points: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Requests a second of the prefill pool and of the decode pool."""
    macs = WEIGHTS_GB / 2 * 1e9
    n, devices, _, memory, *_, vector = columns(points, 0)
    tokens = np.full(len(points), 2.0 * PROMPT)
    step = macs * tokens / devices / compute(points, 0, tokens) + reduce_s(points, 0, tokens)
    step = step + LAYERS * tokens * WIDTH * 12 / (devices * columns(points, 0)[5] * vector * HZ)
    prefill = n * 2 / np.maximum(step, WEIGHTS_GB / devices / (memory * 25.6))
    n, devices, _, memory, *_ = columns(points, 1)
    batch = np.clip(np.floor((devices * memory * 0.94 - WEIGHTS_GB) / KV_GB), 0, 240)
    some = np.maximum(batch, 1.0)
    read = (WEIGHTS_GB + some * KV_GB) / devices / (memory * 25.6)
    step = np.maximum(read, macs * some / devices / compute(points, 1, some)) + reduce_s(points, 1, some)
    return prefill, n * batch / (step * NEW)


def objectives(points: NDArray[np.int64]) -> Floats:
    """Cost and rate [n, 2] of systems [n, 20]; NaN where the weights and one sequence do not fit into a pool."""
    prefill, decode = rates(points)
    cost = columns(points, 0)[0] * server_cost(points, 0) + columns(points, 1)[0] * server_cost(points, 1)
    rate = np.minimum(prefill, decode)
    fits = (columns(points, 0)[1] * columns(points, 0)[3] * 0.94 > WEIGHTS_GB) & (rate > 0)
    return np.where(fits[:, None], np.stack([cost, rate], axis=1), np.nan)


def bounds(points: NDArray[np.int64]) -> Floats:
    """Lower bounds of (cost, -rate) [n, 2]: the cost is known, the rate as if arrays and memories were always busy."""
    macs = WEIGHTS_GB / 2 * 1e9
    best = []
    for pool in (0, 1):
        n, devices, _, memory, _, cores, _, lanes, height, _ = columns(points, pool)
        peak = devices * cores * lanes * height**2 * HZ
        if pool == 0:
            best.append(n * np.minimum(peak / (macs * PROMPT), devices * memory * 25.6 / WEIGHTS_GB * 2))
            continue
        batch = np.clip(np.floor((devices * memory * 0.94 - WEIGHTS_GB) / KV_GB), 1, 240)
        read = (WEIGHTS_GB + batch * KV_GB) / devices / (memory * 25.6)
        best.append(n * batch / (np.maximum(read, macs * batch / peak) * NEW))
    cost = columns(points, 0)[0] * server_cost(points, 0) + columns(points, 1)[0] * server_cost(points, 1)
    return np.stack([cost, -np.minimum(*best)], axis=1)


def subset(count: int, seed: int) -> tuple[NDArray[np.int64], Floats]:
    """So many different systems at random that can be, and their objectives."""
    rng = np.random.default_rng(seed)
    shape = [len(d.values) for d in DIMENSIONS]
    drawn = np.unique(rng.integers(0, shape, (3 * count, len(shape))), axis=0)
    values = objectives(drawn)
    good = rng.permutation(np.flatnonzero(np.isfinite(values).all(axis=1)))[:count]
    return drawn[good], values[good]
