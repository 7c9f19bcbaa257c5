"""Where a price is exact and where it is a bound: the promise of the cost model, as data.

Claimed over counted lies between `low` and `high`. The first rule that fits says how much; `make fuzz` holds all of
them against many random mappings. What is exact is so to rounding (and to the error that sampling leaves of look-ups):
- bytes, ragged edges included, where nothing of the other rules applies;
- time, where all tiles are whole ones and all instances have equally many, and no unfinished sum leaves.

The rest is a bound from above: an instance with fewer tiles is taken to reload like the others, a ragged tile to take
the time of a whole one, a masked tile to touch all of what its rows touch. The high ends are for tiny sizes, where
edges are most of a tensor. A low end below 1 is a known shortfall of the cost model, not a promise.
"""

from __future__ import annotations

from dataclasses import dataclass

BYTES = ("dram", "above", "inner")
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rule:
    """For claims of these kinds, of mappings that have all traits of `needs` and, if given, none but those of `may`."""

    what: tuple[str, ...]
    low: float
    high: float
    needs: frozenset[str] = frozenset()
    may: frozenset[str] | None = None

    def fits(self, what: str, traits: frozenset[str]) -> bool:
        """Whether this rule is about such a claim."""
        return what in self.what and self.needs <= traits and (self.may is None or traits <= self.may)


MASKED, HALO, IN_PLACE = frozenset({"masked"}), frozenset({"halo"}), frozenset({"in place"})
PIECES, LOOK_UPS, SPILLS = frozenset({"pieces"}), frozenset({"look-ups"}), frozenset({"spills"})

RULES = (
    Rule(BYTES, 1, 1, may=frozenset({"edges", "held", "idle", "spills"})),
    Rule(BYTES, 1, 1, may=frozenset({"held", "look-ups"})),
    Rule(BYTES, 0.1, 100, needs=MASKED | HALO),
    Rule(BYTES, 0.1, 2.5, needs=HALO),  # what tiles share may be claimed once, however often it is loaded
    Rule(BYTES, 0.5, 2.5, needs=PIECES),  # a tile of one piece is not charged for those of the others
    Rule(BYTES, 0.1, 8, needs=IN_PLACE),  # what several tiles read or write of a state may be claimed once
    Rule(("dram",), 0.5, 4, needs=MASKED | LOOK_UPS),  # the same of indices of which the mask leaves some
    Rule(("dram",), 0.75, 4, needs=MASKED | SPILLS),  # sums that leave unfinished are counted by mean passes
    Rule(("dram",), 1, 4, needs=MASKED),
    Rule(("above", "inner"), 0.75, 4, needs=MASKED),  # an instance without rows of its own is not always seen
    Rule(BYTES, 1, 2.5),
    Rule(("time",), 0.9, 8, needs=PIECES),
    Rule(("time",), 1, 1, may=frozenset({"held", "look-ups", "redone"})),
    Rule(("time",), 0.5, 100, needs=MASKED | HALO),
    Rule(("time",), 0.1, 8, needs=IN_PLACE),
    Rule(("time",), 0.9, 8, needs=MASKED),  # the steps over columns are spread evenly over the rows
    Rule(("time",), 1, 8),
)


def rule(what: str, traits: frozenset[str]) -> Rule:
    """The rule for a claim about `dram`, `above`, `inner` or `time` of a mapping with these traits."""
    return next(r for r in RULES if r.fits(what, traits))
