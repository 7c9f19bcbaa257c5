"""Collective exchanges against measurements: `python benchmarks/validate_collectives.py` prints the table in Markdown.

No row is tested on that the constants were fitted on. Beside every figure stands that of three constants, a floor, a
latency per step of a ring and a part of the bandwidth, fitted on the same rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from collective_data import Rows, folds, links, llmcompass, nccl
from numpy.typing import NDArray
from tables import table

from dfcompiler.fabrics import Library, Protocol, collective_latency_s

LONG_S = 50e-6
NVLS_SHARE = 0.85  # NCCL tuning.cc, nvlsEfficiency of Hopper
CLOCKS = {"a100_sxm": 1.41e9, "h100_sxm": 1.83e9, "h200_sxm": 1.83e9}  # data sheets: behind the peak of multiplications
# Exchange -> bars of the mean error in percent, all rows and those from 50 us up: own device, another device of the
# generation, another generation.
BARS = {"all_reduce": ((5.5, 4.5), (5.5, 5), (25, 15)), "all_gather": ((8, 8), (8, 8.5), (30, 20))}
OPS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")


@dataclass(frozen=True)
class Result:
    """Errors of one exchange: mean of all rows and of the long ones, median and p90, in percent; the mean of the signed
    ones; those of three constants; the bars, where there are any."""

    op: str
    fitted_on: str
    tested_on: str
    rows: int
    all: float
    long: float
    median: float
    p90: float
    bias: float
    baseline_all: float
    baseline_long: float
    bars: tuple[float, float] | None

    def verdict(self) -> str:
        """Which of the two demands are met: the bars, and a quarter less than three constants over all rows."""
        bars = "no bar" if self.bars is None else "met" if self.meets() else "missed"
        return f"{bars}; {'25 % under' if self.all <= 0.75 * self.baseline_all else 'NOT 25 % under'} the baseline"

    def meets(self) -> bool:
        """Whether both means are within their bars."""
        return self.bars is None or (self.all <= self.bars[0] and self.long <= self.bars[1])


def moved(source: str, target: str) -> Library:
    """A library on a generation where it was not fitted: its own fitted values, times by the clocks' ratio, with what
    NCCL says in public of the other. A switch that adds, which it did not have, is used as memory is by its protocol
    for large messages, at the part of a ring's bandwidth that NCCL says in public."""
    own, there = (links(d).library for d in (source, target))
    if own == there:
        return own
    slower = CLOCKS[source] / CLOCKS[target]
    known = {p.name: p for p in there.protocols}
    timed = ("step_s", "device_s", "fill_s", "fill_device_s")

    def at(p: Protocol) -> Protocol:
        return replace(p, guess=known[p.name].guess, **{k: slower * getattr(p, k) for k in timed})

    protocols = [at(p) for p in own.protocols if p.name in known]
    if "nvls" in known and "nvls" not in {p.name for p in protocols}:
        large = next(p for p in protocols if p.name == "simple")
        new, public = {k: getattr(large, k) for k in timed}, known["nvls"]
        protocols.append(replace(public, efficiency=NVLS_SHARE * large.efficiency, **new, fill_bytes=large.fill_bytes))
    return Library(f"{own.name} on {target}", slower * own.base_s, tuple(protocols))


def baseline(train: Rows, test: Rows, train_bandwidth: float, bandwidth: float) -> NDArray[np.float64]:
    """Seconds by a floor, a latency per step of a ring and an efficiency, fitted for the least |log error|."""
    from scipy.optimize import minimize

    def seconds(x: NDArray[np.float64], rows: Rows, rate: float) -> NDArray[np.float64]:
        floor, step, inverse = np.exp(x)
        passes = np.where(rows.op == "all_reduce", 2, 1) * (rows.devices - 1)
        steps = np.where(rows.op == "all_to_all", 1, passes)
        predicted: NDArray[np.float64] = floor + steps * step + inverse * passes / rows.devices * rows.bytes / rate
        return predicted

    def error(x: NDArray[np.float64]) -> float:
        return float(np.mean(np.abs(np.log(seconds(x, train, train_bandwidth) / train.seconds))))

    starts = [np.log([f, 1e-6, e]) for f in (5e-6, 1e-5) for e in (1.2, 2.0)]
    best = min(
        (minimize(error, s, method="Nelder-Mead", options={"maxfev": 3000}) for s in starts), key=lambda r: r.fun
    )
    return seconds(best.x, test, bandwidth)


def compared(op: str, source: str, target: str, test: Rows, bars: tuple[float, float] | None, label: str) -> Result:
    """One row of the table: constants of `source`, the rows `test` of `target`."""
    rows = nccl(source)
    assert rows is not None
    train = rows[folds(rows)].of(op)
    seconds, _ = collective_latency_s(
        test.op, test.devices, test.bytes, replace(links(target), library=moved(source, target))
    )
    plain = baseline(train, test, links(source).bytes_per_s, links(target).bytes_per_s)
    off, long = 100 * (seconds / test.seconds - 1), test.seconds >= LONG_S
    error, rival = np.abs(off), np.abs(100 * (plain / test.seconds - 1))
    return Result(
        op,
        source,
        label,
        len(error),
        float(error.mean()),
        float(error[long].mean()),
        float(np.median(error)),
        float(np.percentile(error, 90)),
        float(off.mean()),
        float(rival.mean()),
        float(rival[long].mean()),
        bars,
    )


def validate_collectives() -> Iterator[Result]:
    """Every comparison for which there are measurements."""
    pairs = [("a100_sxm", "a100_sxm", 0), ("h100_sxm", "h100_sxm", 0), ("h100_sxm", "h200_sxm", 1)]
    pairs += [("a100_sxm", "h100_sxm", 2), ("h100_sxm", "a100_sxm", 2)]
    measured = {device: nccl(device) for device in CLOCKS}
    for op in OPS:
        for source, target, kind in pairs:
            rows = measured[target]
            if rows is None or measured[source] is None:
                continue
            part = rows[~folds(rows)] if source == target else rows
            label = f"{target}, other rows" if source == target else target
            yield compared(op, source, target, part.of(op), BARS[op][kind] if op in BARS else None, label)
    hosted = llmcompass()
    if hosted is not None and measured["a100_sxm"] is not None:
        kept = hosted[hosted.bytes >= 4096]
        yield compared("all_reduce", "a100_sxm", "a100_sxm", kept, None, "LLMCompass, 4 x A100, from 4 KiB")


def rows_of(results: list[Result]) -> list[list[str]]:
    """Cells of the table."""
    return [
        [
            r.op,
            r.fitted_on,
            r.tested_on,
            str(r.rows),
            f"{r.all:.1f}/{r.long:.1f}",
            "-" if r.bars is None else f"{r.bars[0]:g}/{r.bars[1]:g}",
            f"{r.median:.1f}",
            f"{r.p90:.1f}",
            f"{r.bias:+.1f}",
            f"{r.baseline_all:.1f}/{r.baseline_long:.1f}",
            r.verdict(),
        ]
        for r in results
    ]


HEADERS = ["exchange", "fitted on", "tested on", "rows", "MAPE % all/from 50 us", "bar", "median", "p90", "bias"]
HEADERS += ["three constants", "verdict"]


def report() -> str:
    """The table in Markdown, or that there is nothing to compare with."""
    results = list(validate_collectives())
    if not results:
        return "## Collective exchanges\n\nNo measurements: set DFC_DATA, or install aiconfigurator-core and pyarrow.\n"
    notes = [
        "Constants: templates/libraries/nccl-*.toml, by benchmarks/fit_collectives.py; data: fp16, NCCL 2.27.3 (A100)"
    ]
    notes[0] += " and 2.29.2 (H100, H200). Across generations times are scaled by the clocks of the data sheets."
    return table("Collective exchanges", HEADERS, rows_of(results), notes)


if __name__ == "__main__":
    print(report())
