"""Spaces of chips and systems, and pages on results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from dfcompiler.diagnostics import Diag, unknown
from dfcompiler.explore import exploring, folder
from dfcompiler.explore.exploration import Exploration
from dfcompiler.explore.space import PRICES, Space, load_space
from dfcompiler.explore.studied import BUDGET, ENGINES, Search
from dfcompiler.explore.uncertainty import stated
from dfcompiler.public.given import checked_seed
from dfcompiler.writing import check_writable, make_folder, write_text

AnySpace: TypeAlias = Space | str | Path
PAGE = "report.html"


def space(spec: str | Path) -> Space:
    """A space by its name or from a `.space` file. Raises what `load_space` raises."""
    return load_space(str(spec))


def explore(
    space: AnySpace,
    *,
    prices: str | None = None,
    budget: int = BUDGET,
    sampler: str | None = None,
    seed: int = 0,
    engine: str = ENGINES[0],
    workers: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    check: bool = False,
    perturb: bool | str | Path = False,
) -> Exploration:
    """The Pareto front of a space, and how it is known; `prices` are `static` or `mapped`, else as the space says.

    `out` is a folder for the front, its chips and what `resume` goes on with; `check` has every design of static
    prices computed again by other code. `perturb` asks how much of the front stands where constants are as far off as
    `templates/uncertainty.toml` says, or a file like it. Raises Diag and Infeasible as the modules of
    `dfcompiler.explore` say.
    """
    asked = space if isinstance(space, Space) else load_space(str(space))
    if prices is not None:
        if prices not in PRICES:
            raise unknown("prices", prices, PRICES)
        asked = replace(asked, prices=prices)
    where = Path(out) if out else None
    constants = stated(None if perturb is True else Path(perturb)) if perturb else None
    search = Search(budget, sampler, checked_seed(seed), engine, workers, where, resume, check, constants)
    if where and not resume:
        check_writable(where)
    found = exploring.explore(asked, search)
    if where:
        folder.write(asked, found, where)
    return found


def report(result: str | Path, out: str | Path | None = None) -> Path:
    """One HTML file on the results in a folder, by default `report.html` in it; its path. Raises Diag `no-result`,
    `bad-result`, `bad-output`."""
    from dfcompiler.pages import page, results

    found = results(Path(result))
    where = Path(out) if out else found[0].folder / PAGE
    if where.is_dir():
        raise Diag("bad-output", f"`{where}` is a folder", hint=f"name a file: -o {where / PAGE}")
    make_folder(where.parent)
    write_text(where, page(found))
    return where
