"""What a folder holds that can be reported on, told by its files: results of `compile`, `serve` and `explore`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dfcompiler.diagnostics import Diag, Span
from dfcompiler.text.parse import read_source


@dataclass(frozen=True)
class Kind:
    """A kind of result: the command that makes it, the file that tells it, and members that the file must have."""

    name: str
    file: str
    needs: tuple[str, ...]

    @property
    def by(self) -> str:
        """The command in words."""
        return f"`dfc {self.name} -o DIR`"


KINDS = (
    Kind("compile", "mapping.json", ("model", "chip", "ops", "layers", "latency_s", "roofline", "mapping", "hardware")),
    Kind("serve", "serve.json", ("ttft_s", "tbt_s", "throughput_tok_s", "slo_attainment")),
    Kind("explore", "front.json", ("points_in_space", "front", "directions")),
)


@dataclass(frozen=True)
class Result:
    """A result: its kind, the file and the object in it, and the SHA-256 of all but what it says of running times."""

    kind: Kind
    path: Path
    said: dict[str, Any]
    sha256: str

    @property
    def folder(self) -> Path:
        """Where its other files are."""
        return self.path.parent


def results(path: Path) -> tuple[Result, ...]:
    """The results in a folder, or the one in a JSON file.

    Raises Diag `no-result` where there is none, with what would be one, and `bad-result` at the place where a file
    breaks or with the member that it lacks.
    """
    if path.is_dir():
        there = [(kind, path / kind.file) for kind in KINDS if (path / kind.file).is_file()]
        if not there:
            raise _none(path)
        return tuple(_read(kind, file, _parsed(file)) for kind, file in there)
    said = _parsed(path)
    kinds = [kind for kind in KINDS if all(need in said for need in kind.needs)]
    if not kinds:
        raise Diag("no-result", f"`{path}` is not the result of a command that can be reported on", hint=_wanted())
    return (_read(kinds[0], path, said),)


def _read(kind: Kind, path: Path, said: dict[str, Any]) -> Result:
    if lacking := [need for need in kind.needs if need not in said]:
        raise damaged(kind, path, f"lacks `{lacking[0]}`")
    timeless = {k: v for k, v in said.items() if k not in ("seconds", "sim_cpu_s")}
    digest = hashlib.sha256(json.dumps(timeless, sort_keys=True).encode()).hexdigest()
    return Result(kind, path, said, digest)


def damaged(kind: Kind, path: Path, what: str) -> Diag:
    """The error for a file that is not what its command writes."""
    return Diag("bad-result", f"`{path}` {what}", hint=f"{kind.by} writes one")


def _parsed(path: Path) -> dict[str, Any]:
    source = read_source(path)
    try:
        said = json.loads(source.text)
    except json.JSONDecodeError as error:
        at = Span(source, error.lineno, error.colno, error.colno + 1)
        said = error.msg if source.text.strip() else "the file is empty"
        raise Diag("bad-result", f"this is no JSON: {said}", at) from None
    except (RecursionError, ValueError):
        message = "this JSON is nested too deeply or has a number that is too long"
        raise Diag("bad-result", message, Span(source, 1, 1, 2)) from None
    if not isinstance(said, dict):
        raise Diag("bad-result", "a result is a JSON object", Span(source, 1, 1, 2))
    return said


def _none(path: Path) -> Diag:
    held = sorted(p.name for p in path.iterdir())
    holds = f"it holds {', '.join(held[:6])}{', ...' if len(held) > 6 else ''}" if held else "it is empty"
    return Diag("no-result", f"`{path}` holds no result: {holds}", hint=_wanted())


def _wanted() -> str:
    return "; ".join(f"{kind.by} writes {kind.file}" for kind in KINDS)
