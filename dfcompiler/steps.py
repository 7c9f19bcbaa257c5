"""A Step: what one forward pass works on, as parts of equal shape.

Prefill, decode and mixed batches are the same thing: sequences with new tokens and tokens that they
already have. Sequences with equally many new tokens form one part, seen as `[B, S]` tokens.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dfcompiler.diagnostics import Diag, unknown

# What a phase works on where nothing is said: sequences, new tokens, tokens that are there.
PHASES = {"prefill": (1, 2048, 0), "decode": (1, 1, 2048), "mixed": (16, 2048, 2048)}
MAX_TOKENS = 1 << 26  # one step; past this every price is meaningless and counts leave int64


@dataclass(frozen=True)
class Part:
    """`len(past)` sequences of `fresh` new tokens each; `past[i]` tokens are already cached."""

    name: str
    fresh: int
    past: tuple[int, ...]

    @property
    def batch(self) -> int:
        """Sequences."""
        return len(self.past)

    @property
    def tokens(self) -> int:
        """New tokens of all sequences."""
        return self.batch * self.fresh

    @property
    def reach(self) -> int:
        """Tokens of the longest sequence when the step is done."""
        return self.fresh + max(self.past)

    def names(self) -> dict[str, int | tuple[int, ...]]:
        """What a model's text may use: sequences, new tokens of each, tokens of the longest, new tokens in all."""
        return {
            "B": self.batch,
            "S": self.fresh,
            "T": self.reach,
            "N": self.tokens,
            "past": self.past,
            "fresh": self.fresh,
        }


@dataclass(frozen=True)
class Step:
    """The parts of one forward pass, prefill chunks before decode sequences."""

    parts: tuple[Part, ...]

    @property
    def tokens(self) -> int:
        """New tokens in all."""
        return sum(p.tokens for p in self.parts)

    def describe(self) -> str:
        """One line: `prefill 1 x 2048 new, 0 past; decode 16 x 1 new, 2048 past`."""
        return "; ".join(f"{p.name} {p.batch} x {p.fresh} new, {_range(p.past)} past" for p in self.parts)


def _range(values: tuple[int, ...]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}..{high}"


def step(prefill: Iterable[tuple[int, int]] = (), decode: Iterable[int] = ()) -> Step:
    """A step of prefill chunks `(new, past)` and decode sequences `past`.

    Raises Diag `bad-step` for sizes that are not positive or too large, and for an empty step.
    """
    chunks: dict[int, list[int]] = {}
    for new, past in prefill:
        _check("new tokens", new, 1)
        _check("past tokens", past, 0)
        chunks.setdefault(new, []).append(past)
    many = len(chunks) > 1
    parts = [Part(f"prefill{i if many else ''}", n, tuple(p)) for i, (n, p) in enumerate(chunks.items())]
    tails = tuple(decode)
    for past in tails:
        _check("context", past, 0)
    if tails:
        parts.append(Part("decode", 1, tails))
    if not parts:
        raise Diag("bad-step", "a step needs at least one sequence", hint="give --batch, --seq or --context")
    whole = Step(tuple(parts))
    _check("new tokens of the whole step", whole.tokens, 1)
    return whole


def phase(name: str, batch: int | None = None, seq: int | None = None, context: int | None = None) -> Step:
    """The step that `--phase` names; what is not given is as in `PHASES`.

    `prefill`: `batch` sequences of `seq` new tokens on top of `context`; `decode`: `batch` sequences with
    `context` tokens cached; `mixed`: one new sequence of `seq` tokens beside `batch` decode sequences. Raises Diag
    `unknown-phase`, `bad-option`, `bad-step`.
    """
    if name not in PHASES:
        raise unknown("phase", name, PHASES)
    if name == "decode" and seq not in (None, 1):
        raise Diag("bad-option", "a decode step has one new token per sequence: `--seq` is for prefill and mixed")
    batch, seq, context = (x if x is not None else y for x, y in zip((batch, seq, context), PHASES[name], strict=True))
    _check("--batch", batch, 1)
    if batch > 1 << 20:
        raise Diag("bad-step", f"--batch {batch} is more than {1 << 20}")
    match name:
        case "prefill":
            return step(prefill=[(seq, context)] * batch)
        case "decode":
            return step(decode=[context] * batch)
        case _:
            return step(prefill=[(seq, 0)], decode=[context] * batch)


def _check(what: str, value: int, low: int) -> None:
    if value < low:
        raise Diag("bad-step", f"{what} must be at least {low}, got {value}")
    if value > MAX_TOKENS:
        raise Diag("bad-step", f"{what} must be at most {MAX_TOKENS}, got {value}")
