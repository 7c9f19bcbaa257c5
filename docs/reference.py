"""Pages of reference, each from a declaration: templates, chips, passes, policies, pipelines, operators.

Nothing is written here that the declaration does not say. `docs/site.py` puts the pages into the site.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from dfcompiler import content, registry
from dfcompiler.cli import display
from dfcompiler.diagnostics import Infeasible, Source
from dfcompiler.economics import price
from dfcompiler.hardware.axes import Template
from dfcompiler.hardware.chip import Chip
from dfcompiler.hardware.elaboration import chip_names, load_chip
from dfcompiler.hardware.template import Compute, Interconnect, Memory
from dfcompiler.models import library
from dfcompiler.pipeline import PIPELINES, options, parse_pipeline
from dfcompiler.power import peak_w, static_w
from dfcompiler.text.show import show

KINDS = {Compute: "computes", Memory: "a memory", Interconnect: "carries bytes"}


def pages() -> Iterator[tuple[str, str]]:
    """Path below `reference/` and text of every page, those that list others first."""
    templates, passes, policies = (registry.names(kind) for kind in ("template", "pass", "policy"))
    lists = {"templates": templates, "chips": chip_names(), "passes": passes, "policies": policies}
    yield "index.md", _index({**lists, "operators": sorted(library().ops), "pipelines": list(PIPELINES)})
    yield from ((f"templates/{name}.md", template_page(name)) for name in templates)
    yield from ((f"chips/{name}.md", chip_page(name)) for name in chip_names())
    yield from ((f"passes/{name}.md", pass_page(name)) for name in passes)
    yield from ((f"policies/{name}.md", policy_page(name)) for name in policies)
    yield "operators.md", operators_page()
    yield "pipelines.md", pipelines_page()


def _index(lists: dict[str, list[str]]) -> str:
    lines = ["# Reference", "", "Every page is made from a declaration when the site is built.", ""]
    for kind, names in lists.items():
        one = kind in ("operators", "pipelines")
        listed = f"[{len(names)} of them]({kind}.md)" if one else ", ".join(f"[{n}]({kind}/{n}.md)" for n in names)
        lines.append(f"- {kind}: {listed}")
    return _page(lines)


def template_page(name: str) -> str:
    """A hardware family: what it is, and its axes."""
    cls = registry.lookup("template", name)
    assert issubclass(cls, Template)
    kind = next((said for base, said in KINDS.items() if issubclass(cls, base)), "a part")
    rows = [[f"`{a.text_name}`", display.quantity(a.default, a.unit), a.legal.describe(), a.doc] for a in cls.axes()]
    return _page(
        [
            f"# Template {name}",
            "",
            f"It {kind}." if issubclass(cls, Interconnect | Compute) else f"It is {kind}.",
            "",
            _prose(cls),
            "",
            *_source(cls),
            "",
            "## Axes",
            "",
            "Each is its default, its legal values, what a search may vary, and an RTL parameter.",
            "",
            *_table(("axis", "default", "legal", "what"), rows),
            "",
            *_fenced(inspect.getdoc(inspect.getmodule(cls)) or ""),
        ]
    )


def chip_page(name: str) -> str:
    """A chip: what follows from its file, and the file."""
    chip, path = load_chip(name), content.find("templates/chips", f"{name}.chip")
    assert path is not None
    area = chip.area_mm2()
    facts = [
        ("clock, node", f"{display.large(chip.clock_hz, 'Hz')}, {chip.node_nm:g} nm"),
        ("DRAM", f"{display.large(chip.dram_capacity_bytes, 'B')} at {display.large(chip.dram_bytes_per_s, 'B/s')}"),
        *((f"`{unit}`", _peak(chip, unit)) for unit in chip.units),
        *([("links", f"{display.large(chip.link_bytes_per_s, 'B/s')} each way")] if chip.links else []),
        ("area", f"{display.digits(area['total'])} mm2, of the die {display.digits(chip.die_mm2())}"),
        (
            "power",
            f"{display.digits(static_w(chip), 3)} W at rest, {display.digits(peak_w(chip), 3)} W at peak",
        ),
        ("to make it", _cost(chip)),
    ]
    parts = [
        [f"`{p.name}`", f"[{(t := p.template.template_name)}](../templates/{t}.md)", f"{p.instances:,}",
         display.digits(area[p.name], 3)]
        for p in chip.parts.values()
    ]  # fmt: skip
    text = path.read_text(encoding="utf-8")
    return _page(
        [
            f"# Chip {name}",
            "",
            *_table(("", "what follows from its file"), facts),
            "",
            *_table(("part", "template", "count", "mm2"), parts),
            "",
            f"`{content.title(path)}`, every number with its source:",
            "",
            *_fenced(text.rstrip("\n")),
        ]
    )


def _peak(chip: Chip, name: str) -> str:
    unit = chip.units[name]
    rate = chip.clock_hz * unit.instances
    macs, adds = float(unit.template.peak_macs_per_cycle()), float(unit.template.peak_ops_per_cycle("add"))
    said = [f"{display.large(2 * macs * rate, 'FLOP/s')} in products"] if macs else []
    said += [f"{display.large(adds * rate, 'op/s')} element by element"] if adds else []
    return f"{unit.instances} of them: {', '.join(said) or 'no arithmetic'}"


def _cost(chip: Chip) -> str:
    try:
        return f"{display.digits(price(chip).usd)} USD"
    except Infeasible as why:
        return why.message


def pass_page(name: str) -> str:
    """A pass: what it does, its options, where it runs."""
    cls = registry.lookup("pass", name)
    rows = [[f"`{option}`", wants, default] for option, wants, default in options(cls)]
    used = [p for p, text in PIPELINES.items() if name in [x.name for x in parse_pipeline(Source(p, text))]]
    module = inspect.getdoc(inspect.getmodule(cls)) or ""
    return _page(
        [
            f"# Pass {name}",
            "",
            _prose(cls),
            "",
            *(["## Options", "", *_table(("option", "wants", "default"), rows)] if rows else ["It has no options."]),
            "",
            f"Named pipelines that run it: {', '.join(f'`{p}`' for p in used) or 'none'}.",
            "",
            *_source(cls),
            "",
            *_fenced(module),
        ]
    )


def policy_page(name: str) -> str:
    """A policy or a router of serving."""
    cls = registry.lookup("policy", name)
    return _page([f"# Policy {name}", "", _prose(cls), "", *_source(cls)])


def operators_page() -> str:
    """Every operator as it is declared."""
    lines = ["# Operators", "", "Everything else is derived from these texts: `dfc show NAME` says what."]
    for name, op in sorted(library().ops.items()):
        place = op.span.source.name if op.span else ""
        lines += ["", f"## {name}", "", f"`{place}`", "", *_fenced(show(op).rstrip("\n"))]
    return _page(lines)


def pipelines_page() -> str:
    """Every named pipeline, pass by pass."""
    lines = ["# Pipelines"]
    for name, text in PIPELINES.items():
        passes = parse_pipeline(Source("pipeline", text))
        rows = [[f"[{p.name}](passes/{p.name}.md)", display.first_sentence(inspect.getdoc(type(p)))] for p in passes]
        lines += ["", f"## {name}", "", *_fenced(text), "", *_table(("pass", "what"), rows)]
    return _page(lines)


# ---- Markdown ----------------------------------------------------------------------------------


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def _prose(cls: type) -> str:
    return _escaped(inspect.getdoc(cls) or "")


def _source(cls: type) -> list[str]:
    return [f"Declared in `{content.title(path)}`."] if (path := _file(cls)) else []


def _file(cls: type) -> Path | None:
    found = inspect.getsourcefile(cls)
    return Path(found) if found else None


def _fenced(text: str) -> list[str]:
    return ["```", *text.splitlines(), "```"] if text else []


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [
        f"| {' | '.join(titles)} |",
        f"|{'---|' * len(titles)}",
        *(f"| {' | '.join(_cell(c) for c in row)} |" for row in rows),
    ]


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|")


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*")
