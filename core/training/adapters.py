"""Loading models: a base for training, and what was trained."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from core.errors import FinetuiError
from core.recipe import Recipe
from core.training import cutting
from core.training.memory import give_back_freed
from core.training.saved import ADAPTER_WEIGHTS


class AdapterError(FinetuiError):
    """The adapter doesn't fit the model."""


def choose_precision(recipe: Recipe, device: torch.device) -> str:
    """`fp32`, `bf16` or `fp16`: as the recipe says, else bf16 on a GPU that computes it and fp32 elsewhere."""
    if recipe.precision:
        return recipe.precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def computing(device: torch.device, precision: str) -> torch.autocast:
    """What a forward pass is done in: weights stay in their number format, products are made in the run's.

    Args:
        device: of the model.
        precision: fp32, bf16 or fp16.
    """
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32")


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


def load_base(
    folder: Path,
    precision: str,
    device: torch.device,
    quantization: str | None = None,
    labels: Sequence[str] = (),
) -> Any:
    """The model of a folder, in eval mode on a device. Safetensors only, no code of the model's is run.

    Args:
        folder: a causal language model, or a classifier.
        precision: fp32, bf16 or fp16, of weights and computation.
        device: where it goes.
        quantization: of the linear layers' weights, `nf4` or `int8`, or None.
        labels: names of the classes, for a classifier.
    """
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    classes = {"num_labels": len(labels), "id2label": dict(enumerate(labels))} if labels else {}
    kind = AutoModelForSequenceClassification if labels else AutoModelForCausalLM
    model = kind.from_pretrained(
        folder,
        dtype=DTYPES[precision],
        attn_implementation="sdpa",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **classes,
        **(_quantized(quantization, precision, device) if quantization else {}),
    )
    if not quantization:
        return model.to(device).eval()
    _keep_exact(model)
    give_back_freed()
    return model.eval()


def _keep_exact(model: Any) -> None:
    """bitsandbytes would turn 4-bit weights into a format for CPUs with bfloat16 at the first evaluation, for good:
    rounded, not for training, and not for every shape."""
    from bitsandbytes.nn import Linear4bit

    for part in model.modules():
        if isinstance(part, Linear4bit):
            part.support_avx512bf16_for_cpu = False


def _quantized(quantization: str, precision: str, device: torch.device) -> dict[str, Any]:
    """What transformers needs to load weights in 4 or 8 bits; scales of 4 bits are quantised too (QLoRA)."""
    from transformers import BitsAndBytesConfig

    config = (
        BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=DTYPES[precision],
        )
        if quantization == "nf4"
        else BitsAndBytesConfig(load_in_8bit=True)
    )
    return {"quantization_config": config, "device_map": {"": device}}


def long_from(model: Any) -> int | None:
    """See `cutting.long_from`."""
    return cutting.long_from(model.config.get_text_config().to_dict())


def load_adapter(model: Any, folder: Path) -> Any:
    """The model with a saved adapter, for inference."""
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder)).eval()


def take_over(model: Any, folder: Path) -> None:
    """Give a model's fresh adapter the values of a saved one.

    Raises:
        AdapterError: the saved one is of another shape, or lacks values.
    """
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    try:
        found = set_peft_model_state_dict(model, load_file(folder / ADAPTER_WEIGHTS))
    except RuntimeError as error:
        raise _other_shape(folder, str(error).splitlines()[-1].strip()) from error
    missing = [name for name in found.missing_keys if "lora_" in name or "ia3_" in name]
    if missing or found.unexpected_keys:
        raise _other_shape(folder, ", ".join([*missing, *found.unexpected_keys][:3]))


def _other_shape(folder: Path, cause: str) -> AdapterError:
    return AdapterError(
        f"The adapter in {folder} does not fit the model.", cause, "Name a model trained from this very base."
    )


def is_adapter(folder: Path) -> bool:
    """Whether a saved model is an adapter, not whole weights."""
    return (folder / "adapter_config.json").exists()


def count_parameters(model: Any) -> tuple[int, int]:
    """(trainable, all) parameters. Those of 4 bits count one by one, not as they lie packed in bytes; a module of which
    peft trains a copy counts once."""
    used = [item for name, item in model.named_parameters() if ".original_module." not in name]
    return sum(_count(item) for item in used if item.requires_grad), sum(map(_count, used))


def _count(weights: torch.nn.Parameter) -> int:
    packed = getattr(weights, "quant_state", None)
    return weights.numel() if packed is None else math.prod(packed.shape)
