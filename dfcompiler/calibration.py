"""What no data sheet tells of a GPU, from a few measured rows: factors on launches, tensor cores and DRAM.

The factors are those with the least mean log error, held near 1 where rows do not show them; the gain is that of rows
which the fit did not see. Which rows to measure: sizes spread over the range of latencies that the models predict.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.hardware.chip import Chip
from dfcompiler.kernels import Device, Generation, Scale
from dfcompiler.kernels.latency import Floats
from dfcompiler.kernels.tables import KINDS, Columns, price_table
from dfcompiler.validation import Measured, kernel_unit, on_kernels

FOLDS = 5
HOLD = 0.01  # cost of a factor e away from 1, in mean log error
FEWEST = 5
AXES = ("launch_scale", "tensor_scale", "dram_scale")
# Sizes that a proposal draws from, by kind of table: what models ask for, from small to large.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "gemm": {
        "m": (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
        "n": (1024, 4096, 6144, 8192, 14336, 28672),
        "k": (1024, 4096, 8192, 14336),
    },
    "prefill": {
        "batch_size": (1, 4, 16),
        "seq_len": (128, 512, 1024, 2048, 4096, 8192),
        "num_heads": (32, 64),
        "num_kv_heads": (8, 32),
        "head_dim": (128,),
    },
    "decode": {
        "batch_size": (1, 4, 16, 64, 256),
        "kv_len": (128, 512, 2048, 8192, 32768),
        "num_heads": (32, 64),
        "num_kv_heads": (8,),
        "head_dim": (128,),
    },
}


@dataclass(frozen=True)
class Calibration:
    """Factors, and mean relative errors: before, on the rows of the fit, and on rows left out of it."""

    scale: Scale
    rows: int
    before: float
    fitted: float
    left_out: float


def calibrate(table: Measured, kind: str, chip: Chip, *, warm: bool = True) -> Calibration:
    """Fit the three factors of a chip to a table of 16-bit kernels, which found operands in L2 where `warm`.

    Raises Diag `no-kernels`, `bad-table`.
    """
    device, kernels = _kernels(kind, chip)
    missing = [n for n in KINDS[kind].columns if n not in table.columns]
    if missing or len(table) < FEWEST:
        said = f"has no column `{missing[0]}`" if missing else f"has {len(table)} rows, a calibration needs {FEWEST}"
        raise Diag("bad-table", f"`{table.name}` {said}")
    scale = _fitted(table, kind, device, kernels, warm)
    folds = np.arange(len(table)) % min(FOLDS, len(table))
    errors = []
    for fold in np.unique(folds):
        without = kernels.scaled(_fitted(table.rows(folds != fold), kind, device, kernels, warm))
        errors.append(_errors(table.rows(folds == fold), kind, device, without, warm))
    before, after = (float(_errors(table, kind, device, k, warm).mean()) for k in (kernels, kernels.scaled(scale)))
    return Calibration(scale, len(table), before, after, float(np.concatenate(errors).mean()))


def propose(kind: str, chip: Chip, count: int) -> Columns:
    """`count` sizes to measure: one from the middle of each of so many equal parts of the sorted predictions."""
    device, kernels = _kernels(kind, chip)
    if kind not in GRIDS:
        raise Diag("no-kernels", f"no sizes are known to propose for `{kind}`", hint=f"known: {', '.join(GRIDS)}")
    names = list(GRIDS[kind])
    grid = dict(zip(names, (a.ravel() for a in np.meshgrid(*GRIDS[kind].values(), indexing="ij")), strict=True))
    seconds = price_table(kind, grid, device, kernels).seconds
    chosen = [part[len(part) // 2] for part in np.array_split(np.argsort(seconds, kind="stable"), count) if len(part)]
    return {n: grid[n][chosen] for n in names} | {"predicted_us": seconds[chosen] * 1e6}


def calibrated(chip: Chip, found: Calibration, name: str, origin: str) -> str:
    """The text of the chip's file with the factors in it and where they are from, as chip `name`."""
    unit = kernel_unit(chip)
    span = chip.parts[unit[0].name].span if unit else None
    if span is None or chip.span is None:
        raise Diag("no-kernels", f"`{chip.name}` has no file to calibrate")
    lines = span.source.text.splitlines()
    opening = next(i for i in range(span.line - 1, len(lines)) if "{" in lines[i])
    closing = next(i for i in range(opening, len(lines)) if "}" in lines[i])
    if opening == closing:
        raise Diag("no-kernels", f"write `{unit[0].name if unit else ''}` over several lines to calibrate it", span)
    kept = [x for x in lines[opening + 1 : closing] if x.split("=")[0].strip() not in AXES]
    source = (
        f"calibrated: {found.rows} rows of {origin}, error {100 * found.before:.1f} -> {100 * found.left_out:.1f} %"
    )
    factors = (found.scale.launch, found.scale.tensor, found.scale.dram)
    added = [f"      {axis} = {value:.4g}   # {source}" for axis, value in zip(AXES, factors, strict=True)]
    text = "\n".join([*lines[: opening + 1], *kept, *added, *lines[closing:]]) + "\n"
    return re.sub(rf"\bchip\s+{re.escape(chip.name)}\b", f"chip {name}", text, count=1)


def _kernels(kind: str, chip: Chip) -> tuple[Device, Generation]:
    unit = kernel_unit(chip)
    if unit is None:
        raise Diag("no-kernels", f"`{chip.name}` has no unit that runs whole kernels")
    if kind not in KINDS:
        raise Diag("no-kernels", f"`{kind}` is no kind of kernel table", hint=f"known: {', '.join(KINDS)}")
    return on_kernels(*unit, bits=16)


def _errors(table: Measured, kind: str, device: Device, kernels: Generation, warm: bool) -> Floats:
    seconds = price_table(kind, table.columns, device, kernels, warm=warm).seconds
    return np.asarray(np.abs(seconds / table.seconds - 1))


def _fitted(table: Measured, kind: str, device: Device, kernels: Generation, warm: bool) -> Scale:
    """A pattern search over the logarithms of the factors."""

    def loss(x: Floats) -> float:
        scaled = kernels.scaled(Scale(*np.exp(x).tolist()))
        seconds = price_table(kind, table.columns, device, scaled, warm=warm).seconds
        return float(np.abs(np.log(seconds / table.seconds)).mean() + HOLD * (x**2).sum())

    x, step = np.zeros(len(AXES)), 0.4
    best = loss(x)
    while step > 0.004:
        moves = [x + sign * step * np.eye(len(AXES))[i] for i in range(len(AXES)) for sign in (1, -1)]
        losses = [loss(m) for m in moves]
        at = int(np.argmin(losses))
        if losses[at] < best - 1e-9:
            x, best = moves[at], losses[at]
        else:
            step /= 2
    return replace(Scale(), **dict(zip(("launch", "tensor", "dram"), np.exp(x).tolist(), strict=True)))
