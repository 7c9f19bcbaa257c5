"""Traces: requests from the files that people have, by the columns that these say.

A CSV has its columns in the first line; a JSONL has one object per line. Which format it is follows from the columns.
Times count from the first request. Every fault is told with file and line.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dfcompiler.diagnostics import Diag, Note, Source, Span
from dfcompiler.serving.prefixes import shared_prefixes
from dfcompiler.serving.requests import MAX_TOKENS, Requests

Row = Mapping[str, object]


@dataclass(frozen=True)
class Format:
    """A kind of trace: the columns of arrival, prompt and output, and how many of its ticks are a second. Without a
    column of arrivals there are only lengths."""

    name: str
    arrival: str | None
    prompt: str
    output: str
    per_s: float = 1.0

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns without which it is not this format."""
        return tuple(c for c in (self.arrival, self.prompt, self.output) if c)


FORMATS = (
    Format("dfcompiler", "arrival_s", "prompt_tokens", "output_tokens"),
    # github.com/Azure/AzurePublicDataset, AzureLLMInferenceDataset2023.md: times of day, in ticks of 100 ns
    Format("azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens"),
    Format("vidur", "arrived_at", "num_prefill_tokens", "num_decode_tokens"),  # github.com/microsoft/vidur
    Format("splitwise", "arrival_timestamp", "prompt_size", "token_size"),  # github.com/Mutinifni/splitwise-sim
    Format(
        "llmservingsim", "arrival_time_ns", "input_toks", "output_toks", 1e9
    ),  # github.com/casys-kaist/LLMServingSim
    Format("llmservingsim-bench", "arrival_time", "input_toks", "output_toks"),  # what its benchmark of vLLM writes
    Format("lengths", None, "prompt_tokens", "output_tokens"),
    Format("vidur-lengths", None, "num_prefill_tokens", "num_decode_tokens"),
)
OPTIONAL = ("priority", "ttft_slo_s", "tbt_slo_s", "shared_tokens", "prefix_id")  # of our own
WHOLE = ("priority", "shared_tokens", "prefix_id")
TOKENS = "input_tok_ids"  # LLMServingSim's tokens of a prompt, of which shared prefixes follow


@dataclass(frozen=True)
class Trace:
    """The requests of a file; `timed` where it says when they come."""

    requests: Requests
    format: str
    timed: bool


def read_trace(path: Path, *, sort: bool = False) -> Trace:
    """The requests of a CSV or JSONL file. Requests may come at one time; unsorted times are refused without `sort`.

    Raises Diag `bad-trace` with file and line: an unknown format, a missing column or value, no number, a negative,
    zero or huge length, a time before the one above it.
    """
    source = _source(path)
    lines = _objects(source) if source.text.lstrip().startswith("{") else _records(source)
    found: Format | None = None
    columns: dict[str, list[float]] = {}
    prompts: list[list[int]] = []
    last = -math.inf
    for number, row in lines:
        if found is None:
            found = _format(source, number, row)
            columns = {c: [] for c in (*found.columns, *(c for c in OPTIONAL if c in row))}
        for name, values in columns.items():
            values.append(_value(source, number, row, name, found))
        if TOKENS in row:
            prompts.append(_tokens(source, number, row[TOKENS], columns[found.prompt][-1]))
        if found.arrival and (now := columns[found.arrival][-1]) < last and not sort:
            message = f"the request comes {last - now:g} s before the one above it"
            raise _wrong(source, number, message, hint="sort the file by time, or ask for it with --sort")
        last = columns[found.arrival][-1] if found.arrival else last
    if found is None:
        raise Diag("bad-trace", f"`{path}` has no requests", Span(source, 1, 1, 1))
    if prompts and len(prompts) == len(columns[found.prompt]) and "prefix_id" not in columns:
        columns["prefix_id"], columns["shared_tokens"] = shared_prefixes(prompts)  # type: ignore[assignment]
    arrival = np.array(columns[found.arrival]) if found.arrival else np.zeros(len(columns[found.prompt]))
    requests = Requests.of(
        arrival - arrival.min(), columns[found.prompt], columns[found.output],
        **{n: columns[n] for n in OPTIONAL if n in columns},
    )  # fmt: skip
    return Trace(requests, found.name, found.arrival is not None)


# ---- lines -------------------------------------------------------------------------------------


def _source(path: Path) -> Source:
    try:
        return Source(str(path), path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is not text"
        raise Diag("bad-trace", f"`{path}` cannot be read: {said}") from error


def _records(source: Source) -> Iterator[tuple[int, Row]]:
    reader = csv.reader(io.StringIO(source.text))
    header: list[str] | None = None
    for cells in reader:
        if not any(c.strip() for c in cells):
            continue
        if header is None:
            header = [c.strip() for c in cells]
            if len(set(header)) != len(header):
                twice = next(c for c in header if header.count(c) > 1)
                raise _wrong(source, reader.line_num, f"there are two columns `{twice}`")
            _format(source, reader.line_num, dict.fromkeys(header))
            continue
        if len(cells) != len(header):
            raise _wrong(source, reader.line_num, f"{len(cells)} values for {len(header)} columns")
        yield reader.line_num, dict(zip(header, cells, strict=True))


def _objects(source: Source) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise _wrong(source, number, f"the line is no JSON: {error.msg}", at=error.colno) from error
        if not isinstance(row, dict):
            raise _wrong(source, number, "the line is no JSON object")
        yield number, row


def _format(source: Source, number: int, row: Row) -> Format:
    fits = [f for f in FORMATS if set(f.columns) <= row.keys()]
    if fits:
        return fits[0]
    near = max(FORMATS, key=lambda f: (len(set(f.columns) & row.keys()), -FORMATS.index(f)))
    missing = ", ".join(f"`{c}`" for c in near.columns if c not in row)
    known = [Note(f"{f.name}: {', '.join(f.columns)}") for f in FORMATS]
    raise _wrong(source, number, f"no known trace has these columns; for `{near.name}` it lacks {missing}", notes=known)


# ---- values ------------------------------------------------------------------------------------


def _value(source: Source, number: int, row: Row, name: str, f: Format) -> float:
    raw = row.get(name)
    if raw is None or raw == "":
        raise _wrong(source, number, f"there is no `{name}`")
    value = _time(str(raw)) if name == f.arrival else _number(raw)
    if value is None:
        wants = "a time" if name == f.arrival else "a number"
        raise _wrong(source, number, f"`{name}` is {str(raw)!r}, which is not {wants}")
    if name == f.arrival:
        return value / f.per_s
    if name in (f.prompt, f.output) and not (1 <= value <= MAX_TOKENS and value.is_integer()):
        message = f"`{name}` is {value:g}; it must be a whole number from 1 to {MAX_TOKENS:,}"
        raise _wrong(source, number, message)
    if name in WHOLE and not value.is_integer():
        raise _wrong(source, number, f"`{name}` is {value:g}, which is no whole number")
    return value


def _tokens(source: Source, number: int, raw: object, length: float) -> list[int]:
    """The tokens of a prompt, as many as it is long."""
    if not isinstance(raw, list) or not all(isinstance(x, int) and not isinstance(x, bool) for x in raw):
        raise _wrong(source, number, f"`{TOKENS}` is no list of whole numbers")
    if len(raw) != length:
        raise _wrong(source, number, f"`{TOKENS}` has {len(raw)} tokens; the prompt is said to have {length:g}")
    return raw


def _number(raw: object) -> float | None:
    """A finite number, or inf, which is an objective that there is none."""
    if isinstance(raw, bool):
        return None
    try:
        value = float(raw)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return None if math.isnan(value) else value


def _time(raw: str) -> float | None:
    """Seconds of a number, or of a time of day `2023-11-16 18:17:03.9799600`."""
    number = _number(raw)
    if number is not None:
        return number if math.isfinite(number) else None
    head, _, rest = raw.strip().partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        day = datetime.fromisoformat(head + rest[len(digits) :])
    except ValueError:
        return None
    whole = day if day.tzinfo else day.replace(tzinfo=UTC)
    return whole.timestamp() + (float(f"0.{digits}") if digits else 0.0)


def _wrong(
    source: Source, number: int, message: str, *, at: int = 1, hint: str = "", notes: list[Note] | None = None
) -> Diag:
    line = source.text.splitlines()[number - 1] if source.text else ""
    return Diag(
        "bad-trace", message, Span(source, number, at, max(at + 1, len(line) + 1)), notes=notes or [], hint=hint or None
    )
