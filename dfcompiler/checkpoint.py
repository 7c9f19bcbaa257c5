"""How the numbers of a checkpoint are stored: a `quantization_config` read into number types by module.

What is named with a type of its own comes first, then what is excluded, then embeddings, norms, routers and the
output head, which no method converts unless it names them. How modules are named is said in `modules.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from dfcompiler.diagnostics import Diag, nearest, unknown
from dfcompiler.dtypes import parse_dtype
from dfcompiler.modules import Patterns

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Format:
    """Types of a module's weight and of what it is multiplied with; None is the type of the model."""

    weight: str | None
    activation: str | None = None


PLAIN = Format(None)


@dataclass(frozen=True)
class Rule:
    """A pattern of module names and the format of what it matches."""

    pattern: str
    format: Format


@dataclass(frozen=True)
class Quantization:
    """The formats of a checkpoint: `default` for all modules but those of the rules, of which the first that matches
    counts; `kv` is the type of the cache, None where the configuration says nothing."""

    method: str
    default: Format
    kv: str | None = None
    rules: tuple[Rule, ...] = field(default=(), repr=False)

    def weight_format(self, module: str, layer: int | None = None) -> str | None:
        """The type of a module's weight in a layer (None outside of layers); None where it is not quantised."""
        return self.format(module, layer).weight

    def format(self, module: str, layer: int | None = None) -> Format:
        """The types of a module's weight and input."""
        place = self.patterns.first(module, layer)
        if place is None:
            return self.default
        return self.rules[place].format if place < len(self.rules) else PLAIN

    @cached_property
    def patterns(self) -> Patterns:
        """The patterns of all rules, then of what is never converted."""
        return Patterns((*(r.pattern for r in self.rules), *_NEVER))


# Modules that are no plain linear layers in the public model code, and output heads, which methods leave out.
_NEVER = (
    *("lm_head", "head", "embed_tokens", "embeddings", "embed", "wte", "gate", "router", "conv1d"),
    *(r"re:.*norm[^.]*(\.|$)", r"re:.*\.bias$"),
)


# ---- methods -----------------------------------------------------------------------------------


def read_quantization(fields: Fields) -> Quantization:
    """The formats that a `quantization_config`, or the `hf_quant_config.json` beside it, says.

    Raises Diag `unknown-quantization` for a method, and `bad-quantization` for a field or a value that is not
    understood; the message names it.
    """
    inner = fields.get("quantization")
    if isinstance(inner, Mapping):
        fields = {**{k: v for k, v in fields.items() if k != "quantization"}, **inner}
    made = "quant_algo" in fields or "producer" in fields
    method = fields.get(
        "quant_method", "modelopt" if made else "compressed-tensors" if "config_groups" in fields else None
    )
    if not isinstance(method, str) or method not in _METHODS:
        error = unknown("quantization", str(method), _METHODS)
        raise Diag(error.code, f"`quant_method` is {method!r}, which is not known", hint=error.hint)
    read, own = _METHODS[method]
    for name, value in fields.items():
        if name not in own | _COMMON | _SILENT and value is not None:
            raise _fault(f"`{method}` has a field `{name}` that is not understood", nearest(name, own | _COMMON))
    found = read(fields)
    for f in (found.default, *(r.format for r in found.rules)):
        for dtype in (f.weight, f.activation, found.kv):
            _known(dtype)
    _ = found.patterns  # made once, and found to be patterns
    return found


def _gptq(f: Fields) -> Quantization:
    bits, group = _number(f, "bits"), _number(f, "group_size", 128)
    rules = []
    for name, change in _mapping(f, "dynamic").items():
        kind, pattern = (name[0], name[2:]) if name[:2] in ("+:", "-:") else ("+", name)
        own = {**f, **change} if isinstance(change, Mapping) else f
        some = Format(_integer(_number(own, "bits"), _number(own, "group_size", 128), zero=own.get("sym") is False))
        rules.append(Rule(f"re:{pattern}", PLAIN if kind == "-" else some))
    default = Format(_integer(bits, group, zero=f.get("sym") is False))
    head = [Rule("lm_head", default)] if f.get("lm_head") else []
    return Quantization("gptq", default, rules=(*rules, *head, *_excluded(f)))


def _awq(f: Fields) -> Quantization:
    bits, group = _number(f, "bits", f.get("w_bit")), _number(f, "group_size", f.get("q_group_size", 128))
    zero = f.get("zero_point", True) is not False
    return Quantization("awq", Format(_integer(bits, group, zero=zero)), rules=_excluded(f))


def _fp8(f: Fields) -> Quantization:
    elements = {"e4m3": "fp8e4m3", "float8_e4m3fn": "fp8e4m3", "e5m2": "fp8e5m2"}
    element = elements[_choice(f.get("fmt") or "e4m3", elements, "fmt")]
    _choice(f.get("activation_scheme") or "dynamic", ("dynamic", "static"), "activation_scheme")
    block = f.get("weight_block_size")
    default = Format(f"{element}-t", f"{element}-t")
    if block is not None:
        if not (isinstance(block, Sequence) and len(block) == 2 and all(isinstance(n, int) for n in block)):
            raise _fault(f"`weight_block_size` is {block!r}, wants two whole numbers")
        default = Format(f"{element}-b{block[0]}x{block[1]}", f"{element}-g{block[1]}")
    fp4 = _choice(f.get("expert_dtype") or "fp8", ("fp4", "fp8"), "expert_dtype") == "fp4"
    experts = (Rule("experts", Format("mxfp4", default.activation)),) if fp4 else ()
    if f.get("quant_algo") == "MIXED_PRECISION":  # some layers were converted again; `ignore` says which were not
        return Quantization("fp8", default, _cache(f), (*_by_layer(f), *experts))
    return Quantization("fp8", default, _cache(f), (*_excluded(f), *experts))


def _mxfp4(f: Fields) -> Quantization:
    return Quantization("mxfp4", Format("mxfp4"), rules=_excluded(f))


def _bitsandbytes(f: Fields) -> Quantization:
    if f.get("load_in_4bit") or f.get("_load_in_4bit"):
        twice = bool(f.get("bnb_4bit_use_double_quant"))
        known = ("nf4",) if twice else ("fp4", "nf4")
        kind = _choice(f.get("bnb_4bit_quant_type") or "fp4", known, "bnb_4bit_quant_type")
        default = Format("nf4dq" if twice else f"{kind}-g64")
    elif f.get("load_in_8bit") or f.get("_load_in_8bit"):
        default = Format("int8-c", "int8-c")
    else:
        raise _fault("neither `load_in_4bit` nor `load_in_8bit` is set")
    return Quantization("bitsandbytes", default, rules=_excluded(f))


def _compressed(f: Fields) -> Quantization:
    sparse = f.get("sparsity_config") or {}
    suffix = ""
    if isinstance(sparse, Mapping) and sparse.get("format") not in (None, "dense"):
        if sparse.get("sparsity_structure") != "2:4":
            raise _fault(f"`sparsity_config` is {dict(sparse)!r}", "known: the structure 2:4")
        suffix = "-s24"
    default, rules = PLAIN, list[Rule]()
    for name, group in _mapping(f, "config_groups").items():
        if not isinstance(group, Mapping):
            raise _fault(f"`config_groups.{name}` is {group!r}")
        weight, activation = (
            _scheme(group.get(k), f"config_groups.{name}.{k}") for k in ("weights", "input_activations")
        )
        some = Format(weight and weight + suffix, activation)
        targets = _texts(group, "targets") or ("Linear",)
        default = some if "Linear" in targets else default
        rules += [Rule(p, some) for p in targets if p != "Linear"]
    return Quantization("compressed-tensors", default, _cache(f), (*rules, *_excluded(f)))


def _modelopt(f: Fields) -> Quantization:
    algo = f.get("quant_algo")
    if algo is None:
        found = _compressed(f)
        return Quantization("modelopt", found.default, found.kv, found.rules)
    if algo == "MIXED_PRECISION":
        return Quantization("modelopt", PLAIN, _cache(f), (*_by_layer(f), *_excluded(f)))
    return Quantization("modelopt", _algorithm(algo, f.get("group_size"), "quant_algo"), _cache(f), _excluded(f))


_SILENT = frozenset(  # says how a checkpoint was made, or how it is packed, not what its numbers are
    "actorder amp autoround_version backend block_name_to_quantize cache_block_outputs checkpoint_format damp_percent "
    "dataset desc_act do_fuse exllama_config format fuse_max_seq_len global_compression_ratio group_size_mode "
    "is_marlin_format max_input_length meta model_file_base_name model_name_or_path model_seqlen moe_quant_algo "
    "module_name_preceding_first_block modules_to_fuse pack_dtype pad_token_id producer provider quant_method "
    "quantization_status quantizer scale_fmt static_groups tokenizer transform_config true_sequential use_cuda_fp16 "
    "use_exllama version use_dequant dequantize nsamples".split()
)
_COMMON = frozenset("ignore exclude_modules modules_to_not_convert ignored_layers kv_cache_scheme".split())
_MODELOPT = frozenset("quant_algo kv_cache_quant_algo group_size quantized_layers config_groups".split())
_BITSANDBYTES = frozenset(
    "load_in_4bit load_in_8bit _load_in_4bit _load_in_8bit bnb_4bit_quant_type bnb_4bit_use_double_quant "
    "bnb_4bit_compute_dtype bnb_4bit_quant_storage llm_int8_skip_modules llm_int8_threshold "
    "llm_int8_enable_fp32_cpu_offload llm_int8_has_fp16_weight".split()
)
_METHODS = {
    "gptq": (_gptq, frozenset("bits group_size sym dynamic lm_head".split())),
    "awq": (_awq, frozenset("bits w_bit group_size q_group_size zero_point".split())),
    "fp8": (_fp8, frozenset("fmt activation_scheme weight_block_size expert_dtype".split()) | _MODELOPT),
    "mxfp4": (_mxfp4, frozenset[str]()),
    "bitsandbytes": (_bitsandbytes, _BITSANDBYTES),
    "compressed-tensors": (_compressed, frozenset(("config_groups", "sparsity_config"))),
    "modelopt": (_modelopt, _MODELOPT),
    "modelopt_fp4": (_modelopt, _MODELOPT),
}


# ---- values ------------------------------------------------------------------------------------

# Weight and input of the algorithms of NVIDIA's Model Optimizer; those of `-g` have a group size.
_ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "FP8": ("fp8e4m3-t", "fp8e4m3-t"),
    "FP8_PER_CHANNEL_PER_TOKEN": ("fp8e4m3-c", "fp8e4m3-c"),
    "FP8_PB_WO": ("fp8e4m3-b128x128", None),
    "NVFP4": ("nvfp4", "nvfp4"),
    "NVFP4_AWQ": ("nvfp4", "nvfp4"),
    "W4A16_NVFP4": ("nvfp4", None),
    "W4A8_NVFP4_FP8": ("nvfp4", "fp8e4m3-t"),
    "MXFP8": ("mxfp8", "mxfp8"),
    "MXFP4": ("mxfp4", "mxfp4"),
    "W4A8_MXFP4_FP8": ("mxfp4", "fp8e4m3-t"),
    "W8A16": ("int8-c", None),
    "W8A8_SQ_PER_CHANNEL": ("int8-c", "int8-c"),
    "W4A16": ("int4-g", None),
    "W4A16_AWQ": ("int4-g", None),
    "INT4_AWQ": ("int4-g", None),
    "W4A8_AWQ": ("int4-g", "fp8e4m3-t"),
}
_FIXED_GROUP = {"nvfp4": 16, "mxfp4": 32, "mxfp8": 32}


def _algorithm(name: object, group: object, place: str) -> Format:
    weight, activation = _ALGORITHMS[_choice(name, _ALGORITHMS, place)]
    if weight.endswith("-g"):
        return Format(f"{weight}{128 if group is None else group}", activation)
    if group not in (None, _FIXED_GROUP.get(weight)):
        raise _fault(f"`{place}` is `{name}` with `group_size` {group!r}", f"known: {_FIXED_GROUP.get(weight)}")
    return Format(weight, activation)


def _by_layer(f: Fields) -> tuple[Rule, ...]:
    named = _mapping(f, "quantized_layers")
    if not named:
        raise _fault("`quant_algo` is `MIXED_PRECISION`, but there are no `quantized_layers`")
    rules = []
    for module, how in named.items():
        algo, group = (how.get("quant_algo"), how.get("group_size")) if isinstance(how, Mapping) else (how, None)
        rules.append(Rule(module, _algorithm(algo, group, f"quantized_layers.{module}")))
    return tuple(rules)


def _scheme(s: object, place: str) -> str | None:
    """The type that one scheme of compressed-tensors says."""
    if s is None:
        return None
    if not isinstance(s, Mapping):
        raise _fault(f"`{place}` is {s!r}")
    bits, kind, group = _number(s, "num_bits", 8), s.get("type") or "int", _number(s, "group_size", 0)
    if kind == "float" and (bits == 4 or s.get("scale_dtype") == "torch.uint8"):
        fixed = {(4, 16): "nvfp4", (4, 32): "mxfp4", (8, 32): "mxfp8"}
        if (bits, group) not in fixed:
            raise _fault(
                f"`{place}` is a float of {bits} bits in groups of {group}", "known: 4 bits by 16 or 32, 8 by 32"
            )
        return fixed[bits, group]
    if kind != "int" and (kind, bits) not in (("float", 8), ("float", 16)):
        raise _fault(f"`{place}` is {kind!r} of {bits} bits", "known: int, float of 4, 8 or 16 bits")
    if kind == "float" and bits == 16:
        return "bf16"
    block = s.get("block_structure")
    rows, cols = block if isinstance(block, Sequence) and len(block) == 2 else (0, 0)
    scales = {"tensor": "t", "channel": "c", "token": "c", "group": f"g{group}", "block": f"b{rows}x{cols}"}
    strategy = _choice(s.get("strategy") or ("group" if group > 0 else "tensor"), scales, f"{place}.strategy")
    zero = "-z" if kind == "int" and s.get("symmetric") is False else ""
    return f"{f'int{bits}' if kind == 'int' else 'fp8e4m3'}-{scales[strategy]}{zero}"


def _cache(f: Fields) -> str | None:
    """The type of the KV cache; both tools write it."""
    algo, scheme = f.get("kv_cache_quant_algo"), f.get("kv_cache_scheme")
    if algo is None and isinstance(scheme, str):
        algo = scheme
    if algo is not None:
        known = {"FP8": "fp8e4m3", "INT8": "int8", "NVFP4": "nvfp4"}
        return known[_choice(algo, known, "kv_cache_quant_algo")]
    found = _scheme(scheme, "kv_cache_scheme")
    return found and found.removesuffix("-t")


def _excluded(f: Fields) -> tuple[Rule, ...]:
    fields = (*sorted(_COMMON - {"kv_cache_scheme"}), "llm_int8_skip_modules")
    return tuple(Rule(p, PLAIN) for name in fields for p in _texts(f, name))


def _integer(bits: int, group: int, *, zero: bool) -> str:
    return f"int{bits}-{'c' if group == -1 else f'g{group}'}{'-z' if zero else ''}"


def _number(f: Fields, name: str, default: object = None) -> int:
    value = default if f.get(name) is None else f[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise _fault(f"`{name}` is {value!r}, wants a whole number")
    return value


def _choice(value: object, known: Iterable[str], place: str) -> str:
    names = list(known)
    if not isinstance(value, str) or value not in names:
        raise _fault(f"`{place}` is {value!r}", nearest(str(value), names))
    return value


def _mapping(f: Fields, name: str) -> Fields:
    value = f.get(name) or {}
    if not isinstance(value, Mapping):
        raise _fault(f"`{name}` is {type(value).__name__}, wants an object")
    return value


def _texts(f: Fields, name: str) -> tuple[str, ...]:
    value = f.get(name) or ()
    if isinstance(value, str) or not isinstance(value, Iterable) or not all(isinstance(x, str) for x in value):
        raise _fault(f"`{name}` must list names of modules")
    return tuple(value)


def _known(dtype: str | None) -> None:
    try:
        parse_dtype(dtype or "bf16")
    except Diag as error:
        raise _fault(f"there is no type `{dtype}`, which this configuration asks for", error.hint) from None


def _fault(message: str, hint: str | None = None) -> Diag:
    return Diag("bad-quantization", message, hint=hint)
