"""The designs of a pool as a few chips whose numbers are arrays: one for every set of units that designs leave out, and
every process.

What elaborates and prices one chip does so for all of them at once. An array has extent 1 along an axis of designs that
it does not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from dfcompiler.diagnostics import Infeasible
from dfcompiler.explore.designs import chip_at, dropped, known_of
from dfcompiler.explore.mapped import design_figure
from dfcompiler.explore.references import Array, value
from dfcompiler.explore.space import Pool
from dfcompiler.hardware.chip import Chip

TABLES = ("node",)  # settings of a chip that choose tables of constants, and are no number of a formula


@dataclass(frozen=True, eq=False)
class Kind:
    """Designs of one process that leave out the same units: `where` they are, and the chip of all designs without these
    units."""

    where: Array
    chip: Chip
    without: frozenset[str]


def kinds(pool: Pool, at: Mapping[str, Array]) -> tuple[Kind, ...]:
    """The chips of designs whose axes have the values `at`, arrays that broadcast. Raises Diag as `chip_at` does."""
    known = known_of(at)
    gone = dropped(pool, known)
    tables = {s.path: value(s.value, known) for s in pool.sets if s.path in TABLES}
    found = []
    for chosen in product(*(np.unique(x).tolist() for x in (*gone.values(), *tables.values()))):
        where = np.asarray(True)
        for array, one in zip((*gone.values(), *tables.values()), chosen, strict=True):
            where = where & (array == one)
        if np.any(where):
            without = frozenset(part for part, left in zip(gone, chosen, strict=False) if left)
            alike = dict(zip(tables, chosen[len(gone) :], strict=True))
            found.append(Kind(where, chip_at(pool, at, without, alike), without))
    return tuple(found)


def picked(fleet: Sequence[Kind], found: list[Array]) -> Array:
    """Of arrays for every kind the values of the kind that a design is of."""
    whole = np.asarray(found[0])
    for kind, array in zip(fleet[1:], found[1:], strict=True):
        whole = np.where(kind.where, array, whole)
    return whole


def design_figures(fleet: Sequence[Kind], name: str) -> Array:
    """A figure of `DESIGN` over all designs; inf is the price of a design that cannot be made."""
    return picked(fleet, [_figure(kind.chip, name) for kind in fleet])


def _figure(chip: Chip, name: str) -> Array:
    try:
        return np.asarray(design_figure(chip, name))
    except Infeasible:
        return np.asarray(np.inf)
