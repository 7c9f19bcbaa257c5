"""Measured kernels as tables of columns, and what the models say of their rows: one batched call per table.

A kind of table is known by its columns, those of the tables of others as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dfcompiler.kernels.contraction import contraction
from dfcompiler.kernels.decode import decode
from dfcompiler.kernels.device import Device
from dfcompiler.kernels.elementwise import WARP_BYTES, elementwise, quantise
from dfcompiler.kernels.generation import Generation
from dfcompiler.kernels.grouped import fused_experts
from dfcompiler.kernels.latency import Floats, Latency
from dfcompiler.kernels.loads import load_of
from dfcompiler.kernels.prefill import prefill

Columns: TypeAlias = Mapping[str, Any]
COPIES = 6.0  # of the weights, in turn: how the GEMM tables were measured
VECTOR_BYTES, BLOCK_THREADS = 16, 1024  # of a load, and most of a thread block: PyTorch's blockwise softmax
RANKS_BUSIEST = "vllm_fused_moe"  # tables of this kernel load the measured rank with the most popular experts
UNGATED = {(2688, 1856), (2048, 5120)}  # hidden and inner sizes of Nemotron 3, whose experts square a relu


@dataclass(frozen=True)
class Kind:
    """A kind of table: the columns that say what was run, and the price of its rows. `warm`: operands may lie in L2."""

    columns: tuple[str, ...]
    price: Callable[[Columns, Device, Generation, float, bool], Latency]


def _gemm(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    widths = (width, width, 2.0)
    kernels = g.narrow if width < 2 else g.contraction
    found = contraction(1, c["m"], c["n"], c["k"], d, kernels, widths=widths, copies=COPIES if warm else 0)
    if width >= 2:
        return found
    first = quantise(c["m"], c["k"], d, g.elementwise)  # narrow operands are made from 16-bit ones within the call
    return Latency(*(getattr(found, f) + getattr(first, f) for f in Latency.__annotations__))


def _prefill(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    batch, heads = c["batch_size"], (c["num_heads"], c["num_kv_heads"], c["head_dim"])
    single = g.prefill.single_decodes and np.any(np.asarray(c["seq_len"]) == 1)
    alone = decode(batch, 1, *heads, d, g.decode, element_bytes=width, warm=warm) if single else None
    size = batch, c["seq_len"], 0, *heads
    return prefill(*size, d, g.prefill, element_bytes=width, warm=warm, writes=True, alone=alone)


def _decode(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    size = (c["batch_size"], c["kv_len"], c["num_heads"], c["num_kv_heads"], c["head_dim"])
    return decode(*size, d, g.decode, element_bytes=width, warm=warm)


def _moe(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    t, j, h, i, e, tp, ep = (np.asarray(c[n], dtype=np.float64) for n in MOE[:7])
    old = [k == RANKS_BUSIEST for k in c["kernel_source"]]
    load = load_of(t, j, e, ep, list(c["distribution"]), old)
    gated = [o or (int(a), int(b)) not in UNGATED for o, a, b in zip(old, h, i, strict=True)]
    return fused_experts(t, j, h, i / tp, e, np.maximum(e // ep, 1), gated, load, d, g.grouped, width_bytes=width)


def _softmax(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    """Exponentials and a division; a row that does not stay in registers is exponentiated for its sum, and again."""
    row = np.asarray(c["n"], dtype=np.float64) * width
    threads = np.clip(row / VECTOR_BYTES, 1, BLOCK_THREADS)
    return _rows(c, d, g, width, plain=4, special=np.where(row > WARP_BYTES, 3, 2), passes=3, threads=threads)


def _layernorm(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    return _rows(c, d, g, width, plain=6, special=0, passes=2, threads=256)


def _gelu(c: Columns, d: Device, g: Generation, width: float, warm: bool) -> Latency:
    return _rows(dict(c, n=1), d, g, width, plain=8, special=1, passes=1, threads=256)


def _rows(
    c: Columns, d: Device, g: Generation, width: float, *, plain: float, special: Any, passes: float, threads: Any
) -> Latency:  # fmt: skip
    m, n = np.asarray(c["m"], dtype=np.float64), np.asarray(c["n"], dtype=np.float64)
    moved = m * n * width
    work = plain * m * n, special * m * n
    return elementwise(moved, moved, *work, d, g.elementwise, passes=passes, row_bytes=n * width, row_threads=threads)


ATTENTION = ("num_heads", "num_kv_heads", "head_dim")
MOE = ("num_tokens", "topk", "hidden_size", "inter_size", "num_experts", "moe_tp_size", "moe_ep_size")
KINDS: dict[str, Kind] = {
    "gemm": Kind(("m", "n", "k"), _gemm),
    "prefill": Kind(("batch_size", "seq_len", *ATTENTION), _prefill),
    "decode": Kind(("batch_size", "kv_len", *ATTENTION), _decode),
    "moe": Kind((*MOE, "distribution", "kernel_source"), _moe),
    "softmax": Kind(("m", "n"), _softmax),
    "layernorm": Kind(("m", "n"), _layernorm),
    "gelu": Kind(("m",), _gelu),
}


def price_table(
    kind: str, columns: Columns, device: Device, generation: Generation, *, width: float = 2.0, warm: bool = True
) -> Latency:
    """What the models say of every row of a table, in one call."""
    return KINDS[kind].price(columns, device, generation, width, warm)


def roofline_s(kind: str, c: Columns, d: Device, width: float = 2.0) -> tuple[Floats, Floats]:
    """Seconds at the peaks of the data sheet, of the arithmetic and of the compulsory bytes: no model at all."""
    f = {
        n: np.asarray(c[n], dtype=np.float64) for n in KINDS[kind].columns if n not in ("distribution", "kernel_source")
    }
    macs, moved = _work(kind, f, c, width)
    return macs / d.macs_per_s, moved / np.asarray(d.dram_bytes_per_s)


def _work(kind: str, f: dict[str, Floats], c: Columns, width: float) -> tuple[Floats, Floats]:
    if kind == "gemm":
        m, n, k = f["m"], f["n"], f["k"]
        return m * n * k, width * (m * k + n * k) + 2 * m * n
    if kind in ("prefill", "decode"):
        b, h, g, e = (f[x] for x in ("batch_size", *ATTENTION))
        s = f["seq_len"] if kind == "prefill" else np.ones_like(b)
        keys = (s + 1) / 2 if kind == "prefill" else f["kv_len"]
        cache = s if kind == "prefill" else f["kv_len"]
        return 2 * b * h * s * keys * e, 2 * width * b * e * (h * s + g * cache)
    if kind == "moe":
        t, j, h, i, e, tp, ep = (f[n] for n in MOE)
        load = load_of(t, j, e, ep, ["balanced"] * len(t), [False] * len(t))
        return 3 * load.rows * h * i / tp, width * (3 * load.active * h * i / tp + 2 * t * h)
    elements = f["m"] * f.get("n", np.ones_like(f["m"]))
    return np.zeros_like(elements), 2 * width * elements
