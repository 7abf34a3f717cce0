"""How many weights a recipe trains, counted from the model's files. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

from core.recipe import Recipe
from core.training.memory import Shape

STATE_BYTES = {"adamw": 8, "adamw_8bit": 2, "adafactor": 0, "lion": 4, "lion_8bit": 1, "sgd": 0, "muon": 4}
"""Kept for each trained weight. Adafactor keeps a row and a column of each matrix; Muon only a momentum."""

ONE_KERNEL = {"adamw", "adamw_8bit", "lion", "lion_8bit"}
"""Optimisers whose step is one kernel on a GPU, which makes no tensors."""

IA3_INPUTS = ("down_proj",)
"""Layers whose input IA3 scales: what the MLP has made."""

IA3_OUTPUTS = ("k_proj", "v_proj", "qkv_proj")
"""Layers whose output IA3 scales: keys and values. A fused layer is scaled whole, queries too."""


def trainable_weights(recipe: Recipe, shape: Shape, labels: int) -> int:
    """Weights that are trained.

    Args:
        recipe: its settings of the group Method.
        shape: of the model.
        labels: classes, 0 where the task has none.
    """
    head = labels * shape.hidden
    tensors = trained_tensors(recipe, shape)
    if recipe.value("method") == "full":
        return head + sum(size for name, size in tensors if _is_chosen(recipe, shape, name))
    beside = sum(size for name, size in tensors if _is_within(name, recipe.modules_to_save or ()))
    return head + beside + _added(recipe, shape)


def all_weights(recipe: Recipe, shape: Shape, labels: int) -> int:
    """Weights of the model that is trained, with what is put onto it; what is trained in place of a part of the model
    counts once.

    Args:
        recipe: its settings of the group Method.
        shape: of the model.
        labels: classes, 0 where the task has none.
    """
    own = sum(size for _, size in trained_tensors(recipe, shape)) + labels * shape.hidden
    return own if recipe.value("method") == "full" else own + _added(recipe, shape)


def trained_tensors(recipe: Recipe, shape: Shape) -> list[tuple[str, int]]:
    """(name, weights) of the tensors that are loaded: a classifier has a head of its own."""
    headless = recipe.value("task") == "classification"
    return [(name, size) for name, size in shape.tensors if not (headless and name.startswith("lm_head."))]


def adapted(recipe: Recipe, shape: Shape) -> list[tuple[str, int, int]]:
    """(name, inputs, outputs) of the layers that an adapter is put on."""
    wanted = recipe.value("target_modules")
    if recipe.value("method") == "ia3" and wanted == "all-linear":
        wanted = [*IA3_INPUTS, *IA3_OUTPUTS]
    return [
        (name, inputs, outputs)
        for name, inputs, outputs in shape.matrices
        if is_late(recipe, shape.layers, name)
        and (layer_of(name) >= 0 if wanted == "all-linear" else is_module(name, wanted))
    ]


def largest_trained(recipe: Recipe, shape: Shape) -> int:
    """Weights of the largest tensor of the model's own that is trained."""
    tensors = trained_tensors(recipe, shape)
    if recipe.value("method") == "full":
        return max((size for name, size in tensors if _is_chosen(recipe, shape, name)), default=0)
    named = recipe.modules_to_save or ()
    return max((size for name, size in tensors if _is_within(name, named)), default=0)


def _added(recipe: Recipe, shape: Shape) -> int:
    """Weights of the adapter itself."""
    return sum(_added_to(recipe, *layer) for layer in adapted(recipe, shape))


def _added_to(recipe: Recipe, name: str, inputs: int, outputs: int) -> int:
    if recipe.value("method") == "ia3":
        return inputs if name.rpartition(".")[2] in IA3_INPUTS else outputs
    magnitudes = outputs if recipe.value("dora") else 0
    return int(recipe.value("rank")) * (inputs + outputs) + magnitudes


def _is_chosen(recipe: Recipe, shape: Shape, name: str) -> bool:
    wanted = recipe.value("target_modules")
    module = tensor_module(name)
    return is_late(recipe, shape.layers, name) and (wanted == "all-linear" or is_module(module, wanted))


def tensor_module(tensor: str) -> str:
    """The module that a tensor is of."""
    return tensor.removesuffix(".weight").removesuffix(".bias")


def is_late(recipe: Recipe, layers: int, name: str) -> bool:
    """Whether a module or tensor is within the last layers, where the recipe has only these adapted or trained."""
    return recipe.last_layers is None or layer_of(name) >= layers - recipe.last_layers


def _is_within(tensor: str, names: Sequence[str]) -> bool:
    """Whether a tensor is of one of these modules or of a part of one."""
    return any(f".{item}." in f".{tensor}" for item in names)


def is_module(module: str, names: Sequence[str]) -> bool:
    """Whether a module's full name is one of these or ends in one."""
    return any(module == item or module.endswith(f".{item}") for item in names)


def layer_of(name: str) -> int:
    """The number of the decoder layer that a module or tensor is in; -1 outside of them."""
    _, _, rest = name.partition("layers.")
    number = rest.partition(".")[0]
    return int(number) if number.isdecimal() else -1
