"""Measurements against the model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dfcompiler.public.given import AnyChip, chip_of
from dfcompiler.validation import Validation, read_measured
from dfcompiler.validation import validate as compared


def validate(
    file: str | Path,
    op: str,
    chip: AnyChip,
    *,
    dtype: str = "w16a16kv16",
    min_us: float = 0.0,
    cold: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Validation:
    """A CSV of measurements against the model: a column per size, and one of times. Raises what `read_measured` and
    `validation.validate` raise."""
    on = chip_of(chip)
    table = read_measured(Path(file), on.clock_hz)
    return compared(table, op, on, dtype=dtype, min_us=min_us, warm=not cold, tick=on_progress)
