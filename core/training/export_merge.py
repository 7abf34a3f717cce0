"""An adapter merged into its base's weights, and how much that changed what the model says.

The base is loaded in its own precision (or another that is asked for), never quantised, and the merged weights are
saved in that precision. Rounding to it moves the logits a little; how much is measured on the saved files themselves.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.data.conversation import Message
from core.data.rendering import Renderer
from core.training.export_source import ExportError, Source

if TYPE_CHECKING:
    import torch

COMPARED = (
    "Hello, who are you?",
    "Name three things that are good for a long walk, and say of each in one sentence why.",
    "How much is seventeen and twenty-five?",
)
LEAST_SAME = 0.8
"""Rounding turns a few close calls; a merge that changes more of the likeliest tokens is another model."""


@dataclass(frozen=True)
class Fidelity:
    """How near the merged model is to base and adapter, both computed in the precision that is saved.

    Args:
        max_difference: largest absolute difference of two logits.
        same: share of positions whose likeliest token (class, for a classifier) is the same.
        positions: tokens (texts, for a classifier) compared.
        dtype: the precision, e.g. `bfloat16`.
    """

    max_difference: float
    same: float
    positions: int
    dtype: str


def merge(
    source: Source, renderer: Renderer, out: Path, dtype: str = "auto"
) -> Generator[str, None, Fidelity]:
    """Write merged weights and configuration into a folder; yields what it is doing.

    Args:
        source: an adapter, its base's weights checked.
        renderer: of the run; its prompts are compared.
        out: empty, but for what is no weight.
        dtype: of the merged weights, as torch calls it; `auto` is the base's own.

    Raises:
        ExportError: the adapter can't be merged, or the merged model is another one.
    """
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    rows = compared_rows(source, renderer)
    yield "loading the base model"
    tuned = _with_adapter(source, dtype)
    yield "computing logits of base and adapter"
    wanted = _logits(tuned, rows)
    yield "merging"
    _untie(tuned)
    merged = tuned.merge_and_unload()
    if (source.folder / "generation_config.json").exists():
        merged.generation_config = GenerationConfig.from_pretrained(source.folder)
        merged.config.eos_token_id = merged.generation_config.eos_token_id
    if source.task == "classification":  # it looks for the last token that is no filling
        merged.config.get_text_config().pad_token_id = renderer.pad_id
    yield "writing the merged weights"
    merged.save_pretrained(out)
    del tuned, merged
    yield "comparing the merged model"
    fidelity = _compared(wanted, load(source, out), rows)
    if fidelity.same < LEAST_SAME:
        raise ExportError(
            "The merged model is not the one that was trained.",
            f"On {fidelity.positions} positions only {fidelity.same:.0%} of the likeliest tokens are the same, and "
            f"logits differ by up to {fidelity.max_difference:.3g} ({fidelity.dtype}).",
            "Export `--to adapter`, which is exact.",
        )
    return fidelity


def compared_rows(source: Source, renderer: Renderer) -> list[list[int]]:
    """Token ids of a few prompts as the run's task has them: the recipe's sample prompts, else those of this module."""
    texts = (source.recipe.sample_prompts or COMPARED)[:3]
    if source.task in ("completion", "classification"):
        return [list(encoding.ids) for encoding in renderer.encode_many(list(texts))]
    before = (Message("system", source.system),) if source.system else ()
    return [renderer.render_prompt((*before, Message("user", text)))[1] for text in texts]


def load(source: Source, folder: Path, dtype: str = "auto", **more: Any) -> Any:
    """A model of the task's kind from a folder, in its own precision or another, on the CPU, in eval mode."""
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if source.task == "classification" else AutoModelForCausalLM
    return kind.from_pretrained(
        folder, dtype=dtype, use_safetensors=True, trust_remote_code=False, local_files_only=True, **more
    ).eval()


def _with_adapter(source: Source, dtype: str) -> Any:
    from peft import PeftModel

    classes = {"num_labels": len(source.labels), "id2label": dict(enumerate(source.labels))}
    base = load(source, source.base, dtype, **(classes if source.task == "classification" else {}))
    try:
        return PeftModel.from_pretrained(base, str(source.folder)).eval()
    except (RuntimeError, ValueError) as error:
        raise ExportError(
            f"The adapter in {source.folder} doesn't fit {source.base_name}.",
            str(error).splitlines()[0],
            "Export another checkpoint, or train anew.",
        ) from error


def _untie(tuned: Any) -> None:
    """Give the output head weights of its own where an adapter changes only it or only the embeddings."""
    from torch.nn import Parameter

    model = tuned.get_base_model()
    names = getattr(tuned.base_model, "targeted_module_names", [])
    if not getattr(model.config, "tie_word_embeddings", False):
        return
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = [name for name, part in model.named_modules() if part is embeddings or part is head]
    if head is not None and any(name in names for name in tied):
        bare = getattr(head, "base_layer", head)
        bare.weight = Parameter(bare.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def _logits(model: Any, rows: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """For each row float32 logits of shape (positions, vocabulary), or (1, classes) of a classifier."""
    import torch

    found = []
    with torch.no_grad():
        for ids in rows:
            logits = model(input_ids=torch.tensor([list(ids)])).logits
            found.append(logits.reshape(-1, logits.shape[-1]).float())
    return found


def _compared(wanted: list[torch.Tensor], model: Any, rows: Sequence[Sequence[int]]) -> Fidelity:
    largest, same, positions = 0.0, 0, 0
    for one, two in zip(wanted, _logits(model, rows), strict=True):
        difference = float((one - two).abs().max())
        largest = max(largest, difference) if math.isfinite(difference) else math.inf
        same += int((one.argmax(-1) == two.argmax(-1)).sum())
        positions += len(one)
    return Fidelity(largest, same / positions, positions, str(model.dtype).removeprefix("torch."))


def copy_full(source: Source, out: Path) -> None:
    """Copy weights that were trained whole: nothing is to be merged."""
    for path in sorted(source.folder.iterdir()):
        if path.name == "config.json" or path.name.startswith("model") and ".safetensors" in path.name:
            shutil.copyfile(path, out / path.name)
