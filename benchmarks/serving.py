"""Requests per CPU second of the serving engines, on the Azure conversation trace and on made-up ones.

The table of step latencies is made up too: a roofline of Llama-3-70B, 16 bit, on eight chips of 400 TFLOP/s and 2 TB/s,
at 60 % and 75 % of their peaks (our estimates). How fast the engines are does not depend on where a table comes from.
Figures of other simulators are from one earlier run of each on the same trace and a 70B model, elsewhere: splitwise-sim
is on no package index, and the wheel of Vidur there (0.0.26) has none of the profiles of kernels that its runs read.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tables import table as printed

from dfcompiler.serving import compiled
from dfcompiler.serving.cluster import Cluster, Link, Pool
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.policy import router
from dfcompiler.serving.requests import Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.table import StepTable

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TRACE = "azure/AzureLLMInferenceTrace_conv.csv"
OTHERS = {"Vidur": "166", "splitwise-sim": "3,129"}
KV_BYTES = 80 * 2 * 8 * 128 * 2  # of a token: layers, keys and values, heads, their size, 16 bit
MILLION = 1_000_000


def conversations() -> Requests | None:
    """The Azure trace of 2023 (CC-BY 4.0, Splitwise, ISCA 2024), or None where it is absent."""
    path = DATA / TRACE
    if not path.is_file():
        return None
    rows = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    arrival = np.array([row[0] for row in rows], dtype="datetime64[ns]")
    seconds = (arrival - arrival.min()).astype(np.int64) / 1e9
    return Requests.of(seconds, [int(row[1]) for row in rows], [max(1, int(row[2])) for row in rows])


def drawn(count: int, per_s: float) -> Requests:
    """Poisson arrivals with lengths like those of conversations."""
    rng = np.random.default_rng(0)
    prompt = np.clip(rng.lognormal(6.6, 0.9, count), 1, 8000).astype(np.int64)
    output = np.clip(rng.lognormal(5.0, 0.8, count), 1, 1000).astype(np.int64)
    return Requests.of(np.cumsum(rng.exponential(1 / per_s, count)), prompt, output)


def roofline() -> StepTable:
    grids = [
        np.array([0, 64, 128, 256, 512, 1024, 2048, 4096, 8192]),
        np.array([0, 512, 2048, 8192, 32768]),
        np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512]),
        np.array([0, 1024, 4096, 16384, 65536, 262144, 1048576]),
    ]
    q, p, b, c = np.meshgrid(*(g.astype(float) for g in grids), indexing="ij")
    flops, bytes_per_s, weights = 8 * 400e12 * 0.6, 8 * 2e12 * 0.75, 70.6e9
    read_s = (2 * weights + (c + p * (q > 0)) * KV_BYTES) / bytes_per_s
    compute_s = (2 * weights * (q + b) + 4 * 80 * 8192 * (q * (p + q / 2) + c)) / flops
    return StepTable(*grids, np.maximum(read_s, compute_s), host_s=2e-3, tokens_capacity=1_200_000)


def cpu_s(run: Callable[[], object], runs: int) -> float:
    """The least CPU seconds of some runs."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def highest_rate(requests: Requests, cluster: Cluster, fast: bool) -> float:
    """The rate, to 1 %, at which 99 % have their first token within 2 s: the trace is played faster and slower."""
    low, high = 0.1, 64.0
    while high > low * 1.01:
        middle = (low * high) ** 0.5
        faster = Requests.of(requests.arrival_s / middle, requests.prompt_tokens, requests.output_tokens)
        late = simulate(faster, cluster, fast=fast).first_token_s - faster.arrival_s > 2
        low, high = (middle, high) if late.mean() <= 0.01 else (low, middle)
    return low * len(requests) / float(requests.arrival_s[-1])


def clusters(step: StepTable) -> dict[str, Cluster]:
    settings = Settings(max_batched_tokens=2048, max_sequences=256)
    pool = lambda count, role="both": Pool(step, settings, count, role)  # noqa: E731
    shortest = router("shortest-queue")
    link = Link(50e9, KV_BYTES, 1e-5, layers=80)
    return {
        "one replica": Cluster((pool(1),)),
        "four replicas, shortest queue": Cluster((pool(4),), router=shortest),
        "two prefill, two decode": Cluster((pool(2, "prefill"), pool(2, "decode")), router=shortest, link=link),
    }


def speeds(runs: int) -> str:
    requests = conversations()
    name = "Azure conversations" if requests is not None else f"made-up requests ({TRACE} is absent)"
    requests = requests if requests is not None else drawn(19_366, 5.4)
    rows = []
    step, some = roofline(), drawn(5_000, 5.0)
    for fast in (True, False) if compiled.available() else (False,):
        how = "numba" if fast else "plain Python"
        for what, cluster in clusters(step).items():
            start = time.process_time()
            served = simulate(requests, cluster, fast=fast)
            first = time.process_time() - start
            seconds = cpu_s(lambda c=cluster, f=fast: simulate(requests, c, fast=f), runs)  # type: ignore[misc]
            rate = f"{len(requests) / seconds:,.0f}"
            rows.append([what, how, f"{served.steps:,}", f"{first:.2f}", f"{seconds:.4f}", rate])
        seconds = cpu_s(lambda f=fast: highest_rate(some, clusters(step)["one replica"], f), 1)  # type: ignore[misc]
        rows.append(["highest rate, 5,000 requests", how, "", "", f"{seconds:.4f}", ""])
    rows += [[other, "", "", "", "", rate] for other, rate in OTHERS.items()]
    headers = ["what", "how", "steps", "first call CPU s", "CPU s", "requests/CPU s"]
    loop = cpu_s(lambda: sum(i for i in range(10_000_000)), 1)
    notes = [
        f"{len(requests):,} requests, {name}; best of {runs} runs after the first call, which compiles where there is",
        "numba. Vidur and splitwise-sim as measured once, elsewhere: neither runs from a package index alone, as the",
        "one's wheel lacks the profiles that it reads and the other has none. For comparison of machines:",
        f"adding up ten million numbers in plain Python took {loop:.2f} CPU s here at the same time.",
    ]
    return str(printed("Serving", headers, rows, notes))


def memory() -> None:
    """In a process of its own: a million requests."""
    fast = compiled.available()
    requests = drawn(MILLION, 5.0)
    start = time.process_time()
    served = simulate(requests, clusters(roofline())["one replica"], fast=fast)
    seconds = time.process_time() - start
    assert not np.isnan(served.done_s).any()
    print(f"{'numba' if fast else 'plain Python'}|{peak_mb():.0f}|{seconds:.2f}")


def peak_mb() -> float:
    """The most memory that this process has had; `getrusage` would tell that of its parent where it had more."""
    status = Path("/proc/self/status")
    if status.is_file():
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of which the best is shown")
    parser.add_argument("--million", action="store_true", help="only serve a million requests, and print its memory")
    arguments = parser.parse_args()
    if arguments.million:
        memory()
        return
    with tempfile.TemporaryDirectory() as folder:  # of our own: what others run does not take the place of what is kept
        os.environ["XDG_CACHE_HOME"] = folder
        print(speeds(arguments.runs))
        done = subprocess.run([sys.executable, __file__, "--million"], capture_output=True, text=True, check=True)
    notes = ["All of the process, with Python, numpy and numba; what is compiled was compiled before."]
    headers = ["how", "peak MB", "CPU s"]
    print()
    print(printed("A million requests", headers, [done.stdout.strip().split("|")], notes))


if __name__ == "__main__":
    main()
