"""The kernel models against what the authors of LLMCompass measured: operators, and a layer of GPT-3.

python benchmarks/validate_llmcompass.py
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from llmcompass import HOSTED, even_rows, launch_us, measured, odd_rows, on_host, part_of, products_us, row_major
from silicon import Table, device
from tables import markdown
from three_constants import fitted, simple

from dfcompiler.kernels import load_generation
from dfcompiler.kernels.latency import Floats
from dfcompiler.kernels.tables import price_table

BARS = {"gemm": (4, 6.5), "softmax": (6, 9.2), "layernorm": (6, 9.1), "gelu": (4, 5.5)}  # %, LLMCompass's own error
SUM, MEAN = 2, 8  # of a layer, %


def alone_us(kind: str, table: Table) -> Floats:
    """Modelled µs on the device."""
    if kind == "gemm":
        return np.asarray(products_us(row_major()[0], 1, *(table[c] for c in "mnk")))
    return price_table(kind, table, device("a100_sxm"), load_generation("sm80")).seconds * 1e6


def clocked_us(kind: str, us: Floats) -> Floats:
    """µs of a host's clock, of work of a kind that takes so long on the device."""
    return np.asarray(on_host(kind, alone_us(kind, even_rows(kind)), us))


def verdict(value: float, bar: float) -> str:
    return f"{bar} " + ("met" if value <= bar else "MISSED")


def better(error: float, base: float) -> str:
    """By how much the model betters the three constants, and whether by a quarter."""
    return f"{100 * (1 - error / base):.0f} %" + ("" if error <= 0.75 * base else " (under 25)")


def operators() -> Iterator[list[str]]:
    """Each kind's odd rows."""
    for kind, (bar, theirs) in BARS.items():
        table = odd_rows(kind)
        if table is None:
            continue
        off = 100 * (clocked_us(kind, alone_us(kind, table)) / table["latency_us"] - 1)
        error, part = float(np.abs(off).mean()), part_of(kind, alone_us(kind, even_rows(kind)))[1]
        worst = int(np.abs(off).argmax())
        shape = " x ".join(f"{table[c][worst]:.0f}" for c in ("m", "n", "k") if c in table)
        plain = simple(kind, table, device("a100_sxm"), fitted(kind, even_rows(kind), device("a100_sxm")))
        base = float(100 * np.abs(plain / table["latency_us"] - 1).mean())
        launch = f"{launch_us(kind):.0f} µs, {part:.0%}"
        told = f"{error:.1f}", verdict(error, bar), f"{theirs}", f"{base:.1f}", better(error, base)
        yield [kind, f"{len(off)}", *told, f"{shape}: {off[worst]:+.0f}", launch]


def layers() -> Iterator[list[str]]:
    """One layer, 96 heads of 128 over 4 devices, batch 8; without all-reduce."""
    for phase, tokens, queries, keys in (("prefill", 8 * 2048, 2048, 2048), ("decode", 8, 1, 3073)):
        table = measured(f"gpt3_layer_{phase}_4xa100")
        if table is None:
            continue
        told = dict(zip(table["op"].tolist(), table["latency_us"].tolist(), strict=True))
        us = {op: operator_us(op, tokens, queries, keys) for op in told if not op.startswith("allreduce")}
        off = {op: 100 * (us[op] / told[op] - 1) for op in us}
        total = 100 * (sum(us.values()) / sum(told[op] for op in us) - 1)
        mean = float(np.mean(np.abs(list(off.values()))))
        each = ", ".join(f"{op} {x:+.0f}" for op, x in off.items())
        yield [phase, f"{total:+.1f}", verdict(abs(total), SUM), f"{mean:.1f}", verdict(mean, MEAN), each]


def operator_us(op: str, tokens: int, queries: int, keys: int) -> float:
    """Each device has 24 heads of 8 sequences; a projection is 12,288 x 3,072 there, a matrix of the feed-forward
    12,288 x 12,288."""
    heads = 8 * 24
    products = {
        "qkv": (1, tokens, 3072, 12288), "q_mul_k": (heads, queries, keys, 128), "a_mul_v": (heads, queries, 128, keys),
        "h_matmul0": (1, tokens, 12288, 3072), "h1_matmul1": (1, tokens, 12288, 12288),
        "h2_matmul2": (1, tokens, 12288, 12288),
    }  # fmt: skip
    if op in products:
        return float(clocked_us("gemm", products_us(row_major()[0], *products[op]))[0]) * (3 if op == "qkv" else 1)
    kind = op.rstrip("01")
    sizes = {"softmax": (heads * queries, keys), "layernorm": (tokens, 12288), "gelu": (tokens * 12288, 1)}[kind]
    return float(clocked_us(kind, alone_us(kind, {"m": np.array(sizes[:1]), "n": np.array(sizes[1:])}))[0])


TEXT = """LLMCompass's own measurements of A100s, through torch and on a host's clock; tested on odd rows. Of the even
rows come a host's launch (the shortest row), the part of it that longer work still waits for, and for products how much
better operands stored by rows reach an SM and leave the DRAM than our tables' ({factors}), whose weights are stored by
columns; no factor takes a constant beyond what is possible. Their scripts (software_model/*.py) say what was run: both
matrices by rows; one copy of the operands, found in L2 where they fit; softmax by torch, layernorm and gelu by
torch.compile."""
LAYER_TEXT = """One layer of GPT-3 on 4 x A100, batch 8, as LLMCompass timed its operators one by one; without
all-reduce. None of these rows was fitted on. A thread block's bytes in flight in a matrix-vector product were stated
with the decode's `a_mul_v` in sight; which two factors are fitted, and the walks of softmax, with all rows above."""


def report() -> str:
    """Both tables, or why there are none."""
    if any(odd_rows(kind) is None for kind in HOSTED):
        return "### LLMCompass's A100\n\nIts tables are absent.\n"
    _, delivery, dram = row_major()
    told = f"{delivery:.2f} and {dram:.2f}"
    head = ["operator", "rows", "mean error %", "bar", "LLMCompass's own", "3 constants", "gain", "worst row %"]
    head.append("host's launch, shown")
    layer = ["phase", "sum %", "bar", "operators' mean %", "bar", "each"]
    parts = ["### LLMCompass's A100", TEXT.format(factors=told), markdown(head, list(operators()))]
    return "\n\n".join([*parts, "#### A layer of GPT-3", LAYER_TEXT, markdown(layer, list(layers()))]) + "\n"


if __name__ == "__main__":
    print(report())
