"""`import dfcompiler as dfc`: what it gives, that it stays so, that the command line says the same, and tables."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_bad_input import CHIP, config

import dfcompiler as dfc
import dfcompiler.rtl.build  # which binds `rtl` in the package, or would
from dfcompiler.cli import main
from dfcompiler.frames import SHOWN, Tabular

LISTING = Path(__file__).parent / "data" / "public.txt"
HEAVY = {"numpy", "networkx", "ortools", "lark", "rich", "pandas", "polars", "pyarrow", "json", "argparse"}


def described() -> Iterator[str]:
    """A line for every public function, class, field and method."""
    for name in dfc.__all__:
        thing = getattr(dfc, name)
        if inspect.isclass(thing):
            yield f"class {name}({', '.join(b.__name__ for b in thing.__bases__)})"
            for part in dataclasses.fields(thing) if dataclasses.is_dataclass(thing) else ():
                yield f"    {part.name}: {part.type}"
            for key, held in sorted(vars(thing).items()):
                if not key.startswith("_") and callable(held):
                    yield f"    def {key}{inspect.signature(held)}"
        elif callable(thing):
            yield f"def {name}{inspect.signature(thing)}"


def test_the_public_functions_and_types_are_those_listed(request: pytest.FixtureRequest) -> None:
    found = "\n".join(described()) + "\n"
    if request.config.getoption("--update-files"):
        LISTING.write_text(found, encoding="utf-8")
    assert found == LISTING.read_text(encoding="utf-8"), "`pytest --update-files tests/test_public.py` takes it over"


def test_every_public_thing_says_what_it_is() -> None:
    assert all(inspect.getdoc(getattr(dfc, name)) for name in dfc.__all__)
    assert dir(dfc) == sorted(dfc.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dfc.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = f"import sys; before = set(sys.modules); import dfcompiler; print(*({HEAVY} & (set(sys.modules) - before)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_function_keeps_its_name_beside_a_module_of_that_name() -> None:
    assert inspect.isfunction(dfc.rtl) and inspect.ismodule(sys.modules["dfcompiler.rtl"])
    from dfcompiler.rtl import render

    assert inspect.isfunction(render)


# ---- the command line says the same ------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model and a chip that take no time."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text(config(), encoding="utf-8")
    (tmp_path / "small.chip").write_text(CHIP, encoding="utf-8")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def lasting(found: dict[str, Any]) -> dict[str, Any]:
    """Without the seconds that it took."""
    return {k: v for k, v in found.items() if k not in ("seconds", "sim_cpu_s")}


def plain(found: object) -> Any:
    return json.loads(json.dumps(found))


def test_compile(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("compile", "config.json", "--on", "small.chip", "--phase", "decode", "--batch", "2", "--context", "64")
    seen: list[str] = []
    made = dfc.compile(
        dfc.model("config.json"),
        dfc.chip("small.chip", set={"sa.rows": 16, "hbm.bandwidth": "200 GB/s"}),
        "decode",
        batch=2,
        context=64,
        after=lambda name, graph, seconds: seen.append(name),
    )
    by_hand = told(capsys, *asked, "--set", "sa.rows=16", "--set", "hbm.bandwidth=200 GB/s")
    assert lasting(plain(made.report.to_json())) == lasting(by_hand)
    assert seen[-1] == "schedule"
    step = dfc.step(decode=[64, 64])
    again = dfc.compile("config.json", made.chip, step)
    assert again.report.latency_s == made.report.latency_s
    with pytest.raises(dfc.Diag, match="has its own batch"):
        dfc.compile("config.json", "small.chip", step, batch=2)
    with pytest.raises(dfc.Infeasible, match="needs"):
        dfc.compile("config.json", "small.chip", "decode", batch=64, context=1_000_000)


def test_price_and_validate(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    priced = dfc.price("linear", {"t": (1, 64), "k": 64, "n": 128}, "small.chip")
    by_hand = told(capsys, "price", "linear", "t=1,64", "k=64", "n=128", "--on", "small.chip")
    assert lasting(plain(dataclasses.asdict(priced))) == lasting(by_hand)
    (small / "rows.csv").write_text("t,k,n,cycles\n64,64,64,900\n32,64,64,500\n64,64,64,900\n", encoding="utf-8")
    heard: list[tuple[int, int]] = []
    found = dfc.validate("rows.csv", "linear", "small.chip", on_progress=lambda done, of: heard.append((done, of)))
    assert plain(dataclasses.asdict(found)) == told(
        capsys, "validate", "rows.csv", "--op", "linear", "--on", "small.chip"
    )
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_rtl_and_save(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chip = dfc.chip("small.chip")
    assert main(["rtl", "--on", "small.chip", "--name", "npu", "-o", "by_hand", "--cores"]) == 0
    notes: list[str] = []
    files = dfc.rtl(chip, name="npu", cores=True, on_note=lambda note: notes.append(note.message))
    assert dfc.save(files, "made") == [Path("made") / name for name in files]
    for name in files:
        assert (small / "made" / name).read_bytes() == (small / "by_hand" / name).read_bytes()
    made = dfc.compile("config.json", chip, seq=16)
    written = dfc.save(made, "out")
    assert {p.name for p in written} >= {"mapping.json", "graph.dfir"} and all(p.is_file() for p in written)
    kept, anew = (json.loads(dfc.rtl(x, name="npu")["params.json"]) for x in ("out", made))
    assert kept.pop("source_hash") != anew.pop("source_hash")  # it is of the name in the folder, too
    assert kept == anew
    with pytest.raises(dfc.Diag, match="holds no rtl"):
        dfc.rtl(str(small), name="npu")
    with pytest.raises(dfc.Diag, match="is a file"):
        dfc.save(made, "small.chip")


def test_serve(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["serve", "config.json", "--on", "small.chip", "--max-tokens", "64", "--max-sequences", "4"]
    how: dict[str, Any] = {"max_tokens": 64, "max_sequences": 4}
    load = dfc.workload(5.0, lengths="32,8", requests=20, seed=3)
    run = dfc.serve("config.json", "small.chip", load, slo="ttft=1", **how)
    rest = ["--poisson", "5", "--lengths", "32,8", "--requests", "20", "--seed", "3", "--slo", "ttft=1"]
    assert lasting(plain(run.to_json())) == lasting(told(capsys, *base, *rest))
    (small / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n3,10,5\n", encoding="utf-8")
    for given in ("t.csv", dfc.trace("t.csv"), dfc.Requests.of([0, 3], [10, 10], [5, 5])):
        seen: list[int] = []
        found = dfc.serve("config.json", "small.chip", given, on_run=lambda some, to=seen: to.append(len(some)), **how)
        assert (found.answers.completed, seen) == (2, [2])
    best = dfc.serve("config.json", "small.chip", load, slo=dfc.Objectives(ttft=1.0), find_rate=True, **how)
    assert best.rate is not None and best.rate.rate_per_s > 0 and best.answers.slo_attainment >= 0.99
    apart = dfc.serve("config.json", "small.chip", load, pools=[("both", None, 1), ("both", "small.chip", 2)], **how)
    assert [x.pool.replicas for x in apart.pools] == [1, 2]
    assert [p.name for p in dfc.save(run, "served")] == ["requests.csv", "series.csv", "serve.json"]
    with pytest.raises(dfc.Diag, match="unknown policy"):
        dfc.serve("config.json", "small.chip", load, policy="luck", **how)
    with pytest.raises(dfc.Diag, match="at least 1"):
        dfc.serve("config.json", "small.chip", load, replicas=0, **how)


def test_names() -> None:
    assert "llama3-8b" in dfc.names("models") and "ador" in dfc.names("chips") and "linear" in dfc.names("ops")
    assert "azure-code" in dfc.names("workloads") and "fcfs" in dfc.names("policies")
    with pytest.raises(dfc.Diag, match="did you mean `chips`"):
        dfc.names("chip")


# ---- tables ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tabular]:
    """A result of every kind."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "config.json").write_text(config(), encoding="utf-8")
    (folder / "small.chip").write_text(CHIP, encoding="utf-8")
    (folder / "rows.csv").write_text("t,k,n,cycles\n64,64,64,900\n32,64,64,500\n", encoding="utf-8")
    chip = dfc.chip(folder / "small.chip")
    load = dfc.workload(5.0, lengths="32,8", requests=SHOWN + 5)
    return {
        "ops": dfc.compile(folder / "config.json", chip, seq=16),
        "requests": dfc.serve(folder / "config.json", chip, load, max_tokens=64, max_sequences=4),
        "rows": dfc.validate(folder / "rows.csv", "linear", chip),
        "price": dfc.price("linear", {"t": 64, "k": 64, "n": 64}, chip),
    }


KINDS = ("ops", "requests", "rows", "price")


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_is_the_same_in_every_library(kind: str, tables: dict[str, Tabular]) -> None:
    for package in ("pandas", "polars", "pyarrow"):
        pytest.importorskip(package)
    found = tables[kind]
    records = found.records()
    assert records and all(list(row) == list(found.columns()) for row in records)
    frame, lazy, arrow = found.to_pandas(), found.to_polars(), found.to_arrow()
    assert list(frame.columns) == list(lazy.columns) == arrow.column_names == list(found.columns())
    for rows in (frame.to_dict("records"), lazy.to_dicts(), arrow.to_pylist()):
        assert [same(a, b) for a, b in zip(rows, records, strict=True)] == [True] * len(records)


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether rows are equal; what is not there is None in one library and nan in another."""

    def missing(x: object) -> bool:
        return x is None or (isinstance(x, float) and math.isnan(x))

    return a.keys() == b.keys() and all(a[k] == b[k] or (missing(a[k]) and missing(b[k])) for k in a)


def test_tables_hold_what_results_say(tables: dict[str, Tabular]) -> None:
    ops, requests, rows = tables["ops"], tables["requests"], tables["rows"]
    assert isinstance(ops, dfc.Compiled) and isinstance(requests, dfc.Run) and isinstance(rows, dfc.Validation)
    r = ops.report
    moved = sum(row["hbm_bytes"] * row["repeat"] for row in ops.records())
    assert moved == pytest.approx(r.traffic_bytes["hbm"])
    assert max(row["end_s"] for row in ops.records()) <= r.latency_s * (1 + 1e-9)
    ttft = [row["ttft_s"] for row in requests.records()]
    assert sum(ttft) / len(ttft) == pytest.approx(requests.answers.ttft_s.mean)
    assert [row["error"] for row in rows.records()] == [row.error for row in rows.rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_notebook_shows_a_table(kind: str, tables: dict[str, Tabular]) -> None:
    found = tables[kind]
    shown = found._repr_html_()
    assert shown.count("<tr>") == len(found.facts()) + 1 + min(SHOWN, len(found.records()))
    assert ("5 rows more" in shown) == (kind == "requests")
    assert found.title() in shown and "&lt;" not in found.title()


class Odd(Tabular):
    """A table with signs that HTML has a meaning for."""

    def title(self) -> str:
        return "<b>"

    def columns(self) -> dict[str, list[str]]:
        return {"a<b": ["<script>"]}


def test_what_a_notebook_shows_is_text() -> None:
    assert "<script>" not in Odd()._repr_html_() and "<h4>&lt;b&gt;</h4>" in Odd()._repr_html_()
    assert Odd().facts() == {}


@pytest.mark.parametrize("package", ["pandas", "polars", "pyarrow"])
def test_a_package_that_is_not_there_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(dfc.Diag, match=f"`{package}`, which is not installed") as caught:
        {"pandas": Odd().to_pandas, "polars": Odd().to_polars, "pyarrow": Odd().to_arrow}[package]()
    assert caught.value.code == f"no-{package}"
