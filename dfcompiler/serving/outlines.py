"""Outlines: steps of one make as one program, sharded and offered once, at any sizes.

Which steps are of one make says how many prefill chunks they have and whether sequences decode beside them. Passes run
for a sample; other sizes are put into what they made of it, which takes a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from dfcompiler.api import context
from dfcompiler.diagnostics import Source
from dfcompiler.graph import Graph, Region
from dfcompiler.hardware.chip import Chip
from dfcompiler.models import Model
from dfcompiler.parallelism import GRAPH_MAKERS, Parallel
from dfcompiler.pipeline import Context, Pipeline, parse_pipeline, run_pipeline
from dfcompiler.resizing import resized
from dfcompiler.schedule import mapping_of
from dfcompiler.steps import Step, step
from dfcompiler.text.tree import OpDecl


class Sizes(NamedTuple):
    """One prefill chunk of `prefill` tokens after `past` ones, and `batch` sequences that decode, `context` tokens
    each; 0 tokens or sequences: there is none."""

    prefill: int
    past: int
    batch: int
    context: int

    def part(self, count: int) -> Sizes:
        """One of so many micro-batches: its part of the tokens, those amid, and of the sequences."""
        prefill, batch = -(-self.prefill // count), -(-self.batch // count)
        return Sizes(prefill, self.past + (self.prefill - prefill) // 2, batch, self.context)

    def step(self) -> Step:
        """The step of these sizes; raises Diag `bad-step` where it is empty."""
        chunk = [(self.prefill, self.past)] if self.prefill else []
        return step(prefill=chunk, decode=[self.context] * self.batch)


@dataclass(frozen=True, eq=False)
class Setting:
    """What does not change from step to step."""

    model: Model
    chip: Chip
    parallel: Parallel
    dtype: str | None
    pipeline: str

    def passes(self) -> Pipeline:
        """The pipeline with the passes that share a step out."""
        return parse_pipeline(Source("--pipeline", self.parallel.inserted(self.pipeline)))

    def context(self, sizes: Sizes) -> Context:
        """What passes may know of a step."""
        return context(self.model, self.chip, sizes.step(), self.dtype)


@dataclass(frozen=True, eq=False)
class Outline:
    """A sample's graph as first made (`before`) by the `makers`, as offered to the `mappers`, and as mapped."""

    setting: Setting
    sizes: Sizes
    makers: Pipeline
    mappers: Pipeline
    before: Graph
    offered: Graph
    mapped: Graph

    def at(self, sizes: Sizes) -> Graph:
        """The offered graph at other sizes of the same make."""
        return _at(self, sizes)

    @property
    def tail(self) -> frozenset[str]:
        """Nodes behind the last layer: what is done for sampled tokens only."""
        body = self.offered.body
        last = max((i for i, item in enumerate(body) if isinstance(item, Region)), default=-1)
        behind = {n.name for n in replace(self.offered, body=body[last + 1 :]).nodes.values()}
        return frozenset(behind) if last >= 0 else frozenset()

    @cached_property
    def ranks(self) -> dict[str, tuple[OpDecl, int]]:
        """Every node's op, and the how manyth of that op it is in its part of the step: prefill chunk, or what decodes.
        A step of another make has the same node at the same rank."""
        grown = self.at(self.sizes._replace(prefill=2 * self.sizes.prefill)) if self.sizes.prefill else self.offered
        seen: dict[tuple[OpDecl, bool], int] = {}
        found = {}
        for name, node in self.offered.nodes.items():
            key = node.op, grown.type_of(name).shape != self.offered.type_of(name).shape
            found[name] = node.op, seen.get(key, 0)
            seen[key] = seen.get(key, 0) + 1
        return found


@lru_cache(maxsize=4096)
def _at(outline: Outline, sizes: Sizes) -> Graph:
    return resized(outline.before, _made(outline, sizes), outline.offered)


def _made(outline: Outline, sizes: Sizes) -> Graph:
    setting = outline.setting
    return run_pipeline(outline.makers, Graph(setting.model.name), setting.context(sizes))[0]


def outline(setting: Setting, sizes: Sizes) -> Outline:
    """Run the pipeline for a sample. Raises what its passes raise."""
    passes = setting.passes()
    count = 1 + max((i for i, p in enumerate(passes) if p.name in GRAPH_MAKERS), default=-1)
    seen: list[Graph] = []
    mapped, _ = run_pipeline(
        passes, Graph(setting.model.name), setting.context(sizes), after=lambda _name, graph, _s: seen.append(graph)
    )
    mapping_of(mapped)
    offered = [g for g in seen if g.columns is None]
    return Outline(setting, sizes, passes[:count], passes[len(offered) :], seen[count - 1], offered[-1], mapped)


def outlines(setting: Setting, samples: Sequence[Sizes]) -> list[Outline]:
    """Outlines of samples of one make: as the first one is shared out so are all, and each is mapped by itself."""
    made = [outline(setting, samples[0])]
    for sizes in samples[1:]:
        first = made[0]
        mapped, _ = run_pipeline(first.mappers, first.at(sizes), setting.context(sizes))
        made.append(replace(first, sizes=sizes, before=_made(first, sizes), offered=first.at(sizes), mapped=mapped))
    return made
