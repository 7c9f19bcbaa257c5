"""How many tokens the caches of a replica hold: its memory, less weights and what a step needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dfcompiler.cost import capacity, in_gb, peak_bytes
from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.graph import Graph, Region
from dfcompiler.parallelism import settled
from dfcompiler.pipeline import run_pipeline
from dfcompiler.serving.outlines import Setting, Sizes

# Part of the memory that an engine takes: the default of vLLM's `gpu_memory_utilization` (vLLM documentation,
# CacheConfig). The rest is left to the driver, graphs and what else runs.
UTILIZATION = 0.9
# What the host adds to every step, where nothing else is said: fitted on a run of vLLM 0.19 that serves Llama-3.1-8B on
# one RTX PRO 6000, when kernels had other constants; what fits today is in benchmarks/SERVING.md.
HOST_S = 1.0e-3
CONTEXTS = 4096, 8192  # of which the difference says what a token takes: past any window but the largest


@dataclass(frozen=True)
class KvRoom:
    """Bytes on each device, and the tokens that they hold. `reserve_bytes` are what a step's values take at their peak;
    `state_bytes` what a sequence takes whatever its length."""

    memory_bytes: float
    utilization: float
    weights_bytes: float
    reserve_bytes: float
    state_bytes: float
    token_bytes: float
    tokens: int


def kv_room(setting: Setting, prefill: int, sequences: int, utilization: float = UTILIZATION) -> KvRoom:
    """The room for caches on devices that run steps of up to `prefill` new tokens and so many sequences.

    Raises Diag `bad-option` for a utilization that is not from 0 to 1, Infeasible `does-not-fit` where no token fits.
    """
    if not 0 < utilization <= 1:
        raise Diag("bad-option", f"--memory-utilization must be above 0 and at most 1, got {utilization:g}")
    chip = setting.chip
    short, long = (capacity(graph_of(setting, Sizes(0, 0, 1, n)), chip) for n in CONTEXTS)
    token = (long.kv_bytes - short.kv_bytes) / (CONTEXTS[1] - CONTEXTS[0])
    state = max(0.0, short.kv_bytes - token * (CONTEXTS[0] + 1))
    reserve = peak_bytes(_layers_of(graph_of(setting, Sizes(prefill, 0, 0, 0))))
    left = utilization * chip.dram_capacity_bytes - short.weights_bytes - reserve - state * sequences
    tokens = int(left // token) if token else 1 << 40
    if left < 0 or tokens < 1:
        message = (
            f"`{setting.model.name}` leaves no room for caches on `{chip.name}`: {utilization:.0%} of "
            f"{in_gb(chip.dram_capacity_bytes)}, less weights {in_gb(short.weights_bytes)}, values of a step "
            f"{in_gb(reserve)} and states {in_gb(state * sequences)}"
        )
        raise Infeasible("does-not-fit", message, hint=f"{in_gb(-left)} too much: more devices, narrower types")
    return KvRoom(chip.dram_capacity_bytes, utilization, short.weights_bytes, reserve, state, token, tokens)


def graph_of(setting: Setting, sizes: Sizes) -> Graph:
    """A step as it lies on its devices, before anything is mapped."""
    passes = setting.passes()
    graph, _ = run_pipeline(passes[: settled(passes)], Graph(setting.model.name), setting.context(sizes))
    return graph


def _layers_of(graph: Graph) -> Graph:
    """Without what lies behind the last layer, which works on sampled tokens only."""
    last = max((i for i, item in enumerate(graph.body) if isinstance(item, Region)), default=len(graph.body) - 1)
    return replace(graph, body=graph.body[: last + 1], outputs=())
