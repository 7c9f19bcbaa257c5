"""The shape of the code: one direction of imports, and files that fit on a few pages."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENGINE = ROOT / "dfcompiler"

# The order of the data flow: a module may import those before it, never one after it.
ORDER = """
diagnostics hashes budget check twin cache content registry text dtypes rounding modules checkpoint declarations
opshape renaming scalars routing bounds strips clauses masks work scaling stream hazards facts reuse sharding fission
slices counts semantics graph meshes census calls algorithms fabrics libraries collectives staging elimination
partition spreading kin execution devices siblings compose rows verify resizing stages steps parameters fields models
layers lowering graphtext hardware amounts frames writing terms economics power kernels pipeline parallelism problem
grouping launches traffic moves late overlaps nest residency replay tiles consumption expenses blocks fronts tiling
remedies searches exchanges energy paths likeness spending pins columns quotes solution addresses goals listing serial
cuts moments enumeration relaxation circuits branches certificate choice program ilp repetition planes objectives
schedule audit cost pipelining report tables explanation pricing api serving explore validation calibration rtl
outputs pages interchange codes public cli __main__
""".split()

# Lines per file; passes and templates are one idea each.
LIMITS = {"passes": 200, "templates": 200, "policies": 200, "tests": 600, "benchmarks": 600}
LIMIT = 400
LIMITED = {".py", ".lark", ".dfir", ".dfm", ".chip", ".j2", ".sv", ".toml", ".sh"}


def module_of(path: Path) -> str:
    """The engine's module that a file belongs to; a folder counts as one module."""
    return path.relative_to(ENGINE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each engine module that a file imports, also inside functions, but not for types only."""
    package = ["dfcompiler", *path.relative_to(ENGINE).parent.parts]
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            todo += node.orelse
            continue
        todo += ast.iter_child_nodes(node)
        for name in imported(node, package):
            parts = name.split(".")
            if parts[0] == "dfcompiler" and len(parts) > 1 and exists(parts[1]):
                yield node.lineno, parts[1]  # type: ignore[attr-defined]


def imported(node: ast.AST, package: list[str]) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = package[: len(package) - node.level + 1] if node.level else []
    start = ".".join([*base, *filter(None, [node.module])])
    return [f"{start}.{alias.name}" for alias in node.names]


def exists(module: str) -> bool:
    return (ENGINE / module).is_dir() or (ENGINE / f"{module}.py").is_file()


def engine_files() -> list[Path]:
    return [p for p in sorted(ENGINE.rglob("*.py")) if p != ENGINE / "__init__.py"]


def back_edges(files: list[Path]) -> list[str]:
    rank = {name: i for i, name in enumerate(ORDER)}
    return [
        f"{path.relative_to(ROOT)}:{line}: `{module_of(path)}` may not import `{name}`, which comes after it"
        for path in files
        for line, name in imports(path)
        if rank.get(name, 0) > rank[module_of(path)]
    ]


def test_every_module_has_its_place_in_the_order() -> None:
    new = {module_of(p) for p in engine_files()} - set(ORDER)
    assert not new, f"new modules {sorted(new)}: give each a place in ORDER of {Path(__file__).name}"


def test_no_import_goes_against_the_order() -> None:
    known = [p for p in engine_files() if module_of(p) in ORDER]
    assert not (found := back_edges(known)), "\n".join(found)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("from dfcompiler import cli", ["cli"]),
        ("from dfcompiler.cli import main", ["cli"]),
        ("import dfcompiler.cli", ["cli"]),
        ("from .cli import main", ["cli"]),
        ("def f():\n    from . import cli", ["cli"]),
        ("if TYPE_CHECKING:\n    from dfcompiler.cli import main", []),
        ("from dfcompiler import __version__", []),
    ],
)
def test_imports_are_seen_in_every_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, found: list[str]
) -> None:
    (tmp_path / "cli.py").touch()
    (tmp_path / "graph.py").write_text(line)
    monkeypatch.setitem(globals(), "ENGINE", tmp_path)
    assert [name for _, name in imports(tmp_path / "graph.py")] == found


def test_the_engine_imports_no_content_by_name() -> None:
    content = ("ir", "passes", "policies", "templates")
    for path in engine_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in imported(node, ["dfcompiler"]):
                inside = name.removeprefix("dfcompiler.content.")
                assert inside.split(".")[0] not in content, f"{path} imports {name}"


def project_files() -> list[Path]:
    """Tracked and untracked files, or all that look like sources where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        return [p for name in filter(None, listed.stdout.split("\0")) if (p := ROOT / name).is_file()]
    tops = ("dfcompiler", "ir", "templates", "passes", "policies", "tests", "benchmarks")
    return [p for top in tops for p in (ROOT / top).rglob("*") if p.is_file()]


def test_no_file_is_too_long() -> None:
    long = []
    for path in project_files():
        if path.suffix not in LIMITED:
            continue
        inside = path.relative_to(ROOT)
        limit = LIMITS.get(inside.parts[0], LIMIT)
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > limit:
            long.append(f"{inside}: {lines} lines, at most {limit}")
    assert not long, "\n".join(long)
