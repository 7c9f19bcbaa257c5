"""ADOR (arXiv 2503.04253): eight A100 against eight `ador` on Llama-3-70B, and a chip that beats `ador`.

    python benchmarks/studies/ador.py [compare] [search] [-o FILE]

`compare` maps decode steps of both and divides their times (TBT), and the times per area. The A100 is our model of it
with its libraries, as validated (VALIDATION.md), without what a serving framework adds, and with 1 ms a step, which is
measured for vLLM on another machine (docs/serving.md).

`search` asks for the design of `templates/spaces/ador.space` that is better than `ador` in TTFT, TBT and area at once
by the largest factor: the goal is the worst of the three ratios, the search best first by proven bounds.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tables import markdown

from dfcompiler.api import compile_model
from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.explore.asked import Asked
from dfcompiler.explore.bounded import bounded
from dfcompiler.explore.designs import values_at
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.question import Answer, Point
from dfcompiler.explore.samplers.screened import Screened
from dfcompiler.explore.space import Space, load_space, resolve
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
LINK = 64e9  # B/s, of the chip `ador`; with OURS the chip as a point of the space


def compared() -> list[str]:
    """The table of ratios, and what it says."""
    chips = {name: load_chip(name) for name in PUBLISHED_MM2}
    model, parallel = load_model(MODEL), Parallel(tp=DEVICES)
    die = {name: chip.die_mm2() for name, chip in chips.items()}
    rows, ratios, hosted = [], [], []
    for context in CONTEXTS:
        for batch in BATCHES:
            step = phase("decode", batch, 1, context)
            tbt = {n: compile_model(model, c, step, parallel=parallel).report.latency_s for n, c in chips.items()}
            gpu, ours = tbt["a100_sxm"], tbt["ador"]
            published = PUBLISHED_MM2["a100_sxm"] / PUBLISHED_MM2["ador"]
            modelled = die["a100_sxm"] / die["ador"]
            ratios.append(gpu / ours)
            hosted.append((gpu + HOST_S) / ours)
            cells = [gpu * 1e3, ours * 1e3, gpu / ours, hosted[-1], gpu / ours * published, hosted[-1] * published]
            rows.append([context, batch, *(f"{x:.2f}" for x in (*cells, gpu / ours * modelled))])
            print(*rows[-1], file=sys.stderr, flush=True)
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
    return [
        f"Decode steps of {MODEL} on {DEVICES} devices. {area}.",
        "",
        markdown(headers, rows),
        "",
        f"Median of the TBT ratio {median(ratios):.2f}, with host {median(hosted):.2f}; the paper: {PAPER_TBT}. "
        f"Per published area {median(ratios) * published:.2f} and {median(hosted) * published:.2f}; "
        f"the paper: {PAPER_AREA}.",
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
        f"than {1 - found[at, 0] / (1 + sampler.gap()):.1%}. {time.perf_counter() - start:.0f} s, {used:.0f} CPU s.",
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
    parser.add_argument("what", nargs="*", choices=["compare", "search", []], help="both where nothing is said")
    parser.add_argument("--budget", type=int, default=48, help="designs that are mapped")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--own-links", action="store_true", help="search designs with the links of `ador` only")
    parser.add_argument("-o", "--out", type=Path, help="a file for the tables")
    args = parser.parse_args()
    lines = ["# Eight A100 against eight `ador`, and a chip that beats `ador`", ""]
    for name, made in (("compare", compared), ("search", lambda: searched(args.budget, args.workers, args.own_links))):
        if not args.what or name in args.what:
            lines += [f"## {name.capitalize()}", "", *made(), ""]
    text = "\n".join(lines)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
