"""What servers take for the requests of a trace while some always wait, simulated for all designs at once.

Every server has its own queue, and all requests are there from the start. They are admitted in their order, each with
room for its whole answer (ORCA's rules). Who is in which step then follows from lengths, seats and room, and not from
how long steps take. So a run of the serving engine for each number of seats and each room tells the steps of every
design, and the seconds of these are a weighted sum of the prices of a few steps: exact for the table that has these
prices at its knots. What is left of a queue when nobody waits any more is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from dfcompiler.serving.cluster import Cluster, Pool
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.served import Served
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import StepTable

Floats = npt.NDArray[np.float64]

SEMANTICS = "orca"
RUNS = 64  # of the engine that are expected: it is compiled where they are worth it
# Any steps will do where they do not change the schedule: a second for every prompt token, or for every sequence.
NONE, ONE, UPTO = np.array([0]), np.array([0, 1]), np.array([0.0, 1.0])
PROMPTS = StepTable(ONE, NONE, NONE, NONE, UPTO.reshape(2, 1, 1, 1))
SEQUENCES = StepTable(NONE, NONE, ONE, NONE, UPTO.reshape(1, 1, 2, 1))


@dataclass(frozen=True)
class Decodes:
    """Steps of a server that decodes while somebody waits: how many have so many sequences, and tokens in the cache of
    all of these, both `[sequences]`; and how many requests' worth of tokens they generate."""

    steps: Floats
    context: Floats
    requests: float


def decodes(requests: Requests, seats: int, room_tokens: int) -> Decodes | None:
    """The steps of a server; None where it has no room for the longest request. First tokens come with the prompts."""
    longest = int((requests.prompt_tokens + requests.output_tokens - 1).max())
    if room_tokens < longest:
        return None
    series = _run(requests, replace(SEQUENCES, tokens_capacity=room_tokens), seats, series=True).series
    assert series is not None
    busy = series.column("waiting") > 0
    batch, context, steps = (series.column(n)[busy] for n in ("batch", "context", "steps"))
    sequences = batch.astype(np.int64)
    grown = steps * context + batch * steps * (steps - 1) / 2
    later = float((requests.output_tokens - 1).mean())
    return Decodes(
        np.bincount(sequences, steps, seats + 1).astype(np.float64),
        np.bincount(sequences, grown, seats + 1).astype(np.float64),
        float((batch * steps).sum()) / later,
    )


def decode_weights(of: Decodes, batches: Sequence[int], contexts: tuple[int, int]) -> Floats:
    """What every priced step `[batch, context of a sequence]` counts for a request: linear between batches, and in the
    context of a step through both of these."""
    sequences = np.arange(1, len(of.steps))
    low, part = _cells(np.array(batches), sequences)
    steps, held = np.zeros(len(batches)), np.zeros(len(batches))
    for knot, share in ((low, 1 - part), (np.minimum(low + 1, len(batches) - 1), part)):
        np.add.at(steps, knot, share * of.steps[1:])
        np.add.at(held, knot, share * of.context[1:])
    first, second = contexts
    far = (held / np.array(batches) - steps * first) / (second - first)
    return np.stack([steps - far, far], 1) / of.requests


def prefill_weights(requests: Requests, together: int, tokens: Sequence[int]) -> Floats:
    """What every priced step `[tokens, whole or in halves]` counts for a request where so many prompts are in a step:
    linear between numbers of tokens, and in the pairs of tokens that attend, which halves have fewer of."""
    firsts = replace(requests, output_tokens=np.broadcast_to(np.int64(1), len(requests)))
    _, step = np.unique(_run(firsts, PROMPTS, together).done_s, return_inverse=True)
    new = np.bincount(step, requests.prompt_tokens).astype(np.int64)
    squares = np.bincount(step, requests.prompt_tokens.astype(np.float64) ** 2)
    past = -(new * new - squares) / (2 * new)  # as `StepTable` counts pairs
    low, part = _cells(np.array(tokens), new)
    steps, before = np.zeros(len(tokens)), np.zeros(len(tokens))
    for knot, share in ((low, 1 - part), (np.minimum(low + 1, len(tokens) - 1), part)):
        np.add.at(steps, knot, share)
        np.add.at(before, knot, share * past)
    halves = -4 * before / np.array(tokens)  # two halves of n tokens are as one chunk with a past of -n / 4
    return np.stack([steps - halves, halves], 1) / len(requests)


def prefill_table(seconds: Floats, tokens: Sequence[int]) -> StepTable:
    """The steps of a design that prefills, by its prices `[tokens, whole or in halves]`."""
    knots, far = np.array([0, *tokens]), int(max(tokens))
    slope = (seconds[:, 0] - seconds[:, 1]) * 4 / np.array(tokens)
    both = np.stack([seconds[:, 0], seconds[:, 0] + slope * far], 1)
    values = np.concatenate([both[:1], both])[:, :, None, None]
    return StepTable(knots, np.array([0, far]), NONE, NONE, values)


def decode_table(seconds: Floats, batches: Sequence[int], contexts: tuple[int, int], room_tokens: int) -> StepTable:
    """The steps of a design that decodes, by its prices `[batch, context of a sequence]`. Prompts cost it nothing."""
    first, second = contexts
    slope = (seconds[:, 1] - seconds[:, 0]) / (np.array(batches) * (second - first))
    start = seconds[:, 0] - slope * np.array(batches) * first
    far = int(max(batches)) * second
    both = np.stack([start, start + slope * far], 1)
    values = np.concatenate([np.zeros((1, 2)), both])[None, None]
    return StepTable(NONE, NONE, np.array([0, *batches]), np.array([0, far]), values, tokens_capacity=room_tokens)


def _run(requests: Requests, table: StepTable, seats: int, *, series: bool = False) -> Served:
    """One server with all requests from the start."""
    server = Pool(table, Settings(SEMANTICS, max_sequences=seats, block_tokens=1))
    waiting = replace(requests, arrival_s=np.zeros(len(requests)))
    return simulate(waiting, Cluster((server,)), series=series, runs=RUNS)


def _cells(knots: npt.NDArray[np.int64], at: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], Floats]:
    """The knot below each, and how far it is to the next; the same as the first one below that, on in the last cell."""
    low = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, max(0, len(knots) - 2))
    if len(knots) == 1:
        return low, np.zeros(len(at))
    return low, np.maximum((at - knots[low]) / (knots[low + 1] - knots[low]), 0.0)
