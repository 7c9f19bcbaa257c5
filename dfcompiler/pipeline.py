"""Passes and pipelines: what a pass is, how a pipeline is written, and how it is run.

    pipeline := item ("," item)*
    item     := name [ "{" [ option ("," option)* ] "}" ]       a pass, or a named pipeline without options
    option   := name "=" value                                  an integer, a number, true, false or a name

Options are the fields of the pass in kebab-case: `fuse-elementwise{max-chain=2},map-ilp{time-limit-s=10}`.
"""

from __future__ import annotations

import dataclasses
import re
import time
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, cast, dataclass_transform

from dfcompiler import registry
from dfcompiler.diagnostics import Diag, Note, Source, Span, unknown

if TYPE_CHECKING:
    from dfcompiler.dtypes import DtypeMap
    from dfcompiler.graph import Graph
    from dfcompiler.hardware.chip import Chip
    from dfcompiler.models import Model
    from dfcompiler.steps import Step

_OFFERS = "lower-model,rewrite-same,quantize,fuse-elementwise{max-chain=1},fuse-norm,batch-parts,tile"
PIPELINES: dict[str, str] = {
    "default": f"{_OFFERS},map-ilp,schedule",
    "greedy": f"{_OFFERS},map-greedy,schedule",
    "list": f"{_OFFERS},map-list,schedule",
    "overlap": f"{_OFFERS},map-ilp,schedule{{overlap=true}}",
}


@dataclass(frozen=True)
class Context:
    """What a pass may know besides the graph; equal contexts and graphs give equal results.

    `on_note` hears what is no error, `on_progress` how much of a long pass is done, and of how much.
    """

    model: Model | None = None
    step: Step | None = None
    dtypes: DtypeMap | None = None
    chip: Chip | None = None
    objective: str = "latency"
    power_w: float | None = None  # on average, at most
    seed: int = 0
    time_limit_s: float = 60.0
    on_note: Callable[[Note], None] | None = dataclasses.field(default=None, compare=False, repr=False)
    on_progress: Callable[[int, int], None] | None = dataclasses.field(default=None, compare=False, repr=False)
    stored: bool = False  # weights have the types in which the checkpoint stores them

    def need(self, what: str) -> Any:
        """The model, step, dtypes or chip; raises Diag `missing-input` where the run was given none."""
        value = getattr(self, what)
        if value is None:
            way = "give one with `--on CHIP`" if what == "chip" else "`dfc compile MODEL` gives one"
            raise Diag("missing-input", f"this pass needs a {what}", hint=f"{way}, or leave the pass out")
        return value

    def note(self, message: str, span: Span | None = None) -> None:
        """Tell the user something that is not an error, at a place where there is one."""
        if self.on_note is not None:
            self.on_note(Note(message, span))


@dataclass_transform(frozen_default=True)
class Pass(ABC):
    """A step from graph to graph. A subclass is a frozen dataclass; its fields are the options in text.

    `class FuseElementwise(Pass, name="fuse-elementwise")` registers the class; a subclass without a name
    is a common part of others and stays unregistered. Options are of type int, float, bool, str or
    `Literal` of names, or one of these `| None`. A `ValueError` of `__post_init__` refuses an option's value. A pass
    that leaves a mapping says so, `maps = True`; one that prices tilings on a chip, `prices = True`; one that writes a
    graph of a model, `lowers = True`.
    """

    name: ClassVar[str]
    maps: ClassVar[bool] = False
    prices: ClassVar[bool] = False
    lowers: ClassVar[bool] = False

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        dataclass(frozen=True)(cls)
        if name is None:
            return
        cls.name = name
        _check_options(cls)
        registry.register("pass", name, cls)

    @abstractmethod
    def run(self, graph: Graph, ctx: Context) -> Graph:
        """The graph after this pass; `graph` itself is left as it is."""


Pipeline: TypeAlias = tuple[Pass, ...]
Value: TypeAlias = int | float | bool | str | None


# ---- options -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Option:
    """A field of a pass: the types that its text may have, in the order in which they are tried."""

    field: str
    kinds: tuple[type, ...]
    choices: tuple[str, ...]
    required: bool

    def wants(self) -> str:
        said = {int: "an integer", float: "a number", bool: "true or false", str: "a name", types.NoneType: "none"}
        if self.choices:
            said[str] = "one of " + ", ".join(self.choices)
        return " or ".join(said[k] for k in self.kinds)


_NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_TEXTS: dict[type, Callable[[str], Value]] = {
    types.NoneType: {"none": None}.__getitem__,
    bool: {"true": True, "false": False}.__getitem__,
    int: lambda word: int(_match(r"[+-]?\d+", word)),
    float: lambda word: float(_match(r"[+-]?(inf|(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)", word)),
    str: lambda word: _match(_NAME, word),
}


def _match(pattern: str | re.Pattern[str], word: str) -> str:
    if not re.fullmatch(pattern, word):
        raise ValueError(word)
    return word


def _options(cls: type[Pass]) -> dict[str, _Option]:
    hints = typing.get_type_hints(cls)
    return {f.name.replace("_", "-"): _option(f, hints[f.name]) for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]


def _option(field: dataclasses.Field[object], hint: object) -> _Option:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds: list[type] = []
    choices: tuple[str, ...] = ()
    for member in typing.get_args(hint) if union else (hint,):
        if typing.get_origin(member) is Literal:
            choices, member = typing.get_args(member), str
        kinds.append(member)
    if any(k not in _TEXTS for k in kinds) or not all(isinstance(c, str) for c in choices):
        raise TypeError(f"`{field.name}: {field.type}`")
    required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    return _Option(field.name, tuple(k for k in _TEXTS if k in kinds), choices, required)


def _check_options(cls: type[Pass]) -> None:
    try:
        if "name" in _options(cls):
            raise TypeError("`name` is the name of the pass")
    except (NameError, TypeError) as error:
        hint = "an option is an int, float, bool, str or Literal of names, or one of these `| None`"
        raise Diag("bad-pass", f"pass `{cls.name}` has a field that is no option: {error}", hint=hint) from error


def options(cls: type[Pass]) -> list[tuple[str, str, str]]:
    """Name, legal values in words and default (`required` where there is none) of every option of a pass."""
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return [
        (name, o.wants(), "required" if o.required else _shown(cast("Value", _default(fields[o.field]))))
        for name, o in _options(cls).items()
    ]


def _shown(default: Value) -> str:
    """A default for people; it may be the empty text, which no pipeline can say."""
    return "nothing" if default == "" else _show_value(default)


# ---- from text ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    text: str
    span: Span


def _tokens(source: Source) -> Iterator[_Token]:
    """Words and the signs `{ } , =`, then one token of no text at the end."""
    lines = source.text.splitlines() or [""]
    for number, line in enumerate(lines, 1):
        for m in re.finditer(r"[{},=]|[^\s{},=]+", line):
            yield _Token(m[0], Span(source, number, m.start() + 1, m.end() + 1))
    yield _Token("", Span(source, len(lines), len(lines[-1]) + 1, len(lines[-1]) + 2))


class _Parser:
    def __init__(self, source: Source) -> None:
        self.rest = _tokens(source)
        self.token = next(self.rest)

    def take(self) -> _Token:
        taken = self.token
        self.token = next(self.rest, taken)
        return taken

    def took(self, sign: str) -> bool:
        if self.token.text != sign:
            return False
        self.take()
        return True

    def fail(self, expected: str, *notes: Note) -> Diag:
        found = f"`{self.token.text}`" if self.token.text else "the end"
        hint = "a pipeline is written pass,pass{option=value,option=value}"
        return Diag("pipeline-syntax", f"expected {expected}, found {found}", self.token.span, notes=notes, hint=hint)

    def word(self, what: str) -> _Token:
        if self.token.text in ("", *"{},="):
            raise self.fail(what)
        return self.take()

    def pipeline(self) -> Pipeline:
        passes = [*self.item()]
        while self.took(","):
            passes += self.item()
        if self.token.text:
            raise self.fail("`,` or the end")
        return tuple(passes)

    def item(self) -> Pipeline:
        word = self.word("the name of a pass")
        known = registry.names("pass")
        if word.text not in known and word.text in PIPELINES:
            if self.token.text == "{":
                raise Diag("pipeline-syntax", f"the named pipeline `{word.text}` has no options", self.token.span)
            return parse_pipeline(Source(f"pipeline `{word.text}`", PIPELINES[word.text]))
        if word.text not in known:
            raise unknown("pass", word.text, [*known, *PIPELINES], word.span)
        cls = registry.lookup("pass", word.text, word.span)
        assert issubclass(cls, Pass)
        return (self.instance(cls, word),)

    def instance(self, cls: type[Pass], word: _Token) -> Pass:
        options = _options(cls)
        given = self.given(word, options) if self.token.text == "{" else {}
        for name, option in options.items():
            if option.required and name not in given:
                message = f"`{word.text}` needs the option `{name}`"
                raise Diag("missing-option", message, word.span, hint=f"{name} wants {option.wants()}")
        try:
            return cls(**{options[name].field: value for name, value in given.items()})
        except ValueError as error:
            raise Diag("bad-option", f"`{word.text}`: {error}", word.span) from error

    def given(self, word: _Token, options: dict[str, _Option]) -> dict[str, Value]:
        brace, given, places = self.take(), dict[str, Value](), dict[str, Span]()
        while not self.took("}"):
            name = self.word("an option or `}`")
            if name.text not in options:
                raise unknown(f"option of {word.text}", name.text, options, name.span)
            if name.text in given:
                notes = [Note("first given here", places[name.text])]
                raise Diag("duplicate-option", f"`{name.text}` is given twice", name.span, notes=notes)
            if not self.took("="):
                raise self.fail(f"`=` and {options[name.text].wants()}")
            given[name.text] = _value(name.text, options[name.text], self.word(options[name.text].wants()))
            places[name.text] = name.span
            if self.token.text != "}" and not self.took(","):
                raise self.fail("`,` or `}`", Note("to close this brace", brace.span))
        return given


def _value(name: str, option: _Option, word: _Token) -> Value:
    for kind in option.kinds:
        try:
            value = _TEXTS[kind](word.text)
        except (KeyError, ValueError):
            continue
        if kind is not str or not option.choices or value in option.choices:
            return value
    if option.choices and _NAME.fullmatch(word.text):
        raise unknown(f"value of {name}", word.text, option.choices, word.span)
    raise Diag("bad-option", f"{name} wants {option.wants()}, not `{word.text}`", word.span)


def parse_pipeline(source: Source) -> Pipeline:
    """The passes that a text names, in order. Every fault of the text is a `Diag` at its place."""
    return _Parser(source).pipeline()


# ---- to text -----------------------------------------------------------------------------------


def show_pipeline(pipeline: Pipeline) -> str:
    """The text of a pipeline, with those options that differ from their defaults; parses to an equal one."""
    return ",".join(map(_show, pipeline))


def _show(p: Pass) -> str:
    shown = []
    for field in dataclasses.fields(p):  # type: ignore[arg-type]
        value = getattr(p, field.name)
        if field.init and value != _default(field):
            shown.append(f"{field.name.replace('_', '-')}={_show_value(value)}")
    return p.name + (f"{{{','.join(shown)}}}" if shown else "")


def _default(field: dataclasses.Field[object]) -> object:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _show_value(value: Value) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return _match(_NAME, value) if isinstance(value, str) else repr(value)


# ---- running -----------------------------------------------------------------------------------


def run_pipeline(
    pipeline: Pipeline,
    graph: Graph,
    ctx: Context,
    *,
    after: Callable[[str, Graph, float], None] | None = None,
) -> tuple[Graph, dict[str, float]]:
    """Run the passes in order; the last graph, and the seconds of each pass in that order.

    A pass that comes again is called `name#2`, `name#3`, ...; `after(name, graph, seconds)` sees each result.
    """
    seconds: dict[str, float] = {}
    for index, p in enumerate(pipeline):
        nth = sum(q.name == p.name for q in pipeline[: index + 1])
        name = p.name if nth == 1 else f"{p.name}#{nth}"
        start = time.perf_counter()
        try:
            graph = p.run(graph, ctx)
        except Diag as error:
            if error.code == "missing-input":
                error.notes += (Note(f"in the pass `{name}`"),)
            raise
        seconds[name] = time.perf_counter() - start
        if after is not None:
            after(name, graph, seconds[name])
    return graph, seconds
