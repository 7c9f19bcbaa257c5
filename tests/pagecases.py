"""Results to make pages of: folders as the commands write them."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from dfcompiler.cli import main

# A decoder small enough to be mapped within seconds, with grouped heads.
SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "num_hidden_layers": 4,
    "vocab_size": 2048,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000,
}


def compiled(folder: Path, *more: str) -> Path:
    """A step of the small model on `ador`, prefill and decode at once."""
    config = folder / "small.json"
    config.write_text(json.dumps(SMALL))
    out = folder / "compiled"
    arguments = ["--on", "ador", "--phase", "mixed", "--seq", "256", "--batch", "4", "--context", "256", *more]
    assert main(["compile", str(config), *arguments, "--time-limit", "5", "-o", str(out)]) == 0
    return out


def served(folder: Path, *more: str) -> Path:
    """A run of `dfc serve` with its highest rate, and answers at eight rates."""
    config = folder / "small.json"
    config.write_text(json.dumps(SMALL))
    out = folder / "served"
    load = ["--poisson", "20", "--lengths", "300,20", "--requests", "60", "--slo", "ttft=0.5,tbt=0.2", "--find-rate"]
    assert main(["serve", str(config), "--on", "h100_sxm", *load, "--curve", "8", "-o", str(out), *more]) == 0
    return out


def explored(folder: Path) -> Path:
    """A study as `dfc explore -o` leaves it, of designs whose objectives are sums."""
    points = []
    for cores, rows, memory in itertools.product((16, 32, 64), (32, 64, 128), ("hbm2e", "hbm3", "lpddr5")):
        rate = {"hbm2e": 2.0, "hbm3": 3.2, "lpddr5": 0.5}[memory]
        reached = {
            "latency_s": max(2e6 / (cores * rows * rows), 20 / rate) * 1e-3,
            "area_mm2": cores * (rows * rows / 4096 + 3),
            "tokens_per_usd": 1e6 / (cores * rows + 400 * rate),
        }
        points.append({"axes": {"cores": cores, "sa.rows": rows, "memory": memory, "node": 7}, "objectives": reached})
    directions = {"latency_s": "min", "area_mm2": "min", "tokens_per_usd": "max"}
    front = [p for p in points if not any(beats(q, p, directions) for q in points)]
    study = {
        "points_in_space": len(points), "screened": len(points), "evaluated": len(front), "seconds": 1.5,
        "proof": "exhaustive", "front": front, "hypervolume": 12.5, "reference": {"latency_s": 1.0},
        "directions": directions,
    }  # fmt: skip
    out = folder / "explored"
    out.mkdir()
    (out / "front.json").write_text(json.dumps(study))
    return out


SPACE = """\
space study {{
  pool chip on ador {{
    axis side = 32, 64
    axis local = 1 MiB, 2 MiB
    set sa.rows = side
    set sa.cols = side
    set local.capacity = local
    load prompt: "{model}" {{ phase = prefill, batch = 1, seq = 512 }}
  }}
  minimize ttft_s = prompt.latency_s
  minimize area_mm2 = area_mm2
}}
"""


def studied(folder: Path) -> Path:
    """A study of four chips as `dfc explore -o` leaves it, each mapped for the small model."""
    config, space, out = folder / "small.json", folder / "study.space", folder / "study"
    config.write_text(json.dumps(SMALL))
    space.write_text(SPACE.format(model=config), encoding="utf-8")
    assert main(["explore", str(space), "--workers", "1", "-o", str(out)]) == 0
    return out


def beats(a: dict[str, Any], b: dict[str, Any], directions: dict[str, str]) -> bool:
    """Whether a design is at least as good in all, and better in one."""
    signs = {n: 1 if d == "min" else -1 for n, d in directions.items()}
    pairs = [(signs[n] * a["objectives"][n], signs[n] * b["objectives"][n]) for n in directions]
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def report(folder: Path) -> Path:
    """The page on a folder."""
    assert main(["report", str(folder)]) == 0
    return folder / "report.html"
