"""Loading a base model and putting an adapter on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from core.errors import FinetuiError
from core.recipe import Recipe


class AdapterError(FinetuiError):
    """The adapter doesn't fit the model."""


def choose_precision(recipe: Recipe, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`: as the recipe says, else bf16 on a GPU that computes it and fp32 elsewhere."""
    if recipe.precision:
        return recipe.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def use_device(device: str) -> torch.device:
    """The torch device of `cpu` or `cuda:<uuid>`. Call before anything touches CUDA.

    A GPU becomes the only one this process sees, so that nothing spreads over its neighbours.
    """
    if device == "cpu":
        return torch.device("cpu")
    os.environ["CUDA_VISIBLE_DEVICES"] = device.removeprefix("cuda:")
    if not torch.cuda.is_available():
        raise AdapterError(
            f"The GPU {device} can't be used.",
            "The installed torch does not see it: it may be a CPU build, or the driver too old.",
            "Run `finetui doctor`, or set `device: cpu`.",
        )
    return torch.device("cuda", 0)


def load_base(folder: Path, precision: str, device: torch.device) -> Any:
    """The model of a folder, in eval mode on a device. Safetensors only, no code of the model's is run."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=DTYPES[precision],
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return model.to(device).eval()


def add_lora(model: Any, recipe: Recipe) -> Any:
    """The model with a new LoRA adapter (Hu et al., 2021); the base's weights are frozen.

    Raises:
        AdapterError: a named target module is not in the model.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    from core.training.fused_lora import FusedLinear

    rank = recipe.value("rank")
    config = LoraConfig(
        r=rank,
        lora_alpha=recipe.value("alpha") or 2 * rank,
        lora_dropout=recipe.value("dropout"),
        target_modules=recipe.value("target_modules"),
        task_type=TaskType.CAUSAL_LM,
    )
    config._register_custom_module({torch.nn.Linear: FusedLinear})
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        leaves = {name.rpartition(".")[2] for name, part in model.named_modules() if hasattr(part, "weight")}
        raise AdapterError(
            f"`target_modules` {recipe.target_modules!r} does not fit the model.",
            str(error).splitlines()[0],
            f"Use `all-linear`, or names out of: {', '.join(sorted(leaves))}.",
        ) from error


def long_from(model: Any) -> int | None:
    """From how many tokens on a model with LongRoPE scales its positions otherwise (128k Phi-3 and its kin)."""
    parameters = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    if parameters.get("rope_type") != "longrope":
        return None
    return int(parameters["original_max_position_embeddings"])


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with a saved adapter, for inference."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder)).eval()


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters."""
    trainable = sum(item.numel() for item in model.parameters() if item.requires_grad)
    return trainable, sum(item.numel() for item in model.parameters())
