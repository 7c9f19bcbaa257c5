"""The text of pipelines, and running them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfcompiler import pipeline as pipelines
from dfcompiler import registry
from dfcompiler.api import compile_model
from dfcompiler.diagnostics import Diag, Note, Source
from dfcompiler.hardware import load_chip
from dfcompiler.pipeline import Context, Pass, parse_pipeline, run_pipeline, show_pipeline
from dfcompiler.steps import step
from tests.tiny import LLAMA, tiny

if TYPE_CHECKING:
    from dfcompiler.graph import Graph


class Fold(Pass, name="test-fold"):
    max_chain: int = 4
    ratio: float = 0.5
    deep: bool = False
    label: str = "none-yet"
    mode: Literal["exact", "fast"] = "exact"
    limit_s: float | None = None

    def __post_init__(self) -> None:
        if self.max_chain < 1:
            raise ValueError(f"max-chain must be at least 1, not {self.max_chain}")

    def run(self, graph: Graph, ctx: Context) -> Graph:
        ctx.note(f"chain {self.max_chain}")
        return cast("Graph", f"{graph}f")


class Shard(Pass, name="test-shard"):
    tp: int

    def run(self, graph: Graph, ctx: Context) -> Graph:
        return cast("Graph", f"{graph}s")


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(pipelines.PIPELINES, "test-both", "test-fold,test-shard{tp=2}")
    yield


def parse(text: str) -> tuple[Pass, ...]:
    return parse_pipeline(Source("--pipeline", text))


def test_passes_with_options() -> None:
    assert parse("test-fold{max-chain=2, deep=true},\n test-shard{tp=8}") == (Fold(max_chain=2, deep=True), Shard(8))
    assert parse("test-fold{}") == (Fold(),)
    assert parse("test-fold{ratio=1e-3,mode=fast,label=w4,limit-s=2}") == (Fold(4, 1e-3, False, "w4", "fast", 2.0),)


def test_named_pipeline_may_stand_for_its_passes() -> None:
    assert parse("test-both") == (Fold(), Shard(2))
    assert parse("test-fold{max-chain=9},test-both") == (Fold(9), Fold(), Shard(2))


@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ("", "pipeline-syntax", "1:1", "expected the name of a pass, found the end"),
        ("test-fold,", "pipeline-syntax", "1:11", "found the end"),
        ("test-fold test-shard", "pipeline-syntax", "1:11", "expected `,` or the end, found `test-shard`"),
        ("test-fold}", "pipeline-syntax", "1:10", "found `}`"),
        ("test-fold{", "pipeline-syntax", "1:11", "expected an option or `}`"),
        ("test-fold{max-chain=2", "pipeline-syntax", "1:22", "expected `,` or `}`"),
        ("test-fold{max-chain}", "pipeline-syntax", "1:20", "expected `=` and an integer"),
        ("test-fold{max-chain=}", "pipeline-syntax", "1:21", "expected an integer, found `}`"),
        ("test-fold,\n  test-flod", "unknown-pass", "2:3", "did you mean `test-fold`"),
        ("test-bot", "unknown-pass", "1:1", "did you mean `test-both`"),
        ("test-fold{max_chain=2}", "unknown-option", "1:11", "did you mean `max-chain`"),
        ("test-fold{max-chain=2.5}", "bad-option", "1:21", "max-chain wants an integer, not `2.5`"),
        ("test-fold{max-chain=0}", "bad-option", "1:1", "at least 1"),
        ("test-fold{deep=yes}", "bad-option", "1:16", "deep wants true or false"),
        ("test-fold{ratio=nan}", "bad-option", "1:17", "ratio wants a number"),
        ("test-fold{limit-s=x}", "bad-option", "1:19", "limit-s wants none or a number"),
        ("test-fold{mode=fest}", "unknown-value", "1:16", "did you mean `fast`"),
        ("test-fold{label=4}", "bad-option", "1:17", "label wants a name"),
        ("test-fold{deep=true,deep=true}", "duplicate-option", "1:21", "first given here"),
        ("test-shard", "missing-option", "1:1", "`test-shard` needs the option `tp`"),
        ("test-both{tp=2}", "pipeline-syntax", "1:10", "has no options"),
    ],
)
def test_faults_have_places(text: str, code: str, place: str, said: str) -> None:
    with pytest.raises(Diag) as caught:
        parse(text)
    assert caught.value.code == code
    assert str(caught.value).startswith(f"--pipeline:{place}: error")
    assert said in str(caught.value)


folds = st.builds(
    Fold,
    st.integers(1, 10**9),
    st.floats(allow_nan=False),
    st.booleans(),
    st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_.-]*\Z"),
    st.sampled_from(["exact", "fast"]),
    st.none() | st.floats(allow_nan=False),
)


@settings(deadline=None)
@given(st.lists(folds | st.builds(Shard, st.integers()), min_size=1, max_size=4))
def test_text_round_trips(passes: list[Pass]) -> None:
    assert parse(show_pipeline(tuple(passes))) == tuple(passes)


def test_only_what_differs_is_shown() -> None:
    assert show_pipeline((Fold(), Shard(8), Fold(max_chain=2))) == "test-fold,test-shard{tp=8},test-fold{max-chain=2}"


def test_text_that_is_no_name_cannot_be_shown() -> None:
    with pytest.raises(ValueError, match="a b"):
        show_pipeline((Fold(label="a b"),))


def test_running_times_each_pass_and_tells_notes() -> None:
    seen: list[tuple[str, str]] = []
    notes: list[Note] = []
    graph, seconds = run_pipeline(
        parse("test-both,test-fold"),
        cast("Graph", ""),
        Context(on_note=notes.append),
        after=lambda name, g, s: seen.append((name, str(g))),
    )
    assert str(graph) == "fsf"
    assert seen == [("test-fold", "f"), ("test-shard", "fs"), ("test-fold#2", "fsf")]
    assert list(seconds) == ["test-fold", "test-shard", "test-fold#2"] and min(seconds.values()) >= 0
    assert [n.message for n in notes] == ["chain 4", "chain 4"]


def test_passes_are_frozen_values() -> None:
    with pytest.raises(AttributeError):
        Fold().max_chain = 3  # type: ignore[misc]
    assert len({Fold(), Fold(max_chain=4), Fold(max_chain=5)}) == 2


def test_a_class_without_a_name_is_a_part_of_others() -> None:
    before = registry.names("pass")

    class Common(Pass):
        depth: int = 1

    assert registry.names("pass") == before


def test_a_field_that_is_no_option() -> None:
    with pytest.raises(Diag, match="items") as caught:

        class Bad(Pass, name="test-bad"):
            items: tuple[int, ...] = ()

    assert caught.value.code == "bad-pass"


def test_named_pipelines_do_not_hide_passes() -> None:
    assert not set(pipelines.PIPELINES) & set(registry.names("pass"))


@pytest.mark.parametrize("text", ["lower-model,tile", "lower-model"])
def test_a_pipeline_without_a_mapper_is_refused_before_it_runs(text: str) -> None:
    ran: list[str] = []
    with pytest.raises(Diag, match="ends without a mapping") as caught:
        compile_model(
            tiny(LLAMA, "llama"),
            load_chip("ador"),
            step(decode=[2]),
            pipeline=text,
            after=lambda name, graph, seconds: ran.append(name),
        )
    assert caught.value.code == "missing-input" and ran == []
