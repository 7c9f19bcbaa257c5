"""The text of every file of a package, made by the templates of `templates/rtl`; a plug-in's win over ours."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jinja2

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.rtl.params import Package, to_json, validate
from dfcompiler.rtl.view import view

# Style -> (file name, template); `{}` is the name of the package.
STYLES = {
    "portable": (
        ("{}_pkg.sv", "package.sv.j2"),
        ("{}_params.vh", "params.vh.j2"),
        ("{}_params.h", "params.h.j2"),
        ("{}_check.sv", "check.sv.j2"),
        ("{}.f", "files.f.j2"),
    ),
}


def render(package: Package, style: str = "portable") -> dict[str, str]:
    """The files of a package: file name -> text. The same package gives the same bytes.

    Raises `unknown-style`, `rtl-template` with the line of a template that asks for what does not exist, and as
    `params.validate` does.
    """
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    variables = view(validate(package))
    names = {shape.format(package.name): template for shape, template in STYLES[style]}
    rendered = {name: filled(template, variables | {"file": name}) for name, template in names.items()}
    return rendered | {"params.json": to_json(package)}


def _environment() -> jinja2.Environment:
    folders = [*reversed(content.folders("templates", "rtl"))]  # the last plug-in wins, ours come last
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folders),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # source code, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["pad"] = lambda text, width: str(text).ljust(width)
    return environment


def filled(template: str, variables: Mapping[str, object]) -> str:
    """A template of `templates/rtl` with these variables; raises `rtl-template`, with its line where it fails."""
    fault = partial(_fault, template)
    try:
        text = _environment().get_template(template).render(variables)
    except jinja2.TemplateSyntaxError as error:
        raise fault(error, error.filename, error.lineno) from error
    except jinja2.TemplateNotFound as error:
        raise Diag("rtl-template", f"there is no template `{error.name}` in templates/rtl") from error
    except Exception as error:  # a template may be a user's, and fail in any way
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(".j2")]
        place = frames[-1] if frames else None
        raise fault(error, place.filename if place else None, place.lineno if place else None) from error
    # Templates are edited by hand: what they leave at line ends and ends of blocks is not part of the output.
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n") + "\n"


def _fault(template: str, error: Exception, filename: str | None, line: int | None) -> Diag:
    message = f"the template `{template}` fails: {error}"
    if filename is None or line is None:
        return Diag("rtl-template", message)
    text = Path(filename).read_text(encoding="utf-8")
    source = Source(filename, text)
    return Diag("rtl-template", message, Span(source, line, 1, len(source.line(line)) + 1))
