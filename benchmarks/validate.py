"""Compares the kernel models with measured GPUs and writes benchmarks/VALIDATION.md.

    python benchmarks/validate.py [--check]

`--check` prints the tables and writes nothing. Parts whose data is absent are left out, with the reason.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import validate_area
import validate_collectives
import validate_llmcompass
from fit_kernels import ROWS, SEED, STRUCTURE, TABLE
from scipy.optimize import minimize
from silicon import Table, device, full, sample, split, take
from tables import markdown
from three_constants import fitted, simple

from dfcompiler.kernels import Device, Generation, Scale, load_generation
from dfcompiler.kernels.generation import FAMILIES
from dfcompiler.kernels.tables import price_table, roofline_s

KINDS = tuple(TABLE.values())
FAMILY = {kind: family for family, kind in TABLE.items()}
PROBE, DRAWS = 20, 3
STRIDE = 0.2  # of the first steps of a probe's fit, in logs of its factors: smaller ones end where it begins
OWN = {"a100_sxm": "sm80", "h100_sxm": "sm90"}
# Shown name of a comparison -> (chip that is tested, generation whose constants are used, generation that runs there).
ACROSS = {
    "h100 -> h200": ("h200", "sm90", "sm90"),
    "a100 -> h100": ("h100_sxm", "sm80", "sm90"),
    "h100 -> a100": ("a100_sxm", "sm90", "sm80"),
    "a100 -> l40s": ("l40s", "sm80", "sm80"),
    "h100 -> b200": ("b200", "sm90", "sm90"),
}
BARS = {  # mean error in %, all rows and rows from 50 us up: on the device, same generation, other generation, probed
    "gemm": ((7, 6.5), (7.5, 6.5), (12, 12), (10, 9)),
    "prefill": ((6, 6), (9, 9), (17, 17), (11, 10)),
    "decode": ((6.5, 7.5), (7.5, 7.5), (16, 15), (13, 12)),
    "moe": ((18, 18), (18, 18), (28, 26), None),
}
HEAD = ["operator", "test", "rows", "model", "bar", "median", "p90", "bias", "3 constants", "gain", "roofline"]


def ported(constants: str, runs: str) -> Generation:
    """Kernels of which only the structure is known (from their source), with constants fitted on others, which keep
    their proportion to the tensor core."""
    here, there = load_generation(runs), load_generation(constants)
    if constants != runs:
        there = there.balanced(runs, here.macs_per_clock)
    kinds = {}
    for family, cls in FAMILIES.items():
        known = STRUCTURE[runs][1].get(family, {})
        a, b = getattr(here, family), getattr(there, family)
        kinds[family] = cls(**{f: getattr(a if f in known else b, f) for f in cls.__dataclass_fields__})
    return Generation(runs, here.macs_per_clock, **kinds)


def modelled(kind: str, table: Table, on: Device, kernels: Generation) -> Any:
    """Modelled µs."""
    return price_table(kind, table, on, kernels).seconds * 1e6


def baseline(kind: str, chip: str) -> Any:
    """The three constants, fitted on the rows that the model was fitted on."""
    train, _ = split(chip, kind, ROWS, SEED)
    return fitted(kind, train, device(chip))


def probed(kind: str, table: Table, on: Device, kernels: Generation, seed: int) -> tuple[Table, Any]:
    """The other rows, and their µs after launches, tensor cores and DRAM were refitted on rows spread over predicted
    latency. Small steps cost: what few rows do not show stays."""
    predicted = modelled(kind, table, on, kernels)
    strata = np.array_split(np.argsort(predicted), PROBE)
    rng = np.random.default_rng(seed)
    rows = np.array([rng.choice(s) for s in strata])
    probe, rest = take(table, rows), take(table, np.setdiff1d(np.arange(len(predicted)), rows))

    def loss(x: Any) -> float:
        us = modelled(kind, probe, on, kernels.scaled(Scale(*np.exp(x))))
        return float(np.abs(np.log(us / probe["latency_us"])).mean() + 0.01 * (x**2).sum())

    first = np.vstack([np.zeros(3), STRIDE * np.eye(3)])
    x = minimize(loss, first[0], method="Nelder-Mead", options={"initial_simplex": first}).x
    return rest, modelled(kind, rest, on, kernels.scaled(Scale(*np.exp(x))))


def errors(us: Any, measured: Any) -> tuple[float, float, float, float, float]:
    """Mean of all, mean from 50 us up, median, 90th percentile, bias; in %."""
    e = (us / measured - 1) * 100
    a = np.abs(e)
    return a.mean(), a[measured >= 50].mean(), np.median(a), np.quantile(a, 0.9), e.mean()


def two(pair: Sequence[float]) -> str:
    return "/".join(f"{x:.1f}" for x in pair[:2])


def line(
    kind: str, test: str, table: Table, us: Any, plain: Any, bar: Any, on: Device, width: float = 2.0
) -> list[str]:
    """One row of the report."""
    measured = table["latency_us"]
    found, base = errors(us, measured), errors(plain, measured)
    roof = errors(1e6 * np.maximum(*roofline_s(kind, table, on, width)), measured)
    shown = "-" if bar is None else f"{bar[0]:g}/{bar[1]:g} " + ("met" if _met(found, bar) else "MISSED")
    gain = 100 * (1 - found[0] / base[0])
    better = f"{gain:.0f} %" + ("" if gain >= 25 else " (under 25)")
    spread = f"{found[2]:.1f}", f"{found[3]:.1f}", f"{found[4]:+.1f}"
    return [kind, test, f"{len(measured):,}", two(found), shown, *spread, two(base), better, two(roof)]


def _met(found: Sequence[float], bar: Sequence[float]) -> bool:
    return found[0] <= bar[0] and found[1] <= bar[1]


def own() -> Iterator[list[str]]:
    """Fitted and tested on one device: all rows that were not fitted on, and the folder's table."""
    for kind in KINDS:
        for chip, name in OWN.items():
            on, x, kernels = device(chip), baseline(kind, chip), load_generation(name)
            tests = {"": split(chip, kind, ROWS, SEED)[1], ", folder": sample(chip, kind)}
            for what, table in tests.items():
                if table is not None:
                    us = modelled(kind, table, on, kernels)
                    yield line(kind, chip + what, table, us, simple(kind, table, on, x), BARS[kind][0], on)


def across(probing: bool) -> Iterator[list[str]]:
    """Tested on a device that was not fitted on, by its data sheet alone or with a probe."""
    for kind in KINDS:
        for name, (chip, constants, runs) in ACROSS.items():
            table = full(chip, kind)
            if table is None:
                continue
            on, kernels = device(chip), ported(constants, runs)
            if constants == runs and on.macs != kernels.macs_per_clock and chip == "b200":
                kernels = load_generation("sm100")
            fitted_on = next(c for c, g in OWN.items() if g == constants)
            x = baseline(kind, fitted_on)
            bar = BARS[kind][3 if probing else 1 if name == "h100 -> h200" else 2] if "->" in name else None
            bar = None if chip in ("l40s", "b200") else bar
            if not probing:
                us = modelled(kind, table, on, kernels)
                yield line(kind, name, table, us, simple(kind, table, on, x), bar, on)
                continue
            drawn = [probed(kind, table, on, kernels, s) for s in range(DRAWS)]
            rows = {n: np.concatenate([t[n] for t, _ in drawn]) for n in table}
            us = np.concatenate([u for _, u in drawn])
            yield line(kind, name, rows, us, simple(kind, rows, on, x), bar, on)


NARROW = {"h100_sxm": "h100_sxm", "h100_sxm, folder": "h100_sxm", "h100 -> h200": "h200", "h100 -> l40s": "l40s",
          "h100 -> b200": "b200"}  # fmt: skip


def narrow() -> Iterator[list[str]]:
    """Products of 8-bit floats with their operands made from 16 bits within the call (vLLM, CUTLASS): `narrow` of
    `sm90.toml`, fitted on the H100's rows alone. The L40S and the B200 run other kernels of which no rule was taken."""
    kernels = load_generation("sm90")
    train, rest = split("h100_sxm", "gemm_fp8", ROWS, SEED)

    def us(table: Table, on: Device) -> Any:
        return price_table("gemm", table, on, kernels, width=1.0).seconds * 1e6

    own_on = device("h100_sxm", 8)
    x = fitted("gemm", train, own_on, 1.0)
    for name, chip in NARROW.items():
        table = sample(chip, "gemm_fp8") if "folder" in name else rest if chip == "h100_sxm" else full(chip, "gemm_fp8")
        if table is not None:
            on = device(chip, 8)
            yield line("gemm", name, table, us(table, on), simple("gemm", table, on, x, 1.0), None, on, 1.0)


def speed() -> Iterator[list[str]]:
    """Rows per CPU second in one call (the folder's H100 rows, 50 times), and one row alone."""
    on, kernels = device("h100_sxm"), load_generation("sm90")
    for kind in KINDS:
        table = sample("h100_sxm", kind)
        if table is None:
            continue
        modelled(kind, table, on, kernels)
        seconds = []
        for rows in ({n: np.tile(v, 50) for n, v in table.items()}, take(table, slice(0, 1))):
            start = time.process_time()
            modelled(kind, rows, on, kernels)
            seconds.append(time.process_time() - start)
        yield [kind, f"{50 * len(table['latency_us']) / seconds[0]:,.0f}", f"{1e3 * seconds[1]:.2f}"]


PRICE = """
import sys, time
from dfcompiler.pricing import price_op
from dfcompiler.hardware.elaboration import load_chip
chip, op = load_chip("h100_sxm"), sys.argv[1]
dims = dict(arg.split("=") for arg in sys.argv[2:])
def price(more):
    sizes = {n: tuple(float(v) for v in vs.split(",")) for n, vs in dims.items()}
    first = next(iter(sizes))
    sizes[first] = (*sizes[first][:-1], sizes[first][-1] + more)
    start = time.process_time()
    price_op(op, sizes, chip)
    return 1e3 * (time.process_time() - start)
times = [price(more) for more in range(40)]
print(times[0], min(times[1:]), sorted(times[1:])[len(times) // 2])
"""
PRICED = (
    "linear t=512 k=4096 n=4096",
    "attention b=16 s=1 g=8 r=4 t=4096 e=128 f=128",
    "expert_linear t=512 j=2 k=4096 n=14336 e=8",
    "rmsnorm t=512 d=4096",
)


def whole_way() -> Iterator[list[str]]:
    """From an operator's text to its price on `h100_sxm`, CPU ms: the first price of a process (best of 5; the chip is
    there, and an earlier run has kept what was read), and the price of a further size that nobody has asked for: the
    least of 39 sizes and their median, which the bar is about, on the best run."""
    for asked in PRICED:
        command = [sys.executable, "-c", PRICE, *asked.split()]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(5)]
        first, least, median = (min(float(run[i]) for run in runs) for i in range(3))
        yield [asked, f"{first:.1f}", f"{least:.2f}", f"{median:.2f}", "2 " + ("met" if median <= 2 else "MISSED")]


def report() -> str:
    parts = [INTRO]
    if full("a100_sxm", "gemm") is None:
        parts.append("The wheel `aiconfigurator-core` or pyarrow is absent: nothing can be split from its tables.")
        return "\n\n".join(parts)
    parts += ["### Fitted and tested on one device", OWN_TEXT, markdown(HEAD, list(own()))]
    parts += ["### From the data sheet alone", ACROSS_TEXT, markdown(HEAD, list(across(False)))]
    parts += [f"### With {PROBE} measured rows", PROBE_TEXT, markdown(HEAD, list(across(True)))]
    parts += ["### Eight bits", narrow.__doc__ or "", markdown(HEAD, list(narrow()))]
    parts.append(validate_llmcompass.report().rstrip())
    rates = markdown(["operator", "rows per second", "one row, ms"], list(speed()))
    parts += ["### Speed", speed.__doc__ or "", rates]
    ways = markdown(["`dfc price`", "first of a process", "another size", "median", "bar"], list(whole_way()))
    parts += ["#### With all that is around it", whole_way.__doc__ or "", ways]
    return "\n\n".join(parts) + "\n"


def everything() -> str:
    """Kernels, exchanges, areas."""
    return "\n".join([report(), validate_collectives.report(), validate_area.report()])


INTRO = """# Models against measurements

## Kernels of GPUs

Written by `make validate` (`benchmarks/validate.py`). Errors are mean absolute relative errors in %, of all rows and of
rows from 50 µs up; then median, 90th percentile and bias of all rows. Tables: NVIDIA's aiconfigurator-core (wheel, and
400 rows of each in the folder `DFC_DATA`), vLLM kernels, bf16. Beside each figure stand two efficiencies and a floor
(3 constants) fitted on the same rows, by how much the model betters their error over all rows, and the roofline."""
OWN_TEXT = f"""Constants: `templates/kernels/sm80.toml` and `sm90.toml`, fitted by `benchmarks/fit_kernels.py` on
{ROWS:,} rows of each table (seed {SEED}); tested on all its other rows. The folder's rows are never fitted on."""
ACROSS_TEXT = """No row of the tested device was used. From one generation to the other, tiles and rules of the kernels
that run there are taken from their source, fitted constants from the other device: of a contraction its times in
clocks, and its steps in proportion to the tensor core.
The L40S runs the kernels of the A100, the B200 balanced ones of the H100; both run other attention or MoE kernels."""
PROBE_TEXT = f"""Launch, tensor and DRAM factors refitted on {PROBE} rows spread over predicted latency (mean of {DRAWS}
draws), tested on all others. The baseline keeps its constants."""


if __name__ == "__main__":
    text = everything()
    if "--check" in sys.argv:
        print(text)
    else:
        Path(__file__).with_name("VALIDATION.md").write_text(text, encoding="utf-8")
        print(text)
