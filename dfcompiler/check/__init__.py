"""Checks of a `mapping.json` by one who trusts nobody: no solver, and nothing of what made the file.

Everything is done again from the numbers in the file: who runs what, when, with which share of what, and why nothing
is shorter. What is wrong is told with its place, `mapping.segments[1].tasks[3].end`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dfcompiler.check import periods, pins, planes, proof, schedule, tasks, totals
from dfcompiler.check.contents import File, Mapping, read, read_mapping
from dfcompiler.check.reading import At
from dfcompiler.check.verdicts import Verdict

__all__ = ["Verdict", "check", "check_mapping"]

OF_MAPPING: Sequence[Callable[[Mapping], Verdict]] = (
    schedule.nodes,
    schedule.columns,
    schedule.order,
    schedule.runs,
    schedule.units,
    schedule.shares,
    pins.pins,
    totals.segments,
    proof.bounds,
    periods.periods,
    planes.planes,
)
OF_FILE: Sequence[Callable[[File], Verdict]] = (
    tasks.times,
    tasks.memory,
    tasks.buffers,
    pins.rooms,
    totals.stages,
    totals.times,
    totals.ops,
    totals.traffic,
    totals.energy,
    planes.aims,
    totals.sizes,
)


def check(found: Any) -> tuple[Verdict, ...]:
    """Every check of a whole `mapping.json`, as `json` reads it.

    Raises Diag `bad-mapping` with the place where the file is not one: a value missing, or of the wrong kind.
    """
    file = read(At(found))
    return (*(x(file.mapping) for x in OF_MAPPING), *(x(file) for x in OF_FILE))


def check_mapping(found: Any) -> tuple[Verdict, ...]:
    """The checks of its member `mapping` alone: that the schedule can run, and that its bound is proven.

    Raises Diag `bad-mapping` as `check` does.
    """
    mapping = read_mapping(At(found, "mapping"))
    return tuple(x(mapping) for x in OF_MAPPING)
