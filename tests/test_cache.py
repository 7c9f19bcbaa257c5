"""Values kept between runs: right or absent, never out of date, foreign or in the way."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from dfcompiler import cache, content, quotes, searches
from dfcompiler.cache import folder, kept
from dfcompiler.compose import single
from dfcompiler.diagnostics import Diag, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.graph import Offer
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.models import library
from dfcompiler.problem import problem
from dfcompiler.quotes import price
from dfcompiler.searches import found_before
from dfcompiler.text.parse import parse_content, parse_items, read_source
from dfcompiler.text.tree import Quantity
from dfcompiler.tiling import Search, search

GEMM = parse_graph(
    Source(
        "g", "graph g {\ninput x: bf16 [64, 48]\nweight w: bf16 [80, 48]\ny: bf16 [64, 80] = linear(x, w)\noutput y\n}"
    ),
    library(),
)
FUSED = parse_graph(
    Source(
        "g",
        "graph g {\ninput x: bf16 [64, 48]\nweight w: bf16 [80, 48]\ny: bf16 [64, 80] = linear(x, w)\n"
        "z: bf16 [64, 80] = gelu_tanh(y)\noutput z\n}",
    ),
    library(),
).offer(Offer("test", ("y", "z")))
TEXT = "op f(a: [m]) -> (b: [m]) {\n  b[m] = a[m]\n}\n"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder.cache_clear()
    yield tmp_path / "dfcompiler"
    folder.cache_clear()


def values(home: Path) -> list[Path]:
    return list(home.glob("engine-*/*"))


def make(value: object, inputs: tuple[bytes, ...] = (b"a", b"b")) -> object:
    """`value`, or what is kept under these inputs."""
    return kept(inputs, lambda: value)


def test_equal_inputs_are_made_once(home: Path) -> None:
    assert make([1]) == [1] and make([2]) == [1]
    assert make([3], (b"ab",)) == [3] and make([4], (b"a", b"b", b"")) == [4]
    assert len(values(home)) == 3 and not home.stat().st_mode & 0o077


def test_another_engine_does_not_read_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make(1) == 1
    for number in range(cache.ENGINES + 2):
        monkeypatch.setattr(cache, "engine", lambda n=number: f"engine-{n}")
        assert make(10 + number) == 10 + number
    assert len(list(home.iterdir())) == cache.ENGINES


@pytest.mark.parametrize("path", sorted(content.files("ir", ".dfir", "ops")), ids=lambda p: p.stem)
def test_a_kept_tree_is_the_parsed_one_with_its_places(path: Path) -> None:
    source = read_source(path)
    first, second = parse_content(source), parse_content(source)
    assert first == second == parse_items(source)
    assert [str(i.span) for i in first] == [str(i.span) for i in second]
    assert [i.span and i.span.carets() for i in first] == [i.span and i.span.carets() for i in second]


def test_a_hash_that_is_remembered_stays_in_its_process() -> None:
    """Strings hash differently in every process: a tree that was read from a file hashes anew."""
    decl = library().ops["attention"]
    first = hash(decl)
    assert "_hash" in vars(decl) and hash(decl) == first == hash(replace(decl))
    back = pickle.loads(pickle.dumps(decl))
    assert "_hash" not in vars(back) and back == decl and hash(back) == first
    script = "import pickle, sys; from dfcompiler.models import library; " \
        "assert pickle.load(sys.stdin.buffer) in {library().ops['attention']}"  # fmt: skip
    subprocess.run([sys.executable, "-c", script], input=pickle.dumps(decl), check=True)


def test_the_name_of_the_source_counts() -> None:
    for name in ("one", "two"):
        (op,) = parse_content(Source(name, TEXT))
        assert str(op.span) == f"{name}:1:4"


def test_errors_are_not_kept(home: Path) -> None:
    for _ in range(2):
        with pytest.raises(Diag):
            parse_content(Source("s", "op ("))
    assert not values(home)


@pytest.mark.parametrize(
    "damage", [b"", b"\x80\x05", b"junk", pickle.dumps(os.system), b"cos\nsystem\n(S'exit 1'\ntR."], ids=range(5)
)
def test_damaged_and_foreign_values_are_made_again(home: Path, damage: bytes) -> None:
    assert make(1) == 1
    (path,) = values(home)
    path.write_bytes(damage)
    assert make(2) == 2 and make(3) == 2


@pytest.mark.parametrize("state", ["writable by others", "a file", "read-only"])
def test_a_folder_that_is_not_ours_alone_is_not_used(home: Path, state: str) -> None:
    if state == "a file":
        home.write_text("here")
    else:
        home.mkdir()
        home.chmod(0o777 if state == "writable by others" else 0o500)
    if state == "read-only" and os.access(home, os.W_OK):
        pytest.skip("this user may write everywhere")
    assert make(1) == 1 and make(2) == 2


def test_listing_needs_nothing_heavy_the_second_time(tmp_path: Path) -> None:
    """Also the lists follow from all content: a plug-in's chip is there at once, and gone at once."""
    code = (
        "import sys; from dfcompiler.cli import main; assert main(['list', '--json', *sys.argv[1:]]) == 0; "
        "print(*sorted({'ortools', 'networkx', 'lark', 'numpy', 'rich', 'pandas'} & set(sys.modules)), file=sys.stderr)"
    )
    plugin = tmp_path / "plugin" / "ir" / "ops"
    plugin.mkdir(parents=True)
    (plugin / "mine.dfir").write_text(TEXT.replace("op f", "op mine"))

    def listed(*more: str) -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", code, *more], capture_output=True, text=True, check=True)
        return done.stdout, done.stderr.strip()

    first, loaded = listed()
    assert "numpy" in loaded and "ortools" not in loaded
    assert listed() == (first, "")
    assert '"mine"' in listed("--plugins", str(tmp_path / "plugin"))[0]
    assert listed() == (first, "")


# ---- searches ----------------------------------------------------------------------------------


def test_a_search_is_done_once_and_comes_back_whole(home: Path) -> None:
    chip, runs = load_chip("tpu128"), []
    p = problem(single(GEMM, GEMM.nodes["y"]), parse_dtypes("bf16"))

    def search_() -> Search:
        runs.append(1)
        return search(p, chip.units["sa"], None)

    first, again = (found_before((chip.units["sa"], None), ("gemm", 1), search_) for _ in range(2))
    assert first == again == search(p, chip.units["sa"], None) and first.tilings and len(runs) == 1


def test_a_search_on_another_unit_or_of_another_problem_is_another(home: Path) -> None:
    changes = ({}, {"sa.dataflow": "output-stationary"}, {"local.capacity": Quantity(1, "MiB")})
    chips = [load_chip("ador", change) for change in changes]
    pairs = [(c.units["sa"], c.units[name]) for c in chips for name in ("vu", "mt")]
    found = [found_before(u, asked, lambda n=n: Search((), n)) for n, (u, asked) in enumerate(product(pairs, "ab"))]
    assert [x.candidates for x in found] == [*range(12)]


def test_chips_that_differ_elsewhere_share_searches(home: Path) -> None:
    one, other = load_chip("ador"), load_chip("ador", {"link.bandwidth": Quantity(128, "GB/s")})
    found = [
        found_before((c.units["sa"], c.units["vu"]), "a", lambda n=n: Search((), n)) for n, c in enumerate((one, other))
    ]
    assert one != other and [x.candidates for x in found] == [0, 0]


def test_a_changed_template_is_another_unit(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = load_chip("tpu128").units["sa"], None
    assert found_before(units, "a", lambda: Search((), 1)).candidates == 1
    monkeypatch.setattr(searches, "_state", lambda folder: b"another")
    assert found_before(units, "a", lambda: Search((), 2)).candidates == 2


def test_what_stays_inside_a_group_is_part_of_what_is_asked(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tensors have types of their own; how wide the product is until it is activated, `--dtype` says."""

    def rooms(activation: str) -> list[tuple[str, float]]:
        found = price(FUSED, load_chip("ador"), parse_dtypes(f"w=bf16,a={activation},kv=bf16"), (1.0,))
        return [(c.unit, c.tiling.room_bytes) for c in found.columns if len(c.nodes) == 2]

    monkeypatch.setattr(quotes, "found_before", found_before)  # as in a run; other tests do without
    narrow, wide = rooms("bf16"), rooms("fp32")
    monkeypatch.setattr(cache, "folder", lambda: None)
    assert (narrow, wide) == (rooms("bf16"), rooms("fp32"))


def test_a_template_that_another_derives_from_counts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(searches, "_state", lambda folder: bytes(len(read.append(folder) or "")))
    found_before((load_chip("tpu128").units["sa"], None), "a", lambda: Search((), 1))
    assert {"templates", "hardware"} <= {folder.name for folder in read}
