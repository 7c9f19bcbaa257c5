"""Where a price is exact and where it is a bound: the promise of the cost model, as data.

Claimed over counted lies between `low` and `high`. The first rule that fits says how much; `make fuzz` holds all of
them against many random mappings. What is exact is so to rounding (and to the error that sampling leaves of look-ups):
- bytes, ragged edges, instances with fewer tiles, halos and states included, where nothing of the other rules applies;
- time, where all tiles are whole ones and all instances have equally many, and no unfinished sum leaves.

The rest is a bound from above, never from below: in time an instance with fewer tiles is taken to reload like the
others and a ragged tile to last as long as a whole one, a masked tile to touch all of what its rows touch. The high
ends are for tiny sizes, where edges are most of a tensor, and were found on many thousands of random mappings.
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


MASKED, HALO, PIECES = frozenset({"masked"}), frozenset({"halo"}), frozenset({"pieces"})
DEALT = frozenset({"edges", "uneven", "idle"})

RULES = (
    Rule(BYTES, 1, 1, may=DEALT | frozenset({"held", "beside", "spills", "look-ups", "in place", "halo", "redone"})),
    Rule(BYTES, 1, 8, needs=MASKED | HALO),  # a halo whole, though the mask cuts it; no step skipped for a whole index
    Rule(BYTES, 1, 6, needs=MASKED | PIECES),  # each tile of one piece is charged for all of the others
    Rule(BYTES, 1, 5, needs=MASKED),  # passes over some tiles take each as a whole one, with whole rows
    Rule(BYTES, 1, 4, needs=frozenset({"read back"})),  # tiles are charged for what others wrote of what they read
    Rule(BYTES, 1, 2.5),  # pieces as above; groups cut by tiles
    Rule(("time",), 1, 1, may=frozenset({"held", "look-ups", "redone"})),
    Rule(("time",), 1, 1.5, may=frozenset({"held", "look-ups", "redone", "beside"})),  # when results leave: `Late`
    Rule(("time",), 1, 16, needs=MASKED),  # as edges, and rows of few columns as long as others
    Rule(("time",), 1, 6),  # a ragged tile takes the time, and the moves, of a whole one
)


def rule(what: str, traits: frozenset[str]) -> Rule:
    """The rule for a claim about `dram`, `above`, `inner` or `time` of a mapping with these traits."""
    return next(r for r in RULES if r.fits(what, traits))
