"""Prefill and decode in one step on `ador`: with all units, without the systolic array, without the MAC tree."""

from __future__ import annotations

import argparse

from tables import milliseconds, table

from dfcompiler.api import compile_model
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.report import Report
from dfcompiler.steps import phase

CHIPS = {"all units": (), "without the systolic array": ("sa",), "without the MAC tree": ("mt",)}
BATCH, FRESH, CONTEXT = 16, 2048, 2048


def compiled(model: str, name: str, without: tuple[str, ...], limit_s: float) -> Report:
    """The report of one phase on a chip that lacks some units."""
    sizes = {"prefill": (1, FRESH, 0), "decode": (BATCH, 1, CONTEXT), "mixed": (BATCH, FRESH, CONTEXT)}[name]
    chip = load_chip("ador", without=without)
    return compile_model(load_model(model), chip, phase(name, *sizes), time_limit_s=limit_s).report


def attention_of_decode(mixed: Report) -> str:
    """The units on which the attention of decode sequences runs."""
    ops = [op for op in mixed.ops if "attention" in op.op and any("decode" in n for n in op.nodes)]
    return ", ".join(sorted({op.unit for op in ops}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="llama3-8b")
    parser.add_argument("--time-limit", type=float, default=60, help="seconds for each integer program")
    args = parser.parse_args()
    rows, whole = [], 0.0
    for name, without in CHIPS.items():
        reports = [compiled(args.model, p, without, args.time_limit) for p in ("prefill", "decode", "mixed")]
        prefill_s, decode_s, mixed_s = (r.latency_s for r in reports)
        mixed, whole = reports[2], whole or mixed_s
        times = [milliseconds(s) for s in (prefill_s, decode_s, mixed_s)]
        hidden = f"{(prefill_s + decode_s - mixed_s) / decode_s:.1%}"
        proof = [mixed.status, f"{mixed.gap:.2%}"]
        rows.append([name, *times, f"{mixed_s / whole:.3f}", *proof, attention_of_decode(mixed), hidden])
    headers = [
        "ador",
        "prefill alone",
        "decode alone",
        "mixed",
        "ratio",
        "status",
        "gap",
        "decode attention on",
        "hidden",
    ]
    notes = ["Hidden: how much of the decode the mixed step does not pay for, (prefill + decode - mixed) / decode."]
    title = f"{args.model}: prefill 1 x {FRESH} with decode {BATCH} x {CONTEXT}"
    print(table(title, headers, rows, notes))


if __name__ == "__main__":
    main()
