"""Draw docs/schedule.svg: one layer of the mixed step of llama3-8b on `ador`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dfcompiler.api import compile_model
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.outputs import gantt_svg
from dfcompiler.steps import phase

OUT = Path(__file__).resolve().parent.parent / "docs" / "schedule.svg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=OUT, help="the file to write (default: docs/schedule.svg)")
    parser.add_argument("--phase", choices=["prefill", "decode", "mixed"], default="mixed")
    parser.add_argument("--time-limit", type=float, default=120, help="seconds for the integer program")
    args = parser.parse_args()
    sizes = {"prefill": (1, 2048, 0), "decode": (16, 1, 2048), "mixed": (16, 2048, 2048)}[args.phase]
    step = phase(args.phase, *sizes)
    compiled = compile_model(load_model("llama3-8b"), load_chip("ador"), step, time_limit_s=args.time_limit)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(gantt_svg(compiled), encoding="utf-8")
    report = compiled.report
    print(f"{args.out.name}: {report.step}, {report.latency_s * 1e3:.3f} ms, {report.status}, gap {report.gap:.2%}")


if __name__ == "__main__":
    main()
