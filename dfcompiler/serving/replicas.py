"""From a model and a chip to a pool of replicas: steps, and room for caches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dfcompiler.exchanges import links_of
from dfcompiler.hardware.chip import Chip
from dfcompiler.layers import layer_count
from dfcompiler.models import Model
from dfcompiler.parallelism import Parallel
from dfcompiler.serving.capacity import UTILIZATION, KvRoom, kv_room
from dfcompiler.serving.cluster import Link, Pool, Role
from dfcompiler.serving.curves import Reach
from dfcompiler.serving.latency import PIPELINE, StepLatency, step_latency
from dfcompiler.serving.outlines import Setting
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings

WHOLE_PROMPTS = 8192  # prefill tokens up to which steps are tabulated where prompts are not cut; beyond, straight on
LEAST = 1024  # tokens of a sequence that a table reaches at the least


@dataclass(frozen=True)
class Replicas:
    """A pool, with what it was made from."""

    pool: Pool
    steps: StepLatency
    room: KvRoom


def replicas(
    model: Model,
    chip: Chip,
    requests: Requests,
    settings: Settings,
    *,
    parallel: Parallel = Parallel(),
    dtype: str | None = None,
    count: int = 1,
    role: Role = "both",
    host_s: float = 0.0,
    utilization: float = UTILIZATION,
    check: int = 0,
) -> Replicas:
    """Replicas that can serve the longest of these requests, each on the devices of `parallel`.

    Raises what `kv_room` and `step_latency` raise, and Diag `bad-cluster` for a pool without replicas.
    """
    prompt = int(requests.prompt_tokens.max(initial=1))
    budget = settings.max_batched_tokens
    prefill = budget if settings.rules.chunked else min(WHOLE_PROMPTS, _rounded(max(prompt, budget)))
    if parallel.pp > 1:  # as many micro-batches are on their way, each with this budget
        settings = replace(settings, max_batched_tokens=parallel.pp * budget)
        prefill *= parallel.pp
    room = kv_room(Setting(model, chip, parallel, dtype, PIPELINE), prefill, settings.max_sequences, utilization)
    length = requests.prompt_tokens + requests.output_tokens
    longest = int(length[length <= room.tokens].max(initial=1))  # of those that are not rejected
    reach = Reach(prefill, max(LEAST, _rounded(longest)), settings.max_sequences)
    tokens = min(room.tokens, reach.batch * reach.context)
    steps = step_latency(model, chip, reach, tokens, parallel=parallel, dtype=dtype, check=check)
    return Replicas(Pool(steps.table(host_s, room.tokens), settings, count, role), steps, room)


def link_of(pools: Sequence[Replicas], *, shared: bool = False) -> Link:
    """The way of caches: the slowest link of the pools, on which every device sends its own part, layer by layer; one
    for each replica that sends, or a `shared` one for all."""
    slowest = min((links_of(x.steps.setting.chip).fabric for x in pools), key=lambda f: f.bytes_per_s)
    first = pools[0]
    layers = layer_count(first.steps.setting.model)
    return Link(slowest.bytes_per_s, first.room.token_bytes, slowest.latency_s, max(1, layers), shared)


def _rounded(n: int) -> int:
    """The next power of two: tables of like traces are one."""
    return 1 << max(0, n - 1).bit_length()
