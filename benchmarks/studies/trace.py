"""LLMShare's space where rates are simulated on a trace: servers that serve Azure's conversations while some wait.

    python benchmarks/studies/trace.py [-o benchmarks/studies/LLMSHARE.md]

Pools are fixed, and each server has its own queue. `dfcompiler/explore/prices/backlog.py` says why a run of the serving
engine for each number of seats and each room is enough for the rates of all designs, so the front is exact. Designs
drawn at random are simulated one by one beside it, and whole systems of the front, whose decodes come from prefills,
under the arrivals of the trace. `-o` replaces the section of that page.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import markdown

from dfcompiler.diagnostics import Source
from dfcompiler.explore.claims import checked
from dfcompiler.explore.fronts import covered
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.prices.backlog import (
    SEMANTICS,
    decode_table,
    decode_weights,
    decodes,
    prefill_table,
    prefill_weights,
)
from dfcompiler.explore.prices.weighted import Weighted
from dfcompiler.explore.space import Pool, Space, load_space, resolve
from dfcompiler.explore.systems import Systems, explored
from dfcompiler.serving.answers import Objectives, answers
from dfcompiler.serving.cluster import Cluster, Link
from dfcompiler.serving.cluster import Pool as Replicas
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.rates import at_rate
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.traces import read_trace
from dfcompiler.text.parse import parse_items
from dfcompiler.text.tree import SpaceDecl

Floats = npt.NDArray[np.float64]

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[2] / "../shared/data"))
TRACE = DATA / "azure" / "AzureLLMInferenceTrace_conv.csv"
TITLE = "## Rates simulated on the trace"
LONGEST = 5120  # tokens of a request, prompt and answer: nearly all are shorter; GPT-3 itself stops at 2,048
TOKENS, CONTEXTS = (288, 1156, 2312, 4624), (64, 1260)  # where steps are priced, the space's own among them
STEPS = {
    "axis prompts = 1, 2": f"axis tokens = {', '.join(map(str, TOKENS))}\n    axis parts = 1, 2",
    "batch = prompts, seq = 1155": "batch = parts, seq = tokens / parts",
    "axis sequences": f"axis context = {', '.join(map(str, CONTEXTS))}\n    axis batch",
    "batch = sequences, context = 1260": "batch = batch, context = context",
}
RATES = {
    "servers * prompts / prompt.latency_s": "servers / prompt.latency_s",
    "servers * sequences / (token.latency_s * 211)": "servers / token.latency_s",
}
ALONE = 24  # designs of a pool that are simulated one by one
WHOLE = 8  # systems that are simulated as a whole
ROUNDING = 1e-12  # a front has the rate of one server times their number
PARTS = (0.5, 0.8, 0.9, 1.0)  # of a system's rate
LOAD = {"prefill": "prompt", "decode": "token"}


@dataclass(frozen=True)
class Simulated:
    """The space whose rates are simulated, its prices, and for the decoding pool the room of a server in tokens over
    devices, memories and sequences."""

    space: Space
    prices: Mapping[str, Weighted]
    room: npt.NDArray[np.int64]


def rewritten(space: Space, words: Mapping[str, str]) -> Space:
    """The space with other words in its text."""
    text = space.source.text
    for old, new in words.items():
        assert old in text, f"`{old}` is not in the space"
        text = text.replace(old, new)
    source = Source("llmshare.space", text)
    return resolve(next(x for x in parse_items(source) if isinstance(x, SpaceDecl)), source)


def simulated(requests: Requests) -> Simulated:
    """Prices of all designs by the requests."""
    shipped = load_space("llmshare")
    space = rewritten(shipped, RATES)
    steps = rewritten(shipped, RATES | STEPS)
    priced = {name: StaticPrices(pool) for name, pool in steps.pools.items()}
    first, second = space.pools["prefill"], space.pools["decode"]
    room = rooms(priced["decode"], second)
    weights = {
        "prefill": {"prompt": by_prompts(first, requests)},
        "decode": {"token": by_seats(second, requests, room)},
    }
    return Simulated(space, {n: Weighted(p, priced[n], weights[n]) for n, p in space.pools.items()}, room)


def by_prompts(pool: Pool, requests: Requests) -> Floats:
    """Weights of steps over the designs that prefill."""
    return np.stack([prefill_weights(requests, n, TOKENS) for n in values(pool, "prompts")]).reshape(
        *(len(a.values) if a.name == "prompts" else 1 for a in pool.axes), len(TOKENS), 2
    )


def by_seats(pool: Pool, requests: Requests, room: npt.NDArray[np.int64]) -> Floats:
    """Weights of steps over the designs that decode, contexts before batches as the axes of steps have them; inf where
    the longest request has no room."""
    seats, known = values(pool, "sequences"), {}
    found = np.full((*room.shape, len(CONTEXTS), len(seats)), np.inf)
    for at in np.ndindex(room.shape):
        asked = seats[at[-1]], int(room[at])
        if asked not in known:
            known[asked] = decodes(requests, *asked)
        if (one := known[asked]) is not None:
            found[at] = decode_weights(one, seats, CONTEXTS).T
    mine = [len(a.values) if a.name in ("devices", "memory", "sequences") else 1 for a in pool.axes]
    return found.reshape(*mine, len(CONTEXTS), len(seats))


def rooms(steps: StaticPrices, pool: Pool) -> npt.NDArray[np.int64]:
    """Tokens that a server's caches have room for, over devices, memories and sequences."""
    answer = steps.answer("token")
    names = [a.name for a in steps.pool.axes]
    order = [names.index(n) for n in ("devices", "memory", "batch", "context")]

    def over(a: Floats) -> Floats:
        a = a.reshape((1,) * (len(names) - a.ndim) + a.shape)
        return a.transpose([*order, *(i for i in range(len(names)) if i not in order)]).reshape(
            [a.shape[i] for i in order]
        )

    needed, caches, there = (over(x) for x in (answer.needed_bytes, answer.kv_bytes, steps.price(("dram_bytes",))))
    seats = np.array(values(pool, "sequences"))
    token = (caches[..., 1] - caches[..., 0]) / (seats * (CONTEXTS[1] - CONTEXTS[0]))
    left = there[..., 0] - (needed - caches)[..., 1]
    return np.maximum(np.floor(left / token), 0).astype(np.int64)


def values(pool: Pool, axis: str) -> list[int]:
    return [int(v) for a in pool.axes if a.name == axis for v in a.values]


# ---- one by one --------------------------------------------------------------------------------


def alone(of: Simulated, requests: Requests, rng: np.random.Generator) -> list[str]:
    """Designs drawn at random, each simulated by itself with its own table, beside the sum of weighted prices."""
    lines = []
    for name, load in LOAD.items():
        pool = of.space.pools[name]
        seconds = of.prices[name].price((load, "latency_s"))
        worst, count, wall = 0.0, 0, time.perf_counter()
        while count < ALONE:
            row = [int(rng.integers(n)) for n in pool.shape]
            said = picked(seconds, row)
            if np.isfinite(said):
                count += 1
                worst = max(worst, abs(said / by_itself(of, name, row, requests) - 1))
        each = (time.perf_counter() - wall) / count
        lines.append(
            f"- {count} designs that {name}, each simulated by itself ({each:.2f} s): at most {worst:.0e} apart"
        )
    return lines


def picked(a: Floats, row: Sequence[int]) -> float:
    return float(a[tuple(i if n > 1 else 0 for i, n in zip(row, a.shape, strict=True))])


def replicas(of: Simulated, name: str, row: Sequence[int], count: int = 1) -> Replicas:
    """Servers of a design, with the prices of its steps."""
    pool, steps = of.space.pools[name], of.prices[name].steps
    at = dict(zip((a.name for a in pool.axes), row, strict=True))
    kinds = [a for a in steps.pool.axes if a.name not in at]
    seconds = np.zeros([len(a.values) for a in kinds])
    for kind in np.ndindex(seconds.shape):
        here = at | dict(zip((a.name for a in kinds), kind, strict=True))
        index = [here[a.name] for a in steps.pool.axes]
        terms = steps.terms("prompt" if name == "prefill" else "token")
        seconds[kind] = sum(picked(x, index) for x in terms)
    if name == "prefill":
        seats = values(pool, "prompts")[at["prompts"]]
        return Replicas(prefill_table(seconds, TOKENS), settings(seats), count, "prefill")
    every = values(pool, "sequences")
    seats = every[at["sequences"]]
    usable = at["sequences"] + 1  # larger batches may not fit
    room = int(of.room[at["devices"], at["memory"], at["sequences"]])
    table = decode_table(seconds.T[:usable], every[:usable], CONTEXTS, room)
    return Replicas(table, settings(seats), count, "decode")


def settings(seats: int) -> Settings:
    return Settings(SEMANTICS, max_sequences=seats, block_tokens=1)


def by_itself(of: Simulated, name: str, row: Sequence[int], requests: Requests) -> float:
    """Seconds of a request on one server of a design."""
    server = replace(replicas(of, name, row), role="both")
    waiting = replace(requests, arrival_s=np.zeros(len(requests)))
    if name == "prefill":
        waiting = replace(waiting, output_tokens=np.broadcast_to(np.int64(1), len(requests)))
        return float(simulate(waiting, Cluster((server,)), runs=ALONE).done_s.max()) / len(requests)
    series = simulate(waiting, Cluster((server,)), series=True, runs=ALONE).series
    assert series is not None
    busy = series.column("waiting") > 0
    took = (series.column("end_s") - series.column("start_s"))[busy].sum()
    tokens = (series.column("batch") * series.column("steps"))[busy].sum()
    return float(took / tokens * (requests.output_tokens - 1).mean())


def whole(of: Simulated, found: Systems, requests: Requests) -> str:
    """Systems of the front as they are, prefills handed on to decodes, at parts of the rate that is claimed."""
    rows = []
    order = np.argsort(found.values[:, 1])
    for i in order[(np.linspace(0.05, 0.95, WHOLE) * (len(order) - 1)).astype(int)].tolist():
        cost, rate = found.values[i]
        pools = []
        for name, at in zip(of.space.pools, found.choice[i], strict=True):
            row = found.pools[name].rows[at].tolist()
            pools.append(replicas(of, name, row, values(of.space.pools[name], "servers")[row[0]]))
        cluster = Cluster(tuple(pools), link=Link(1e15, 1.0))
        cells = [f"{cost:,.0f}", f"{rate:.2f}", " + ".join(str(p.replicas) for p in pools)]
        for part in PARTS:
            asked = at_rate(requests, part * rate)
            told = simulate(asked, cluster, runs=WHOLE * len(PARTS))
            felt = answers(asked, told, Objectives())
            kept = len(asked) / float(told.done_s.max()) / (part * rate)
            cells.append(f"{kept:.2f}, {felt.ttft_s.p50:.2f} s, {felt.tbt_s.p50 * 1e3:.0f} ms")
        rows.append(cells)
    return markdown(["USD", "requests/s", "servers", *(f"at {p:.0%}" for p in PARTS)], rows)


# ---- the page ----------------------------------------------------------------------------------


@contextmanager
def timed(lines: list[str], what: str) -> Iterator[None]:
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    lines.append(f"- {what}: {time.perf_counter() - wall:.1f} s, CPU {time.process_time() - cpu:.1f} s")
    print(lines[-1], file=sys.stderr, flush=True)


def section() -> str:
    trace = read_trace(TRACE).requests
    requests = trace.take(trace.prompt_tokens + trace.output_tokens <= LONGEST)
    lines = [
        f"Written by `python benchmarks/studies/trace.py`. {len(requests):,} of the {len(trace):,} conversations, "
        f"those of up to {LONGEST:,} tokens. A server's rate is what it serves of them while some wait; each has its "
        "own queue, so the rate of a pool is its servers' together. Steps are priced by the static model at "
        f"{len(TOKENS)} numbers of prompt tokens, 15 batches and {len(CONTEXTS)} contexts, and linear between.",
        "",
    ]
    with timed(lines, "steps priced, or read back where they were before, and every schedule simulated"):
        of = simulated(requests)
        for name, load in LOAD.items():
            of.prices[name].terms(load)
    with timed(lines, "front in cost and rate"):
        found = explored(of.space, of.prices)
    lines.append(
        f"- {of.space.points:.4g} systems; fronts of pools "
        + ", ".join(f"{n} {len(f.rows):,} of {f.legal:,} legal" for n, f in found.pools.items())
        + f"; front {len(found.values):,}: exhaustive for these rates"
    )
    with timed(lines, "every design checked"):
        verdicts = checked(of.space, of.prices, found)
    lines += [f"- {v.name}: {v.count:,} looked at, {len(v.faults)} faults" for v in verdicts]
    lines += alone(of, requests, np.random.default_rng(0))
    lines += ["", *beside_static(of, found), ""]
    lines += [whole(of, found, requests), ""]
    lines.append(
        "Systems of the front, simulated as a whole with the arrivals of the trace, closer together or further apart: "
        "at each part of the rate that is claimed, how much of what comes is served by the time the last is done, and "
        "the medians of the time to the first token and between tokens. Rates are those of servers that never lack "
        "requests; this is what queues make of them."
    )
    lines.append(f"\nLargest resident set {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.")
    return "\n".join([TITLE, "", *lines, ""])


def unsimulated(of: Simulated) -> dict[str, Weighted]:
    """The prices of the space as it is: prompts of 1,156 tokens, which is one more, and contexts of 1,260."""
    first, second = of.space.pools["prefill"], of.space.pools["decode"]
    prompts, seats = (np.array(values(p, a)) for p, a in ((first, "prompts"), (second, "sequences")))
    whole = np.zeros((len(prompts), len(TOKENS), 2))
    for i, n in enumerate(prompts):
        whole[i, TOKENS.index(1156 * n), n - 1] = 1 / n
    steps = np.zeros((len(seats), len(CONTEXTS), len(seats)))
    steps[range(len(seats)), 1, range(len(seats))] = 211 / seats
    shaped = (
        w.reshape(*(n if a.name == own else 1 for a, n in zip(p.axes, p.shape, strict=True)), *w.shape[1:])
        for w, p, own in ((whole, first, "prompts"), (steps, second, "sequences"))
    )
    loads = dict(zip(LOAD, shaped, strict=True))
    return {n: Weighted(of.space.pools[n], of.prices[n].steps, {LOAD[n]: loads[n]}) for n in LOAD}


def beside_static(of: Simulated, found: Systems) -> list[str]:
    """The systems of the front of static rates, at their simulated rates."""
    static = explored(of.space, unsimulated(of))
    rates = []
    for i, (name, load) in enumerate(LOAD.items()):
        seconds, rows = of.prices[name].price((load, "latency_s")), static.pools[name].rows[static.choice[:, i]]
        servers = np.array(values(of.space.pools[name], "servers"))[rows[:, 0]]
        rates.append(servers / np.array([picked(seconds, r) for r in rows.tolist()]))
    served = np.minimum(*rates) * (1 - ROUNDING)
    cost, claimed = static.values.T
    able = served > 0
    assert covered(np.stack([cost, -served], 1)[able], found.values * [1, -1]).all(), "a system beats the front"
    best = np.array([found.values[found.values[:, 1] >= r, 0].min() for r in served[able]])
    low, middle, high = np.quantile(served[able] / claimed[able], [0.1, 0.5, 0.9])
    return [
        f"- systems of the front of static rates ({len(cost):,}) serve {middle:.2f} of these at the median ({low:.2f} "
        f"to {high:.2f} from 10 % to 90 %); {np.count_nonzero(~able):,} have no room for the longest request",
        f"- for what they do serve they cost {np.median(cost[able] / best):.3f} of the front's cost at the median, "
        f"{(cost[able] / best).max():.3f} at most",
    ]


def with_section(page: str, title: str, text: str) -> str:
    """The page where a section is this text, or has it at the end."""
    before, _, after = page.partition(f"{title}\n")
    rest = after.partition("\n## ")[2]
    return "\n\n".join([before.rstrip(), text.rstrip(), *([f"## {rest.rstrip()}"] if rest else [])]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, help="the page of which this is a section")
    args = parser.parse_args()
    text = section()
    print(text)
    if args.out:
        args.out.write_text(with_section(args.out.read_text(encoding="utf-8"), TITLE, text), encoding="utf-8")


if __name__ == "__main__":
    main()
