"""Products that look up their weights, as one place after another: what each that is touched is expected to run."""

from __future__ import annotations

from dataclasses import replace
from math import ceil

from dfcompiler.grouping import grouped
from dfcompiler.problem import Problem


def in_turn(p: Problem) -> tuple[float, Problem] | None:
    """How many places are expected to be touched, and the problem of one of them with the mean number of rows, rounded
    up; None for problems that look up no weights, or touch one place only.

    Places are unlike in how many rows they have; all are taken as the mean here, which is our simplification.
    """
    form = grouped(p)
    if form is None or form.crowd is None or form.crowd.row is None:
        return None
    by, row = form.crowd.row, form.crowd.col
    places = form.crowd.more[0]
    rows = ceil(sum(form.crowd.more) / places - 1e-9)
    sizes = dict(form.group.sizes)
    for x in form.loops:
        if x.name in (by, row):
            sizes |= dict.fromkeys(x.indices, rows if x.name == row else 1)
    loops = tuple(replace(x, size=rows) if x.name == row else x for x in form.loops if x.name != by)
    kept = tuple(x for x in loops if x.size > 1)
    names = frozenset(x.name for x in kept)
    operands = tuple(replace(o, loops=o.loops & names, total_bytes=o.total_bytes / places) for o in form.operands)
    group = replace(form.group, sizes=sizes)
    return places, replace(form, group=group, loops=kept, operands=operands, crowd=None)
