"""What systems of two kinds of servers could serve at most, if servers moved between prefill and decode.

A kind of server costs `cost`, prefills for `p` requests per second when it does nothing else, or decodes for `d`. Of
`n_a` and `n_b` of them any policy's rate over a long time is at most

  time sharing   max min(P, D),  P = sum n p x,  D = sum n d (1 - x): x is the part of its time that a kind prefills. A
                 linear program in two variables, in closed form: the kind with the larger p/d prefills first.
  free overlap   min(sum n p, sum n d): where a step may hold both, it takes at least as long as either part alone.
  cost line      cost / rate >= min cost/p + min cost/d, for any number of servers of any kinds without overlap.

Moving costs nothing here, and queues are without end: these are bounds, not schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from dfcompiler.explore.fronts import front

Floats: TypeAlias = npt.NDArray[np.float64]
Rate: TypeAlias = Callable[[Floats, Floats, Floats, Floats], Floats]

PAIRS = 1 << 21  # systems that are bounded at once


def time_shared(p_a: Floats, d_a: Floats, p_b: Floats, d_b: Floats) -> Floats:
    """The largest rate where a server is in one phase at a time; rates are those of all servers of a kind together."""
    swap = p_a * d_b < p_b * d_a
    pa, da, pb, db = (np.where(swap, y, x) for x, y in ((p_a, p_b), (d_a, d_b), (p_b, p_a), (d_b, d_a)))
    with np.errstate(divide="ignore", invalid="ignore"):
        some_of_a = pa * (da + db) / (pa + da)  # b only decodes
        some_of_b = pa + pb * (db - pa) / (pb + db)  # a only prefills
    found: Floats = np.where(pa >= db, some_of_a, some_of_b)
    return np.where((pa + pb > 0) & (da + db > 0), found, 0.0)


def overlapped(p_a: Floats, d_a: Floats, p_b: Floats, d_b: Floats) -> Floats:
    """The largest rate where steps may hold both phases: at most twice that of `time_shared`."""
    found: Floats = np.minimum(p_a + p_b, d_a + d_b)
    return found


def cost_line(cost: Floats, p: Floats, d: Floats) -> float:
    """The least cost per rate of any servers of these kinds, in one phase at a time."""
    return sum(float(np.min(cost[x > 0] / x[x > 0], initial=np.inf)) for x in (p, d))


def kinds_front(cost: Floats, p: Floats, d: Floats) -> npt.NDArray[np.intp]:
    """Kinds of servers that no other kind matches in cost and both rates: no other one is needed for a bound."""
    return front(np.stack([cost, -p, -d], 1))


def bound_front(
    cost: Floats, p: Floats, d: Floats, counts: Sequence[float], rate: Rate = time_shared
) -> tuple[Floats, Floats, int]:
    """Costs and largest rates of all systems of two of these kinds with each of `counts` servers: their front, by cost,
    and how many systems were bounded. So many servers of a kind that so many of another match are left out first; of
    the rest every pair is bounded once, a kind with itself too."""
    price, pn, dn = (np.outer(x, np.array(counts, dtype=np.float64)).ravel() for x in (cost, p, d))
    few = kinds_front(price, pn, dn)
    price, pn, dn = price[few], pn[few], dn[few]
    best = np.empty((0, 2))
    done, step = 0, max(1, PAIRS // len(price))
    for start in range(0, len(price), step):
        i = slice(start, start + step)
        rest = slice(start, None)  # earlier ones have met these already
        whole = price[i, None] + price[None, rest]
        rates = rate(pn[i, None], dn[i, None], pn[None, rest], dn[None, rest])
        done += whole.size
        best = _joined(best, whole.ravel(), rates.ravel())
    order = np.argsort(best[:, 0])
    return best[order, 0], -best[order, 1], done


def _joined(best: Floats, cost: Floats, rate: Floats) -> Floats:
    """The front of what was found and new systems."""
    if len(best):
        order = np.argsort(best[:, 0], kind="stable")
        lowest = np.minimum.accumulate(best[order, 1])
        at = np.searchsorted(best[order, 0], cost, side="right")
        reached = np.where(at > 0, lowest[np.maximum(at - 1, 0)], np.inf)
        open_ = -rate < reached
        cost, rate = cost[open_], rate[open_]
    both = np.concatenate([best, np.stack([cost, -rate], 1)])
    return both[front(both)]


def gap(cost: Floats, rate: Floats, bound_cost: Floats, bound_rate: Floats) -> Floats:
    """For every system of a front, how many times its rate the bound allows at its cost; 1 where there is none."""
    at = np.searchsorted(bound_cost, cost, side="right")
    allowed = np.where(at > 0, np.maximum.accumulate(bound_rate)[np.maximum(at - 1, 0)], 0.0)
    found: Floats = np.maximum(allowed / rate, 1.0)
    return found
