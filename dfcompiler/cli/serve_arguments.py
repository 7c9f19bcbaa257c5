"""What `dfc serve` takes. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from collections.abc import Callable

ARRIVALS = ("poisson", "gamma", "bursty")


def configure(p: argparse.ArgumentParser, whole: Callable[[str], int], real: Callable[[str], float]) -> None:
    """Add the options of the workload, the engine and the answers."""
    load = p.add_argument_group("the requests", "of a trace, or at a rate; default: --poisson 1")
    load.add_argument("--trace", metavar="FILE", help="a CSV or JSONL: of Azure, Vidur, splitwise, LLMServingSim, ours")
    load.add_argument("--sort", action="store_true", help="sort a trace whose times are not")
    for name, what in (
        ("poisson", "at random"),
        ("gamma", "with gaps that vary by --spread"),
        ("bursty", "in bursts of --spread requests on average"),
    ):
        load.add_argument(f"--{name}", type=real, metavar="RATE", help=f"requests per second, {what}")
    load.add_argument(
        "--spread", type=real, metavar="X", help="coefficient of variation (default 2), or a burst's size"
    )
    load.add_argument(
        "--lengths",
        metavar="SPEC",
        help="PROMPT,OUTPUT tokens, a workload (azure-conversation, azure-code), or a trace to draw from",
    )
    load.add_argument("--prefixes", metavar="N,T", help="prompts begin with one of N prefixes of T tokens")
    load.add_argument("--requests", type=whole, metavar="N", help="how many (default 2000, of a trace all)")
    load.add_argument("--rate", type=real, metavar="RATE", help="stretch a trace to so many requests per second")
    load.add_argument("--seed", type=whole, default=0, metavar="K", help="of what is drawn (default 0)")
    engine = p.add_argument_group("the engine")
    engine.add_argument("--semantics", default="vllm-v1", metavar="NAME", help="whose rules: vllm-v1 (default), ...")
    engine.add_argument("--policy", default="fcfs", metavar="NAME", help="who is served first (default fcfs)")
    engine.add_argument("--max-tokens", type=whole, default=2048, metavar="N", help="tokens of a step (default 2048)")
    engine.add_argument(
        "--max-sequences", type=whole, default=256, metavar="N", help="sequences of a step (default 256)"
    )
    engine.add_argument(
        "--block-tokens", type=whole, default=16, metavar="N", help="tokens of a cache block (default 16)"
    )
    engine.add_argument("--prefix-caching", action="store_true", help="what requests share is computed once")
    engine.add_argument("--host-us", type=real, metavar="T", help="the host's part of a step (default 1000)")
    engine.add_argument(
        "--memory-utilization", type=real, metavar="X", help="part of the memory that the engine takes (default 0.9)"
    )
    engine.add_argument("--simulator", default="lazy", metavar="NAME", help="lazy (default), jump or iter: all agree")
    many = p.add_argument_group("several replicas")
    many.add_argument("--replicas", type=whole, default=1, metavar="N", help="of --tp devices each (default 1)")
    many.add_argument("--router", default="round-robin", metavar="NAME", help="which replica (default round-robin)")
    many.add_argument(
        "--pools",
        metavar="SPEC",
        help="prefill=N,decode=N: replicas apart, caches moving between them; CHIP:N for others",
    )
    many.add_argument(
        "--spill",
        metavar="T,X",
        help="pools help each other: prompts behind more than T tokens, caches where more than the part X is in use",
    )
    many.add_argument("--shared-link", action="store_true", help="caches of all replicas move over one link")
    asked = p.add_argument_group("the answers")
    asked.add_argument("--slo", metavar="SPEC", help="objectives in seconds: ttft=2,tbt=0.1 (also tpot, e2e)")
    asked.add_argument("--find-rate", action="store_true", help="the highest rate that keeps to --slo")
    asked.add_argument("--curve", type=whole, default=0, metavar="N", help="the answers at N rates, for `dfc report`")
    asked.add_argument("--attain", type=real, default=0.99, metavar="X", help="for so many requests (default 0.99)")
    asked.add_argument("--rank", metavar="WHAT", help="strategies: every tp, pp and split of --devices, by that rate")
    asked.add_argument("--check", type=whole, default=0, metavar="N", help="compile N random steps to tell the error")
    asked.add_argument("--window", metavar="A,B", help="with -o: a trace for Perfetto from A to B seconds")
    asked.add_argument("--parquet", action="store_true", help="with -o: tables as Parquet, not CSV")
