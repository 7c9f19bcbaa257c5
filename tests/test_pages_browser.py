"""Pages in a real browser: they draw, complain of nothing, ask no network, sort, filter, follow, and load in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, chromium
from pagecases import compiled, explored, report, served, studied

from dfcompiler.cli import main

LARGEST_BYTES, LOADED_S, TRIES = 8e6, 2.0, 3


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def pages(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {"compile": compiled(folder), "serve": served(folder), "explore": explored(folder), "study": studied(folder)}
    deepseek = ["--on", "h200", "--devices", "8", "--tp", "8", "--phase", "decode", "--batch", "16"]
    assert main(["compile", "deepseek-v3", *deepseek, "-o", str(folder / "deepseek")]) == 0
    return {name: report(at) for name, at in (made | {"deepseek": folder / "deepseek"}).items()}


@pytest.mark.parametrize("name", ["compile", "serve", "explore", "study", "deepseek"])
@pytest.mark.parametrize("width", [1400, 420])
def test_a_page_draws_without_complaint_and_without_a_network(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    seen = Seen(browser, pages[name], width).drawn()
    assert not seen.errors
    assert all(url.startswith(("file:", "data:", "blob:")) for url in seen.asked)
    assert seen.js("drawn.length") >= 4 - (name in ("explore", "study"))
    assert seen.js("drawn.every((f) => f.querySelector('svg.main-svg'))")
    # Everything that a figure says is known to plotly. What another setting makes idle may be said all the same, and
    # what a menu does is not looked into.
    validated = "Plotly.validate(figures[f.dataset.figure].data, figures[f.dataset.figure].layout) || []"
    wrong = seen.js(f"drawn.flatMap((f) => {validated})")
    assert [w["msg"] for w in wrong if w["code"] != "unused" and ".args[" not in w["astr"]] == []
    # Nothing but tables is wider than the window, and these scroll by themselves.
    assert seen.js("document.documentElement.scrollWidth") <= width
    seen.page.close()


def test_the_page_on_deepseek_is_small_and_loads_fast(browser: Any, pages: dict[str, Path]) -> None:
    """Until what is seen first is drawn, by the clock of the thread that does it all: others share the machine."""
    assert pages["deepseek"].stat().st_size < LARGEST_BYTES
    taken = []
    for _ in range(TRIES):
        seen = Seen(browser, pages["deepseek"])
        taken.append(seen.cpu_s())
        seen.page.close()
    assert min(taken) < LOADED_S, taken


def test_tables_sort_and_filter(browser: Any, pages: dict[str, Path]) -> None:
    seen = Seen(browser, pages["compile"])
    titles = seen.js("[...document.querySelectorAll('#ops th')].map((h) => h.textContent)")
    at = titles.index("time µs")
    times = f"[...document.querySelectorAll('#ops tbody tr')].map((r) => Number(r.cells[{at}].dataset.key))"
    before = seen.js(times)
    head = seen.page.locator("#ops th button").nth(at)
    head.click()
    assert seen.js(times) == sorted(before) != before
    head.click()
    assert seen.js(times) == sorted(before, reverse=True)
    assert seen.page.locator("#ops th").nth(at).get_attribute("aria-sort") == "descending"

    def shown() -> list[str]:
        found: list[str] = seen.js(
            "[...document.querySelectorAll('#ops tbody tr:not([hidden])')].map((r) => r.textContent)"
        )
        return found

    box = seen.page.locator(".filters[data-of=ops]")
    box.locator("input").fill("DECODE vu")
    assert 0 < len(shown()) < len(before) and all("decode" in x and "vu" in x for x in shown())
    assert box.locator("output").text_content() == f"{len(shown())} of {len(before)} rows"
    box.locator("input").fill("")
    unit = titles.index("unit")
    box.locator(f"select[data-column='{unit}']").select_option("vu")
    cells = f"[...document.querySelectorAll('#ops tbody tr:not([hidden])')].map((r) => r.cells[{unit}].textContent)"
    assert set(seen.js(cells)) == {"vu"}
    assert not seen.errors
    seen.page.close()


def test_a_click_on_an_op_finds_it_in_the_table(browser: Any, pages: dict[str, Path]) -> None:
    seen = Seen(browser, pages["compile"]).drawn()
    name = seen.js(
        "(() => { const f = document.getElementById('figure-schedule'), t = f.data[0];"
        "f.emit('plotly_click', { points: [{ customdata: t.customdata[0] }] }); return t.customdata[0]; })()"
    )
    assert seen.page.locator(".filters[data-of=ops] input").input_value() == name
    rows = seen.js("[...document.querySelectorAll('#ops tbody tr:not([hidden])')].map((r) => r.textContent)")
    assert rows and all(name in row for row in rows)
    seen.page.close()


def test_figures_of_time_show_the_same_seconds(browser: Any, pages: dict[str, Path]) -> None:
    seen = Seen(browser, pages["compile"]).drawn()
    ranges = "['schedule', 'memory'].map((n) => document.getElementById(`figure-${n}`).layout.xaxis.range.map(Number))"
    seen.page.locator(".views[data-of=schedule] button").first.click()
    seen.page.wait_for_function(f"(() => {{ const [a, b] = {ranges}; return a[0] < 0 && a[1] === b[1]; }})()")
    whole = seen.js(ranges)
    assert whole[0] == whole[1] and whole[0][0] < 0 < whole[0][1]
    # A zoom by hand in one is followed by the other, and the axis of values fits what is seen.
    seen.js("Plotly.relayout('figure-schedule', { 'xaxis.range[0]': 0, 'xaxis.range[1]': 1e-6 })")
    seen.page.wait_for_function(f"({ranges})[1][1] === 1e-6")
    assert seen.js(ranges)[1] == [0, 1e-6]
    top = seen.js("document.getElementById('figure-memory').layout.yaxis.range[1]")
    most = seen.js("Math.max(...document.getElementById('figure-memory').data[0].y)")
    assert 0 < top <= 1.08 * most
    assert not seen.errors
    seen.page.close()


def test_the_page_on_a_study_shows_its_front_and_leads_to_its_chips(browser: Any, pages: dict[str, Path]) -> None:
    folder = pages["study"].parent
    front = json.loads((folder / "front.json").read_text(encoding="utf-8"))
    seen = Seen(browser, pages["study"]).drawn()
    points = seen.js("(({ x, y }) => x.map((v, i) => [v, y[i]]))(document.getElementById('figure-front').data[0])")
    assert points == [pytest.approx(list(p["objectives"].values()), rel=1e-8) for p in front["front"]] != []
    links = seen.js("[...document.querySelectorAll('#designs-table a')].map((a) => a.getAttribute('href'))")
    assert links == [path for p in front["front"] for path in p["chips"]]
    assert all((folder / link).is_file() for link in links)
    said = seen.js("document.getElementById('origin-study').textContent")
    assert front["proof"] in said and all(claim in said for claim in front["claims"])
    # Axes have their units, in the table or where all are alike.
    assert front["units"] == {"local": "B"} and "MiB" in seen.js("document.querySelector('main').textContent")
    assert not seen.errors
    seen.page.close()


def test_brushing_the_front_leaves_its_designs_and_back(browser: Any, pages: dict[str, Path]) -> None:
    seen = Seen(browser, pages["explore"]).drawn()
    # Along an axis of the parallel coordinates: the points of other designs fade.
    seen.js("Plotly.restyle('figure-parallel', { 'dimensions[0].constraintrange': [[-0.1, 0.1]] })")
    chosen = "document.getElementById('figure-front').data[0].selectedpoints"
    seen.page.wait_for_function(f"Array.isArray({chosen})")
    axis = seen.js("document.getElementById('figure-parallel').data[0].dimensions[0].values")
    assert seen.js(chosen) == [i for i, v in enumerate(axis) if v == 0] != []
    seen.js("Plotly.restyle('figure-parallel', { 'dimensions[0].constraintrange': [null] })")
    seen.page.wait_for_function(f"!{chosen}")
    # A box around points: the lines of other designs turn grey, below the scale of colours.
    colours = "document.getElementById('figure-parallel').data[0].line.color"
    before = seen.js(colours)
    front = "document.getElementById('figure-front')"
    seen.js(f"{front}.emit('plotly_selected', {{ points: [{{ pointIndex: 1 }}, {{ pointIndex: 2 }}] }})")
    seen.page.wait_for_function(f"({colours}).filter((c) => c < {min(before)}).length === {len(before) - 2}")
    after = seen.js(colours)
    assert [i for i, (a, b) in enumerate(zip(after, before, strict=True)) if a == b] == [1, 2]
    seen.js(f"{front}.emit('plotly_deselect')")
    seen.page.wait_for_function(f"Math.min(...{colours}) === {min(before)}")
    assert seen.js(colours) == before and not seen.errors
    seen.page.close()
