"""From results to the text of one HTML file. The same results give the same bytes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2

import dfcompiler
from dfcompiler.pages.blocks import Chapter, Figure
from dfcompiler.pages.front_chapter import front_chapter
from dfcompiler.pages.results import Result, damaged
from dfcompiler.pages.serve_chapter import serve_chapter
from dfcompiler.pages.step_chapter import step_chapter

CHAPTERS: Mapping[str, Callable[[Result], Chapter]] = {
    "compile": step_chapter,
    "serve": serve_chapter,
    "explore": front_chapter,
}
CONFIG = {
    "responsive": True, "displaylogo": False, "doubleClick": "reset",
    "modeBarButtonsToRemove": ["lasso2d", "autoScale2d", "toggleSpikelines"],
}  # fmt: skip


def page(found: Sequence[Result]) -> str:
    """The page on these results, a chapter each. Raises Diag `bad-result` where one lacks something or has it wrong,
    and what reading a step raises."""
    chapters = [_chapter(r) for r in found]
    figures = [b for c in chapters for s in c.sections for b in s.blocks if isinstance(b, Figure)]
    env = jinja2.Environment(
        loader=jinja2.FunctionLoader(_text), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    return env.get_template("page.html.j2").render(
        chapters=chapters,
        title=chapters[0].title,
        style=_text("page.css"),
        script=_text("page.js"),
        plotly=_text("plotly.min.js"),
        figures=_json({f.id: {"data": f.data, "layout": f.layout} for f in figures}),
        config=_json(CONFIG),
        version=dfcompiler.__version__,
    )


def _chapter(result: Result) -> Chapter:
    try:
        return CHAPTERS[result.kind.name](result)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else f"{error}"
        raise damaged(result.kind, result.path, f"is damaged: {what}") from error


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that can stand in a script: no `<`, and null for what is not finite."""
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False, ensure_ascii=False).replace("<", "\\u003c")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.9g}") if math.isfinite(value) else None
    return value
