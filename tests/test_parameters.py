"""Parameter counts of models against published ones: exact where the count of the checkpoint is known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from published import EXACT, SERVED, counted, served
from tiny import lower

from dfcompiler.census import census, declared
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.graphtext import parse_graph, show_graph
from dfcompiler.models import library, load_model
from dfcompiler.steps import step


def agrees(found: int, published: str) -> bool:
    """Whether a count is within 0.5 % of some number that rounds to the published one."""
    digits = len(published.partition(".")[2])
    billions = float(published)
    return abs(found / 1e9 - billions) <= 0.005 * billions + 0.5 * 10**-digits


def configuration(name: str) -> Path:
    """The configuration of a model that people serve; the test is skipped where the files are not installed."""
    folder = served()
    if folder is None:
        pytest.skip("aiconfigurator-core, whose configurations are read, is not installed")
    return folder / f"{name}_config.json"


@pytest.mark.parametrize("name", SERVED)
def test_published_counts(name: str) -> None:
    found, published = counted(load_model(str(configuration(name)))), SERVED[name]
    assert agrees(found.total, published.total), found
    if published.active:
        assert agrees(found.active - (0 if published.tables else found.looked_up), published.active), found


def test_tolerance_is_half_a_percent() -> None:
    assert agrees(671_026_419_200, "671") and agrees(668_000_000_000, "671")
    assert not agrees(675_000_000_000, "671") and not agrees(31_900_000_000, "31.6")


@pytest.mark.parametrize("name", EXACT)
def test_checkpoints_to_the_last_parameter(name: str, tmp_path: Path) -> None:
    config, published = EXACT[name]
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    found = counted(load_model(str(file)))
    assert found.total == published
    assert found.active == found.total


# What the files use that is not public in enough detail to be written down: the error says which field it is.
UNKNOWN: dict[str, str] = {}


def files() -> list[str]:
    folder = served()
    names = [f.name.removesuffix("_config.json") for f in folder.glob("*_config.json")] if folder else []
    return sorted(n for n in names if not n.endswith("_hf_quant"))


@pytest.mark.parametrize("name", files() or ["none"])
def test_files_of_models_that_people_serve(name: str, tmp_path: Path) -> None:
    """Every file loads, with its quantisation, and every kind of step is a graph whose text reads back."""
    config = configuration(name)
    beside = config.with_name(f"{name}_hf_quant_config.json")
    (tmp_path / "config.json").write_bytes(config.read_bytes())
    if beside.is_file():
        (tmp_path / "hf_quant_config.json").write_bytes(beside.read_bytes())
    architecture = json.loads(config.read_text())["architectures"][0]
    if architecture in UNKNOWN:
        with pytest.raises(Diag, match=UNKNOWN[architecture]):
            load_model(str(tmp_path))
        return
    model = load_model(str(tmp_path))
    for what in (step(prefill=[(512, 0)]), step(decode=[100, 7]), step(prefill=[(64, 32)], decode=[9])):
        graph = lower(model, what, stored=True)
        assert parse_graph(Source("graph.dfir", show_graph(graph)), library()) == graph
    plain = census(lower(model, step(decode=[9])))
    assert census(graph) == plain
    stored = sum(x.type.bytes * n for x, n in declared(graph.body, 1) if x.kind == "weight")
    assert (stored < 1.9 * plain.total) == (model.quantization is not None)
