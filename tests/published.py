"""Models whose number of parameters is published: configurations and counts.

Configurations are written out here by hand where they are short; those of newer models come from the distribution
`aiconfigurator-core` where that is installed. Vision towers and heads for multi-token prediction do not count.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from tiny import lower

from dfcompiler.census import Census, census
from dfcompiler.models import Model
from dfcompiler.steps import step


def llama(L: int, D: int, H: int, G: int, F: int, V: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "num_hidden_layers": L,
        "hidden_size": D,
        "num_attention_heads": H,
        "num_key_value_heads": G,
        "intermediate_size": F,
        "vocab_size": V,
        **more,
    }


def of(architecture: str, config: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**config, "architectures": [architecture], **more}


def gpt2(L: int, D: int, H: int) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "n_layer": L,
        "n_embd": D,
        "n_head": H,
        "n_positions": 1024,
        "vocab_size": 50257,
    }


def opt(L: int, D: int, H: int) -> dict[str, Any]:
    return {
        "architectures": ["OPTForCausalLM"],
        "num_hidden_layers": L,
        "hidden_size": D,
        "num_attention_heads": H,
        "ffn_dim": 4 * D,
        "vocab_size": 50272,
        "max_position_embeddings": 2048,
        "word_embed_proj_dim": D,
    }


def bloom(L: int, D: int, H: int) -> dict[str, Any]:
    return {
        "architectures": ["BloomForCausalLM"],
        "n_layer": L,
        "hidden_size": D,
        "n_head": H,
        "vocab_size": 250880,
    }


def bert(L: int, D: int, H: int) -> dict[str, Any]:
    return {
        "architectures": ["BertForMaskedLM"],
        "num_hidden_layers": L,
        "hidden_size": D,
        "num_attention_heads": H,
        "intermediate_size": 4 * D,
        "vocab_size": 30522,
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
    }


def gemma(architecture: str, L: int, D: int, H: int, G: int, E: int, F: int, V: int = 256000) -> dict[str, Any]:
    slides = {} if architecture == "GemmaForCausalLM" else {"sliding_window": 4096}
    return of(architecture, llama(L, D, H, G, F, V), head_dim=E, tie_word_embeddings=True, **slides)


# Checkpoint sizes as the model pages give them (number of parameters of the safetensors or `num_parameters()`).
EXACT: dict[str, tuple[dict[str, Any], int]] = {
    "llama-7b": (llama(32, 4096, 32, 32, 11008, 32000), 6_738_415_616),
    "llama-13b": (llama(40, 5120, 40, 40, 13824, 32000), 13_015_864_320),
    "llama-65b": (llama(80, 8192, 64, 64, 22016, 32000), 65_285_660_672),
    "llama-2-70b": (llama(80, 8192, 64, 8, 28672, 32000), 68_976_648_192),
    "llama-3-8b": (llama(32, 4096, 32, 8, 14336, 128256), 8_030_261_248),
    "llama-3-70b": (llama(80, 8192, 64, 8, 28672, 128256), 70_553_706_496),
    "llama-3.1-405b": (llama(126, 16384, 128, 8, 53248, 128256), 405_853_388_800),
    "llama-3.2-1b": (llama(16, 2048, 32, 8, 8192, 128256, tie_word_embeddings=True), 1_235_814_400),
    "llama-3.2-3b": (llama(28, 3072, 24, 8, 8192, 128256, tie_word_embeddings=True), 3_212_749_824),
    "mistral-7b": (of("MistralForCausalLM", llama(32, 4096, 32, 8, 14336, 32000)), 7_241_732_096),
    "phi-3-mini": (of("Phi3ForCausalLM", llama(32, 3072, 32, 32, 8192, 32064)), 3_821_079_552),
    "phi-3-medium": (of("Phi3ForCausalLM", llama(40, 5120, 40, 10, 17920, 32064)), 13_960_238_080),
    "qwen1.5-7b": (of("Qwen2ForCausalLM", llama(32, 4096, 32, 32, 11008, 151936)), 7_721_324_544),
    "qwen2.5-0.5b": (
        of("Qwen2ForCausalLM", llama(24, 896, 14, 2, 4864, 151936, tie_word_embeddings=True)),
        494_032_768,
    ),
    "qwen2.5-7b": (of("Qwen2ForCausalLM", llama(28, 3584, 28, 4, 18944, 152064)), 7_615_616_512),
    "qwen2.5-72b": (of("Qwen2ForCausalLM", llama(80, 8192, 64, 8, 29568, 152064)), 72_706_203_648),
    "qwen3-8b": (of("Qwen3ForCausalLM", llama(36, 4096, 32, 8, 12288, 151936), head_dim=128), 8_190_735_360),
    "qwen3-32b": (of("Qwen3ForCausalLM", llama(64, 5120, 64, 8, 25600, 151936), head_dim=128), 32_762_123_264),
    "gpt2": (gpt2(12, 768, 12), 124_439_808),
    "gpt2-medium": (gpt2(24, 1024, 16), 354_823_168),
    "gpt2-large": (gpt2(36, 1280, 20), 774_030_080),
    "gpt2-xl": (gpt2(48, 1600, 25), 1_557_611_200),
    "opt-125m": (opt(12, 768, 12), 125_239_296),
    "opt-1.3b": (opt(24, 2048, 32), 1_315_758_080),
    "opt-6.7b": (opt(32, 4096, 32), 6_658_473_984),
    "opt-30b": (opt(48, 7168, 56), 29_974_540_288),
    "bloom-560m": (bloom(24, 1024, 16), 559_214_592),
    "bloom-7b1": (bloom(30, 4096, 32), 7_069_016_064),
    "bloom": (bloom(70, 14336, 112), 176_247_271_424),
    "falcon-7b": (
        {
            "architectures": ["FalconForCausalLM"],
            "num_hidden_layers": 32,
            "hidden_size": 4544,
            "num_attention_heads": 71,
            "multi_query": True,
            "parallel_attn": True,
            "vocab_size": 65024,
        },
        6_921_720_704,
    ),
    "bert-base": (bert(12, 768, 12), 109_514_298),
    "bert-large": (bert(24, 1024, 16), 335_174_458),
    "gemma-2b": (gemma("GemmaForCausalLM", 18, 2048, 8, 1, 256, 16384), 2_506_172_416),
    "gemma-7b": (gemma("GemmaForCausalLM", 28, 3072, 16, 16, 256, 24576), 8_537_680_896),
    "gemma-2-2b": (gemma("Gemma2ForCausalLM", 26, 2304, 8, 4, 256, 9216), 2_614_341_888),
    "gemma-2-9b": (gemma("Gemma2ForCausalLM", 42, 3584, 16, 8, 256, 14336), 9_241_705_984),
    "gemma-2-27b": (gemma("Gemma2ForCausalLM", 46, 4608, 32, 16, 128, 36864), 27_227_128_320),
    "gemma-3-1b": (gemma("Gemma3ForCausalLM", 26, 1152, 4, 1, 256, 6912, 262144), 999_885_952),
    "llada-8b": (
        {
            "architectures": ["LLaDAModelLM"],
            "n_layers": 32,
            "d_model": 4096,
            "n_heads": 32,
            "n_kv_heads": 32,
            "mlp_hidden_size": 12288,
            "embedding_size": 126464,
            "vocab_size": 126464,
        },
        8_015_581_184,
    ),
}


@dataclass(frozen=True)
class Published:
    """Billions of parameters as model cards and reports round them: text, so that their digits count. Without
    `tables`, active parameters are given without the embedding, of which a token reads one row."""

    total: str
    active: str | None = None
    tables: bool = True


# The cards of the models on Hugging Face and the technical reports of their makers.
SERVED = {
    "Qwen--Qwen3-0.6B": Published("0.596"),
    "Qwen--Qwen3-1.7B": Published("1.72"),
    "Qwen--Qwen3-30B-A3B": Published("30.5", "3.3"),
    "Qwen--Qwen3-235B-A22B": Published("235", "22"),
    "Qwen--Qwen3-Coder-480B-A35B-Instruct": Published("480", "35"),
    "Qwen--Qwen3.5-27B": Published("27"),
    "Qwen--Qwen3.5-35B-A3B": Published("35", "3"),
    "Qwen--Qwen3.5-122B-A10B": Published("122", "10"),
    "Qwen--Qwen3.5-397B-A17B": Published("397", "17"),
    "mistralai--Mixtral-8x7B-v0.1": Published("46.7", "12.9"),
    "mistralai--Mixtral-8x22B-v0.1": Published("141", "39"),
    "openai--gpt-oss-20b": Published("20.9", "3.6", tables=False),
    "openai--gpt-oss-120b": Published("116.8", "5.1", tables=False),
    "deepseek-ai--DeepSeek-V3": Published("671", "37"),
    "deepseek-ai--DeepSeek-R1": Published("671", "37"),
    "deepseek-ai--DeepSeek-V3.2": Published("671"),
    "zai-org--GLM-5": Published("744"),
    "moonshotai--Kimi-K2-Instruct": Published("1026", "32", tables=False),
    "MiniMaxAI--MiniMax-M2.5": Published("229", "10", tables=False),
    "google--gemma-4-26B-A4B": Published("25.2", "3.8"),
    "nvidia--Gemma-4-31B-IT-NVFP4": Published("30.7"),
    "nvidia--Nemotron-H-56B-Base-8K": Published("56"),
    "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": Published("31.6", "3.6"),
    "nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8": Published("120.6", "12.7"),
    "nvidia--NVIDIA-Nemotron-3-Ultra-550B-A55B-BF16": Published("550", "55", tables=False),
    "nvidia--Llama-3_3-Nemotron-Super-49B-v1": Published("49.9"),
    "XiaomiMiMo--MiMo-V2-Flash": Published("309", "15"),
    "stepfun-ai--Step-3.7-Flash": Published("196", "11"),
}

# More of the same files, for docs/models.md; a test of their own says what is published of them, if anything is.
COUNTED = (
    "Qwen--Qwen3-VL-2B-Instruct",
    "Qwen--Qwen3-VL-235B-A22B-Instruct",
    "XiaomiMiMo--MiMo-7B-Base",
    "deepseek-ai--DeepSeek-V4-Flash",
    "deepseek-ai--DeepSeek-V4-Pro",
    "meta-llama--Llama-4-Maverick-17B-128E-Instruct",
    "meta-llama--Llama-4-Scout-17B-16E-Instruct",
    "MiniMaxAI--MiniMax-M3",
    "moonshotai--Kimi-K2.5",
    "moonshotai--Kimi-K3",
    "zai-org--GLM-5.2",
)


def served() -> Path | None:
    """The folder of configurations of models that people serve, `NAME_config.json`; None where it is not installed."""
    try:
        return Path(str(distribution("aiconfigurator-core").locate_file("aiconfigurator_core/model_configs")))
    except PackageNotFoundError:
        return None


def counted(model: Model) -> Census:
    """The parameters of a model, of the graph of a decode step."""
    return census(lower(model, step(decode=[16])))
