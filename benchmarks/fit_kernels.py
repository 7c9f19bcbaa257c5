"""Fits the constants of a kernel generation on one device and writes `templates/kernels/NAME.toml`.

    python benchmarks/fit_kernels.py [sm80] [sm90]

Training rows are drawn by a seed from the full tables of the wheel, without the rows of the folder `DFC_DATA`, which
are only tested on. Needs scipy. What is not listed under FREE is structure: it is stated here and not fitted.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from silicon import Table, folder, read_csv, split, take

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.template import KernelCompute
from dfcompiler.kernels import Device, device_of
from dfcompiler.kernels.generation import FAMILIES
from dfcompiler.kernels.tables import price_table

ROWS, SEED, EVALUATIONS, SWEEPS = 1500, 0, 20, 3
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 32)
TILES_80 = tuple(
    tuple(map(int, t.split("x")))
    for t in "256x128 128x256 128x128 256x64 64x256 128x64 64x128 64x64 32x64 64x32 16x64 32x128".split()
)
TILES_90 = tuple(
    tuple(map(int, t.split("x")))
    for t in "256x128 128x256 192x128 128x192 128x128 256x64 64x256 128x64 64x128 64x64 64x32 64x16 128x32 16x64 "
    "32x64".split()
)
CUBLAS = "names of the kernels that cuBLAS launches, our selection"
FA2, FA3 = "FlashAttention 2, split-KV kernel for heads of 128", "FlashAttention 3, forward kernel for heads of 128"
VLLM_14 = (
    "vLLM 0.14 fused_moe.get_default_config: 16x32x64 up to as many tokens as experts, else 64x64x32 in groups of 8"
)
VLLM_24 = "vLLM 0.24 fused_moe.get_default_config: by tokens"
TUNED = ((8, 1792), (8, 2048), (8, 3584), (8, 4096), (8, 7168), (1, 1792), (1, 3584), (1, 7168), (1, 14336), (128, 192))
STATED = "our estimate"
COPIES = (5, "two more launches of 2.5 us")
LAUNCH = (2.5, "as a contraction on this device")

# Of every generation: chip that is measured, and per kind (value, source) of what is structure.
STRUCTURE: dict[str, tuple[str, dict[str, dict[str, tuple[Any, str]]]]] = {
    "sm80": ("a100_sxm", {
        "contraction": {"tiles": (TILES_80, CUBLAS), "splits": (SPLITS, STATED), "least_k": (128, STATED),
                        "granule_k": (32, "half of a step, CUTLASS"), "throttle_us": (600, STATED)},
        "prefill": {"rows": (64, FA2), "columns": (128, FA2), "packs": (0, FA2), "split_us": (0, FA2),
                    "sequence_us": (0, FA2), "scheduled": (0, FA2), "throttle_us": (500, STATED),
                    "single_copy_us": COPIES},
        "decode": {"fill_factor": (2, FA2), "splits_single": (0, FA2), "sequence_us": (0, FA2), "scheduled": (0, FA2),
                   "copy_us": COPIES},
        "grouped": {"rules": (((1, 16, 32, 64, 1), (1e30, 64, 64, 32, 8)), VLLM_14), "by_experts": (1, VLLM_14),
                    "tuned": (TUNED, "vLLM fused_moe/configs, files E=..,N=..,device_name=NVIDIA_A100-SXM4-80GB.json")},
        "elementwise": {"quantise_us": (0, "no 8-bit floating point"), "launch_us": LAUNCH,
                        "cache_bytes": (196608, "NVIDIA A100 whitepaper: L1 and shared memory of an SM")},
    }),
    "sm90": ("h100_sxm", {
        "contraction": {"tiles": (TILES_90, CUBLAS), "splits": (SPLITS, STATED), "least_k": (128, STATED),
                        "granule_k": (32, "half of a step, CUTLASS"), "throttle_us": (600, STATED),
                        "vector_us": (0, "no kernel of its own is seen"), "vector_columns": (0, "none")},
        "prefill": {"rows": (128, FA3), "columns": (128, FA3), "packs": (1, FA3), "single_us": (0, FA3),
                    "single_copy_us": (0, FA3), "scheduled": (992, FA3), "throttle_us": (500, STATED)},
        "decode": {"fill_factor": (1, FA3), "splits_single": (1, FA3), "copy_us": (0, FA3), "scheduled": (992, FA3),
                   "single_us": (0, FA3)},
        "grouped": {"rules": (((32, 16, 64, 128, 1), (64, 32, 64, 128, 1), (96, 32, 128, 64, 1), (512, 64, 128, 64, 1),
                               (1e30, 128, 128, 64, 16)), VLLM_24), "by_experts": (0, VLLM_24),
                    "tuned": ((), "none is taken into account"), "tuned_gain": (1, "none")},
        "elementwise": {"launch_us": LAUNCH,
                        "cache_bytes": (262144, "NVIDIA H100 whitepaper: L1 and shared memory of an SM")},
    }),
}  # fmt: skip
START: dict[str, dict[str, float]] = {
    "contraction": {
        "launch_us": 2.6,
        "tensor_efficiency": 1.05,
        "fragment_elements": 500,
        "l2_efficiency": 0.7,
        "step_clocks": 250,
        "epilogue_clocks": 6,
        "dram_efficiency": 0.85,
        "dram_latency_us": 0.4,
        "l2_latency_us": 0.1,
        "l2_part": 0.55,
        "split_us": 2,
        "split_traffic": 0.2,
        "tile_bias": 0.05,
        "split_bias": 0.05,
        "choice": 12,
        "throttle": 0.1,
        "throttle_from": 0.66,
        "vector_us": 2,
        "vector_columns": 80,
    },
    "prefill": {
        "launch_us": 8.5,
        "tensor_efficiency": 0.7,
        "dram_efficiency": 0.7,
        "cta_us": 1,
        "tail": 0.7,
        "overlap": 0.5,
        "l2_part": 0.5,
        "l2_efficiency": 0.3,
        "split_us": 4,
        "write_traffic": 0.7,
        "write_us": 0.0015,
        "write_exponent": 1.2,
        "throttle": 0.2,
        "sequence_us": 0.008,
        "single_us": 3.6,
    },
    "decode": {
        "launch_us": 8,
        "single_us": 1.5,
        "dram_efficiency": 0.85,
        "tensor_efficiency": 0.5,
        "cta_us": 2.5,
        "row_us": 0.01,
        "overlap": 0.4,
        "fill_us": 0.5,
        "tail_rate": 2,
        "l2_part": 0.6,
        "l2_efficiency": 0.5,
        "combine_us": 3,
        "split_us": 0.1,
        "copy_us": 5.8,
        "sequence_us": 0.01,
    },
    "grouped": {
        "tuned_gain": 0.85,
        "launch_us": 18,
        "expert_us": 0.05,
        "tensor_efficiency": 0.5,
        "fragment_elements": 400,
        "step_clocks": 600,
        "epilogue_clocks": 1,
        "dram_efficiency": 0.82,
        "dram_latency_us": 0.4,
        "l2_part": 2,
        "sharpness": 2.5,
        "around_traffic": 1.2,
        "unaligned": 2,
    },
    "elementwise": {"dram_efficiency": 0.8, "again": 1.5, "quantise_us": 0.007},
}
TABLE = {"contraction": "gemm", "prefill": "prefill", "decode": "decode", "grouped": "moe"}

Priced = Callable[[Any], Any]


def device(chip: str, bits: int = 16) -> Device:
    """A chip that has SMs, as the kernels see it."""
    unit = next(u for u in load_chip(chip).units.values() if isinstance(u.template, KernelCompute))
    assert isinstance(unit.template, KernelCompute)
    return device_of(unit, unit.template, bits)


class Only:
    """A generation with one family of constants: all that a table of one kind asks for."""

    def __init__(self, family: str, kernels: Any) -> None:
        setattr(self, family, kernels)


def price(family: str, kernels: Any, kind: str, table: Table, on: Device, **options: Any) -> Any:
    """Modelled µs of every row of a table."""
    return price_table(kind, table, on, Only(family, kernels), **options).seconds * 1e6  # type: ignore[arg-type]


def fitted(family: str, fixed: Mapping[str, Any], seconds: Callable[[Any], Any], us: Any) -> Any:
    """The constants with the least mean log error: least squares with a soft L1 loss, then a pattern search."""
    names = [n for n in START[family] if n not in fixed]
    start = np.log([START[family][n] for n in names])

    def of(x: Any) -> Any:
        return FAMILIES[family](**fixed, **dict(zip(names, np.exp(x).tolist(), strict=True)))

    def residual(x: Any) -> Any:
        return np.log(seconds(of(x)) / us)

    def loss(x: Any) -> float:
        error = np.abs(residual(x))
        return float(error.mean() + (error[us >= 50].mean() if (us >= 50).any() else 0.0) / 2)

    bounds = start - 4, start + 4
    found = least_squares(
        residual, start, loss="soft_l1", f_scale=0.05, diff_step=0.02, max_nfev=EVALUATIONS, bounds=bounds
    )
    x, best, step = found.x, loss(found.x), 0.1
    rng = np.random.default_rng(SEED)
    for _ in range(SWEEPS):
        for i in rng.permutation(len(x)):
            for sign in (step, -step):
                while True:
                    tried = x.copy()
                    tried[i] += sign
                    if not loss(tried) < best - 1e-6:
                        break
                    x, best = tried, loss(tried)
        step /= 2
    return of(x)


def launches(name: str) -> float:
    """Host time of a launch in LLMCompass's tables: the shortest of a table's fitted rows, in µs."""
    table = read_csv(folder() / "llmcompass_a100" / f"{name}_a100.csv")
    if table is None:
        raise SystemExit("LLMCompass's tables are needed: set DFC_DATA")
    return float(take(table, slice(None, None, 2))["latency_us"].min())


def elementwise_kernels(chip: str, fixed: Mapping[str, Any], products: Any) -> Any:
    """Constants without contractions: even rows of LLMCompass's softmax, layernorm and gelu, all of one device; the
    time to scale a row, from 8-bit products where the device has them."""
    on, parts = device("a100_sxm"), []
    for kind in ("softmax", "layernorm", "gelu"):
        table = read_csv(folder() / "llmcompass_a100" / f"{kind}_a100.csv")
        if table is None:
            raise SystemExit("LLMCompass's tables are needed: set DFC_DATA")
        parts.append((kind, take(table, slice(None, None, 2)), launches(kind)))

    def seconds(kernels: Any) -> Any:
        return np.concatenate([host(price("elementwise", kernels, k, t, on), us) for k, t, us in parts])

    kernels = fitted("elementwise", fixed, seconds, np.concatenate([t["latency_us"] for _, t, _ in parts]))
    if "quantise_us" in STRUCTURE[{c: g for g, (c, _) in STRUCTURE.items()}[chip]][1]["elementwise"]:
        return kernels
    narrow, (train, _) = device(chip, 8), split(chip, "gemm_fp8", ROWS, SEED)
    tried = [dataclasses.replace(kernels, quantise_us=us) for us in np.geomspace(1e-3, 2e-2, 60)]

    def error(k: Any) -> float:
        both = Only("contraction", products)
        both.elementwise = k  # type: ignore[attr-defined]
        us = price_table("gemm", train, narrow, both, width=1.0).seconds * 1e6  # type: ignore[arg-type]
        return float(np.abs(np.log(us / train["latency_us"])).mean())

    return min(tried, key=error)


def host(us: Any, launch_us: float, part: float = 0.75) -> Any:
    """What a host's clock reads: its launch at least, and a part of it before work that is longer (three quarters: our
    estimate, which the start of gelu's ramp shows)."""
    return np.maximum(launch_us, part * launch_us + us)


def main(wanted: list[str]) -> None:
    for name in wanted or list(STRUCTURE):
        chip, structure = STRUCTURE[name]
        on = device(chip)
        lines = [HEADER.format(chip=chip), f"macs_per_clock = {float(on.macs):g}"]
        made: dict[str, Any] = {}
        for family, stated in structure.items():
            start = time.process_time()
            fixed = {n: v for n, (v, _) in stated.items()}
            if family == "elementwise":
                kernels, data = (
                    elementwise_kernels(chip, fixed, made["contraction"]),
                    "even rows of LLMCompass's a100 softmax, layernorm, gelu",
                )
                narrow = f"fit: {chip} gemm fp8, {ROWS} rows, seed {SEED}"
                stated = {"quantise_us": (0, narrow), **stated}
            else:
                kind = TABLE[family]
                train, test = split(chip, kind, ROWS, SEED)

                def modelled(
                    k: Any, on: Device = on, train: Table = train, family: str = family, kind: str = kind
                ) -> Any:
                    return price(family, k, kind, train, on)

                kernels = fitted(family, fixed, modelled, train["latency_us"])
                data = f"fit: {chip} {kind} bf16, {len(train['latency_us'])} rows, seed {SEED}"
                error = np.abs(price(family, kernels, kind, test, on) / test["latency_us"] - 1)
                large = test["latency_us"] >= 50
                shown = f"{100 * error.mean():.2f} % of {len(error)} rows, {100 * error[large].mean():.2f} % from 50 us"
                print(f"{name} {family}: {shown}, {time.process_time() - start:.1f} s")
            made[family] = kernels
            lines += [
                "",
                f"[{family}]",
                *(_line(f.name, getattr(kernels, f.name), stated, data) for f in dataclasses.fields(kernels)),
            ]
        path = Path(__file__).resolve().parents[1] / "templates" / "kernels" / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


HEADER = (
    "# Kernels fitted on {chip} by benchmarks/fit_kernels.py; what is structure, and not fitted, says where it is from."
)


def _line(name: str, value: Any, stated: Mapping[str, tuple[Any, str]], data: str) -> str:
    source = stated[name][1] if name in stated else data
    shown = (
        repr([list(v) if isinstance(v, tuple) else v for v in value]) if isinstance(value, tuple) else f"{value:.5g}"
    )
    return f'{name} = {{ value = {shown}, source = "{source}" }}'


if __name__ == "__main__":
    main(sys.argv[1:])
