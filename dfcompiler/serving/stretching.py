"""Groups at other sizes without a graph: their numbers grow straight with what a step works on.

Extents, shapes and attributes of an op are sums of multiples of new and cached tokens. The multiples are read off a few
graphs, and hold where one more graph confirms them; where it does not there is no such rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dfcompiler.compose import Group
from dfcompiler.graph import Graph, Node, Tensor, TensorType
from dfcompiler.serving.outlines import Sizes

Leaves = dict[tuple[object, ...], object]


@dataclass(frozen=True, eq=False)
class Form:
    """What sizes may change of an op or an exchange: extents of indices, attributes, types of operands."""

    sizes: Mapping[str, int]
    attrs: Mapping[str, object]
    types: Mapping[str, TensorType]

    def leaves(self) -> Leaves:
        """Every number by where it is."""
        found: Leaves = {("size", n): x for n, x in self.sizes.items()}
        found |= {("attr", n): x for n, x in self.attrs.items()}
        for name, type_ in self.types.items():
            found |= {("type", name, i): x for i, x in enumerate(type_.shape)} | {("within", name): type_.within}
        return found

    def with_leaves(self, leaves: Leaves) -> Form:
        """The same with other numbers."""
        types = {
            n: replace(x, shape=tuple(leaves["type", n, i] for i in range(len(x.shape))), within=leaves["within", n])  # type: ignore[misc, arg-type]
            for n, x in self.types.items()
        }
        sizes: dict[str, int] = {n: leaves["size", n] for n in self.sizes}  # type: ignore[misc]
        return Form(sizes, {n: leaves["attr", n] for n in self.attrs}, types)


def of_group(g: Group) -> Form:
    """The numbers of a group."""
    return Form(g.sizes, g.attrs, g.types)


def of_node(graph: Graph, node: Node) -> Form:
    """The numbers of a node alone."""
    names = (*node.args, *(r.name for r in node.results))
    return Form({}, dict(node.attrs), {n: graph.type_of(n) for n in dict.fromkeys(names)})


def with_form(graph: Graph, node: Node, form: Form) -> tuple[Graph, Node]:
    """A graph of that node alone, with other numbers."""
    own = {r.name for r in node.results}
    outer = tuple(Tensor(n, x, "input") for n, x in form.types.items() if n not in own)
    results = tuple(replace(r, type=form.types[r.name]) for r in node.results)
    changed = replace(node, results=results, attrs=tuple(form.attrs.items()))  # type: ignore[arg-type]
    return Graph(graph.name, (*outer, changed), mesh=graph.mesh), changed


@dataclass(frozen=True, eq=False)
class Rule:
    """A form at `base`, and by how much each of its numbers grows with each size."""

    form: Form
    base: Sizes
    slopes: Mapping[tuple[object, ...], tuple[float, ...]]

    def at(self, sizes: Sizes) -> Form:
        """The form at other sizes."""
        leaves = self.form.leaves()
        moved = tuple(a - b for a, b in zip(sizes, self.base, strict=True))
        for key, slope in self.slopes.items():
            grown = sum(s * d for s, d in zip(slope, moved, strict=True))
            leaves[key] = round(leaves[key] + grown)  # type: ignore[operator]
        return self.form.with_leaves(leaves)


def rule(form_at: Callable[[Sizes], Form | None], base: Sizes, others: Mapping[str, Sizes]) -> Rule | None:
    """The rule of what `form_at` gives, from its values at `base`, at one other value of each size, and at all of them
    together; None where there is none."""
    first = form_at(base)
    forms = {name: form_at(sizes) for name, sizes in others.items()}
    changed = {name: getattr(sizes, name) for name, sizes in others.items()}
    last = form_at(base._replace(**changed))
    if first is None or last is None or None in forms.values():
        return None
    start = first.leaves()
    each = {name: f.leaves() for name, f in forms.items() if f is not None}
    if any(x.keys() != start.keys() for x in (*each.values(), last.leaves())):
        return None
    slopes: dict[tuple[object, ...], tuple[float, ...]] = {}
    for key, value in start.items():
        if all(x[key] == value for x in each.values()):
            continue
        if not all(isinstance(x[key], int | float) for x in (start, *each.values())):
            return None
        steps = {n: changed[n] - getattr(base, n) for n in changed}
        slopes[key] = tuple((each[n][key] - value) / steps[n] if n in each else 0.0 for n in Sizes._fields)  # type: ignore[operator]
    made = Rule(first, base, slopes)
    return made if made.at(base._replace(**changed)).leaves() == last.leaves() else None
