"""How much of a front stands under other constants, against designs that are priced one by one and loops over them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_bad_input import CHIP, config

import dfcompiler as dfc
from dfcompiler.diagnostics import Diag
from dfcompiler.economics import price
from dfcompiler.explore.exploration import Exploration
from dfcompiler.explore.mapped import Mapped
from dfcompiler.explore.perturbation import Shift
from dfcompiler.explore.prices import StaticPrices
from dfcompiler.explore.robustness import ERROR
from dfcompiler.explore.space import Space, load_space
from dfcompiler.explore.uncertainty import stated
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.hardware.tech import Figure
from dfcompiler.text import tree as t

SIDES, MEMORIES = (8, 16, 32), (1, 2, 3)
SPACE = """space tiny {
  prices = PRICES
  pool chip on "FOLDER/small.chip" {
    axis side = 8, 16, 32
    axis memory = 1 GB, 2 GB, 3 GB
    set sa.rows = side
    set sa.cols = side
    set hbm.capacity = memory
    set hbm.bandwidth = 1 * memory
    load prompt: "FOLDER/config.json" { phase = prefill, batch = 1, seq = 16 }
    limit usd <= 80
  }
  maximize tok_s = prompt.tokens / prompt.latency_s
  minimize usd = usd
}
"""
PAIR = """space pair {
  axis memory = 1 GB, 3 GB
  pool many, one on "FOLDER/small.chip" {
    set hbm.capacity = memory
    set hbm.bandwidth = 1 * memory
    load prompt: "FOLDER/config.json" { phase = decode, batch = 8, context = 16 }
  }
  pool many { axis servers = 1, 2 }
  pool one {
    axis side = 8, 16
    set sa.rows = side
    set sa.cols = side
  }
  maximize tok_s = minimum(many.servers / many.prompt.latency_s, one.prompt.tokens / (4 * one.prompt.latency_s))
  minimize usd = many.servers * many.usd + one.usd
}
"""
Values = dict[tuple[int, ...], tuple[float, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chip, the model and both spaces."""
    found = tmp_path_factory.mktemp("tiny")
    (found / "config.json").write_text(config(num_hidden_layers=1))
    chip = CHIP.replace("1 GB }", "1 GB, efficiency = 1.0 }").replace("100 GB/s", "1 GB/s")
    (found / "small.chip").write_text(chip)
    for prices in ("static", "mapped"):
        text = SPACE.replace("PRICES", prices).replace("FOLDER", str(found))
        if prices == "mapped":
            text = text.replace("side = 8, 16, 32", "side = 8")  # a mapping takes a second
            text = text.replace("phase = prefill, batch = 1, seq = 16", "phase = decode, batch = 8, context = 16")
        (found / f"{prices}.space").write_text(text)
    return found


def chip_of(folder: Path, side: int, memory: int, efficiency: float) -> Chip:
    """A design, written as a file of its own."""
    text = (folder / "small.chip").read_text().replace("rows = 8, cols = 8", f"rows = {side}, cols = {side}")
    text = text.replace("1 GB,", f"{memory} GB,").replace("1 GB/s", f"{memory} GB/s")
    path = folder / f"{side}-{memory}-{efficiency}.chip"
    path.write_text(text.replace("efficiency = 1.0", f"efficiency = {efficiency}"))
    return load_chip(str(path))


def under(chip: Chip, changed: Mapping[str, float]) -> Chip:
    """A chip whose process has other constants, each put in by hand."""
    tables: dict[str, dict[str, Figure]] = {n: dict(t) for n, t in chip.tech.tables.items()}
    for name, factor in changed.items():
        table, _, key = name.partition(".")
        for one in [key] if key else list(tables.get(table, {})):
            if one in tables.get(table, {}):
                tables[table][one] = Figure(tables[table][one].value * factor, "changed")
    return replace(chip, tech=replace(chip.tech, tables=tables))


def static_s(folder: Path, side: int, memory: int, efficiency: float) -> float:
    """Seconds of a design that is a space of its own."""
    path = folder / "one.space"
    text = (
        (folder / "static.space")
        .read_text()
        .replace("8, 16, 32", str(side))
        .replace("1 GB, 2 GB, 3 GB", f"{memory} GB")
    )
    path.write_text(text.replace("    set sa.rows", f"    set hbm.efficiency = {efficiency}\n    set sa.rows"))
    pool = load_space(str(path)).pools["chip"]
    return float(StaticPrices(pool, compile_it=False).price(("prompt", "latency_s")).item())


def mapped_s(folder: Path, side: int, memory: int, efficiency: float) -> float:
    """Seconds of a design, of the chip that its file has; a process remembers what it mapped."""
    pool = load_space(str(folder / "mapped.space")).pools["chip"]
    pool = replace(pool, sets=(*pool.sets, t.SSet("hbm.efficiency", t.Num(efficiency))))
    design = Mapped(pool, {"side": side, "memory": memory * 10**9})
    assert design.chip == chip_of(folder, side, memory, efficiency)
    return float(design.figure(("prompt", "latency_s")))


def all_values(folder: Path, changed: Mapping[str, float], seconds: dict[Any, float], how: Any, designs: Any) -> Values:
    """Both goals, less being better, of every design that keeps the limit."""
    found: Values = {}
    efficiency = changed.get("dram.efficiency", 1.0)
    for side, memory in designs:
        key = side, memory, efficiency
        if key not in seconds:
            seconds[key] = how(folder, *key)
        usd = price(under(chip_of(folder, *key), changed)).usd
        if usd <= 80:
            found[side, memory] = -1 / seconds[key], usd
    return found


def best_of(values: Values) -> list[tuple[int, ...]]:
    def beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
        return a[0] <= b[0] and a[1] <= b[1] and a != b

    return [d for d, v in values.items() if not any(beats(w, v) for w in values.values())]


def check_shift(one: Shift, old: set[tuple[int, ...]], truth: Values) -> None:
    """What a change does to the front `old`, by loops over all designs and what they are under it."""
    new = best_of(truth)
    able = [d for d in old if d in truth]
    regrets = [
        min((truth[d][1] / truth[level][1] - 1 for d in able if truth[d][0] <= truth[level][0]), default=math.inf)
        for level in new
    ]
    met = [x for x in regrets if x < math.inf]
    assert one.unmet == len(regrets) - len(met)
    assert one.jaccard == pytest.approx(len(old & set(new)) / len(old | set(new)))
    if met:
        assert one.worst == pytest.approx(max(met), abs=1e-9) and one.mean == pytest.approx(np.mean(met), abs=1e-9)
        assert one.p95 == pytest.approx(np.quantile(met, 0.95), abs=1e-9)


def check(found: Exploration, folder: Path, how: Any, designs: Any) -> None:
    """Every shift again: fronts, regrets and Jaccard coefficients by loops over designs."""
    told, seconds = found.robustness, dict[Any, float]()
    assert told is not None and told.along == "usd"
    old = {(m.axes["side"], int(m.axes["memory"] / 1e9)) for m in found.front}  # type: ignore[operator]
    assert old == set(best_of(all_values(folder, {}, seconds, how, designs))) and 1 < len(old) <= len(designs)
    for one in (*told.alone, *told.together):
        check_shift(one, old, all_values(folder, one.changed, seconds, how, designs))
    nominal = all_values(folder, {}, seconds, how, designs)
    low, high = ({d: [x - s * ERROR * abs(x) for x in v] for d, v in nominal.items()} for s in (1, -1))
    near = [d for d in nominal if not any(all(a <= b for a, b in zip(w, low[d], strict=True)) for w in high.values())]
    assert told.band["chip"][0] == len(near) >= len(old)


@pytest.fixture(scope="module")
def static(folder: Path) -> Exploration:
    return dfc.explore(folder / "static.space", perturb=True)


def test_shifts_of_an_exact_front_are_those_of_designs_one_by_one(folder: Path, static: Exploration) -> None:
    check(static, folder, static_s, list(product(SIDES, MEMORIES)))
    told = static.robustness
    assert told is not None and told.band["chip"][1] == 9
    assert {c.name for c in told.constants} == {c.name for c in stated()}, "all of them are read here"
    assert any(s.jaccard < 1 for s in told.alone), "designs are fragile"
    assert len({s.changed["usd_per_gb"] for s in told.together}) == len(told.together)


def test_shifts_of_a_study_are_those_of_designs_one_by_one(folder: Path) -> None:
    found = dfc.explore(folder / "mapped.space", perturb=True, workers=1)
    assert found.proof == "exhaustive"
    check(found, folder, mapped_s, list(product([8], MEMORIES)))


def test_shifts_of_systems_are_those_of_systems_one_by_one(folder: Path) -> None:
    path = folder / "pair.space"
    path.write_text(PAIR.replace("FOLDER", str(folder)))
    found = dfc.explore(path, perturb=True, workers=1)
    seconds: dict[Any, float] = {}

    def values(changed: Mapping[str, float]) -> Values:
        """Both goals of all systems, less being better: `(memory, servers, side)`."""
        made: Values = {}
        efficiency = changed.get("dram.efficiency", 1.0)
        for memory, servers, side in product((1, 3), (1, 2), (8, 16)):
            keys = [(8, memory, efficiency), (side, memory, efficiency)]
            for key in keys:
                seconds[key] = seconds.get(key) or mapped_s(folder, *key)
            usd = [price(under(chip_of(folder, *key), changed)).usd for key in keys]
            rate = min(servers / seconds[keys[0]], 8 / (4 * seconds[keys[1]]))
            made[memory, servers, side] = -rate, servers * usd[0] + usd[1]
        return made

    names = ("memory", "many.servers", "one.side")
    old = {tuple(int(m.axes[n]) // (10**9 if n == "memory" else 1) for n in names) for m in found.front}
    assert found.proof == "exhaustive" and old == set(best_of(values({}))) and len(old) > 1
    told = found.robustness
    assert told is not None and told.along == "usd" and {c.name for c in told.constants} == {c.name for c in stated()}
    for one in (*told.alone, *told.together):
        check_shift(one, old, values(one.changed))
    assert any(s.jaccard < 1 or s.worst > 0 for s in (*told.alone, *told.together)), "some change does something"
    assert {pool: every for pool, (_, every) in told.band.items()} == {"many": 2, "one": 4}


def test_the_answer_is_the_same_for_a_seed_and_says_its_sources(folder: Path, static: Exploration) -> None:
    again, other = (dfc.explore(folder / "static.space", perturb=True, seed=k).robustness for k in (0, 1))
    assert static.robustness == again != other
    told = static.to_json()["robustness"]
    assert all(c["source"] for c in told["constants"]) and len(told["alone"]) > len(told["constants"])
    assert "robustness" not in dfc.explore(folder / "static.space").to_json()


def test_constants_that_nothing_reads_are_left_out(folder: Path) -> None:
    text = (folder / "static.space").read_text().replace("    limit usd <= 80\n", "")
    path = folder / "area.space"
    path.write_text(text.replace("usd = usd", "area = area_mm2"))
    told = dfc.explore(path, perturb=True).robustness
    assert told is not None and [c.name for c in told.constants] == ["dram.efficiency"]


def test_a_file_of_ones_own_states_other_ranges(folder: Path) -> None:
    path = folder / "mine.toml"
    path.write_text('["wafer.usd"]\nlow = 0.5\nhigh = 3\nsource = "a quote"\n')
    told = dfc.explore(folder / "static.space", perturb=path).robustness
    assert told is not None and [s.changed for s in told.alone] == [{"wafer.usd": 0.5}, {"wafer.usd": 3}]
    assert [c.source for c in told.constants] == ["a quote"]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ('["wafer.usd"]\nlow = 1.5\nhigh = 3\nsource = "x"\n', "bad-perturbation", "outside its own range"),
        ('["wafer.usd"]\nlow = 0.5\nhigh = 3\n', "bad-perturbation", "two factors and their source"),
        ('["wafer.usd"]\nlow = -1\nhigh = 3\nsource = "x"\n', "bad-perturbation", "two factors and their source"),
        ("usd = 3\n", "bad-perturbation", "two factors and their source"),
        ("[wafer\n", "bad-perturbation", "cannot be read"),
        ('["wafer.gold"]\nlow = 0.5\nhigh = 3\nsource = "x"\n', "unknown-constant", "wafer.gold"),
        ('["dram.gold"]\nlow = 0.5\nhigh = 3\nsource = "x"\n', "unknown-axis", "gold"),
    ],
)
def test_a_file_that_says_nothing_is_refused(folder: Path, text: str, code: str, words: str) -> None:
    path = folder / "wrong.toml"
    path.write_text(text)
    with pytest.raises(Diag, match=words) as raised:
        dfc.explore(folder / "static.space", perturb=path)
    assert raised.value.code == code


def test_spaces_are_as_they_were_where_nothing_is_moved(folder: Path) -> None:
    from dfcompiler.explore.uncertainty import moved

    space: Space = load_space(str(folder / "static.space"))
    assert moved(space, {"wafer.usd": 1.0, "dram.efficiency": 1.0}).space is space
    there = moved(space, {"wafer.usd": 2.0, "dram.efficiency": 0.5})
    assert there.process == {"wafer.usd": 2.0} and there.settings == (("dram.efficiency", 0.5),)
