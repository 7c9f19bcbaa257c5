"""Fits the constants of a kernel generation on one device and writes `templates/kernels/NAME.toml`.

    python benchmarks/fit_kernels.py [sm80] [sm90] [--only FAMILY]

Training rows are drawn by a seed from the full tables of the wheel, without the rows of the folder `DFC_DATA`, which
are only tested on. Needs scipy. What is not under START is structure: it is stated here and not fitted. Constants stay
below what is physically possible (MOST), and near START where the rows say nothing (HOLD): of two sets that fit one
device equally well, that one is right of another device whose constants are what their names say.
"""

from __future__ import annotations

import argparse
import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from llmcompass import MOST, even_rows, on_host
from scipy.optimize import least_squares
from silicon import Table, device, split, take

from dfcompiler.kernels import Device
from dfcompiler.kernels.generation import FAMILIES, load_generation
from dfcompiler.kernels.tables import price_table

ROWS, SEED, EVALUATIONS, SWEEPS = 1500, 0, 20, 3
BEND = 0.05  # log error from which the least squares count it once, not squared
HOLD = 0.003  # cost of a constant e away from where it starts, in mean log error: the most of 0.001, 0.003, 0.01, 0.03
# that costs no family more than a standard error on 500 of its 1,500 rows, fitted on the others
FREE = ("narrow",)  # families of which nothing is taken to another generation: what fits one device best is best
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
TILES_8 = ((16, 64, 16, 1), (64, 64, 64, 1), (64, 128, 128, 2), (128, 128, 1e30, 2))  # of which clusters, along m
VLLM_8 = "vLLM scaled_mm_sm90_fp8_dispatch.cuh: by rows, no split"
CUBLAS = "names of the kernels that cuBLAS launches, our selection"
FA2, FA3 = "FlashAttention 2, split-KV kernel for heads of 128", "FlashAttention 3, forward kernel for heads of 128"
FA2_PAIR = "FlashAttention 2 splits for twice the SMs: 128 threads and 80 KiB of shared memory per thread block"
FA2_SERIAL = "FlashAttention 2: a thread block has one tile, whose prologue, loop and end follow one another"
FA3_ONE = "FlashAttention 3: a persistent thread block per SM"
FA2_COMBINE, FA3_COMBINE = "FlashAttention 2, combine kernel", "FlashAttention 3, combine kernel: kStages, enable_pdl"
FA2_SINGLE = "FlashAttention 2, varlen forward: query heads that share a KV head become rows where there is one token"
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
                    "resident": (2, FA2_PAIR), "single_decodes": (1, FA2_SINGLE)},
        "decode": {"fill_factor": (2, FA2), "splits_single": (0, FA2), "sequence_us": (0, FA2), "scheduled": (0, FA2),
                   "copy_us": COPIES, "resident": (2, FA2_PAIR), "combine_launch_us": (2.5, FA2_COMBINE),
                   "combine_stages": (1, FA2_COMBINE), "overlap": (1, FA2_SERIAL)},
        "grouped": {"rules": (((1, 16, 32, 64, 1), (1e30, 64, 64, 32, 8)), VLLM_14), "by_experts": (1, VLLM_14),
                    "tuned": (TUNED, "vLLM fused_moe/configs, files E=..,N=..,device_name=NVIDIA_A100-SXM4-80GB.json")},
        "elementwise": {"quantise_us": (0, "no 8-bit floating point"), "launch_us": LAUNCH,
                        "cache_bytes": (196608, "NVIDIA A100 whitepaper: L1 and shared memory of an SM")},
    }),
    "sm90": ("h100_sxm", {
        "contraction": {"tiles": (TILES_90, CUBLAS), "splits": (SPLITS, STATED), "least_k": (128, STATED),
                        "granule_k": (32, "half of a step, CUTLASS"), "throttle_us": (600, STATED),
                        "vector_clocks": (0, "no kernel of its own is seen"), "vector_columns": (0, "none")},
        "prefill": {"rows": (128, FA3), "columns": (128, FA3), "packs": (1, FA3), "single_decodes": (0, FA3),
                    "scheduled": (992, FA3), "throttle_us": (500, STATED), "resident": (1, FA3_ONE)},
        "decode": {"fill_factor": (1, FA3), "splits_single": (1, FA3), "copy_us": (0, FA3), "scheduled": (992, FA3),
                   "single_us": (0, FA3), "resident": (1, FA3_ONE),
                   "combine_launch_us": (0, FA3_COMBINE), "combine_stages": (4, FA3_COMBINE)},
        "grouped": {"rules": (((32, 16, 64, 128, 1), (64, 32, 64, 128, 1), (96, 32, 128, 64, 1), (512, 64, 128, 64, 1),
                               (1e30, 128, 128, 64, 16)), VLLM_24), "by_experts": (0, VLLM_24),
                    "tuned": ((), "none is taken into account"), "tuned_gain": (1, "none")},
        "elementwise": {"launch_us": LAUNCH,
                        "cache_bytes": (262144, "NVIDIA H100 whitepaper: L1 and shared memory of an SM")},
        "narrow": {"tiles": (TILES_8, VLLM_8), "splits": ((1,), VLLM_8), "least_k": (128, STATED),
                   "granule_k": (64, "half of a step, CUTLASS"), "throttle_us": (600, STATED),
                   "choice": (1, "one tile"),
                   **dict.fromkeys(("vector_clocks", "vector_columns", "split_clocks", "split_traffic", "tile_bias",
                                    "split_bias"), (0, VLLM_8))},
    }),
}  # fmt: skip
START: dict[str, dict[str, float]] = {
    "contraction": {
        "launch_clocks": 4300,
        "tensor_efficiency": 1.05,
        "fragment_elements": 500,
        "l2_efficiency": 0.7,
        "step_clocks": 250,
        "epilogue_clocks": 6,
        "dram_efficiency": 0.85,
        "dram_latency_us": 0.4,
        "l2_latency_clocks": 160,
        "l2_part": 0.55,
        "split_clocks": 3200,
        "split_traffic": 0.2,
        "tile_bias": 0.05,
        "split_bias": 0.05,
        "choice": 12,
        "throttle": 0.1,
        "throttle_from": 0.66,
        "vector_clocks": 2800,
        "vector_columns": 80,
    },
    "narrow": {
        "launch_clocks": 4600,
        "tensor_efficiency": 0.8,
        "fragment_elements": 500,
        "l2_efficiency": 2,
        "step_clocks": 150,
        "epilogue_clocks": 2,
        "dram_efficiency": 0.8,
        "dram_latency_us": 0.3,
        "l2_latency_clocks": 90,
        "l2_part": 0.3,
        "throttle": 0.4,
        "throttle_from": 0.2,
        "quantise_us": 0.0065,  # of the elementwise kernels: seen in the same table only
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
        "write_clocks": 230,
        "write_exponent": 1.2,
        "throttle": 0.2,
        "sequence_us": 0.008,
    },
    "decode": {
        "launch_us": 8,
        "single_us": 1.5,
        "dram_efficiency": 0.85,
        "cta_us": 2.5,
        "row_us": 0.01,
        "overlap": 0.4,
        "exposed": 0.2,
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
    "elementwise": {"dram_efficiency": 0.8, "again": 1.5, "special_lanes": 8, "barrier_us": 1, "quantise_us": 0.007},
}
# Two thread blocks of a cluster load once for both; a chip runs at 1.98 GHz, and the sheet's peak is at 1.83.
CLUSTER = {"l2_efficiency": 2, "tensor_efficiency": 1.08}
# The most that a constant may be of one family in a generation, where it is not MOST.
MOST_OF: dict[tuple[str, str], dict[str, float]] = {
    ("contraction", "sm90"): CLUSTER,
    ("narrow", "sm90"): CLUSTER,
    ("decode", "sm80"): {"tail_rate": 9.6},  # the port of an SM to the L2, over the DRAM's share of a thread block
    ("decode", "sm90"): {"tail_rate": 4.6},
}
TABLE = {"contraction": "gemm", "prefill": "prefill", "decode": "decode", "grouped": "moe"}

Priced = Callable[[Any], Any]


class Only:
    """A generation with one family of constants: all that a table of one kind asks for."""

    def __init__(self, family: str, kernels: Any) -> None:
        setattr(self, family, kernels)


def price(family: str, kernels: Any, kind: str, table: Table, on: Device) -> Any:
    """Modelled µs of every row of a table."""
    return price_table(kind, table, on, Only(family, kernels)).seconds * 1e6  # type: ignore[arg-type]


def fitted(
    family: str,
    fixed: Mapping[str, Any],
    seconds: Callable[[Any], Any],
    us: Any,
    generation: str = "",
    make: Callable[..., Any] | None = None,
) -> Any:
    """The constants with the least mean log error: least squares with a soft L1 loss, then a pattern search. `make` is
    what they make, a family of kernels where nothing is said."""
    names = [n for n in START[family] if n not in fixed]
    hold = HOLD * (family not in FREE)
    most = MOST | MOST_OF.get((family, generation), {})
    bounds = np.log([(START[family][n] / 50, most.get(n, START[family][n] * 50)) for n in names]).T
    start = np.clip(np.log([START[family][n] for n in names]), bounds[0] + 1e-3, bounds[1] - 1e-3)

    def of(x: Any) -> Any:
        constants = dict(zip(names, np.exp(x).tolist(), strict=True))
        return make(**constants) if make else FAMILIES[family](**fixed, **constants)

    def logs(x: Any) -> Any:
        return np.log(seconds(of(x)) / us)

    def residual(x: Any) -> Any:
        return np.concatenate([logs(x), np.sqrt(hold * BEND * len(us)) * (x - start)])

    def loss(x: Any) -> float:
        error = np.abs(logs(x))
        large = error[us >= 50].mean() if (us >= 50).any() else 0.0
        return float(error.mean() + large / 2 + hold * ((x - start) ** 2).sum())

    found = least_squares(
        residual, start, loss="soft_l1", f_scale=BEND, diff_step=0.02, max_nfev=EVALUATIONS, bounds=bounds
    )
    x, best, step = found.x, loss(found.x), 0.1
    rng = np.random.default_rng(SEED)
    for _ in range(SWEEPS):
        for i in rng.permutation(len(x)):
            for sign in (step, -step):
                while True:
                    tried = x.copy()
                    tried[i] = np.clip(tried[i] + sign, bounds[0][i], bounds[1][i])
                    if not loss(tried) < best - 1e-6:
                        break
                    x, best = tried, loss(tried)
        step /= 2
    return of(x)


def elementwise_kernels(fixed: Mapping[str, Any]) -> Any:
    """Constants without contractions: even rows of LLMCompass's softmax, layernorm and gelu, all of one device, as its
    host timed them."""
    on, parts = device("a100_sxm"), {kind: even_rows(kind) for kind in ("softmax", "layernorm", "gelu")}

    def seconds(kernels: Any) -> Any:
        alone = {kind: price("elementwise", kernels, kind, table, on) for kind, table in parts.items()}
        return np.concatenate([on_host(kind, us, us) for kind, us in alone.items()])

    return fitted("elementwise", fixed, seconds, np.concatenate([t["latency_us"] for t in parts.values()]))


class Both:
    """Products of 8 bits, and the kernels that make their operands: what a table of such products asks for."""

    def __init__(self, narrow: Any, elementwise: Any) -> None:
        self.narrow, self.elementwise = narrow, elementwise

    def us(self, table: Table, on: Device) -> Any:
        """Modelled µs of every row."""
        return price_table("gemm", table, on, self, width=1.0).seconds * 1e6  # type: ignore[arg-type]


def narrow_kernels(chip: str, generation: str, fixed: Mapping[str, Any], elementwise: Any) -> Both:
    """Constants of products of 8 bits, and the time to scale a row, which is seen in their table only."""
    on, (train, test) = device(chip, 8), split(chip, "gemm_fp8", ROWS, SEED)

    def make(quantise_us: float, **constants: float) -> Both:
        return Both(FAMILIES["narrow"](**fixed, **constants), dataclasses.replace(elementwise, quantise_us=quantise_us))

    found: Both = fitted("narrow", fixed, lambda both: both.us(train, on), train["latency_us"], generation, make)
    told("narrow", found.us(test, on), test)
    return found


def told(what: str, us: Any, test: Table) -> None:
    """Print the error of rows that were not fitted on."""
    error = np.abs(us / test["latency_us"] - 1)
    large = test["latency_us"] >= 50
    print(f"{what}: {100 * error.mean():.2f} % of {len(error)} rows, {100 * error[large].mean():.2f} % from 50 us")


def main(wanted: list[str], only: str | None) -> None:
    """Fit all families of these generations, or one; what is not fitted now stays as it is in the file."""
    for name in wanted or list(STRUCTURE):
        chip, structure = STRUCTURE[name]
        path = Path(__file__).resolve().parents[1] / "templates" / "kernels" / f"{name}.toml"
        made: dict[str, Any] = {}
        sources: dict[str, dict[str, str]] = {}
        for family, stated in structure.items():
            if only not in (None, family):
                made[family] = getattr(load_generation(name), family)
                held = tomllib.loads(path.read_text(encoding="utf-8"))[family]
                sources[family] = {f: entry["source"] for f, entry in held.items()}
                continue
            if family == "decode":
                stated = {**stated, "tensor_efficiency": (made["prefill"].tensor_efficiency, "of prefill: one kernel")}
            fixed = {n: v for n, (v, _) in stated.items()}
            made[family], data = fit(family, name, chip, fixed, made)
            sources[family] = {f.name: data for f in dataclasses.fields(FAMILIES[family])}
            sources[family] |= {n: source for n, (_, source) in stated.items()}
            if family == "narrow":
                made["narrow"], made["elementwise"] = made["narrow"].narrow, made["narrow"].elementwise
                sources["elementwise"]["quantise_us"] = data
        lines = [HEADER.format(chip=chip), f"macs_per_clock = {float(device(chip).macs):g}"]
        for family in (f for f in FAMILIES if f in made):
            lines += ["", f"[{family}]"]
            lines += [_line(n, getattr(made[family], n), source) for n, source in sources[family].items()]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def fit(
    family: str, generation: str, chip: str, fixed: Mapping[str, Any], made: Mapping[str, Any]
) -> tuple[Any, str]:  # fmt: skip
    """The constants of a family on a device, and where they are from; `made` are families that are there."""
    if family == "elementwise":
        kernels = elementwise_kernels({"quantise_us": 0, **fixed})
        return kernels, "even rows of LLMCompass's a100 softmax, layernorm, gelu"
    if family == "narrow":
        both = narrow_kernels(chip, generation, fixed, made["elementwise"])
        return both, f"fit: {chip} gemm fp8, {ROWS} rows, seed {SEED}"
    kind, on = TABLE[family], device(chip)
    train, test = (told_by(family, fixed, table) for table in split(chip, kind, ROWS, SEED))
    kernels = fitted(family, fixed, lambda k: price(family, k, kind, train, on), train["latency_us"], generation)
    told(f"{chip} {family}", price(family, kernels, kind, test, on), test)
    return kernels, f"fit: {chip} {kind} bf16, {len(train['latency_us'])} rows, seed {SEED}"


def told_by(family: str, fixed: Mapping[str, Any], table: Table) -> Table:
    """The rows that tell of a family: one token alone runs the kernel of decoding where a prefill says so."""
    return take(table, table["seq_len"] > 1) if family == "prefill" and fixed["single_decodes"] else table


HEADER = (
    "# Kernels fitted on {chip} by benchmarks/fit_kernels.py; what is structure, and not fitted, says where it is from."
)


def _line(name: str, value: Any, source: str) -> str:
    def text(value: Any) -> str:
        return f"[{', '.join(map(text, value))}]" if isinstance(value, tuple) else f"{value:.5g}"

    return f'{name} = {{ value = {text(value)}, source = "{source}" }}'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("generations", nargs="*", choices=[*STRUCTURE, []], help="default: all")
    parser.add_argument("--only", choices=list(FAMILIES), help="this family; the others stay as they are")
    parsed = parser.parse_args()
    main(parsed.generations, parsed.only)
