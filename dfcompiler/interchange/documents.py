"""YAML and JSON with places: every value knows where it stands, and every value that was read is remembered.

JSON is YAML but for tabs; both become one tree. What no reader asked for is listed at the end, so that nothing is
left out in silence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from dfcompiler.diagnostics import Diag, Source, Span, unknown

if TYPE_CHECKING:
    import yaml

WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


@dataclass(frozen=True)
class Dropped:
    """A value of the file that the result does not hold, and why."""

    path: str
    why: str
    span: Span


@dataclass(frozen=True)
class Value:
    """A scalar, a map or a list of a document; messages name it by `path`; `tag` is a YAML tag such as `Component`."""

    path: str
    span: Span
    tag: str
    content: Any  # str for a scalar, dict[str, Value], or list[Value]
    read: set[str] = field(repr=False, compare=False)  # of the whole document

    # ---- what it is

    @property
    def scalar(self) -> bool:
        """Whether it is neither a map nor a list."""
        return isinstance(self.content, str)

    def text(self) -> str:
        """The scalar as written; raises Diag `bad-document`."""
        if not self.scalar:
            raise self.fault("a single value")
        self.read.add(self.path)
        return str(self.content)

    def number(self, least: float = 0.0) -> float:
        """A finite number of at least `least`; raises Diag `bad-document`."""
        try:
            value = float(self.text())
        except ValueError:
            raise self.fault("a number") from None
        if not math.isfinite(value) or value < least:
            raise self.fault(f"a number of at least {least:g}")
        return value

    def positive(self) -> float:
        """A number above 0; raises Diag `bad-document`."""
        value = self.number()
        if not value:
            raise self.fault("a number above 0")
        return value

    def whole(self, least: int = 1) -> int:
        """An integer of at least `least`; raises Diag `bad-document`."""
        value = self.number()
        if value != int(value) or value < least:
            raise self.fault(f"a whole number of at least {least}")
        return int(value)

    def truth(self) -> bool:
        """Whether it says true, or a number that is not 0."""
        word = self.text().lower()
        return bool(WORDS[word]) if word in WORDS else word not in ("0", "no", "off")

    # ---- what it holds

    def has(self, *names: str) -> bool:
        """Whether there is such a value, names leading inwards."""
        at: Any = self
        for name in names:
            if not isinstance(at.content, dict) or name not in at.content:
                return False
            at = at.content[name]
        return True

    def at(self, *names: str) -> Value:
        """The value below the names; raises Diag `missing-value` at the innermost map that there is."""
        found = self
        for name in names:
            if not isinstance(found.content, dict):
                raise found.fault("a map")
            if name not in found.content:
                hint = f"it has {', '.join(f'`{k}`' for k in found.content)}" if found.content else None
                raise Diag("missing-value", f"`{found.path or 'the file'}` has no `{name}`", found.span, hint=hint)
            found = found.content[name]
        return found

    def items(self) -> list[tuple[str, Value]]:
        """Names and values of a map; raises Diag `bad-document`."""
        if not isinstance(self.content, dict):
            raise self.fault("a map")
        return list(self.content.items())

    def list(self) -> list[Value]:
        """The entries of a list; raises Diag `bad-document`."""
        if not isinstance(self.content, list):
            raise self.fault("a list")
        self.read.add(self.path)
        return list(self.content)

    def one_of(self, known: Mapping[str, str], what: str) -> str:
        """What a word stands for; raises Diag `unknown-...`."""
        word = self.text()
        if word.lower() not in known:
            raise unknown(what, word, known, self.span)
        return known[word.lower()]

    def leaves(self) -> Iterator[Value]:
        """Every scalar at or below it; empty maps and lists as such."""
        inside = self.content.values() if isinstance(self.content, dict) else self.content
        if self.scalar or not inside:
            yield self
            return
        for value in inside:
            yield from value.leaves()

    def dropped(self, reasons: Mapping[str, str]) -> tuple[Dropped, ...]:
        """What was not read, by the first pattern of `reasons` that its path fits; neighbours below one pattern and
        one map are told once."""
        found: dict[tuple[str, str], Dropped] = {}
        for leaf in self.leaves():
            if leaf.path in self.read:
                continue
            pattern = next((p for p in reasons if fnmatchcase(leaf.path, p)), "")
            why = reasons.get(pattern, "this reader does not know it")
            shown = leaf.path if not pattern.endswith(".*") else leaf.path[: _prefix(leaf.path, pattern)]
            found.setdefault((shown, why), Dropped(shown, why, leaf.span))
        return tuple(found.values())

    def fault(self, wanted: str) -> Diag:
        """The error for a value that is not what it should be."""
        kinds: dict[type, str] = {dict: "a map", list: "a list"}
        kind = kinds.get(type(self.content), f"`{self.content}`")
        return Diag("bad-document", f"`{self.path or 'the file'}` must be {wanted}, not {kind}", self.span)


def _prefix(path: str, pattern: str) -> int:
    """How much of a path stands before the last `.*` of a pattern that it fits."""
    parts = path.split(".")
    return next(
        len(".".join(parts[:n])) for n in range(1, len(parts) + 1) if fnmatchcase(".".join(parts[:n]), pattern[:-2])
    )


def read_document(source: Source) -> Value:
    """The tree of a YAML or JSON text; raises Diag `syntax`, `no-yaml`, `duplicate-name`."""
    text = source.text
    if source.name.endswith(".json"):
        _check_json(source)
        text = text.replace("\t", " ")  # tabs end tokens in YAML; columns stay
    try:
        import yaml
    except ImportError:
        raise Diag("no-yaml", "this file needs PyYAML", hint="pip install pyyaml") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Diag("syntax", f"{error.problem or error.context}", _at(source, mark)) from None
    except yaml.YAMLError as error:
        raise Diag("syntax", str(error).splitlines()[0], Span(source, 1, 1, 2)) from None
    if root is None:
        raise Diag("bad-document", f"`{source.name}` is empty", Span(source, 1, 1, 2))
    return _value(root, "", source, set(), 0)


MOST_DEEP = 100


def _value(node: yaml.Node, path: str, source: Source, read: set[str], depth: int) -> Value:
    import yaml

    span = _span(source, node)
    tag = node.tag.removeprefix("!") if node.tag.startswith("!") else ""
    if depth > MOST_DEEP:
        raise Diag("too-deep", f"more than {MOST_DEEP} levels", span)
    content: Any
    if isinstance(node, yaml.MappingNode):
        content = {}
        for key, inner in node.value:
            name = str(key.value)
            if name in content:
                raise Diag("duplicate-name", f"`{name}` is given twice", _span(source, key))
            content[name] = _value(inner, f"{path}.{name}" if path else name, source, read, depth + 1)
    elif isinstance(node, yaml.SequenceNode):
        content = [
            _value(x, f"{path}.{i}" if path else str(i), source, read, depth + 1) for i, x in enumerate(node.value)
        ]
    else:
        content = str(node.value)
    return Value(path, span, tag, content, read)


def _span(source: Source, node: yaml.Node) -> Span:
    start, end = node.start_mark, node.end_mark
    last = end.column + 1 if end.line == start.line else len(source.line(start.line + 1)) + 1
    return Span(source, start.line + 1, start.column + 1, max(last, start.column + 2))


def _at(source: Source, mark: yaml.Mark | None) -> Span:
    line, column = (mark.line, mark.column) if mark else (0, 0)
    return Span(source, line + 1, column + 1, column + 2)


def _check_json(source: Source) -> None:
    try:
        json.loads(source.text)
    except json.JSONDecodeError as error:
        said = error.msg if source.text.strip() else "the file is empty"
        raise Diag("syntax", said, Span(source, error.lineno, error.colno, error.colno + 1)) from None
    except RecursionError:
        raise Diag("too-deep", f"more than {MOST_DEEP} levels", Span(source, 1, 1, 2)) from None
