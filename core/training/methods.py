"""What of a model is trained: an adapter of a recipe's kind put onto it, or its own weights set free."""

from __future__ import annotations

from typing import Any

import torch

from core.recipe import Recipe
from core.training.fit import FitError, parts_of_model, refuse_misfit
from core.training.fused_lora import FusedLinear
from core.training.trainable import IA3_INPUTS, IA3_OUTPUTS, is_module, layer_of


def prepare(model: Any, recipe: Recipe) -> Any:
    """The model ready to be trained as a recipe has it, in eval mode; all weights but the trained ones are frozen.

    Args:
        model: as `adapters.load_base` loads it.
        recipe: its settings of the group Method.

    Raises:
        FitError: a named module is not in the model, or it has fewer layers than named.
    """
    refuse_misfit(recipe, parts_of_model(model))
    method = recipe.value("method")
    if method == "full":
        return _free(model, recipe).eval()
    config = _lora(model, recipe) if method == "lora" else _ia3(model, recipe)
    return _with_adapter(model, config, recipe).eval()


def weights_precision(recipe: Recipe, precision: str) -> str:
    """The number format that weights are loaded in: trained ones are float32, whatever is computed with."""
    return "fp32" if recipe.value("method") == "full" else precision


def _task_type(model: Any) -> str:
    return "SEQ_CLS" if "SequenceClassification" in type(model).__name__ else "CAUSAL_LM"


def _lora(model: Any, recipe: Recipe) -> Any:
    from peft import LoraConfig

    rank = recipe.value("rank")
    config = LoraConfig(
        r=rank,
        lora_alpha=recipe.value("alpha") or 2 * rank,
        lora_dropout=recipe.value("dropout"),
        target_modules=_lora_targets(model, recipe),
        modules_to_save=recipe.modules_to_save,
        use_rslora=recipe.value("rslora"),
        use_dora=recipe.value("dora"),
        task_type=_task_type(model),
    )
    config._register_custom_module(_fused_layers(recipe))
    return config


def _fused_layers(recipe: Recipe) -> dict[type, type]:
    """The LoRA layer for each kind of layer; a quantised one is a kind of Linear too, and comes first."""
    if recipe.quantization is None:
        return {torch.nn.Linear: FusedLinear}
    from core.training.fused_quantized import LAYERS

    return {**LAYERS, torch.nn.Linear: FusedLinear}


def _lora_targets(model: Any, recipe: Recipe) -> str | list[str]:
    """`all-linear`, names of modules, or the full names of those in the last layers."""
    wanted, layers = recipe.value("target_modules"), _last_layers(model, recipe)
    if layers is None:
        return wanted if isinstance(wanted, str) else list(wanted)
    return [
        name
        for name, part in model.named_modules()
        if isinstance(part, torch.nn.Linear)
        and layer_of(name) in layers
        and (wanted == "all-linear" or is_module(name, wanted))
    ]


def _ia3(model: Any, recipe: Recipe) -> Any:
    from peft import IA3Config

    wanted = recipe.value("target_modules")
    names = IA3_INPUTS + IA3_OUTPUTS if wanted == "all-linear" else tuple(wanted)
    layers = _last_layers(model, recipe)
    chosen = [
        name
        for name, _ in model.named_modules()
        if is_module(name, names) and (layers is None or layer_of(name) in layers)
    ]
    return IA3Config(
        target_modules=chosen,
        feedforward_modules=[name for name in chosen if name.rpartition(".")[2] in IA3_INPUTS],
        modules_to_save=recipe.modules_to_save,
        task_type=_task_type(model),
    )


def _with_adapter(model: Any, config: Any, recipe: Recipe) -> Any:
    from peft import get_peft_model

    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise FitError(
            f"`target_modules` {recipe.value('target_modules')!r} does not fit the model.",
            str(error).splitlines()[0],
            "Use `all-linear`.",
        ) from error


def _free(model: Any, recipe: Recipe) -> Any:
    """The model with the wanted weights free to be trained, the head of a classifier always among them."""
    targets, layers = recipe.value("target_modules"), _last_layers(model, recipe)
    head = {id(item) for item in getattr(model, "score", torch.nn.Identity()).parameters()}
    for name, parameter in model.named_parameters():
        module = name.rpartition(".")[0]
        named = targets == "all-linear" or is_module(module, targets)
        within = layers is None or layer_of(name) in layers
        parameter.requires_grad_((named and within) or id(parameter) in head)
    return model


def _last_layers(model: Any, recipe: Recipe) -> list[int] | None:
    """Numbers of the decoder layers that are adapted or trained; None for all of the model."""
    if recipe.last_layers is None:
        return None
    count = model.config.get_text_config().num_hidden_layers
    return list(range(count - recipe.last_layers, count))
