"""What stands of a front under other constants, for people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfcompiler.cli import display
from dfcompiler.cli.display import Column
from dfcompiler.explore.perturbation import Shift
from dfcompiler.explore.robustness import Robustness


def print_robustness(found: Robustness) -> None:
    """The constants with their ranges, what each does to the front and all of them do, and the band of the error."""
    display.plain()
    display.heading(
        f"where constants are others: designs that stay on the front, and what the old ones cost in {found.along}"
    )
    columns = (
        Column("constant", style="bold"), Column("times", right=True), Column("stay", right=True),
        Column("mean", right=True), Column("p95", right=True), Column("worst", right=True),
        Column("lost", right=True), Column("source", wrap=True, drop=1),
    )  # fmt: skip
    sources = {c.name: c.source for c in found.constants}
    rows = []
    for one in found.alone:
        ((name, factor),) = one.changed.items()
        rows.append([name, f"{factor:g}", *_figures([one]), sources.pop(name, "")])
    if found.together:
        rows.append([f"all, {len(found.together)} draws", "", *_figures(found.together), ""])
    display.table(columns, rows, rules=[len(found.alone)])
    wrong = f"may be on the front where each figure is wrong by {found.error:.0%}"
    display.facts(("band", f"{n:,} of {every:,} designs of {pool} {wrong}") for pool, (n, every) in found.band.items())
    display.prose(
        "`stay`: designs on both fronts over designs on either. `mean`, `p95`, `worst`: by how much more an old design "
        "costs at a level of the new front. `lost`: levels that no old design reaches. Designs on a front are fragile, "
        "its curve is not: no design of it is the best one alone."
    )


def _figures(some: Sequence[Shift]) -> list[str]:
    """Of one change, or of several: the mean of means, else the worst."""
    stay, mean = (float(np.mean([getattr(s, name) for s in some])) for name in ("jaccard", "mean"))
    p95, worst = (max(getattr(s, name) for s in some) for name in ("p95", "worst"))
    return [f"{stay:.0%}", *(_share(x) for x in (mean, p95, worst)), f"{max(s.unmet for s in some):,}"]


def _share(x: float) -> str:
    return f"{x:.1%}" if np.isfinite(x) else "all lost"
