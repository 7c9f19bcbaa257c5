"""CPU seconds before the work begins: help, lists, and a large model read and lowered, each by a fresh process.

Shown for the first run of all, where nothing is kept, for the first run of a new version, where the tables of an
unchanged grammar are kept, and for all later runs. The processes see what an installation without test tools has.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import os
import pstats
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tables import table

# The sizes that DeepSeek-V3 is published with.
MODEL = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "num_hidden_layers": 61,
    "first_k_dense_replace": 3,
    "hidden_size": 7168,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "n_group": 8,
    "topk_group": 4,
    "topk_method": "noaux_tc",
    "norm_topk_prob": True,
    "routed_scaling_factor": 2.5,
    "scoring_func": "sigmoid",
    "hidden_act": "silu",
    "vocab_size": 129280,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
}
# What is timed of the model: from its file to a graph, without the imports before.
LOWER = """
import sys, time
from dfcompiler import pipeline, models, steps, registry
from dfcompiler.diagnostics import Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Graph
passes = pipeline.parse_pipeline(Source("p", "lower-model"))
def lower():
    context = pipeline.Context(model=models.load_model(sys.argv[1]), dtypes=parse_dtypes("w16a16kv16"),
                               step=steps.step(prefill=[(2048, 0)], decode=[2048] * 16))
    return pipeline.run_pipeline(passes, Graph("g"), context)
def timed():
    start = time.process_time()
    lower()
    return time.process_time() - start
"""
# With `interegular`, which the tests bring along, lark checks every grammar for terminals that overlap.
PLAIN = "import sys; sys.modules['interegular'] = None"
COMMAND = f"{PLAIN}; import runpy; runpy.run_module('dfcompiler', run_name='__main__', alter_sys=True)"


@dataclass(frozen=True)
class Case:
    """What is measured: its name, the bar in CPU seconds, and how one run in a cache folder is timed."""

    name: str
    bar_s: float
    seconds: Callable[[Path], float]


def command(*argv: str, **env: str) -> Callable[[Path], float]:
    """CPU seconds of `dfc ARGV`, all of the process."""
    return lambda home: process(home, "-c", COMMAND, *argv, **env)


def process(home: Path, *argv: str, **env: str) -> float:
    """CPU seconds of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(home, *argv, **env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def python(home: Path, *argv: str, **env: str) -> str:
    """stdout of a Python process whose cache folder is in `home`."""
    done = subprocess.run(
        [sys.executable, *argv],
        env=os.environ | {"XDG_CACHE_HOME": str(home)} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(argv)[:80]} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def cases(config: Path) -> list[Case]:
    """Everything that has a bar."""
    lower = ("-c", f"{PLAIN}\n{LOWER}\nprint(timed())", str(config))
    return [
        Case("import dfcompiler", 0.1, lambda home: process(home, "-c", f"{PLAIN}; import dfcompiler")),
        Case("dfc --version", 0.15, command("--version")),
        Case("dfc --help", 0.15, command("--help")),
        Case("dfc compile --help", 0.15, command("compile", "--help")),
        Case("dfc list", 0.4, command("list")),
        Case("dfc list chips", 0.4, command("list", "chips")),
        Case("dfc list passes", 0.4, command("list", "passes")),
        Case("dfc list models --json", 0.4, command("list", "models", "--json")),
        Case("a word that a shell completes", 0.4, command("completion", "bash", DFC_WORDS="compile\nx\n--on\nad")),
        Case("DeepSeek-V3, from its file to a graph", 0.3, lambda home: float(python(home, *lower))),
    ]


def forget(home: Path, *, tables_too: bool) -> None:
    """Remove what is kept."""
    for path in (home / "dfcompiler").glob("*" if tables_too else "engine-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def profile(code: str, argv: list[str], shown: int) -> str:
    """The functions below which most of the time goes, of code run in this process."""
    sys.argv[1:] = argv
    profiler = cProfile.Profile()
    place: dict[str, object] = {}
    exec(LOWER, place)
    profiler.runctx(code, place, place)
    text = io.StringIO()
    pstats.Stats(profiler, stream=text).strip_dirs().sort_stats("cumulative").print_stats(
        "dfc|lark|models|lowering|py:", shown
    )
    return "\n".join(f"    {line}" for line in text.getvalue().splitlines() if "{" not in line and ":" in line)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is shown")
    parser.add_argument("--profile", type=int, default=12, metavar="N", help="functions of the profile that are shown")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home, config = Path(folder, "cache"), Path(folder, "config.json")
        config.write_text(json.dumps(MODEL, indent=1))
        for case in cases(config):
            runs: list[tuple[float, ...]] = []
            for _ in range(args.runs):
                forget(home, tables_too=True)
                first = case.seconds(home)
                forget(home, tables_too=False)
                runs.append((first, case.seconds(home), case.seconds(home)))
            medians = [statistics.median(column) for column in zip(*runs, strict=True)]
            said = [verdict(m, case.bar_s) for m in (medians[0], medians[-1])]
            rows.append([case.name, f"{case.bar_s:.2f}", *(f"{m:.3f}" for m in medians), *said])
        os.environ["XDG_CACHE_HOME"] = str(home)
        where = profile("lower()", [str(config)], args.profile)
    notes = [
        f"CPU seconds, median of {args.runs}. Right: does the bar hold in the first run, and from the second on?",
        "A first run builds the tables of the grammar and parses the files it needs; for lists it imports what they",
        "are worked out from, too.",
        "",
        "Where the time of the last row goes in later runs (cProfile, profiled seconds are longer):",
        "",
        where,
    ]
    columns = ["what", "bar", "first run", "tables kept", "later runs", "first run", "later runs"]
    print(table("Start-up", columns, rows, notes))


def verdict(seconds: float, bar_s: float) -> str:
    """Whether the bar holds."""
    return "holds" if seconds <= bar_s else f"misses by {seconds - bar_s:.3f}"


if __name__ == "__main__":
    main()
