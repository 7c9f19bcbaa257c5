"""Workloads of other tools as graphs: sizes of the rows, values of ONNX's own evaluator, and end to end."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfcompiler.api import compile_graph
from dfcompiler.cli import main
from dfcompiler.diagnostics import Diag, Infeasible, Source
from dfcompiler.dtypes import parse_dtypes
from dfcompiler.execution import run_graph
from dfcompiler.graph import Graph
from dfcompiler.graphtext import parse_graph
from dfcompiler.hardware.elaboration import load_chip
from dfcompiler.interchange import read_foreign
from dfcompiler.models import library

GEMMS = "Layer,M,N,K\nqkt,64,48,32\nlinear,7,100,33\nqkt,1,2,3\n"
LAYERS = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,\n"


def graph_of(path: Path, dtype: str = "w16a16kv16") -> Graph:
    found = read_foreign(path, parse_dtypes(dtype))
    assert found.suffix == ".dfir"
    return parse_graph(Source("imported.dfir", found.text), library())


def written(folder: Path, text: str) -> Path:
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


def sizes(graph: Graph) -> dict[str, tuple[int, int, int]]:
    """Name -> M, N, K of every node."""
    types = {t.name: t.type.shape for t in graph.tensors.values()}
    return {n: (*types[n], types[node.args[0]][1]) for n, node in graph.nodes.items()}


# ---- lists of GEMMs ----------------------------------------------------------------------------


def test_a_list_of_gemms(tmp_path: Path) -> None:
    graph = graph_of(written(tmp_path, GEMMS))
    assert sizes(graph) == {"qkt": (64, 48, 32), "linear": (7, 100, 33), "qkt_2": (1, 2, 3)}
    x, w = np.random.default_rng(0).normal(size=(7, 33)), np.random.default_rng(1).normal(size=(33, 100))
    blank = {t.name: np.zeros(t.type.shape) for t in graph.tensors.values() if t.kind in ("input", "weight")}
    assert np.allclose(run_graph(graph, {**blank, "linear_x": x, "linear_w": w})["linear"], x @ w)


def test_names_leave_room_for_those_of_operands(tmp_path: Path) -> None:
    names = ("a_x", "a", "a", "b", "b_w", "b_w_x")
    text = "Layer,M,N,K\n" + "".join(f"{n},2,3,4\n" for n in names)
    assert list(sizes(graph_of(written(tmp_path, text)))) == ["a_x", "a_2", "a_3", "b", "b_w_2", "b_w_x"]


def test_types_are_those_asked_for(tmp_path: Path) -> None:
    graph = graph_of(written(tmp_path, GEMMS), "w4a8kv8")
    assert {t.kind: t.type.dtype for t in graph.tensors.values() if t.kind in ("input", "weight")} == {
        "input": "int8",
        "weight": "int4",
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("a, 7, 7, 3, 3, 192, 384, 1,", (25, 384, 1728)),
        ("a, 224, 224, 7, 7, 3, 64, 2,", (109 * 109, 64, 147)),
        ("a, 1, 1, 1, 1, 512, 1000, 1,", (1, 1000, 512)),
    ],
)
def test_a_convolution_is_the_gemm_of_its_unfolded_input(
    tmp_path: Path, row: str, expected: tuple[int, int, int]
) -> None:
    (name,) = (found := sizes(graph_of(written(tmp_path, LAYERS + row))))
    assert found[name] == expected
    high, wide, over, across, _, _, stride = (int(x) for x in row.split(",")[1:8])
    outputs = [(y, x) for y in range(0, high - over + 1, stride) for x in range(0, wide - across + 1, stride)]
    assert found[name][0] == len(outputs)


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("Layer,M,N\na,1,2\n", "missing-input", "1:1"),
        ("Layer,M,N,K\na,1,2,x\n", "bad-table", "2:1"),
        ("Layer,M,N,K\na,1,2\n", "bad-table", "2:1"),
        ("Layer,M,N,K\na,1,2,3\nb,1,0,3\n", "bad-table", "3:1"),
        ("Layer,M,N,K\n", "bad-table", "1:1"),
        ("", "bad-table", "1:1"),
        (LAYERS + "a, 2, 2, 3, 3, 1, 1, 1,", "bad-table", "2:1"),
    ],
)
def test_a_wrong_list_has_its_place(tmp_path: Path, text: str, code: str, place: str) -> None:
    with pytest.raises(Diag) as caught:
        graph_of(written(tmp_path, text))
    assert caught.value.code == code and str(caught.value.span).endswith(place)


def test_a_list_is_priced_row_by_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "list.dfir"
    assert main(["import", str(written(tmp_path, GEMMS)), "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["compile", str(out), "--on", "tpu128", "--json", "--verify", "-o", str(tmp_path / "out")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {op["name"]: op["flops"] for op in report["ops"]} == {
        "qkt": 2 * 64 * 48 * 32,
        "linear": 2 * 7 * 100 * 33,
        "qkt_2": 2 * 1 * 2 * 3,
    }
    assert report["status"] == "OPTIMAL" and report["usd_per_million_tokens"] is None
    assert main(["check", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    assert main(["cost", str(tmp_path / "out"), "--json"]) == 0
    assert "tokens_per_s" not in json.loads(capsys.readouterr().out)
    assert main(["compile", str(out), "--on", "tpu128", "--batch", "2"]) == 2
    assert main(["compile", str(out), "--on", "tpu128", "--tp", "2"]) == 2


def test_a_graph_from_python_is_as_from_the_command_line(tmp_path: Path) -> None:
    graph = graph_of(written(tmp_path, GEMMS))
    found = compile_graph(graph, load_chip("tpu128"))
    assert found.report.status == "OPTIMAL" and [op.name for op in found.report.ops] and found.report.tokens == 0
    with pytest.raises(Diag, match="ends without a mapping"):
        compile_graph(graph, load_chip("tpu128"), pipeline="tile")


# ---- ONNX --------------------------------------------------------------------------------------


def model(nodes: Any, constants: dict[str, Any], inputs: dict[str, tuple[int, ...]], result: str) -> Any:
    """An ONNX model of float inputs (`ids` are integers) with one result."""
    onnx = pytest.importorskip("onnx", reason="onnx is an extra")
    h, kinds = onnx.helper, onnx.TensorProto
    values = [
        h.make_tensor_value_info(n, kinds.INT64 if n.startswith("ids") else kinds.FLOAT, s) for n, s in inputs.items()
    ]
    initial = [onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items()]
    graph = h.make_graph(
        nodes(h.make_node), "g", values, [h.make_tensor_value_info(result, kinds.FLOAT, None)], initial
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 18), h.make_opsetid("mine", 1)])


def agrees(folder: Path, made: Any, inputs: dict[str, tuple[int, ...]], tables: int = 4) -> Graph:
    """The graph of a model, whose values are those of ONNX's reference evaluator."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    onnx.save(made, str(folder / "net.onnx"))
    rng = np.random.default_rng(0)
    given = {
        n: rng.integers(0, tables, s) if n.startswith("ids") else rng.normal(size=s).astype(np.float32)
        for n, s in inputs.items()
    }
    (wanted,) = ReferenceEvaluator(made).run(None, given)
    graph = graph_of(folder / "net.onnx")
    stored = {t.name: onnx.numpy_helper.to_array(t) for t in made.graph.initializer}
    ours = {t.name: {**given, **stored}[t.name] for t in graph.tensors.values() if t.kind in ("input", "weight")}
    (found,) = run_graph(graph, ours).values()
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)
    return graph


X = {"x": (2, 3, 8)}


@pytest.mark.parametrize(
    ("nodes", "constants", "inputs"),
    [
        (lambda n: [n("MatMul", ["x", "w"], ["y"])], {"w": np.ones((8, 5), np.float32)}, X),
        (lambda n: [n("MatMul", ["x", "z"], ["y"])], {}, {"x": (2, 3, 4, 8), "z": (1, 3, 8, 5)}),
        (lambda n: [n("Gemm", ["x", "z"], ["y"], transA=1, alpha=0.5)], {}, {"x": (8, 3), "z": (8, 5)}),
        (lambda n: [n("Add", ["x", "z"], ["y"])], {}, {"x": (2, 3, 8), "z": (3, 1)}),
        (lambda n: [n("Sub", ["x", "z"], ["y"])], {}, {"x": (1, 8), "z": (2, 3, 8)}),
        (lambda n: [n("Max", ["x", "z"], ["y"])], {}, {"x": (3, 8), "z": (3, 8)}),
        (lambda n: [n("Mul", ["x", "c"], ["y"])], {"c": np.float32(-2.5)}, X),
        (lambda n: [n("Pow", ["x", "c"], ["y"])], {"c": np.float32(3)}, X),
        (lambda n: [n("Softmax", ["x"], ["y"], axis=1)], {}, X),
        (lambda n: [n("ReduceMean", ["x", "a"], ["y"])], {"a": np.array([-1])}, X),
        (lambda n: [n("ReduceSum", ["x", "a"], ["y"], keepdims=0)], {"a": np.array([0, 2])}, X),
        (lambda n: [n("ReduceMax", ["x", "a"], ["y"])], {"a": np.array([1])}, X),
        (lambda n: [n("Transpose", ["x"], ["y"], perm=[2, 0, 1])], {}, X),
        (lambda n: [n("Reshape", ["x", "s"], ["y"])], {"s": np.array([2, 3, 2, 4])}, X),
        (lambda n: [n("Reshape", ["x", "s"], ["y"])], {"s": np.array([2, 24])}, X),
        (lambda n: [n("Reshape", ["x", "s"], ["y"])], {"s": np.array([48])}, {"x": (2, 3, 2, 4)}),
        (lambda n: [n("Unsqueeze", ["x", "a"], ["y"])], {"a": np.array([1])}, X),
        (lambda n: [n("Squeeze", ["x", "a"], ["y"])], {"a": np.array([0])}, {"x": (1, 3, 8)}),
        (lambda n: [n("Concat", ["x", "z"], ["y"], axis=1)], {}, {"x": (2, 3, 8), "z": (2, 5, 8)}),
        (
            lambda n: [n("Slice", ["x", "b", "e", "a"], ["y"])],
            {"b": np.array([-5]), "e": np.array([7]), "a": np.array([2])},
            X,
        ),
        (lambda n: [n("Split", ["x"], ["u", "v"], axis=2, num_outputs=2), n("Sub", ["u", "v"], ["y"])], {}, X),
        (lambda n: [n("Gather", ["t", "ids"], ["y"])], {"t": np.eye(4, 6, dtype=np.float32)}, {"ids": (2, 3)}),
        (
            lambda n: [
                n("Cast", ["ids"], ["i"], to=6),
                n("Gather", ["t", "i"], ["r"]),
                n("Identity", ["r"], ["y"]),
            ],
            {"t": np.eye(4, 6, dtype=np.float32)},
            {"ids": (2, 3)},
        ),
        (
            lambda n: [n("LayerNormalization", ["x", "g", "h"], ["y"])],
            {"g": np.full(8, 2, np.float32), "h": np.full(8, 3, np.float32)},
            X,
        ),
        (
            lambda n: [
                n("Shape", ["x"], ["s"]),
                n("Gather", ["s", "i"], ["d"]),
                n("Cast", ["d"], ["f"], to=1),
                n("Div", ["x", "f"], ["y"]),
            ],
            {"i": np.array(2)},
            X,
        ),
    ],
    ids=lambda x: None if callable(x) else "",
)
def test_an_operator_is_onnx_own(
    tmp_path: Path, nodes: Callable[..., Any], constants: dict[str, Any], inputs: dict[str, tuple[int, ...]]
) -> None:
    agrees(tmp_path, model(nodes, constants, inputs, "y"), inputs)


@pytest.mark.parametrize("op", ["Abs", "Cos", "Erf", "Exp", "Neg", "Relu", "Sigmoid", "Sin", "Tanh", "Reciprocal"])
def test_functions_of_one_element(tmp_path: Path, op: str) -> None:
    agrees(tmp_path, model(lambda n: [n(op, ["x"], ["y"])], {}, X, "y"), X)


def transformer() -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Two heads of attention with a mask, a norm written out and one that is an op, and a gated feed-forward layer, as
    exporters write them."""
    rng, D, H, E, S = np.random.default_rng(2), 16, 2, 8, 6
    constants: dict[str, Any] = {
        n: (rng.normal(size=s) * 0.3).astype(np.float32)
        for n, s in {
            **dict.fromkeys(("wq", "wk", "wv", "wo"), (D, D)),
            "table": (20, D),
            "g": (D,),
            "g2": (D,),
            "b2": (D,),
            "w1": (D, 32),
            "w2": (D, D),
            "head": (20, D),
        }.items()
    }
    constants |= {
        "mask": np.triu(np.full((S, S), -1e4, np.float32), 1)[None, None],
        "heads": np.array([0, 0, H, E]),
        "joined": np.array([0, 0, D]),
        "flat": np.array([S, D]),
        "last": np.array([-1]),
        "two": np.float32(2),
        "eps": np.float32(1e-5),
        "root": np.float32(np.sqrt(E)),
    }

    def nodes(n: Callable[..., Any]) -> list[Any]:
        made = [
            n("Gather", ["table", "ids"], ["x"]),
            n("Pow", ["x", "two"], ["sq"]),
            n("ReduceMean", ["sq", "last"], ["var"]),
            n("Add", ["var", "eps"], ["ve"]),
            n("Sqrt", ["ve"], ["sd"]),
            n("Div", ["x", "sd"], ["nx"]),
            n("Mul", ["nx", "g"], ["h"]),
        ]
        for x in "qkv":
            made += [n("MatMul", ["h", f"w{x}"], [f"{x}0"]), n("Reshape", [f"{x}0", "heads"], [f"{x}1"])]
            made.append(n("Transpose", [f"{x}1"], [x], perm=[0, 2, 3, 1] if x == "k" else [0, 2, 1, 3]))
        return [
            *made,
            n("MatMul", ["q", "k"], ["s0"]),
            n("Div", ["s0", "root"], ["s1"]),
            n("Add", ["s1", "mask"], ["s2"]),
            n("Softmax", ["s2"], ["p"], axis=-1),
            n("MatMul", ["p", "v"], ["o0"]),
            n("Transpose", ["o0"], ["o1"], perm=[0, 2, 1, 3]),
            n("Reshape", ["o1", "joined"], ["o"]),
            n("MatMul", ["o", "wo"], ["a"]),
            n("Add", ["x", "a"], ["x1"]),
            n("LayerNormalization", ["x1", "g2", "b2"], ["h2"]),
            n("MatMul", ["h2", "w1"], ["u"]),
            n("Split", ["u"], ["ua", "ub"], axis=-1, num_outputs=2),
            n("Sigmoid", ["ua"], ["gate"]),
            n("Mul", ["ua", "gate"], ["silu"]),
            n("Mul", ["silu", "ub"], ["m"]),
            n("MatMul", ["m", "w2"], ["d"]),
            n("Add", ["x1", "d"], ["x2"]),
            n("Reshape", ["x2", "flat"], ["x3"]),
            n("Gemm", ["x3", "head"], ["logits"], transB=1),
        ]

    inputs = {"ids": (1, S)}
    return model(nodes, constants, inputs, "logits"), inputs


def test_a_transformer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, inputs = transformer()
    graph = agrees(tmp_path, made, inputs, tables=20)
    products = sum(2 * (6 * 16 * 16) for _ in range(4)) + 2 * 2 * (2 * 6 * 6 * 8) + 2 * 6 * 16 * (32 + 16 + 20)
    found = compile_graph(graph, load_chip("ador"), pipeline="list")
    assert 2 * found.report.macs >= products
    assert any("+" in op.op for op in found.report.ops)  # what exporters write out is fused again
    assert main(["import", str(tmp_path / "net.onnx")]) == 0
    text = capsys.readouterr().out
    assert len(re.findall(r"^op onnx_matmul", text, re.MULTILINE)) < text.count("= onnx_matmul")


@pytest.mark.parametrize(
    ("nodes", "inputs", "said"),
    [
        (lambda n: [n("Conv", ["x", "z"], ["y"])], {"x": (1, 3, 8, 8), "z": (4, 3, 3, 3)}, "`Conv` has no text"),
        (lambda n: [n("Pow", ["x", "z"], ["y"])], {"x": (3,), "z": (3,)}, "`Pow` by a tensor"),
        (lambda n: [n("MatMul", ["x", "z"], ["y"])], {"x": (3,), "z": (3, 2)}, "with a vector"),
        (
            lambda n: [n("Fast", ["x"], ["z"], domain="mine"), n("Exp", ["z"], ["y"])],
            {"x": (3, 2)},
            "`Fast` of values whose sizes are not known",
        ),
    ],
    ids=["conv", "pow", "vector", "domain"],
)
def test_what_has_no_text_is_named(tmp_path: Path, nodes: Any, inputs: dict[str, tuple[int, ...]], said: str) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is an extra")
    made = model(nodes, {}, inputs, "y")
    onnx.save(made, str(tmp_path / "net.onnx"))
    with pytest.raises(Infeasible) as caught:
        graph_of(tmp_path / "net.onnx")
    assert caught.value.code == "not-expressible" and said in caught.value.message


def test_sizes_must_be_fixed(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="onnx is an extra")
    made = model(lambda n: [n("Exp", ["x"], ["y"])], {}, {"x": ("batch", 3)}, "y")  # type: ignore[dict-item]
    onnx.save(made, str(tmp_path / "net.onnx"))
    with pytest.raises(Diag, match="has the size `batch`, which is not fixed"):
        graph_of(tmp_path / "net.onnx")


def test_no_model(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is an extra")
    (tmp_path / "net.onnx").write_bytes(b"\x00nonsense")
    for name, code in (("net.onnx", "bad-document"), ("other.onnx", "no-such-file")):
        with pytest.raises(Diag) as caught:
            graph_of(tmp_path / name)
        assert caught.value.code == code
