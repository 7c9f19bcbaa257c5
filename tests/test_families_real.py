"""Checkpoints whose published counts need arithmetic: towers, further layers, files that leave something out.

The configurations come from the distribution `aiconfigurator-core` where that is installed.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from tiny import lower

from dfcompiler.census import Census, census
from dfcompiler.models import load_model
from dfcompiler.steps import step


def real(name: str) -> Path:
    try:
        found = distribution("aiconfigurator-core")
    except PackageNotFoundError:
        pytest.skip("aiconfigurator-core, whose configurations are read, is not installed")
    return Path(str(found.locate_file(f"aiconfigurator_core/model_configs/{name}_config.json")))


def counted(path: Path) -> Census:
    return census(lower(load_model(str(path)), step(decode=[16])))


# Numbers of parameters of the checkpoints. Their tower for images: 34 layers of width 1408 with four biased
# projections, a biased feed-forward layer of 5632 and two layer norms; a projection of 14 x 14 x 3 pixels, 577 places,
# a class, two layer norms; an adapter of 5632 x 4096 and 4096 x 4096, and a projection of 4096 x 5120.
@pytest.mark.parametrize(
    ("name", "published"),
    [("Scout-17B-16E", 108_641_793_536), ("Maverick-17B-128E", 401_583_781_376)],
)
def test_llama4_to_the_last_parameter(name: str, published: int) -> None:
    one = 4 * (1408 + 1) * 1408 + (1408 + 1) * 5632 + (5632 + 1) * 1408 + 2 * 2 * 1408
    tower = 34 * one + 14 * 14 * 3 * 1408 + 577 * 1408 + 1408 + 2 * 2 * 1408 + 5632 * 4096 + 4096 * 4096 + 4096 * 5120
    found = counted(real(f"meta-llama--Llama-4-{name}-Instruct"))
    assert found.total + tower == published
    assert found.active / 1e9 == pytest.approx(17, abs=0.5)  # as the card rounds it


@pytest.mark.parametrize("name", ["MiniMaxAI--MiniMax-M3", "nvidia--MiniMax-M3-NVFP4"])
def test_minimax_m3(name: str) -> None:
    """428 billion with the tower for images; 23 billion active without the embedding and the scores."""
    model = load_model(str(real(name)))
    tables = 2 * int(model.params["V"]) * int(model.params["D"])  # type: ignore[arg-type]
    found = counted(real(name))
    assert found.total / 1e9 == pytest.approx(428, rel=0.005)
    assert (found.active - tables) // 10**9 == 23


def test_mimo_with_its_further_layer() -> None:
    """The report's 7.83 billion have one more layer, behind a projection of two joined tokens and three norms."""
    model = load_model(str(real("XiaomiMiMo--MiMo-7B-Base")))
    D, E, H, G, F = (int(model.params[n]) for n in "DEHGF")  # type: ignore[arg-type]
    layer = 2 * D * (H + G) * E + (H + 2 * G) * E + 3 * D * F + 2 * D
    total = counted(real("XiaomiMiMo--MiMo-7B-Base")).total
    assert round((total + layer + 2 * D * D + 3 * D) / 1e9, 2) == 7.83


def test_step_with_the_heads_of_its_checkpoint(tmp_path: Path) -> None:
    """The file leaves out the heads and gates of sliding layers; the checkpoint, with them, has 196.81 billion."""
    short = real("stepfun-ai--Step-3.7-Flash")
    more: dict[str, Any] = {
        "attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": 96},
        "use_head_wise_attn_gate": True,
    }
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(short.read_text()), **more}))
    assert counted(file).total / 1e9 == pytest.approx(196.81, rel=0.001)
    assert counted(file).total - counted(short).total == 33 * (2 * 32 * 128 + 96) * 4096 + 12 * 64 * 4096


def test_mixtral_ships() -> None:
    found = census(lower(load_model("mixtral-8x7b"), step(decode=[16])))
    assert (found.total, found.active) == (46_702_792_704, 12_879_925_248)
