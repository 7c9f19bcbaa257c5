"""A compiled step as its folder tells it: the ops of `mapping.json` beside their tasks, the graph and the chip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dfcompiler.explanation import Mapped
from dfcompiler.outputs.recall import recalled
from dfcompiler.pages.results import Result
from dfcompiler.pages.style import PALETTE, colours

# What an op waits for, in the words of reports, each with the colour that it has everywhere.
BOUNDS = {"compute": PALETTE[0], "memory": PALETTE[1], "vector": PALETTE[2], "network": PALETTE[3], "link": PALETTE[5]}


@dataclass(frozen=True)
class Run:
    """A segment's place in the step, in seconds: it starts at `start`, takes `length` once, and starts again every
    `period`, `repeat` times. Its ops are those from number `first` to before `last`."""

    start: float
    length: float
    period: float
    repeat: int
    first: int
    last: int

    @property
    def end(self) -> float:
        """The end of the last run."""
        return self.start + self.length + (self.repeat - 1) * self.period


@dataclass(frozen=True)
class Step:
    """The content of `mapping.json`, and the graph and chip that it is about."""

    said: Mapping[str, Any]
    mapped: Mapped

    @cached_property
    def clock_hz(self) -> float:
        """The chip's clock, in which cycles are counted."""
        return self.mapped.chip.clock_hz

    @cached_property
    def ops(self) -> list[Mapping[str, Any]]:
        """The ops of the report, in the order of the tasks."""
        return list(self.said["ops"])

    @cached_property
    def tasks(self) -> list[Mapping[str, Any]]:
        """The tasks of all segments, one for each op."""
        return [t for s in self.said["mapping"]["segments"] for t in s["tasks"]]

    @cached_property
    def runs(self) -> list[Run]:
        """The segments, in order."""
        return list(self._runs())

    def _runs(self) -> Iterator[Run]:
        first = 0
        for s in self.said["mapping"]["segments"]:
            start, length, period = (s[k] / self.clock_hz for k in ("start", "cycles", "period"))
            last = first + len(s["tasks"])
            yield Run(start, length, period, s["repeat"], first, last)
            first = last

    @cached_property
    def run_of(self) -> list[Run]:
        """The segment of every op."""
        return [r for r in self.runs for _ in range(r.first, r.last)]

    @cached_property
    def shown(self) -> Run:
        """The run that is shown first: that which repeats most often."""
        return max(self.runs, key=lambda r: r.repeat)

    @cached_property
    def parts(self) -> list[str]:
        """The parts of the step: `prefill`, `decode`, or both."""
        return [p.split()[0] for p in self.said["step"].split("; ")]

    def part_of(self, op: Mapping[str, Any]) -> str:
        """The part of the step that an op works on; lowering ends names in it where there are several."""
        mine = [p for p in self.parts if any(f"_{p}" in n for n in op["nodes"])]
        return " + ".join(mine or self.parts)

    @cached_property
    def colours(self) -> dict[str, str]:
        """Colour by group: by part where the step has several, by bound where it has one."""
        if len(self.parts) > 1:
            return colours([*self.parts, " + ".join(self.parts)])
        met = {op["bound"] for op in self.ops}
        return {b: c for b, c in BOUNDS.items() if b in met}

    def group(self, op: Mapping[str, Any]) -> str:
        """The group whose colour an op has."""
        found: str = self.part_of(op) if len(self.parts) > 1 else op["bound"]
        return found


def read_step(result: Result) -> Step:
    """The step in a folder of `dfc compile -o`. Raises what `recalled` does."""
    return Step(result.said, recalled(result.said, result.folder))
