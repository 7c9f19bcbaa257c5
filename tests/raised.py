"""The codes of all messages, found in the sources: every text that can become the first argument of `Diag`.

A code may be written where the message is made, chosen by a condition, looked up in a table, put together, or handed to
a function that makes the message; names are followed to what they were given, and parameters to all callers. What
cannot be followed is told as such, never passed over.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

TOPS = ("dfcompiler", "passes", "policies", "templates")
MAKERS = ("Diag", "Infeasible")  # what makes a message, of which the first argument is the code
OPEN = "\0"  # stands for a part of a text that is not known
DEEPEST = 8  # names that are followed from one to the next

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


class Unresolved(Exception):
    """A code that cannot be followed to its text."""


@dataclass
class File:
    """A source file: its tree, and the function and the class that each node is in."""

    path: Path
    tree: ast.Module
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)  # a name here -> what it is, `dfcompiler.registry.lookup`

    @property
    def module(self) -> str:
        return ".".join(self.path.with_suffix("").parts).removesuffix(".__init__")

    def around(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that hold a node, from the inside."""
        while (up := self.parents.get(node)) is not None:
            yield up
            node = up

    def place(self, node: ast.AST) -> str:
        return f"{self.path}:{node.lineno}"  # type: ignore[attr-defined]


def opened(path: Path, text: str) -> File:
    """A source file, parsed."""
    file = File(path, ast.parse(text))
    for node in ast.walk(file.tree):
        file.parents |= dict.fromkeys(ast.iter_child_nodes(node), node)
        if isinstance(node, ast.ImportFrom):
            file.imports |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return file


def sources(root: Path) -> list[File]:
    """All sources of ours below a folder."""
    paths = (p for top in TOPS for p in sorted((root / top).rglob("*.py")))
    return [opened(p.relative_to(root), p.read_text(encoding="utf-8")) for p in paths]


class Codes:
    """The codes that some files raise: `found` maps each to its places, `lost` holds calls that cannot be followed."""

    def __init__(self, files: Iterable[File], makers: Iterable[str] = MAKERS) -> None:
        self.files = list(files)
        self.calls: dict[str, list[tuple[File, ast.Call]]] = defaultdict(list)
        for file in self.files:
            for node in ast.walk(file.tree):
                if isinstance(node, ast.Call):
                    self.calls[called(node)].append((file, node))
        self.found: dict[str, list[str]] = defaultdict(list)
        self.lost: list[str] = []
        for maker in makers:
            for file, call in self.calls[maker]:
                self.read(file, call)

    def read(self, file: File, call: ast.Call) -> None:
        """Take in the codes of one call that makes a message."""
        code = argument(call, "code", 0)
        if code is None:
            self.lost.append(f"{file.place(call)}: no code in `{ast.unparse(call)[:60]}`")
        elif not handed_on(file, code):
            try:
                for text in self.texts(file, code, DEEPEST):
                    if OPEN in text:
                        raise Unresolved(text.replace(OPEN, "*"))
                    self.found[text].append(file.place(call))
            except Unresolved as why:
                self.lost.append(f"{file.place(call)}: `{ast.unparse(code)}` ({why})")

    def texts(self, file: File, node: ast.expr, left: int) -> set[str]:
        """Every text that an expression can be, with `OPEN` for parts that are not known."""
        match node:
            case ast.Constant(str(text)):
                return {text}
            case ast.JoinedStr(parts):
                pieces = [self.piece(file, part, left) for part in parts]
                return {"".join(chosen) for chosen in product(*pieces)}
            case ast.IfExp(_, one, other):
                return self.texts(file, one, left) | self.texts(file, other, left)
            case ast.BoolOp(ast.Or(), values):
                return {x for value in values for x in self.texts(file, value, left)}
            case ast.Name(name) if left:
                return self.named(file, node, name, left - 1)
            case ast.Subscript(ast.Name() as table, _) if left:
                return self.held(file, table, left - 1)
            case ast.Call(ast.Attribute(ast.Constant("-"), "join"), [ast.Tuple([ast.Constant(str(first)), rest])]):
                return {"-".join((first, *kind.partition(" of ")[0].split())) for kind in self.kinds(file, rest, left)}
        raise Unresolved(ast.unparse(node))

    def kinds(self, file: File, node: ast.expr, left: int) -> set[str]:
        """The kinds of `unknown(kind, ...)`, whose code is made of the words before ` of `."""
        match node:
            case ast.Starred(ast.Call(ast.Attribute(ast.Subscript(ast.Call(parts)), "split"))):
                if isinstance(parts, ast.Attribute) and parts.attr == "partition":
                    return self.texts(file, parts.value, left)
        raise Unresolved(ast.unparse(node))

    def piece(self, file: File, part: ast.expr, left: int) -> set[str]:
        """A part of a text that is put together; one that is filled in with a value may be anything."""
        if not isinstance(part, ast.FormattedValue):
            return self.texts(file, part, left)
        try:
            return self.texts(file, part.value, left)
        except Unresolved:
            return {OPEN}

    def named(self, file: File, at: ast.expr, name: str, left: int) -> set[str]:
        """What a name can be where it is used: a parameter, what it was given before, or a constant of the file."""
        for scope in (x for x in file.around(at) if isinstance(x, Function | ast.Module)):
            if isinstance(scope, Function) and (place := position(scope, name)) is not None:
                return self.given(file, scope, name, place, left)
            values = list(assigned(scope, name))
            if values:
                return {x for value in values for x in self.texts(file, value, left)}
        raise Unresolved(f"nothing gives `{name}` a text")

    def given(self, file: File, function: Function, name: str, place: int, left: int) -> set[str]:
        """What callers hand to a parameter, and its default."""
        if isinstance(function, ast.Lambda):
            raise Unresolved(f"`{name}` of a lambda")
        inside = isinstance(file.parents[function], ast.ClassDef)
        calls = [x for x in self.calls[function.name] if refers(*x, file, function.name, inside)]
        handed = [(f, argument(call, name, place - inside)) for f, call in calls]
        found = {x for f, value in handed if value is not None for x in self.texts(f, value, left)}
        if (default := defaulted(function, name)) is not None:
            found |= self.texts(file, default, left)
        if not found:
            raise Unresolved(f"nobody calls `{function.name}`")
        return found

    def held(self, file: File, table: ast.Name, left: int) -> set[str]:
        """Every value of a table that is written out."""
        for scope in (x for x in file.around(table) if isinstance(x, Function | ast.Module)):
            for value in assigned(scope, table.id):
                if isinstance(value, ast.Dict):
                    return {x for v in value.values for x in self.texts(file, v, left)}
        raise Unresolved(f"`{table.id}` is no table that is written out")


def called(call: ast.Call) -> str:
    """The last name of what is called."""
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def refers(file: File, call: ast.Call, home: File, name: str, method: bool) -> bool:
    """Whether a call in a file may be of the function or the method of that name at home."""
    match call.func:
        case ast.Attribute(ast.Name(base)) if base in file.imports:
            return not method and file.imports[base] == home.module
        case ast.Attribute():
            return method
        case ast.Name() if file is home:
            return not method
        case ast.Name():  # a package may hand on what its modules hold
            package, _, found = file.imports.get(name, "").rpartition(".")
            return not method and found == name and f"{home.module}.".startswith(f"{package}.")
    return False


def argument(call: ast.Call, name: str, place: int) -> ast.expr | None:
    """What a call hands to a parameter."""
    named = next((k.value for k in call.keywords if k.arg == name), None)
    positional = call.args[place] if 0 <= place < len(call.args) else None
    return named if named is not None else positional


def position(function: Function, name: str) -> int | None:
    """The place of a parameter; beyond all others for one that is given by name only."""
    names = [a.arg for a in (*function.args.posonlyargs, *function.args.args)]
    if name in names:
        return names.index(name)
    return 1 << 16 if name in {a.arg for a in function.args.kwonlyargs} else None


def defaulted(function: ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> ast.expr | None:
    """The default of a parameter."""
    a = function.args
    plain = [*a.posonlyargs, *a.args]
    pairs = [*zip(reversed(plain), reversed(a.defaults), strict=False), *zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return next((value for arg, value in pairs if arg.arg == name), None)


def assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    """What is assigned to a name in a function or at the top of a file; a loop over what is written out counts."""
    inner = [n for n in ast.walk(scope) if n is not scope] if not isinstance(scope, ast.Module) else scope.body
    for node in inner:
        match node:
            case ast.Assign([ast.Name(id=found)], value) if found == name:
                yield value
            case ast.AnnAssign(ast.Name(id=found), _, ast.expr() as value) if found == name:
                yield value
            case ast.Assign([ast.Tuple(names)], ast.Tuple(values)):
                yield from (v for n, v in zip(names, values, strict=False) if isinstance(n, ast.Name) and n.id == name)
            case ast.Assign([ast.Tuple(names)], ast.IfExp(_, ast.Tuple(one), ast.Tuple(other))):
                for n, *values in zip(names, one, other, strict=True):
                    yield from values if isinstance(n, ast.Name) and n.id == name else ()
            case ast.For(ast.Name(id=found), ast.Tuple(values) | ast.List(values)) if found == name:
                yield from values


def handed_on(file: File, node: ast.expr) -> bool:
    """Whether a code is that of a message that was made elsewhere: `error.code` of one that was caught or made."""
    if not (isinstance(node, ast.Attribute) and node.attr == "code" and isinstance(node.value, ast.Name)):
        return False
    name = node.value.id
    for scope in file.around(node):
        if isinstance(scope, ast.ExceptHandler) and scope.name == name:
            return "Diag" in ast.unparse(scope.type or ast.Constant(""))
        if isinstance(scope, Function):
            typed = [a.annotation for a in scope.args.args if a.arg == name and a.annotation]
            if any(ast.unparse(t) == "Diag" for t in typed):
                return True
            values = list(assigned(scope, name))
            if values:
                return all(isinstance(v, ast.Call) for v in values)
    return False
