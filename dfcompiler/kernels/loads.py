"""Rows per expert that a benchmark of mixtures draws, from the words of its table: `balanced`, `power_law_1.2`.

Popularity of experts is drawn from a truncated power law with a fixed seed; the mean of a few draws is what is priced.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dfcompiler.diagnostics import Diag
from dfcompiler.kernels.grouped import HEIGHTS, Load
from dfcompiler.kernels.latency import Floats

DRAWS = 4
BALANCED, POWER = "balanced", "power_law_"
RARE, OFTEN = (0.01, 2.0), 0.8  # popularity where pairs are fewer than experts, else 1 to this part of the tokens


def load_of(
    tokens: Floats, chosen: Floats, experts: Floats, ranks: Floats, spread: list[str], busiest: list[bool]
) -> Load:
    """The load of one rank, by row: that of the mean rank, or of the busiest."""
    sizes = zip(*(np.asarray(x).astype(int).tolist() for x in (tokens, chosen, experts, ranks)), strict=True)
    found = [_one(*size, s, b) for size, s, b in zip(sizes, spread, busiest, strict=True)]
    table = np.array(found).T
    return Load(table[0], table[1], dict(zip(HEIGHTS, table[2:], strict=True)))


@cache
def _one(tokens: int, chosen: int, experts: int, ranks: int, spread: str, busiest: bool) -> tuple[float, ...]:
    here, pairs = max(experts // ranks, 1), tokens * chosen
    if busiest and ranks > 1 and pairs <= experts:  # so few are all drawn to the experts of one rank
        active = here * (1 - np.exp(-pairs / here))
        return (active, min(pairs, here * tokens), *(active for _ in HEIGHTS))
    rows = drawn(tokens, chosen, experts, spread)
    if busiest and ranks > 1:
        by_rank = rows[:, : here * ranks].reshape(DRAWS, ranks, here)
        rows, ranks = by_rank[np.arange(DRAWS), by_rank.sum(2).argmax(1)], 1
    counts = [(rows > 0).sum(1).mean(), rows.sum(1).mean(), *(np.ceil(rows / h).sum(1).mean() for h in HEIGHTS)]
    return tuple(float(c) / ranks for c in counts)


@cache
def drawn(tokens: int, chosen: int, experts: int, spread: str) -> Floats:
    """Rows of every expert, `[DRAWS, experts]`; each row of the result adds up to `tokens * chosen` where experts that
    take all tokens leave room for that. Raises Diag `unknown-distribution`."""
    pairs = tokens * chosen
    share = np.full((DRAWS, experts), pairs / experts)
    if spread != BALANCED:
        share = _power_law(_exponent(spread), tokens, pairs, experts) * pairs
    rows = np.floor(np.minimum(share, tokens))
    order = np.argsort(rows - share, axis=1, kind="stable")  # the largest remainders first
    for draw, places in enumerate(order):
        left = int(pairs - rows[draw].sum())
        while left > 0 and (open_ := places[rows[draw, places] < tokens]).size:
            rows[draw, open_[:left]] += 1
            left -= min(left, len(open_))
    return np.asarray(rows)


def _exponent(spread: str) -> float:
    try:
        if spread.startswith(POWER):
            return float(spread.removeprefix(POWER))
    except ValueError:
        pass
    hint = f"`{BALANCED}`, or `{POWER}` and an exponent"
    raise Diag("unknown-distribution", f"`{spread}` is no distribution of tokens over experts", hint=hint)


def _power_law(exponent: float, tokens: int, pairs: int, experts: int) -> Floats:
    """Shares of popularity that add up to 1, `[DRAWS, experts]`: a power law of density x^-exponent."""
    low, high = (1.0, max(OFTEN * tokens, 1.001)) if pairs > experts else RARE
    u = np.random.default_rng(0).random((DRAWS, experts))
    if abs(exponent - 1) < 1e-9:
        x = low * (high / low) ** u
    else:
        p = 1 - exponent
        x = ((high**p - low**p) * u + low**p) ** (1 / p)
    return np.asarray(x / x.sum(1, keepdims=True))
