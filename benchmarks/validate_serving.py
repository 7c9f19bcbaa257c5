"""Serving against a real server: `python benchmarks/validate_serving.py` writes benchmarks/SERVING.md.

The folder `vllm_rtxpro6000_llama31_8b` of DFC_DATA has what vLLM 0.19 made of 300 requests, by the authors of
LLMServingSim (MIT). Times of steps come from the chip file, the server's settings from the run's own, and one constant
is of this run: what the host adds to a step, fitted when kernels had other constants.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tables import table

from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.settings import overrides
from dfcompiler.models import load_model
from dfcompiler.serving.capacity import HOST_S
from dfcompiler.serving.cluster import Cluster
from dfcompiler.serving.engine import simulate
from dfcompiler.serving.replicas import replicas
from dfcompiler.serving.requests import Floats, Requests
from dfcompiler.serving.settings import Settings
from dfcompiler.serving.traces import read_trace

DATA = Path(os.environ.get("DFC_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
RUN = DATA / "vllm_rtxpro6000_llama31_8b"
MODEL, CHIP = "llama3-8b", "rtx_pro_6000"  # Llama 3.1 8B has the sizes of Llama 3 8B
BARS = {"TPOT": 0.05, "TTFT": 0.10, "latency": 0.05}
# The memory as the workstation edition's data sheet has it, and as the run's authors and the server edition's do: which
# board ran is not said. NVIDIA's kernel tables (aiconfigurator-core 0.12.0) have a server edition reading weights
# at up to 1535 GB/s.
BOARDS = {"1792 GB/s, as shipped": [], "1597 GB/s": ["hbm.bandwidth=1597 GB/s"]}
HOSTS_S = (0.0, HOST_S)
TRIED_S = [i * 250e-6 for i in range(13)]  # among which the one that fits best today is looked for
FILE = Path(__file__).with_name("SERVING.md")


@dataclass(frozen=True)
class Means:
    """Mean seconds: to the first token, per further token, in all."""

    ttft: float
    tpot: float
    latency: float

    @staticmethod
    def of(requests: Requests, first: Floats, last: Floats) -> Means:
        """Of all requests."""
        gaps = requests.output_tokens - 1
        ttft, latency = first - requests.arrival_s, last - requests.arrival_s
        return Means(float(ttft.mean()), float(((last - first) / gaps).mean()), float(latency.mean()))

    def errors(self, real: Means) -> dict[str, float]:
        """Signed parts by which each is off."""
        return {
            "TPOT": self.tpot / real.tpot - 1,
            "TTFT": self.ttft / real.ttft - 1,
            "latency": self.latency / real.latency - 1,
        }


def measured(folder: Path = RUN) -> tuple[Requests, Means]:
    """The requests of a run, and what they saw. The server's clock is another than that of arrivals: the request that
    waited least to be queued is taken to have waited for nothing."""
    rows = [json.loads(x) for x in (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()]
    requests = read_trace(folder / "requests.jsonl").requests
    sent, queued, first, last = (
        np.array([r[n] for r in rows]) for n in ("arrival_time", "queued_ts", "first_token_ts", "last_token_ts")
    )
    offset = float(np.min(queued - sent)) + float(sent.min())
    return requests, Means.of(requests, first - offset, last - offset)


def settings(folder: Path = RUN) -> Settings:
    """The server's settings, as it noted them."""
    said = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["engine_kwargs"]
    return Settings("vllm-v1", said["max_num_batched_tokens"], said["max_num_seqs"])


def modelled(requests: Requests, how: Settings, changes: list[str], host_s: float) -> Means:
    """What the requests would see of the model."""
    chip = load_chip(CHIP, overrides(changes))
    made = replicas(load_model(MODEL), chip, requests, how, host_s=host_s)
    served = simulate(requests, Cluster((made.pool,)))
    return Means.of(requests, served.first_token_s, served.done_s)


def fitted_s(changes: list[str]) -> tuple[float, dict[str, float]]:
    """What the host would have to add for the least squares of the errors, and these."""
    requests, real = measured()
    found = [(host_s, modelled(requests, settings(), changes, host_s).errors(real)) for host_s in TRIED_S]
    return min(found, key=lambda x: sum(e * e for e in x[1].values()))


def results() -> Iterator[list[object]]:
    """A row per board and host constant."""
    requests, real = measured()
    yield ["measured", "", f"{real.tpot * 1e3:.2f}", f"{real.ttft * 1e3:,.0f}", f"{real.latency * 1e3:,.0f}", "", ""]
    for board, changes in BOARDS.items():
        for host_s in HOSTS_S:
            start = time.process_time()
            m = modelled(requests, settings(), changes, host_s)
            errors = m.errors(real)
            met = "met" if all(abs(errors[n]) <= bar for n, bar in BARS.items()) else "missed"
            shown = [
                f"{x * 1e3:,.{d}f} ({100 * errors[n]:+.1f} %)"
                for x, n, d in ((m.tpot, "TPOT", 2), (m.ttft, "TTFT", 0), (m.latency, "latency", 0))
            ]
            yield [board, f"{host_s * 1e6:.0f}", *shown, met, f"{time.process_time() - start:.1f}"]


def main() -> None:
    """Write the table."""
    if not RUN.is_dir():
        print(f"there is no run of vLLM in {DATA}: set DFC_DATA")
        return
    bars = ", ".join(f"{n} {100 * bar:.0f} %" for n, bar in BARS.items())
    fits = ", ".join(
        f"{host_s * 1e6:.0f} us on {board} ({', '.join(f'{n} {100 * e:+.1f} %' for n, e in errors.items())})"
        for board, changes in BOARDS.items()
        for host_s, errors in [fitted_s(changes)]
    )
    notes = [
        f"Bars of the means: {bars}. The host's part of a step is the one constant that this run was used for; it was "
        f"fitted when kernels had other constants. What would fit best today: {fits}.",
        "CPU seconds are those of tables, simulation and reading, with nothing kept from before in the first row of a "
        "board.",
    ]
    headers = ["memory", "host µs", "mean TPOT ms", "mean TTFT ms", "mean latency ms", "bars", "CPU s"]
    text = table(f"{MODEL} on {CHIP}, 300 requests, vLLM 0.19", headers, list(results()), notes)
    FILE.write_text(f"# Serving against a real server\n\nWritten by `make validate`.\n\n{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
