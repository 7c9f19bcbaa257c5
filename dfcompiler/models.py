"""Model families and configurations: from a name or a `config.json` to bound parameters.

A family is declared in `ir/models/*.dfm` and says by `architectures` which configurations it reads. A
configuration is only data: no network, no code. A field that says something and that the family neither reads
nor ignores is an error: nothing is guessed in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from dfcompiler import content
from dfcompiler.cache import kept
from dfcompiler.checkpoint import Quantization, read_quantization
from dfcompiler.diagnostics import Diag, Note, Source, Span, unknown
from dfcompiler.fields import unknown_fields
from dfcompiler.parameters import Config, Names, Value, read_config
from dfcompiler.text import tree as t
from dfcompiler.text.outline import Heading, heading
from dfcompiler.text.parse import parse_items, read_source
from dfcompiler.text.shelf import Entry, File, Shelf


@dataclass(frozen=True)
class Library:
    """Every declaration in reach: operators, families, blocks, and the fields that families read alike.

    All names are known; a file is parsed when one of its declarations is asked for.
    """

    ops: Shelf[t.OpDecl]
    models: Shelf[t.ModelDecl]
    blocks: Shelf[t.BlockDecl]
    configs: Shelf[t.ConfigDecl]

    def joined(self, new: Sequence[Entry]) -> Library:
        """With further declarations; raises Diag `duplicate-name` naming both places."""
        ops, models, blocks, configs = self.ops, self.models, self.blocks, self.configs
        return Library(ops.joined(new), models.joined(new), blocks.joined(new), configs.joined(new))


@dataclass(frozen=True)
class Model:
    """A family with its parameters bound."""

    name: str
    family: t.ModelDecl
    params: Mapping[str, Value]
    library: Library = field(compare=False, repr=False)
    config: Config = field(compare=False, repr=False)
    quantization: Quantization | None = None  # how the checkpoint is stored


def library() -> Library:
    """The declarations of `ir/ops` and `ir/models`, ours and the plug-ins'; raises Diag `duplicate-name`."""
    return _library((*content.files("ir", ".dfir", "ops"), *content.files("ir", ".dfm", "models")))


@cache
def _library(paths: tuple[Path, ...]) -> Library:
    files = [File(path, content_source(path)) for path in paths]
    texts = (part.encode() for file in files for part in (file.source.name, file.source.text))
    headings = kept(texts, lambda: [file.headings for file in files])
    empty = Library(Shelf(t.OpDecl, {}), Shelf(t.ModelDecl, {}), Shelf(t.BlockDecl, {}), Shelf(t.ConfigDecl, {}))
    return empty.joined([Entry(h, file) for file, found in zip(files, headings, strict=True) for h in found])


def content_source(path: Path) -> Source:
    """A file of a content folder; ours is named as in the project (`ir/ops/dense.dfir`), wherever that is installed."""
    return Source(content.title(path), read_source(path).text)


def extend(base: Library, items: Iterable[t.Item]) -> Library:
    """The library with further declarations; raises Diag `duplicate-name` naming both places."""
    return base.joined([Entry(heading(item), item) for item in items])


def model_names() -> list[str]:
    """The configurations that ship by name, and the plug-ins'."""
    return sorted({p.stem for p in content.files("ir", ".json", "configs")})


def load_model(spec: str) -> Model:
    """A model from a name, a `config.json`, a folder that holds one, or a `.dfm` file with its sizes inside.

    Raises Diag `unknown-model`, `bad-config`, `unknown-family` and what the family itself requires.
    """
    path = Path(spec)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise Diag("unknown-model", f"the folder `{spec}` holds no config.json")
        path = path / "config.json"
    if path.is_file():
        if path.suffix == ".dfm":
            return _from_dfm(path)
        beside = path.with_name("hf_quant_config.json")
        return _from_config(_title(path), read_source(path), read_source(beside) if beside.is_file() else None)
    shipped = content.find("ir/configs", f"{spec}.json")
    if shipped is None or "/" in spec:
        if "/" in spec or path.suffix in (".json", ".dfm"):
            hint = "a model is a name of `dfc list models`, a config.json, a folder with one, or a .dfm file"
            raise Diag("unknown-model", f"there is no file `{spec}`", hint=hint)
        raise unknown("model", spec, model_names())
    return _from_config(spec, content_source(shipped))


def _from_dfm(path: Path) -> Model:
    items = parse_items(read_source(path))
    whole = extend(library(), items)
    models = [i for i in items if isinstance(i, t.ModelDecl)]
    if len(models) != 1:
        raise Diag("bad-config", f"`{path}` declares {len(models)} models, wants one")
    return bound(path.stem, models[0], whole, Config(Source(str(path), "")))


def _title(path: Path) -> str:
    """A name for a configuration file: its folder's where it is called config.json, else its own."""
    return path.resolve().parent.name if path.stem == "config" else path.stem


def _from_config(name: str, source: Source, stored: Source | None = None) -> Model:
    """A model from its configuration; `stored` is a file of its own on how the checkpoint is quantised."""
    config, lib = read_config(source), library()
    family, config = _family(config, lib)
    model = bound(name, family, lib, config)
    unknown_fields(family, lib.blocks, lib.configs, config)
    if model.quantization is None and stored is not None:
        fields = read_config(stored).fields
        return replace(model, quantization=_read_quantization(fields, Span(stored, 1, 1, 2)))
    return model


def bound(name: str, family: t.ModelDecl, lib: Library, config: Config) -> Model:
    """The family with the parameters outside of its layers bound; raises Diag `bad-config` for what it requires."""
    names = Names(config)
    _bind(family.body, names, family, lib)
    return Model(name, family, names.bound, lib, config, _quantization(config))


def _quantization(config: Config) -> Quantization | None:
    fields = config.get("quantization_config")
    if fields is None:
        return None
    at = config.place("quantization_config")
    if not isinstance(fields, Mapping):
        raise Diag("bad-quantization", "`quantization_config` is an object", at)
    experts = config.get("expert_dtype")  # may stand beside what it belongs to
    return _read_quantization(fields if experts is None else {"expert_dtype": experts, **fields}, at)


def _read_quantization(fields: Mapping[str, Any], at: Span) -> Quantization:
    try:
        return read_quantization(fields)
    except Diag as error:
        raise Diag(error.code, error.message, at, hint=error.hint) from None


def _bind(stmts: Sequence[t.MStmt], names: Names, family: t.ModelDecl, lib: Library) -> None:
    for s in stmts:
        if isinstance(s, t.Cond):
            _bind(s.body if names.holds(s.clauses) else s.orelse, names, family, lib)
        elif isinstance(s, t.MParam | t.Require | t.Reject | t.Ignore | t.Read):
            read(s, names, family, lib)


def read(s: t.ReadStmt, names: Names, family: t.ModelDecl, lib: Library) -> None:
    """Do what a statement says of the configuration: bind a parameter, check, or read what families share."""
    match s:
        case t.MParam():
            names.bind(s)
        case t.Require():
            names.require(s)
        case t.Reject():
            names.reject(s, family.name)
        case t.Read(name):
            if name not in lib.configs:
                raise unknown("config", name, lib.configs, s.span)
            for inner in lib.configs[name].body:
                read(inner, names, family, lib)


def _family(config: Config, lib: Library) -> tuple[t.ModelDecl, Config]:
    """The family that reads one of the configuration's architectures, and where it finds the sizes."""
    known: dict[str, list[Heading]] = {}
    for family in lib.models.headings():
        for text in family.texts:
            known.setdefault(text, []).append(family)
    named = config.get("architectures")
    if not isinstance(named, list) or not named or not all(isinstance(a, str) for a in named):
        raise Diag(
            "bad-config",
            "`architectures` must list at least one name",
            config.place("architectures"),
            hint=f"known: {', '.join(sorted(known))}",
        )
    name = next((a for a in named if a in known), None)
    if name is None:
        raise unknown("family", named[0], known, config.place("architectures"))
    found, *others = known[name]
    if others:
        notes = [Note("the other one", found.span)]
        raise Diag("duplicate-name", f"a second family reads `{name}`", others[0].span, notes=notes)
    decl = lib.models[found.name]
    inside = next(r.inside for r in decl.readers if r.name == name)
    if inside and not isinstance(config.fields.get(inside), dict):
        raise Diag("bad-config", f"`{name}` wants its sizes in the field `{inside}`", config.place(inside))
    return decl, replace(config, inside=inside)
