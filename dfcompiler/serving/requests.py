"""Requests: when each comes, how many tokens it brings and asks for, and what was promised to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfcompiler.diagnostics import Diag

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

MAX_TOKENS = 1 << 24  # of one request; its steps are counted in 32 bit
MAX_REQUESTS = 1 << 28
MAX_S = 1e8  # three years; beyond it a double no longer tells nanoseconds apart


@dataclass(frozen=True)
class Requests:
    """Requests in order of arrival; every field is an array with one entry per request.

    `arrival_s` counts from the start of the trace. A smaller `priority` runs first. `ttft_slo_s` and `tbt_slo_s` are
    inf where nothing was promised. Requests of one `prefix_id` (0, 1, ...; -1 for none) have their first
    `shared_tokens` tokens in common. Build one with `Requests.of`, which checks and sorts.
    """

    arrival_s: Floats
    prompt_tokens: Ints
    output_tokens: Ints
    priority: Ints
    ttft_slo_s: Floats
    tbt_slo_s: Floats
    shared_tokens: Ints
    prefix_id: Ints

    def __len__(self) -> int:
        return len(self.arrival_s)

    @classmethod
    def of(
        cls,
        arrival_s: ArrayLike,
        prompt_tokens: ArrayLike,
        output_tokens: ArrayLike,
        *,
        priority: ArrayLike = 0,
        ttft_slo_s: ArrayLike = np.inf,
        tbt_slo_s: ArrayLike = np.inf,
        shared_tokens: ArrayLike = 0,
        prefix_id: ArrayLike = -1,
    ) -> Requests:
        """Requests from arrays; a scalar holds for all, and takes no memory. Equal arrivals keep their order.

        Raises Diag `bad-requests` with the first request that is wrong: a time that is negative, NaN or beyond
        `MAX_S`, a prompt or an output that is not from 1 to `MAX_TOKENS`, more shared tokens than prompt, a promise
        that is not positive, arrays of unequal lengths.
        """
        arrival = _numbers("arrival_s", arrival_s, None, float)
        n = len(arrival)
        if n > MAX_REQUESTS:
            raise Diag("bad-requests", f"{n:,} requests are more than {MAX_REQUESTS:,}")
        made = cls(
            arrival,
            _numbers("prompt_tokens", prompt_tokens, n, int),
            _numbers("output_tokens", output_tokens, n, int),
            _numbers("priority", priority, n, int),
            _numbers("ttft_slo_s", ttft_slo_s, n, float),
            _numbers("tbt_slo_s", tbt_slo_s, n, float),
            _numbers("shared_tokens", shared_tokens, n, int),
            _numbers("prefix_id", prefix_id, n, int),
        )
        _check(made)
        if np.all(arrival[1:] >= arrival[:-1]):
            return made
        return made.take(np.argsort(arrival, kind="stable"))

    def take(self, which: slice | NDArray[Any]) -> Requests:
        """The requests at these indices, in that order, or those of a slice or mask."""
        arrival = self.arrival_s[which]
        return Requests(arrival, *(_taken(getattr(self, f.name), which, len(arrival)) for f in fields(self)[1:]))


def _taken(values: NDArray[Any], which: slice | NDArray[Any], count: int) -> NDArray[Any]:
    """Some of the values; what holds for all still takes no memory."""
    return np.broadcast_to(values[0], count) if values.strides == (0,) and len(values) else values[which]


def _numbers(name: str, values: ArrayLike, n: int | None, kind: type) -> NDArray[Any]:
    try:
        array = np.asarray(values)
        if kind is int and array.size and not np.all(np.isfinite(array) & (array == np.trunc(array))):
            bad = int(np.argmax(~(np.isfinite(array) & (array == np.trunc(array)))))
            raise _wrong(name, bad, array.reshape(-1)[bad], "a whole number")
        array = array.astype(np.int64 if kind is int else np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise Diag("bad-requests", f"`{name}` is not an array of numbers: {error}") from error
    if n is not None and array.ndim == 0:
        return np.broadcast_to(array, n)
    if array.ndim != 1 or (n is not None and len(array) != n):
        wanted = "one number per request" if n is None else f"one number for each of {n} requests"
        raise Diag("bad-requests", f"`{name}` has the shape {list(array.shape)}; there must be {wanted}")
    return array


def _check(r: Requests) -> None:
    tokens = f"from 1 to {MAX_TOKENS:,}"
    rules: Sequence[tuple[str, NDArray[np.bool_], str]] = (
        ("arrival_s", (r.arrival_s >= 0) & (r.arrival_s <= MAX_S), f"from 0 to {MAX_S:g} seconds"),
        ("prompt_tokens", (r.prompt_tokens >= 1) & (r.prompt_tokens <= MAX_TOKENS), tokens),
        ("output_tokens", (r.output_tokens >= 1) & (r.output_tokens <= MAX_TOKENS), tokens),
        ("ttft_slo_s", r.ttft_slo_s > 0, "positive"),
        ("tbt_slo_s", r.tbt_slo_s > 0, "positive"),
        ("shared_tokens", (r.shared_tokens >= 0) & (r.shared_tokens <= r.prompt_tokens), "within the prompt"),
        ("prefix_id", (r.prefix_id >= -1) & (r.prefix_id < max(len(r), 1)), "-1, or less than the number of requests"),
    )
    for name, good, wanted in rules:
        if not good.all():
            bad = int(np.argmin(good))
            raise _wrong(name, bad, getattr(r, name)[bad], wanted)


def _wrong(name: str, index: int, value: object, wanted: str) -> Diag:
    return Diag("bad-requests", f"`{name}` of request {index} is {value}; it must be {wanted}")
