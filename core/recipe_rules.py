"""Settings that do nothing together: a set field is used or refused by name, never passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from core.recipe_fields import RecipeFields

LEARNING_RATES = {
    ("lora", "sft"): 2e-4,
    ("lora", "orpo"): 5e-5,
    ("lora", "dpo"): 5e-6,
    ("ia3", "sft"): 3e-3,
    ("ia3", "orpo"): 1e-3,
    ("ia3", "dpo"): 1e-4,
    ("full", "sft"): 2e-5,
    ("full", "orpo"): 5e-6,
    ("full", "dpo"): 5e-7,
}
"""By method and task. Full fine-tuning wants a tenth of LoRA's (LoRA Without Regret, 2025); those of preferences with
`full` are the published recipes' of zephyr (huggingface/alignment-handbook), LoRA's ten times as much; IA3's is of its
paper (Liu et al., 2022), those with preferences are as much lower as LoRA's."""

PREFERENCES = ("dpo", "orpo")
WITH_TOKENS = ("chat", "completion")
OF_INITIAL = (
    "rank", "alpha", "rslora", "dora", "init", "target_modules", "last_layers", "modules_to_save"
)  # fmt: skip
"""What an adapter that is gone on from decides."""
LORA_ONLY = ("rank", "alpha", "dropout", "rslora", "dora", "init", "lora_plus_ratio")


SHARDED_OPTIMIZERS = ("adamw", "sgd")
"""Those whose steps are the same on a part of each weight."""


class Rule(NamedTuple):
    """One combination that does nothing: where it is so, and what is said."""

    broken: Callable[[RecipeFields], bool]
    sentence: str


def learning_rate(recipe: RecipeFields) -> float:
    """The recipe's learning rate, or the default of its method and task."""
    task = recipe.task if recipe.task in PREFERENCES else "sft"
    return recipe.learning_rate or LEARNING_RATES[recipe.method or "lora", task or "sft"]


def broken_rules(recipe: RecipeFields) -> Iterator[str]:
    """A sentence for each combination that can't be; it names the field to change last."""
    if (recipe.method or "lora") != "lora":
        for name in LORA_ONLY:
            if getattr(recipe, name) is not None:
                yield f"`method` is {recipe.method}, and LoRA's `{name}` is set; leave one out"
    if recipe.init_from is not None:
        for name in OF_INITIAL:
            if getattr(recipe, name) is not None:
                yield f"`init_from` names a model whose `{name}` is its own; leave one out"
    yield from (rule.sentence for rule in RULES if rule.broken(recipe))


def _task(recipe: RecipeFields) -> str:
    return recipe.task or "chat"


def _sharded(recipe: RecipeFields) -> bool:
    return recipe.sharding == "fsdp"


RULES = (
    Rule(
        lambda it: it.sharding is not None and (it.devices or 1) * (it.nodes or 1) == 1,
        "`devices` is 1, so `sharding` does nothing; leave it out",
    ),
    Rule(
        lambda it: (it.devices or 1) > 1 and (it.device or "").startswith("cuda:"),
        "`devices` are several, and `device` names one; set it to cuda or leave it out",
    ),
    Rule(
        lambda it: _sharded(it) and it.quantization is not None,
        "`quantization` packs the weights so that they can't be parted, and `sharding` is fsdp; leave one out",
    ),
    Rule(
        lambda it: _sharded(it) and it.init == "pissa",
        "`init` takes whole weights apart, and `sharding` is fsdp; leave one out",
    ),
    Rule(
        lambda it: _sharded(it) and it.task == "dpo",
        "`task` dpo asks the whole model first, and `sharding` is fsdp; use orpo or leave it out",
    ),
    Rule(
        lambda it: _sharded(it) and (it.optimizer or "adamw") not in SHARDED_OPTIMIZERS,
        "`optimizer` needs whole weights, and `sharding` is fsdp; use adamw or sgd, or leave it out",
    ),
    Rule(
        lambda it: it.validation is not None and it.validation_fraction is not None,
        "`validation` and `validation_fraction` are both set; keep one",
    ),
    Rule(
        lambda it: it.quantization is not None and it.method == "full",
        "`method` is full, which trains the weights that `quantization` freezes; leave one out",
    ),
    Rule(
        lambda it: it.quantization is not None and it.init == "pissa",
        "`quantization` is set, and `init` needs the exact weights; leave one out",
    ),
    Rule(
        lambda it: it.init == "loftq" and it.quantization != "nf4",
        "`init` is loftq, which makes up for `quantization: nf4`; set that, or leave `init` out",
    ),
    Rule(
        lambda it: it.method == "full" and bool(it.modules_to_save),
        "`method` is full, and `modules_to_save` are beside an adapter; name them in `target_modules`",
    ),
    Rule(
        lambda it: it.dora is True and it.init in ("pissa", "loftq"),
        "`init` gives LoRA a part of the weights, and `dora` parts them otherwise; leave one out",
    ),
    Rule(
        lambda it: it.optimizer == "muon" and it.lora_plus_ratio is not None,
        "`optimizer` is muon, whose steps have one size, and `lora_plus_ratio` is set; leave one out",
    ),
    Rule(
        lambda it: it.loss == "dft" and bool(it.label_smoothing),
        "`loss` is dft, which has no `label_smoothing`; leave one out",
    ),
    Rule(
        lambda it: it.loss == "dft" and _task(it) not in WITH_TOKENS,
        "`task` trains no plain tokens, and `loss` is dft; leave one out",
    ),
    Rule(
        lambda it: bool(it.label_smoothing) and _task(it) in PREFERENCES,
        "`task` compares two answers, and `label_smoothing` is set; leave one out",
    ),
    Rule(
        lambda it: it.beta is not None and _task(it) not in PREFERENCES,
        "`task` compares no answers, so `beta` does nothing; leave it out",
    ),
    Rule(
        lambda it: bool(it.neftune_alpha) and _task(it) not in WITH_TOKENS,
        "`task` is neither chat nor completion, and `neftune_alpha` is set; leave it out",
    ),
    Rule(
        lambda it: it.sample_prompts is not None and _task(it) == "classification",
        "`task` is classification, which gives no replies to `sample_prompts`; leave them out",
    ),
    Rule(
        lambda it: it.chat_template is not None and _task(it) in ("completion", "classification"),
        "`task` renders no conversations, and `chat_template` is set; leave it out",
    ),
    Rule(
        lambda it: (
            (it.keep_best is True or it.early_stopping is not None)
            and it.validation is None
            and it.validation_fraction is None
        ),
        "`early_stopping` and `keep_best` need rows to measure on; set `validation_fraction`",
    ),
)
