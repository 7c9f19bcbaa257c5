"""ONNX graphs as graphs of ours: every operator in index notation, declared in the file beside the graph.

Sizes must be fixed: shapes are ONNX's own inference. What follows from constants alone is worked out by ONNX's
reference evaluator and becomes a weight, or a number in the text. The package `onnx` is an extra.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dfcompiler.diagnostics import Diag, Infeasible
from dfcompiler.dtypes import DtypeMap
from dfcompiler.interchange.documents import Dropped
from dfcompiler.interchange.equations import Operand, Shape, Unwritten, equation
from dfcompiler.interchange.machine import identifier

if TYPE_CHECKING:
    import onnx

SAME = ("Cast", "Dropout", "Identity")  # the first result is the first operand
LISTED = 8  # operators without a text that a message names


@dataclass
class Lowering:
    """A graph on its way into text."""

    shapes: Mapping[str, Shape]
    constants: dict[str, Any]  # numpy arrays by name
    dtypes: DtypeMap
    names: dict[str, str] = field(default_factory=dict)  # theirs -> ours
    lines: list[str] = field(default_factory=list)
    ops: dict[str, str] = field(default_factory=dict)  # text without its name -> name
    refused: list[str] = field(default_factory=list)
    made: set[str] = field(default_factory=set)  # results of nodes, theirs
    same: dict[str, str] = field(default_factory=dict)  # theirs -> the value that it is

    def known(self, theirs: str) -> bool:
        """Whether the sizes of a value are."""
        return theirs in self.shapes or theirs in self.constants

    def named(self, theirs: str) -> str:
        """Our name of a value."""
        if theirs not in self.names:
            name, taken = identifier(theirs), set(self.names.values())
            self.names[theirs] = next(n for n in (name, *(f"{name}_{i}" for i in range(2, 1 << 20))) if n not in taken)
        return self.names[theirs]

    def operand(self, theirs: str, role: str = "") -> Operand:
        """A value as an equation sees it."""
        value = self.constants.get(theirs)
        if value is not None and value.size == 1:
            return Operand(tuple(value.shape), number=float(value.reshape(-1)[0]))
        return Operand(self.shapes[theirs], role or ("w" if value is not None else ""))

    def declare(self, theirs: str, within: int | None = None) -> str:
        """The name of a value; a weight or an input gets its line where it is first asked for."""
        if theirs not in self.names and theirs not in self.made:
            kind = "weight" if theirs in self.constants and within is None else "input"
            sizes = ", ".join(map(str, self.shapes[theirs]))
            type_ = (
                f"int32 [{sizes}] in {within}"
                if within
                else f"{self.dtypes.of('w' if kind == 'weight' else None)} [{sizes}]"
            )
            self.lines.append(f"{kind} {self.named(theirs)}: {type_}")
        return self.named(theirs)


def read_graph(path: Path, dtypes: DtypeMap) -> tuple[str, str, str, tuple[Dropped, ...]]:
    """Text, ending, kind and what was left out, of a file.

    Raises Diag `no-onnx`, `no-such-file`, `bad-document` and Infeasible `not-expressible`.
    """
    model = _load(path)
    graph = model.graph
    low = Lowering(_shapes(graph, path), _constants(graph), dtypes)
    for node in graph.node:
        _node(low, node)
    if low.refused:
        said = "\n  ".join(low.refused[:LISTED])
        more = f"\n  and {len(low.refused) - LISTED} more" if len(low.refused) > LISTED else ""
        raise Infeasible("not-expressible", f"`{path}` holds operators that are not imported:\n  {said}{more}")
    outputs = [low.same.get(o.name, o.name) for o in graph.output]
    wanted = [low.named(x) for x in outputs if x in low.made]
    if not wanted:
        raise Infeasible("not-expressible", f"`{path}` computes nothing that is imported")
    body = "".join(f"  {line}\n" for line in [*low.lines, f"output {', '.join(wanted)}"])
    ops = "\n".join(text.replace(OP, name, 1) for text, name in low.ops.items())
    return f'{ops}\ngraph "{identifier(path.stem)}" {{\n{body}}}\n', ".dfir", "graph of ONNX", ()


OP = "OP"


def _load(path: Path) -> onnx.ModelProto:
    try:
        import onnx
    except ImportError:
        raise Diag("no-onnx", "this file needs the package onnx", hint="pip install 'dfcompiler[onnx]'") from None
    if not path.is_file():
        raise Diag("no-such-file", f"there is no file `{path}`")
    try:
        model = onnx.load(str(path), load_external_data=False)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except Exception as error:  # protobuf, the file system and the inference each have their own
        raise Diag("bad-document", f"`{path}` is no ONNX model: {str(error).splitlines()[0]}") from None


def _shapes(graph: onnx.GraphProto, path: Path) -> dict[str, Shape]:
    """Of every tensor; raises Diag `bad-document` where one is not fixed."""
    found = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if not value.type.tensor_type.HasField("shape"):
            continue
        dims = value.type.tensor_type.shape.dim
        loose = next((d for d in dims if not d.HasField("dim_value")), None)
        if loose is not None:
            message = f"`{value.name}` of `{path}` has the size `{loose.dim_param or '?'}`, which is not fixed"
            raise Diag("bad-document", message, hint="export it with fixed sizes")
        found[value.name] = tuple(int(d.dim_value) for d in dims)
    return found | {t.name: tuple(t.dims) for t in graph.initializer}


def _constants(graph: onnx.GraphProto) -> dict[str, Any]:
    """Initializers; those in files of their own, which are large, by their shape alone."""
    import numpy as np
    import onnx

    return {
        t.name: np.broadcast_to(np.float32(0), tuple(t.dims)) if t.data_location else onnx.numpy_helper.to_array(t)
        for t in graph.initializer
    }


def _node(low: Lowering, node: onnx.NodeProto) -> None:
    import onnx

    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inputs = [low.same.get(x, x) for x in node.input if x]
    if node.op_type == "Shape" and low.known(inputs[0]):
        low.constants |= _worked_out(node, {inputs[0]: _zeros(low.shapes[inputs[0]])})
    elif all(x in low.constants for x in inputs):
        low.constants |= _worked_out(node, {x: low.constants[x] for x in inputs})
    elif node.op_type in SAME:
        low.same[node.output[0]] = inputs[0]
    else:
        try:
            if not all(map(low.known, (*inputs, *filter(None, node.output[:1])))):
                raise Unwritten(f"`{node.op_type}` of values whose sizes are not known")
            _write(low, node, inputs, attrs)
        except Unwritten as why:
            low.refused.append(f"{node.name or node.output[0]}: {why}")
            low.made.update(node.output)
    for name in node.output:
        if name in low.constants:
            low.shapes = {**low.shapes, name: tuple(low.constants[name].shape)}


def _zeros(shape: Shape) -> Any:
    import numpy as np

    return np.broadcast_to(np.float32(0), shape)


def _worked_out(node: onnx.NodeProto, values: Mapping[str, Any]) -> dict[str, Any]:
    """The results of a node whose operands are known."""
    from onnx.reference import ReferenceEvaluator

    results = ReferenceEvaluator(node).run(None, dict(values))
    return dict(zip(node.output, results, strict=True))


def _write(low: Lowering, node: onnx.NodeProto, inputs: Sequence[str], attrs: dict[str, Any]) -> None:
    kind, first = node.op_type, inputs[0]
    if kind in ("Reshape", "Squeeze", "Unsqueeze", "Flatten"):
        _emit(low, kind, [first], attrs, node.output[0])
    elif kind in ("ReduceMean", "ReduceSum", "ReduceMax"):
        axes = _known(low, inputs[1:2], kind)
        _emit(low, kind, [first], {**attrs, **({"axes": axes[0]} if axes else {})}, node.output[0])
    elif kind == "Slice":
        _emit(low, kind, [first], _part(low, inputs), node.output[0])
    elif kind == "Split":
        axis, start = int(attrs.get("axis", 0)) % len(low.shapes[first]), 0
        for name in node.output:
            _emit(low, "Slice", [first], {"axis": axis, "start": start}, name)
            start += low.shapes[name][axis]
    else:
        _emit(low, kind, inputs, attrs, node.output[0])


def _known(low: Lowering, names: Sequence[str], kind: str) -> list[list[int]]:
    """Operands that say how, as lists; raises Unwritten where they are worked out by the graph."""
    if any(n not in low.constants for n in names):
        raise Unwritten(f"`{kind}` whose form is worked out by the graph")
    return [low.constants[n].reshape(-1).tolist() for n in names]


def _part(low: Lowering, inputs: Sequence[str]) -> dict[str, int]:
    starts, _, *rest = _known(low, inputs[1:], "Slice")
    shape = low.shapes[inputs[0]]
    axes = rest[0] if rest else list(range(len(starts)))
    if len(starts) != 1 or any(step != 1 for steps in rest[1:] for step in steps):
        raise Unwritten("`Slice` of several axes, or with steps")
    axis = axes[0] % len(shape)
    return {"axis": axis, "start": max(0, starts[0] + shape[axis]) if starts[0] < 0 else starts[0]}


def _emit(low: Lowering, kind: str, inputs: Sequence[str], attrs: Mapping[str, Any], out: str) -> None:
    """The line of a node, and the text of its op where that is new."""
    operands = [low.operand(x) for x in inputs]
    written = equation(kind, operands, attrs, low.shapes[out])
    name = low.ops.setdefault(written.text(OP), f"onnx_{kind.lower()}_{len(low.ops)}")
    within = low.shapes[inputs[0]][0] if kind == "Gather" else None
    args = [low.declare(inputs[n], within if n == 1 else None) for n in written.used]
    sizes = ", ".join(map(str, low.shapes[out]))
    low.made.add(out)
    low.lines.append(f"{low.named(out)}: {low.dtypes.of(None)} [{sizes}] = {name}({', '.join(args)})")
