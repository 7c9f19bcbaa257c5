"""Texts to try: shipped ones damaged in many ways, and random walks through the grammar. Equal seeds, equal texts."""

from __future__ import annotations

import functools
import json
import re
from random import Random
from typing import Any

from lark.lexer import PatternStr

from dfcompiler import content
from dfcompiler.text import parse

TOKEN = re.compile(r"\s+|[A-Za-z_][\w-]*|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|\"[^\"\n]*\"|->|==|<=|>=|!=|//|.", re.DOTALL)
NAME = re.compile(r"[A-Za-z_]\w*")
NUMBERS = [
    "0",
    "1",
    "2",
    "3",
    "7",
    "64",
    "-1",
    "0.5",
    "1e-5",
    "1e999",
    "9" * 30,
    "9" * 400,
    str(2**31),
    str(2**63),
    "inf",
]
PIECES = [
    *"""op model block config graph chip attr dim where scan from param else require reject ignore read weight state
    input repeat each if output offer place on yield part group connect x for in as distinct skew inout int kv w sum(
    max( topk( inf GiB % GHz "s" ( ) [ ] { } | , : = == != <= < > + - -> * / // @ . # nan NaN Infinity -Infinity null
    true é \x00 ' \\u ; $ ~""".split(),
    "\n", "\r\n", "\t", " ", "\u2028",
]  # fmt: skip
LARGE = 1 << 16  # characters of a text at most


@functools.cache
def shipped(kind: str) -> tuple[str, ...]:
    """Shipped texts of a kind: `op`, `model`, `chip` or `config`."""
    where = {
        "op": ("ir", ".dfir", "ops"),
        "model": ("ir", ".dfm", "models"),
        "chip": ("templates", ".chip", "chips"),
        "config": ("ir", ".json", "configs"),
    }[kind]
    return tuple(p.read_text(encoding="utf-8") for p in content.files(*where))


def damaged(text: str, rng: Random, others: tuple[str, ...] = ()) -> str:
    """A text with one to six faults."""
    tokens = TOKEN.findall(text)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        rng.choice(DAMAGES)(tokens, rng, others)
    return "".join(tokens)[:LARGE]


def _drop(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    at = rng.randrange(len(tokens) + 1)
    del tokens[at : at + rng.choice((1, 1, 2, 8))]


def _insert(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    tokens.insert(rng.randrange(len(tokens) + 1), rng.choice([*PIECES, *NUMBERS]))


def _replace(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    if tokens:
        tokens[rng.randrange(len(tokens))] = rng.choice([*PIECES, *NUMBERS])


def _number(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    places = [i for i, x in enumerate(tokens) if x[:1].isdigit()]
    if places:
        tokens[rng.choice(places)] = rng.choice(NUMBERS)


def _rename(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    """A name takes the place of another one of the same text: wrong sizes, cycles, what is declared later."""
    places = [i for i, x in enumerate(tokens) if NAME.fullmatch(x)]
    if places:
        tokens[rng.choice(places)] = tokens[rng.choice(places)]


def _swap(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    if tokens:
        a, b = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        tokens[a], tokens[b] = tokens[b], tokens[a]


def _lines(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    """A line goes elsewhere, or comes again, perhaps often."""
    lines = "".join(tokens).splitlines(keepends=True)
    if lines:
        line = lines[rng.randrange(len(lines))]
        lines[(at := rng.randrange(len(lines))) : at] = [line] * rng.choice((1, 1, 2, 300))
        tokens[:] = TOKEN.findall("".join(lines)[:LARGE])


def _nest(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    """Something many times around something."""
    opening, closing = rng.choice(
        (("(", ")"), ("[", "]"), ("{", "}"), ("-", ""), ("repeat 2 {\n", "\n}\n"), ("exp(", ")"))
    )
    depth, at = rng.choice((2, 50, 3000)), rng.randrange(len(tokens) + 1)
    tokens[at : at + 1] = [opening * depth, *tokens[at : at + 1], closing * depth]


def _splice(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    """A piece of another text."""
    other = TOKEN.findall(rng.choice(others)) if others else tokens
    start = rng.randrange(len(other) + 1)
    at = rng.randrange(len(tokens) + 1)
    tokens[at:at] = other[start : start + rng.choice((3, 20, 100))]


def _noise(tokens: list[str], rng: Random, others: tuple[str, ...]) -> None:
    tokens.insert(
        rng.randrange(len(tokens) + 1),
        "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0xD800)))) for _ in range(8)),
    )


DAMAGES = (_drop, _insert, _replace, _number, _rename, _rename, _rename, _swap, _lines, _nest, _splice, _noise)


# ---- configurations ----------------------------------------------------------------------------

STRANGE: tuple[Any, ...] = (
    0, 1, -1, 2.5, 1e300, float("nan"), float("inf"), 10**30, 10**4000, 2**63, True, False, None, "", "64", "silu",
    [], [1], [[]], ["LlamaForCausalLM"], {}, {"a": {"b": 1}}, 131072, 4096, 7,
)  # fmt: skip


def config(rng: Random) -> str:
    """The text of a configuration, strange in a few fields or as a text."""
    text = rng.choice(shipped("config"))
    if rng.random() < 0.3:
        return damaged(text, rng, shipped("config"))
    fields = list(json.loads(text).items())
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(fields))
        name, value = fields[at]
        change = rng.randrange(5)
        if change == 0:
            del fields[at]
        elif change == 1:
            fields.append((name, rng.choice(STRANGE)))  # given twice
        elif change == 2:
            fields[at] = (rng.choice(fields)[0], value)
        else:
            fields[at] = (name, rng.choice((*STRANGE, rng.choice(fields)[1])))
        if not fields:
            break
    inner = ",\n".join(f"{json.dumps(n)}: {_written(v)}" for n, v in fields)
    return rng.choice((f"{{{inner}}}", f"{{{inner}}}", f'{{"text_config": {{{inner}}}, "architectures": ["Llama"]}}'))


def _written(value: Any) -> str:
    return "1" + "0" * 4500 if isinstance(value, int) and value > 10**4000 - 1 else json.dumps(value)


# ---- the grammar -------------------------------------------------------------------------------

# What a terminal may be where its text varies; the others are written as in the grammar.
SAMPLES = {
    "NAME": ["a", "b", "x", "n", "t", "linear", "rmsnorm", "add", "exp", "past", "D"],
    "PATH": ["sa.rows", "clock", "hbm.bandwidth"],
    "WORD": ["bf16", "int8", "a", "x", "sram", "dram", "sa", "weight-stationary"],
    "UNIT": ["GHz", "KiB", "%", "nm"],
    "NUMBER": NUMBERS[:-1],
    "INT": ["0", "1", "2", "8", "9" * 30],
    "STRING": ['"s"', '"LlamaForCausalLM"', '"\\n"'],
    "ROLE": ["int", "kv", "w", "f32", "act"],
    "CMP": ["<", "<=", "==", ">"],
    "REDUCER": ["sum", "max", "topk"],
    "ADD": ["+", "-"],
    "MUL": ["*", "/", "//", "%"],
    "_NL": ["\n"],
}
DEEP = 40  # rules within each other, before the shortest way out is taken


@functools.cache
def _rules() -> dict[str, list[list[tuple[str, bool]]]]:
    """Rule -> its alternatives, each a list of (symbol, whether it is a terminal), shortest first."""
    found: dict[str, list[list[tuple[str, bool]]]] = {}
    for rule in parse._parser(parse._grammar()).rules:
        found.setdefault(str(rule.origin.name), []).append([(str(s.name), s.is_term) for s in rule.expansion])
    cost = dict.fromkeys(found, 10**6)
    for _ in cost:  # how deep a rule must go at least
        cost = {
            r: min(1 + max((0 if t else cost[s] for s, t in way), default=0) for way in ways)
            for r, ways in found.items()
        }
    return {
        r: sorted(ways, key=lambda way: max((0 if t else cost[s] for s, t in way), default=0))
        for r, ways in found.items()
    }


def grown(start: str, rng: Random) -> str:
    """A random text of the grammar: it parses, unless words touch that may not."""
    words: list[str] = []
    todo: list[tuple[str, bool, int]] = [(start, False, 0)]
    while todo and len(words) < 400:
        name, terminal, depth = todo.pop()
        if terminal:
            words.append(_word(name, rng))
            continue
        ways = _rules()[name]
        way = ways[0] if depth > DEEP or len(words) > 200 else rng.choice(ways)
        todo += [(s, t, depth + 1) for s, t in reversed(way)]
    return " ".join(words)


def _word(name: str, rng: Random) -> str:
    if name in SAMPLES:
        return rng.choice(SAMPLES[name])
    pattern = parse._parser(parse._grammar()).get_terminal(name).pattern
    if isinstance(pattern, PatternStr):
        return pattern.value
    word = re.match(r"\(?(?:\?:)?\(?(?:\?:)?(\w+)", pattern.value)
    return word[1] if word else name.lower()
