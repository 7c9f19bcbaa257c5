"""ADOR (arXiv 2503.04253): eight A100 against eight `ador` on Llama-3-70B, and a chip that beats `ador`.

    python benchmarks/studies/ador.py [compare] [search] [own-links] [-o FILE]

`compare` maps decode steps of both and divides their times (TBT), and the times per area, as a table and, beside FILE,
as a plot. The A100 is our model of it with its libraries, as validated (VALIDATION.md), without what a serving
framework adds, and with 1 ms a step, which is measured for vLLM on another machine (docs/serving.md).

`search` asks for the design of `templates/spaces/ador.space` that is better than `ador` in TTFT, TBT and area at once
by the largest factor: the goal is the worst of the three ratios, the search best first by proven bounds. `own-links`
searches designs with the links of `ador` only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from curves import Panel, curves
from tables import markdown

from dfcompiler.api import Compiled, compile_model
from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.bounded import bounded
from dfcompiler.explore.designs import values_at
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.space import Space, load_space, resolve
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import load_model
from dfcompiler.parallelism import Parallel
from dfcompiler.steps import phase
from dfcompiler.text.parse import parse_items

MODEL, DEVICES = "llama3-70b", 8  # the paper: Llama-3-70B on 8 devices
BATCHES, CONTEXTS = (16, 32, 64, 128, 256), (1024, 2048, 4096)
PAPER_TBT, PAPER_AREA = 2.51, 4.01  # arXiv 2503.04253: TBT and area efficiency against A100, at high batch sizes
PUBLISHED_MM2 = {"a100_sxm": 826.0, "ador": 516.0}  # A100 whitepaper; arXiv 2503.04253
HOST_S = 1e-3  # a step of vLLM 0.19 on an RTX PRO 6000: docs/serving.md
OURS = {"cores": 32, "side": 64, "trees": 16, "width": 16, "lanes": 64, "local": 2 << 20, "global": 16 << 20}
PARTS = {"compare": "Compare", "search": "Search", "own-links": "Search with the links of `ador`"}
LINK = 64e9  # B/s, of the chip `ador`; with OURS the chip as a point of the space


@dataclass(frozen=True)
class Pair:
    """A decode step on both: seconds, and of these on the links."""

    context: int
    batch: int
    gpu_s: float
    ador_s: float
    gpu_linked_s: float
    ador_linked_s: float

    def ratio(self, host_s: float = 0.0) -> float:
        """How many times longer a step of the A100 takes."""
        return (self.gpu_s + host_s) / self.ador_s


def linked_s(run: Compiled, chip: Chip) -> float:
    """Seconds of a step in which the links are held."""
    links = {p.name for p in chip.links}
    return sum((x.end_s - x.start_s) * x.repeat for x in run.report.ops if x.unit in links)


def compared(plot: Path | None) -> list[str]:
    """The table of ratios, and what it says."""
    chips = {name: load_chip(name) for name in PUBLISHED_MM2}
    model, parallel = load_model(MODEL), Parallel(tp=DEVICES)
    pairs = []
    for context in CONTEXTS:
        for batch in BATCHES:
            step = phase("decode", batch, 1, context)
            run = {n: compile_model(model, c, step, parallel=parallel) for n, c in chips.items()}
            took = [run[n].report.latency_s for n in PUBLISHED_MM2]
            pairs.append(Pair(context, batch, *took, *(linked_s(run[n], chips[n]) for n in PUBLISHED_MM2)))
            print(pairs[-1], file=sys.stderr, flush=True)
    die = {name: chip.die_mm2() for name, chip in chips.items()}
    published, modelled = (mm2["a100_sxm"] / mm2["ador"] for mm2 in (PUBLISHED_MM2, die))
    rows = []
    for x in pairs:
        plain, hosted = x.ratio(), x.ratio(HOST_S)
        each = (x.gpu_s * 1e3, x.ador_s * 1e3, plain, hosted, plain * published, hosted * published, plain * modelled)
        rows.append([x.context, x.batch, *(f"{v:.2f}" for v in each)])
    headers = [
        "context",
        "batch",
        "A100 ms",
        "ador ms",
        "TBT ratio",
        "with host",
        "per mm2",
        "with host",
        "per our mm2",
    ]
    area = ", ".join(f"{n} {PUBLISHED_MM2[n]:.0f} mm2 published, {die[n]:.0f} mm2 ours" for n in chips)
    plain, hosted = (median(x.ratio(host) for x in pairs) for host in (0.0, HOST_S))
    if plot:
        plot.write_text(curves(BATCHES, _panels(pairs, published)), encoding="utf-8")
    return [
        f"Decode steps of {MODEL} on {DEVICES} devices. {area}.",
        "",
        markdown(headers, rows),
        "",
        *([f"![Both ratios over the batch, by context; dashed with host]({plot.name})", ""] if plot else []),
        f"Median of the TBT ratio {plain:.2f}, with host {hosted:.2f}; the paper: {PAPER_TBT}. "
        f"Per published area {plain * published:.2f} and {hosted * published:.2f}; the paper: {PAPER_AREA}.",
        "",
        "The A100 is our model of the chip with its libraries, validated on kernels "
        f'([VALIDATION.md](../VALIDATION.md)); "with host" adds {HOST_S * 1e3:g} ms to its steps and none to those of '
        '`ador`, as measured for vLLM 0.19 with another model on another machine. "Per mm2" divides by the published '
        'areas, "our mm2" by those that we compute.',
        "",
        *_differences(pairs, plain, hosted, die["ador"]),
    ]


def _panels(pairs: Sequence[Pair], published: float) -> list[Panel]:
    def lines(factor: float, host_s: float) -> dict[str, list[float]]:
        return {f"context {c}": [x.ratio(host_s) * factor for x in pairs if x.context == c] for c in CONTEXTS}

    return [
        Panel(title, lines(factor, 0.0), lines(factor, HOST_S), paper, "the paper")
        for title, factor, paper in (
            ("TBT of 8 A100 over that of 8 ador; dashed: with host", 1.0, PAPER_TBT),
            ("the same per published area", published, PAPER_AREA),
        )
    ]


def _differences(pairs: Sequence[Pair], plain: float, hosted: float, die_mm2: float) -> list[str]:
    first = pairs[0]
    last = next(x for x in pairs if x.context == first.context and x.batch == BATCHES[-1])

    def linked(x: Pair, ours: bool) -> str:
        held, all_ = (x.ador_linked_s, x.ador_s) if ours else (x.gpu_linked_s, x.gpu_s)
        return f"{held * 1e3:.1f} of {all_ * 1e3:.1f} ms"

    small, large = (f"batch {x.batch} and context {x.context}" for x in (first, last))
    return [
        "Where we differ from the paper, and why:",
        "- The paper's ratio is one number at high batch sizes; ours falls with the batch, from "
        f"{first.ratio():.1f} to {last.ratio():.1f}. What makes `ador` faster at small batches is time that does not "
        "grow with the batch: GEMM kernels of the A100 read weights at a part of its bandwidth, and each of its "
        "exchanges costs latency "
        f"(all-reduces at {small}: {linked(first, False)}, against {linked(first, True)}).",
        "- At large batches exchanges decide: `ador` as we know it has 64 GB/s links, an A100 300 GB/s each way. At "
        f"{large} all-reduces take {linked(last, True)} of `ador`, and {linked(last, False)} of the A100. With links "
        "that keep up the ratio would not fall as it does; the paper's links are not confirmed.",
        f"- What serving software adds to an A100 is not in its kernels. {HOST_S * 1e3:g} ms a step moves the median "
        f"from {plain:.2f} to {hosted:.2f}; a measured baseline may hold more than that.",
        f"- Our area of `ador` is {die_mm2:.0f} mm2, the published one {PUBLISHED_MM2['ador']:.0f} mm2: units, "
        "memories, networks and PHYs as far as they are declared, without what is not.",
    ]


# ---- a chip that beats it ----------------------------------------------------------------------


def beating(space: Space, reference: dict[str, float]) -> Space:
    """The space whose one goal is the worst ratio to a reference, in any of its goals."""
    text = space.source.text
    goals = [line.split("=", 1)[1].strip() for line in text.splitlines() if line.strip().startswith("minimize")]
    names = [g.name for g in space.goals]
    ratios = [f"({e}) / {reference[n]!r}" for e, n in zip(goals, names, strict=True)]
    worst = ratios[0]
    for other in ratios[1:]:
        worst = f"maximum({worst}, {other})"
    kept = [line for line in text.splitlines() if not line.strip().startswith("minimize")]
    source = Source(
        f"{space.name} against a reference", "\n".join([*kept[:-1], f"  minimize worst = {worst}", "}", ""])
    )
    (decl,) = parse_items(source)
    return resolve(decl, source)  # type: ignore[arg-type]


def searched(budget: int, workers: int, own_links: bool) -> list[str]:
    """The best design found, how much better it is, and what bounds say of the others; with `own_links` of those that
    have links as fast as those of `ador`."""
    start, cpu = time.perf_counter(), os.times()
    space = load_space("ador")
    pool = space.pools["chip"]
    own = Mapped(pool, {**OURS, "link": LINK})
    reference = {
        "ttft_s": float(own.figure(("prompt", "latency_s"))),
        "tbt_s": float(own.figure(("chat", "latency_s"))),
        "area_mm2": float(own.figure(("area_mm2",))),
    }
    against = beating(space, reference)
    question = Asked(against)
    scene = bounded(question)
    assert scene.pool is not None
    link = next(i for i, a in enumerate(space.axes) if a.name == "link")
    same = np.array(space.axes[link].values)[scene.pool[:, link]] == LINK
    sampler = Screened(replace(scene, pool=scene.pool[same]) if own_links else scene, 0)
    possible = len(sampler.open()[0])
    with ProcessPoolExecutor(workers) as executor:
        while len(sampler.told) < budget and (points := sampler.ask(4)):
            answers = list(executor.map(partial(answered, question), points))
            sampler.tell(points, answers)
            _progress(points, answers)
    values, found = sampler.feasible()
    at = int(found[:, 0].argmin())
    best = Mapped(pool, values_at(space, [int(i) for i in values[at]]))
    wins = {
        name: float(best.figure(path)) / reference[name]
        for name, path in (
            ("ttft_s", ("prompt", "latency_s")),
            ("tbt_s", ("chat", "latency_s")),
            ("area_mm2", ("area_mm2",)),
        )
    }
    now = os.times()
    used = sum(now[:4]) - sum(cpu[:4])
    left = len(sampler.open()[0])
    return [
        f"`ador` itself: TTFT {reference['ttft_s'] * 1e3:.2f} ms, TBT {reference['tbt_s'] * 1e3:.3f} ms, "
        f"area {reference['area_mm2']:.1f} mm2 (prefill of 2048 tokens; decode of 64 sequences, 2048 past).",
        "",
        f"Of {space.points:,} points {sampler.scene.size():,} differ"
        f"{' and have the links of `ador`' if own_links else ''}, {possible:,} keep the limits; "
        f"{len(sampler.told)} were mapped, {left:,} may still be better.",
        "",
        "Best: " + ", ".join(f"{a} {v:g}" for a, v in best.values.items() if not isinstance(v, str)),
        "",
        markdown(
            ["", "TTFT ms", "TBT ms", "area mm2", "die mm2"],
            [
                ["ador", *_cells(own)],
                ["found", *_cells(best)],
                ["ratio", *(f"{wins[n]:.3f}" for n in reference), ""],
            ],
        ),
        "",
        f"It is at least {1 - found[at, 0]:.1%} better in all three at once; no design of the space is better by more "
        f"than {1 - found[at, 0] / (1 + sampler.gap()):.1%}. {time.perf_counter() - start:.0f} s, {used:.0f} CPU s "
        f"with {workers} workers.",
        *([] if own_links else ["", "The paper's question fixes node and DRAM, not links: with its own, see below."]),
    ]


def answered(question: Asked, point: Point) -> Answer:
    """The answer at a point, in whatever process: what cannot run is one."""
    try:
        return question.evaluate(point)
    except Infeasible as no:
        return Answer(None, no.message)


def _cells(one: Mapped) -> list[str]:
    ttft, tbt = (float(one.figure((n, "latency_s"))) * 1e3 for n in ("prompt", "chat"))
    return [f"{ttft:.2f}", f"{tbt:.3f}", *(f"{float(one.figure((n,))):.1f}" for n in ("area_mm2", "die_mm2"))]


def _progress(points: list[Point], answers: list[Answer]) -> None:
    for point, answer in zip(points, answers, strict=True):
        said = f"{answer.values['worst']:.4f}" if answer.values else answer.why
        print(point, said, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=[*PARTS, []], help="all where nothing is said")
    parser.add_argument("--budget", type=int, default=32, help="designs that are mapped; 20 with the links of `ador`")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("-o", "--out", type=Path, help="a file for the tables, and beside it one for the plot")
    args = parser.parse_args()
    made = {
        "compare": lambda: compared(args.out and args.out.with_suffix(".svg")),
        "search": lambda: searched(args.budget, args.workers, own_links=False),
        "own-links": lambda: searched(min(args.budget, 20), args.workers, own_links=True),
    }
    lines = [
        "# Eight A100 against eight `ador`, and a chip that beats `ador`",
        "",
        "Written by `python benchmarks/studies/ador.py`. Where other work keeps the machine busy, CPU seconds count.",
        "",
    ]
    for name in args.what or PARTS:
        lines += [f"## {PARTS[name]} (`{name}`)", "", *made[name](), ""]
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
