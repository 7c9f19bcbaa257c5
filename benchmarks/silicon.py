"""Measured kernels of GPUs, as columns: the tables of the folder `DFC_DATA` and those of the wheel aiconfigurator-core.

Rows of the folder's tables are never fitted on. Nothing of the wheel is copied: it is read where it lies.
"""

from __future__ import annotations

import csv
import importlib.util
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.kernels import Device, device_of
from dfcompiler.kernels.tables import KINDS

Table = dict[str, Any]
# Chip -> folder of the wheel and framework version of its tables.
DEVICES = {
    "a100_sxm": ("a100_sxm", "0.14.0"),
    "h100_sxm": ("h100_sxm", "0.24.0"),
    "h200": ("h200_sxm", "0.24.0"),
    "l40s": ("l40s", "0.24.0"),
    "b200": ("b200_sxm", "0.24.0"),
}
# Kind -> file of the wheel, table of the folder, what a column is called here, rows that are of the kind.
FILES = {
    "gemm": ("gemm", "gemm_perf", "gemm_bf16", {}, {"gemm_dtype": "bfloat16"}),
    "gemm_fp8": ("gemm", "gemm_perf", "gemm_fp8", {}, {"gemm_dtype": "fp8"}),
    "prefill": ("attention", "context_attention_perf", "attn_prefill_bf16", {"isl": "seq_len"}, {"head_dim": 128}),
    "decode": ("attention", "generation_attention_perf", "attn_decode_bf16", {}, {"head_dim": 128}),
    "moe": ("moe", "moe_perf", "moe_bf16", {}, {"moe_dtype": "bfloat16"}),
}
OURS = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0}


def device(chip: str, bits: int = 16) -> Device:
    """A chip that has SMs, as the kernels see it."""
    unit = next(u for u in load_chip(chip).units.values() if isinstance(u.template, KernelCompute))
    assert isinstance(unit.template, KernelCompute)
    return device_of(unit, unit.template, bits)


def columns_of(kind: str) -> tuple[str, ...]:
    """The columns of a kind of table, whatever the type of its operands."""
    return KINDS[kind.removesuffix("_fp8")].columns


def folder() -> Path:
    """The folder of measured data; it may be absent."""
    return Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


def read_csv(path: Path) -> Table | None:
    """A table with `latency_us`; numbers are floats. None where the file is absent."""
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = {name: _column([row[name] for row in rows]) for name in rows[0]}
    return table | {"latency_us": table["latency_ms"] * 1e3}


def _column(texts: list[str]) -> Any:
    try:
        return np.array([float(t) for t in texts])
    except ValueError:
        return np.array(texts)


def sample(chip: str, kind: str) -> Table | None:
    """The folder's table of a chip, None where it is absent."""
    return read_csv(folder() / "silicon" / f"silicon_{chip.removesuffix('_sxm')}_{FILES[kind][2]}.csv")


@cache
def full(chip: str, kind: str) -> Table | None:
    """The wheel's table of a chip with equal rows averaged; None where the wheel or pyarrow is not installed."""
    spec = importlib.util.find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None or importlib.util.find_spec("pyarrow") is None:
        return None
    import pyarrow.parquet as parquet

    (where, version), (part, name, _, renamed, wanted) = DEVICES[chip], FILES[kind]
    path = Path(spec.origin).parent / "systems" / "data" / where / part / "vllm" / version / f"{name}.parquet"
    if not path.is_file():
        return None
    raw = parquet.read_table(path).to_pydict()
    table: Table = {renamed.get(n, n): np.array(v) for n, v in raw.items()}
    keep = np.ones(len(table["latency"]), dtype=bool)
    for column, value in {**OURS, **wanted}.items():
        if column in table:
            keep &= table[column] == value
    if "num_key_value_heads" in table:
        table["num_kv_heads"] = table["num_key_value_heads"]
    if kind == "decode":
        table["kv_len"] = table["isl"] + table["step"]
    table = {n: v[keep] for n, v in table.items()}
    return _averaged({n: table[n] for n in columns_of(kind)}, table["latency"] * 1e3)


def _averaged(table: Table, us: Any) -> Table:
    keys = np.array(["|".join(map(str, row)) for row in zip(*table.values(), strict=True)])
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    mean = np.bincount(inverse, us) / np.bincount(inverse)
    return {n: v[first] for n, v in table.items()} | {"latency_us": mean}


def take(table: Table, which: Any) -> Table:
    """Some rows of a table."""
    return {n: v[which] for n, v in table.items()}


def split(chip: str, kind: str, rows: int, seed: int) -> tuple[Table, Table]:
    """Rows to fit on and rows to test on, disjoint: of the full table, the folder's rows are only tested on."""
    table, kept = full(chip, kind), sample(chip, kind)
    if table is None:
        raise SystemExit(
            "the wheel aiconfigurator-core and pyarrow are needed: pip install aiconfigurator-core pyarrow"
        )
    names = columns_of(kind)
    held = {_key(row) for row in zip(*(kept[n] for n in names), strict=True)} if kept else set()
    free = np.array([_key(row) not in held for row in zip(*(table[n] for n in names), strict=True)])
    order = np.random.default_rng(seed).permutation(np.flatnonzero(free))
    fit = order[: min(rows, len(order) // 2)]
    rest = np.setdiff1d(np.arange(len(free)), fit)
    return take(table, fit), take(table, rest)


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(x if isinstance(x, str) else float(x) for x in row)
