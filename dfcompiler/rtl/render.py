"""The text of every file of a package, made by the templates of `templates/rtl`; a plug-in's win over ours."""

from __future__ import annotations

import html
import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jinja2

from dfcompiler import content
from dfcompiler.diagnostics import Diag, Source, Span, unknown
from dfcompiler.rtl.params import Package, to_json, validate
from dfcompiler.rtl.view import view

COMMON = (
    ("{}_params.vh", "params.vh.j2"),
    ("{}_params.h", "params.h.j2"),
    ("{}_check.sv", "check.sv.j2"),
    ("{}.f", "files.f.j2"),
    ("{}.md", "datasheet.md.j2"),
    ("{}.xml", "component.xml.j2"),
)
# Style -> (file name, template); `{}` is the name of the package.
STYLES = {
    "portable": (("{}_pkg.sv", "package.sv.j2"), *COMMON),
    "typed": (("{}_pkg.sv", "package_typed.sv.j2"), *COMMON),
}
TABLE = ("{}_{}.memh", "table.memh.j2")  # and one of these per table
# How IP-XACT calls files of these endings; what it has no name for is `user`.
TYPES = {".sv": "systemVerilogSource", ".vh": "verilogSource", ".h": "cSource"}


def render(package: Package, style: str = "portable") -> dict[str, str]:
    """The files of a package: file name -> text. The same package gives the same bytes.

    Raises `unknown-style`, `rtl-template` with the line of a template that asks for what does not exist, and as
    `params.validate` does.
    """
    if style not in STYLES:
        raise unknown("style", style, STYLES)
    variables = view(validate(package))
    names = {shape.format(package.name): template for shape, template in STYLES[style]}
    images = {TABLE[0].format(package.name, t["name"]): t for t in variables["tables"]}
    more = {"listed": [_listed(name) for name in (*names, *images)]}
    rendered = {name: filled(template, variables | more | {"file": name}) for name, template in names.items()}
    rendered |= {name: filled(TABLE[1], variables | {"table": t, "file": name}) for name, t in images.items()}
    return rendered | {"params.json": to_json(package)}


def _listed(name: str) -> dict[str, str]:
    """A file as IP-XACT lists it."""
    ending = Path(name).suffix
    if ending in TYPES:
        return {"name": name, "type": TYPES[ending], "user": ""}
    return {"name": name, "type": "user", "user": f' user="{ending[1:]}"'}


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
    environment.filters["md"] = lambda text: html.escape(str(text), quote=False).replace("|", "\\|")
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
