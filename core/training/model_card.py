"""A model card: what a folder's weights are, what they were trained on and how to use them.

Its head is YAML that the Hugging Face hub reads (huggingface.co/docs/hub/model-cards). Folders of this machine are
left out: a card is made to be given away.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from core import catalog, yamltext
from core.recipe import dump
from core.training.export_source import Source
from core.training.model_card_facts import code, data, plain, results
from core.training.saved import ON_NF4

KNOWN_LICENCES = {"Apache-2.0": "apache-2.0", "MIT": "mit", "Llama 3.2 Community License": "llama3.2"}
"""The hub's names of the catalogue's licences."""
PIPELINES = {"classification": "text-classification"}
LIBRARIES = {"adapter": "peft", "merged": "transformers", "ollama": "transformers"}


def card(source: Source, to: str, fidelity: dict[str, Any] | None) -> str:
    """The text of README.md.

    Args:
        source: what was exported.
        to: adapter, merged or ollama.
        fidelity: of merged weights, by name.
    """
    parts = [
        f"---\n{yamltext.write(_metadata(source, to))}---",
        f"# {plain(source.name)}",
        _what(source, to),
        "## Use\n\n" + _use(source, to),
        "## Data\n\n" + data(source),
        "## Results\n\n" + results(source, fidelity),
        "## Recipe\n\n" + _fenced("yaml", dump(_given_away(source))),
    ]
    return "\n\n".join(parts) + "\n"


def _metadata(source: Source, to: str) -> dict[str, Any]:
    entry = catalog.by_hub_id(source.hub_base)
    tags = ["finetui", *(["lora"] if source.recipe.value("method") == "lora" else [])]
    content: dict[str, Any] = {}
    if source.hub_base:
        content["base_model"] = source.hub_base
        content["base_model_relation"] = "adapter" if to == "adapter" else "finetune"
    content["library_name"] = LIBRARIES[to]
    content["pipeline_tag"] = PIPELINES.get(source.task, "text-generation")
    content["tags"] = tags
    if entry and entry.licence in KNOWN_LICENCES:
        content["license"] = KNOWN_LICENCES[entry.licence]
    elif entry:
        content["license"] = "other"
        content["license_name"] = re.sub(r"[^a-z0-9.]+", "-", entry.licence.lower())
        content["license_link"] = entry.licence_url
    return content


def _what(source: Source, to: str) -> str:
    base = code(source.hub_base or Path(source.base_name).name)
    revision = f" at {code(source.base_revision)}" if source.base_revision else ""
    kind = "An adapter for" if to == "adapter" else "A fine-tuned copy of"
    note = f"\n\nOf the base's weights: {plain(source.base_note)}" if source.base_note else ""
    if to == "adapter" and source.recipe.value("init") == "loftq":
        note += (
            "\n\nThis adapter is for the base's exact weights. It was trained on them in 4 bits (NF4), and made up for "
            f'what that took (LoftQ, arXiv 2310.08659): for the base in NF4 load it with `subfolder="{ON_NF4}"`.'
        )
    return f"{kind} {base}{revision}, trained with finetui.{note}"


def _use(source: Source, to: str) -> str:
    if to == "ollama":
        return _fenced("sh", "ollama create my-model -f Modelfile\nollama run my-model\n")
    auto = "AutoModelForSequenceClassification" if source.task == "classification" else "AutoModelForCausalLM"
    lines = [
        f"from transformers import {auto}, AutoTokenizer",
        "",
        'here = "."  # this repository, or its folder',
    ]
    if to == "adapter":
        lines.insert(0, "from peft import PeftModel")
        base = source.hub_base or "FOLDER OF THE BASE MODEL"
        classes = f", num_labels={len(source.labels)}" if source.labels else ""
        lines.append(f"base = {auto}.from_pretrained({base!r}{classes})")
        lines.append("model = PeftModel.from_pretrained(base, here)")
    else:
        lines.append(f"model = {auto}.from_pretrained(here)")
    lines.append("tokenizer = AutoTokenizer.from_pretrained(here)")
    if source.task == "classification":
        lines += [
            f"labels = {list(source.labels)!r}",
            'inputs = tokenizer("A text.", return_tensors="pt", add_special_tokens=False)',
            "print(labels[int(model(**inputs).logits.argmax(-1))])",
        ]
    else:
        lines += _asking(source)
    return _fenced("python", "\n".join(lines) + "\n")


def _asking(source: Source) -> list[str]:
    if source.task == "completion":
        return [
            'inputs = tokenizer("A beginning", return_tensors="pt", add_special_tokens=False)',
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=128)[0]))",
        ]
    system = [{"role": "system", "content": source.system}] if source.system else []
    messages = [*system, {"role": "user", "content": "Hello"}]
    return [
        f"messages = {messages!r}",
        "inputs = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True',
        ")",
        'reply = model.generate(**inputs, max_new_tokens=128)[0, inputs["input_ids"].shape[1] :]',
        "print(tokenizer.decode(reply, skip_special_tokens=True))",
    ]


def _given_away(source: Source) -> Any:
    """The recipe without this machine's folders."""
    recipe = source.recipe
    change: dict[str, Any] = {
        **({"name": source.name} if recipe.name else {}),
        "data": [
            item.model_copy(update={"path": Path(item.path).name} if item.path else {})
            for item in recipe.data
        ],
    }
    for name in ("model", "validation", "chat_template"):
        value = getattr(recipe, name)
        if value and Path(value).is_absolute():
            change[name] = Path(value).name
    return recipe.model_copy(update=change)


def _fenced(language: str, text: str) -> str:
    """Code in a fence that it can't close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{fence}"
