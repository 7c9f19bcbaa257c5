"""Which steps are mapped in full, and random ones by which tables are judged."""

from __future__ import annotations

import math

import numpy as np

from dfcompiler.hardware.chip import Chip
from dfcompiler.serving.curves import Reach
from dfcompiler.serving.outlines import Sizes

FIRST = 2048  # prefill tokens, context: of a step that is mapped in full, at most


def samples(chip: Chip, reach: Reach) -> dict[str, list[Sizes]]:
    """The steps that are mapped in full, by make. On one kind of unit one amid of what is asked for will do. Of several
    kinds, where a chunk is done beside what decodes depends on which of the two takes longer: a chunk of many tokens is
    on units of its own, few tokens are done together with what decodes, and between lies what only attention does
    apart; with many sequences beside it that begins earlier."""
    chunk = max(1, min(FIRST, reach.prefill) // 4)
    batch, context = max(1, reach.batch // 16), max(1, min(FIRST, reach.context) // 2)
    amid = Sizes(chunk, min(chunk, reach.context), batch, context)
    made = {"decode": [amid._replace(prefill=0, past=0)], "prefill": [amid._replace(batch=0, context=0)]}
    if len(chip.units) == 1:
        return made | {"mixed": [amid]}
    large = amid._replace(prefill=max(1, reach.prefill * 3 // 4), batch=max(1, reach.batch * 3 // 4))
    long = Sizes(chunk, 0, max(1, reach.batch // 4), max(1, reach.context // 2))
    some = Sizes(max(1, chunk // 8), amid.past, max(1, reach.batch // 8), max(1, reach.context // 4))
    few = amid._replace(prefill=max(1, chunk // 64), batch=max(1, batch // 2))
    many = amid._replace(prefill=max(1, chunk // 4), batch=max(1, reach.batch * 7 // 8))
    return made | {"mixed": [large, long, some, few, many]}


def random_sizes(reach: Reach, tokens: int, count: int, seed: int) -> list[Sizes]:
    """Steps within reach, a third of each make: prefill, decode, both. Tokens and sequences are log-uniform, context is
    uniform; half of the mixed steps are filled up to the most tokens, as a budget does."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        prefill = int(math.exp(rng.uniform(0, math.log(reach.prefill)))) if i % 3 != 1 else 0
        batch = int(math.exp(rng.uniform(0, math.log(reach.batch)))) if i % 3 != 0 else 0
        if prefill and batch and i % 2:
            prefill = max(1, reach.prefill - batch)
        past = int(rng.integers(0, reach.context // 2 + 1)) if prefill and rng.random() < 0.5 else 0
        context = int(rng.integers(1, max(2, min(reach.context, tokens // batch)))) if batch else 0
        found.append(Sizes(prefill, past, batch, context))
    return found
