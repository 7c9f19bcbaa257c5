"""A run of `dfc serve` for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dfcompiler.cli import display
from dfcompiler.serving.answers import Spread
from dfcompiler.serving.replicas import Replicas
from dfcompiler.serving.runs import Run


def print_run(run: Run, part: float, written: Sequence[Path]) -> None:
    """The answers, and what they rest on."""
    a, wanted = run.answers, run.wanted
    display.heading(run.title())
    lost = f", {a.rejected:,} rejected" if a.rejected else ""
    lines = [("served", f"{a.completed:,} of {a.requests:,} requests in {display.seconds(a.duration_s)}{lost}, "
                        f"{a.preemptions:,} preemptions, {a.steps:,} steps")]  # fmt: skip
    lines += [("pool", _pool(x)) for x in run.pools]
    lines.append(("through", f"{display.digits(a.throughput_tok_s)} tokens/s, {a.throughput_req_s:.4g} requests/s"))
    if wanted.given:
        limits = ", ".join(f"{n} {display.seconds(x)}" for n, x in wanted.given.items())
        lines.append(("objective", f"{limits}: kept for {display.percent(a.slo_attainment)} of the requests, "
                                   f"goodput {a.goodput_req_s:.4g} requests/s"))  # fmt: skip
    if run.rate:
        r = run.rate
        high = f"{r.too_high_per_s:.4g}/s is too high" if r.too_high_per_s < math.inf else "no rate is too high"
        lines.append(("max rate", f"{r.rate_per_s:.4g} requests/s keep it for {display.percent(part)}; {high}; "
                                  f"{r.runs} runs. What is shown here is at that rate"))  # fmt: skip
    if run.spending:
        s = run.spending
        usd = f", {s.usd:.3g} USD" if s.usd is not None else ""
        lines.append(
            ("a million", f"tokens: {display.joules(s.joules)}{usd}; {display.digits(s.average_w)} W on average")
        )
    lines.append(("simulated", f"in {display.seconds(run.sim_cpu_s)} of CPU time"))
    display.facts([*lines, *(("written", str(p)) for p in written)])
    display.plain()
    columns = [display.Column(""), *(display.Column(t, right=True) for t in ("mean", "p50", "p90", "p95", "p99"))]
    rows = [("TTFT", a.ttft_s), ("TBT", a.tbt_s), ("TPOT", a.tpot_s), ("end to end", a.e2e_s)]
    display.table(columns, [[name, *_spread(x)] for name, x in rows])


def _pool(x: Replicas) -> str:
    room, setting = x.room, x.steps.setting
    devices = f" x {setting.parallel.count} devices" if setting.parallel.count > 1 else ""
    error = ""
    if x.steps.error:
        e = x.steps.error
        error = (
            f"; steps within {display.percent(e.mean)} of compiled ones on average, at worst {display.percent(e.worst)}"
        )
    return (
        f"{x.pool.replicas} x {setting.chip.name}{devices}, {x.pool.role}: {room.tokens:,} tokens of cache in "
        f"{display.large(room.tokens * room.token_bytes, 'B')} of each device, beside "
        f"weights {display.large(room.weights_bytes, 'B')} and {display.large(room.reserve_bytes, 'B')} for the values "
        f"of a step{error}"
    )


def _spread(s: Spread) -> list[str]:
    return [display.seconds(v) if math.isfinite(v) else "-" for v in (s.mean, s.p50, s.p90, s.p95, s.p99)]
