"""Modules of a checkpoint by the patterns that configurations name them with.

A module is named as in the checkpoint, without what stands before its layer: `self_attn.q_proj`, `mlp.experts`,
`lm_head`. Patterns carry prefixes (`model.layers.3.`, `backbone.layers.*.`), which are matched against the layer.
One without `*` names a module or a part of the path to it, with `*` it is a glob of the whole name or of the path
to it, and `re:` starts a regular expression that the whole name starts with. Experts are one module, whatever their
numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import translate
from typing import TypeAlias

from dfcompiler.diagnostics import Diag

# What stands before a layer or a module in public checkpoints; patterns add their own.
_PREFIXES = ("", "model.", "model.language_model.", "language_model.model.", "backbone.")
_LAYER = re.compile(r"(?P<before>(?:[^*]*\.)?)layers\.(?P<layer>\d+)\.(?P<module>.+)", re.ASCII)
_EXPERT = re.compile(r"(experts)\.\d+(?=\.|$)", re.ASCII)
_FUSED = {"gate_up_proj": "gate_proj", "qkv_proj": "q_proj"}  # modules that may be stored, and named, in parts

_Key: TypeAlias = tuple[int | None, str]


class Patterns:
    """Patterns in an order; literal ones are found in a table, so that a list of every expert costs nothing.

    Raises Diag `bad-quantization` for what is no regular expression.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.literal: dict[_Key, int] = {}
        self.others: list[tuple[int, re.Pattern[str]]] = []
        prefixes = dict.fromkeys(_PREFIXES)
        for place, pattern in enumerate(patterns):
            if pattern.startswith("re:"):
                self.others.append((place, _compiled(pattern[3:])))
            elif "*" in pattern:
                self.others.append((place, re.compile(f"{translate(pattern)}|{translate(pattern + '.*')}")))
            else:
                match = _LAYER.fullmatch(pattern)
                layer, module = (int(match["layer"]), match["module"]) if match else (None, pattern.strip("."))
                self.literal.setdefault((layer, _EXPERT.sub(r"\1", module)), place)
                if match:
                    prefixes[match["before"]] = None
        self.prefixes = tuple(prefixes)

    def first(self, module: str, layer: int | None) -> int | None:
        """The place of the first pattern that matches a module in a layer (None outside of layers)."""
        names = [module, *(module.removesuffix(k) + v for k, v in _FUSED.items() if module.endswith(k))]
        found = [place for name in names for place in self._literal(_EXPERT.sub(r"\1", name), layer)]
        within = "" if layer is None else f"layers.{layer}."
        whole = [f"{p}{within}{name}" for name in names for p in self.prefixes]
        best = min(found, default=len(self.literal) + len(self.others) + 1)
        return next(
            (place for place, p in self.others if place < best and any(p.match(n) for n in whole)),
            min(found, default=None),
        )

    def _literal(self, module: str, layer: int | None) -> Iterator[int]:
        parts = module.split(".")
        paths = [(i, ".".join(parts[i:j])) for i in range(len(parts)) for j in range(i + 1, len(parts) + 1)]
        keys: list[_Key] = [(None, path) for _, path in paths]
        if layer is None:
            keys += [(None, prefix + module) for prefix in self.prefixes]
        else:
            keys += [(layer, path) for start, path in paths if not start]
        return (self.literal[k] for k in keys if k in self.literal)


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise Diag("bad-quantization", f"`{pattern}` is no regular expression: {error}") from None
