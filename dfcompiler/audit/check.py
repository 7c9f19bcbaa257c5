"""One mapping, run tile by tile: are its values those of the op's text, its bytes and cycles those of the price?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dfcompiler.audit.claim import Claim, claim, traits
from dfcompiler.audit.rules import ROUNDING, Rule, rule
from dfcompiler.compose import Group
from dfcompiler.replay import LEVELS, Mapped, Replay, drawn, replay
from dfcompiler.scalars import Floats
from dfcompiler.semantics import Arrays, run_op

SHARES = (1.0, 0.25)  # of the ways to memory: of the whole, much hides under the computation, of a part little
RTOL = 1e-9  # of the largest magnitude of a result


@dataclass(frozen=True)
class Fault:
    """What a price or a mapping gets wrong: `what` is `value`, `time` or a level; for a level of one tensor."""

    what: str
    tensor: str
    claimed: float
    counted: float
    why: str


@dataclass(frozen=True)
class Checked:
    """A mapping with what is claimed of it and what an execution gave."""

    mapped: Mapped
    claim: Claim
    replay: Replay
    traits: frozenset[str]
    faults: tuple[Fault, ...]


def check(mapped: Mapped, seed: int = 0, shares: Sequence[float] = SHARES) -> Checked:
    """Run a mapping on random operands and compare; raises Diag `wrong-nest` where it cannot run at all."""
    operands = random_operands(mapped.problem.group, seed)
    ran, said, seen = replay(mapped, operands, shares, seed=seed), claim(mapped, shares), traits(mapped)
    faults = _values(mapped, operands, ran, seed)
    for level in LEVELS:
        faults += _bytes(level, rule(level, seen), said, ran)
    for share in shares:
        faults += _time(mapped, share, rule("time", seen), said, ran)
    return Checked(mapped, said, ran, seen, tuple(faults))


def random_operands(g: Group, seed: int) -> dict[str, npt.NDArray[np.generic]]:
    """A random value for every operand, of both signs; from 0 to 1 where the op has numbers as results only then."""
    rng = np.random.default_rng(seed)
    given = {p.name: drawn(g.types[p.name], 1, rng)[0] for p in g.shape.params}
    if all(np.isfinite(a).all() for a in run_op(g.shape, g.sizes, g.attrs, given).values()):
        return given
    return {n: a if g.types[n].within is not None else rng.random(a.shape) for n, a in given.items()}


def _values(mapped: Mapped, operands: Arrays, ran: Replay, seed: int) -> list[Fault]:
    g = mapped.problem.group
    wanted = run_op(g.shape, g.sizes, g.attrs, operands)
    found = [f for name in ran.results if (f := _value(name, wanted[name], ran))]
    if not found:
        return []
    clean = replay(mapped, operands, (), poison=False, seed=seed)
    if not any(_value(name, wanted[name], clean) for name in clean.results):
        why = "a tile reads what it does not declare, or what another has overwritten"
        return [Fault("value", f.tensor, f.claimed, f.counted, why) for f in found]
    return found


def _value(name: str, wanted: Floats, ran: Replay) -> Fault | None:
    """The worst element of a result; what is not a number agrees with itself."""
    due = ran.due[name]
    text, tiles = wanted.ravel()[due], ran.results[name][due]
    with np.errstate(invalid="ignore"):
        gap = np.where((text == tiles) | (np.isnan(text) & np.isnan(tiles)), 0.0, np.abs(text - tiles))
    gap = np.where(np.isnan(gap), np.inf, gap)
    scale = np.abs(text[np.isfinite(text)]).max(initial=0.0)
    if not gap.size or gap.max() <= RTOL * scale:
        return None
    worst = int(gap.argmax())
    place = [int(i) for i in np.unravel_index(int(np.flatnonzero(due)[worst]), wanted.shape)]
    return Fault("value", name, float(text[worst]), float(tiles[worst]), f"element {place}")


def _bytes(level: str, r: Rule, said: Claim, ran: Replay) -> list[Fault]:
    slack = ran.error_bytes[level]
    if _within(said.bytes[level], ran.bytes[level], r, slack):
        return []
    names = [n for n in ran.parts if not _within(said.parts[n][level], ran.parts[n][level], r, slack)] or [*ran.parts]
    worst = max(names, key=lambda n: abs(said.parts[n][level] - ran.parts[n][level]))
    return [Fault(level, worst, said.parts[worst][level], ran.parts[worst][level], _words(r))]


def _time(mapped: Mapped, share: float, r: Rule, said: Claim, ran: Replay) -> list[Fault]:
    top, local = mapped.unit.levels[1], mapped.unit.levels[-1]
    loads = min(top.source_bytes_per_cycle, top.fill_bytes_per_cycle, local.fill_bytes_per_cycle)
    slack = ran.error_bytes["inner"] / (share * min(loads, local.source_bytes_per_cycle))
    if _within(said.cycles[share], ran.cycles[share], r, slack):
        return []
    return [Fault("time", "", said.cycles[share], ran.cycles[share], _words(r))]


def _within(claimed: float, counted: float, r: Rule, slack: float) -> bool:
    low, high = counted * r.low * (1 - ROUNDING), counted * r.high * (1 + ROUNDING)
    return low - slack - ROUNDING <= claimed <= high + slack + ROUNDING


def _words(r: Rule) -> str:
    return "must be equal" if r.low == r.high else f"may be {r.low:g} to {r.high:g} times what is counted"
