"""Synthetic workloads: arrivals at a rate, with lengths that are fixed, of a trace, or of quantiles.

Named workloads are files of `ir/workloads`, ours and the plug-ins'.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.serving.arrivals import Arrivals
from dfcompiler.serving.requests import MAX_REQUESTS, MAX_TOKENS, Ints, Requests
from dfcompiler.serving.traces import read_trace

Draw: TypeAlias = Callable[[int, np.random.Generator], tuple[Ints, Ints]]
WANTS = "lengths are PROMPT,OUTPUT tokens, the name of a workload, or a file: a trace, or quantiles as JSON"


@dataclass(frozen=True)
class Quantiles:
    """Prompt and output lengths by their quantiles, straight between them, one drawn without the other."""

    source: str
    at: tuple[float, ...]
    prompt_tokens: tuple[float, ...]
    output_tokens: tuple[float, ...]

    def draw(self, count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """So many lengths, by inversion."""
        drawn = [np.interp(rng.random(count), self.at, x) for x in (self.prompt_tokens, self.output_tokens)]
        prompt, output = (np.maximum(1, np.rint(x)).astype(np.int64) for x in drawn)
        return prompt, output


@dataclass(frozen=True)
class Sharing:
    """Prompts that begin with one of so many `prefixes`, each as likely, of so many `tokens`: a prompt's own first
    tokens are taken to be those, so it gets no longer. Raises Diag `bad-workload`."""

    prefixes: int
    tokens: int

    def __post_init__(self) -> None:
        if not (1 <= self.prefixes <= MAX_REQUESTS and 1 <= self.tokens <= MAX_TOKENS):
            raise Diag("bad-workload", f"prompts share at least one prefix, of at least one token: {self}")

    def __str__(self) -> str:
        return f"{self.prefixes:,} prefixes of {self.tokens:,} tokens"

    def of(self, requests: Requests, seed: int = 0) -> Requests:
        """The same requests, with prefixes drawn."""
        drawn = np.random.default_rng([seed, 2]).integers(0, self.prefixes, len(requests))
        _, numbers = np.unique(drawn, return_inverse=True)
        return replace(
            requests,
            prefix_id=numbers.astype(np.int64),
            shared_tokens=np.minimum(requests.prompt_tokens, self.tokens),
        )


def workload_names() -> list[str]:
    """The workloads that have a name."""
    return sorted(p.stem for p in content.files("ir", ".json", "workloads"))


def lengths(spec: str) -> Draw:
    """How lengths are drawn: `512,128` are fixed; a name is a workload of quantiles, and so is a file that ends in
    `.json`; any other file is a trace, of which requests are drawn with replacement.

    Raises Diag `bad-workload`, and what `read_trace` raises.
    """
    head, comma, tail = spec.partition(",")
    if comma:
        return _fixed(spec, head, tail)
    path = Path(spec)
    if path.suffix == ".json":
        return _quantiles(path, spec).draw
    if path.suffix or path.is_file():
        known = read_trace(path, sort=True).requests

        def drawn(count: int, rng: np.random.Generator) -> tuple[Ints, Ints]:
            which = rng.integers(0, len(known), count)
            return known.prompt_tokens[which], known.output_tokens[which]

        return drawn
    if spec not in workload_names():
        error = unknown("workload", spec, workload_names())
        error.hint = f"write PROMPT,OUTPUT in tokens, or a trace; {error.hint}"
        raise error
    return named(spec).draw


def named(name: str) -> Quantiles:
    """A workload by its name. Raises Diag `bad-workload` where its file is none."""
    path = content.find("ir/workloads", f"{name}.json")
    if path is None:
        raise unknown("workload", name, workload_names())
    return _quantiles(path, name)


def _quantiles(path: Path, name: str) -> Quantiles:
    try:
        source = Source(content.title(path), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise Diag("bad-workload", f"`{name}` cannot be read: {said}", hint=WANTS) from error
    try:
        data = json.loads(source.text)
        at, prompt, output = (tuple(map(float, data[k])) for k in ("quantiles", "prompt_tokens", "output_tokens"))
    except (ValueError, KeyError, TypeError) as error:
        raise Diag("bad-workload", f"`{name}` is no workload: {error}", Span(source, 1, 1, 1)) from error
    rising = all(list(x) == sorted(x) for x in (at, prompt, output))
    if not (rising and len(at) == len(prompt) == len(output) >= 2 and at[0] == 0 and at[-1] == 1 and prompt[0] >= 1):
        hint = "`quantiles` rise from 0 to 1, and `prompt_tokens` and `output_tokens` with them, from 1 on"
        raise Diag(
            "bad-workload", f"`{name}` has quantiles that do not rise together", Span(source, 1, 1, 1), hint=hint
        )
    return Quantiles(str(data.get("source", "")), at, prompt, output)


def synthetic(arrivals: Arrivals, draw: Draw, count: int, seed: int = 0) -> Requests:
    """So many requests; equal seeds give equal requests, and equal lengths whatever the arrivals."""
    when, how_long = (np.random.default_rng([seed, n]) for n in range(2))
    prompt, output = draw(count, how_long)
    times = arrivals.times(count, when)
    return Requests.of(times, prompt, output)


def _fixed(spec: str, head: str, tail: str) -> Draw:
    try:
        prompt, output = int(head), int(tail)
    except ValueError:
        raise Diag("bad-workload", f"`{spec}` is no pair of lengths", hint=WANTS) from None
    if not (1 <= prompt <= MAX_TOKENS and 1 <= output <= MAX_TOKENS):
        raise Diag("bad-workload", f"lengths are from 1 to {MAX_TOKENS:,} tokens, got `{spec}`", hint=WANTS)
    return lambda count, _rng: (np.full(count, prompt, dtype=np.int64), np.full(count, output, dtype=np.int64))
