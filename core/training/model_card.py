"""A model card: what a folder's weights are, what they were trained on and how to use them.

Its head is YAML that the Hugging Face hub reads (huggingface.co/docs/hub/model-cards). Folders of this machine are
left out: a card is made to be given away.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core import catalog, yamltext
from core.data.problems import DataError
from core.data.rows import read_values
from core.paths import rows_dir
from core.recipe import dump
from core.training.export_source import Source

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
        f"# {_plain(source.recipe.title)}",
        _what(source, to),
        "## Use\n\n" + _use(source, to),
        "## Data\n\n" + _data(source),
        "## Results\n\n" + _results(source, fidelity),
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
    base = _code(source.hub_base or Path(source.base_name).name)
    revision = f" at {_code(source.base_revision)}" if source.base_revision else ""
    kind = "An adapter for" if to == "adapter" else "A fine-tuned copy of"
    note = f"\n\nOf the base's weights: {_plain(source.base_note)}" if source.base_note else ""
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


def _data(source: Source) -> str:
    record = source.run / "data" / "sources.json"
    if not record.exists():
        return "Not recorded."
    content = json.loads(record.read_text(encoding="utf-8"))
    files = [("training", item) for item in content["training"]]
    files += [("validation", content["validation"])] if content["validation"] else []
    lines = ["| file | used for | rows | sha256 |", "| --- | --- | --- | --- |"]
    for use, item in files:
        revision = f" at {_code(item['revision'])}" if item.get("revision") else ""
        lines.append(
            f"| {_code(_file_name(item))}{revision} | {use} | {_rows(item)} | {_code(item['sha256'])} |"
        )
    return "\n".join(lines)


def _file_name(item: dict[str, Any]) -> str:
    """A data file's name: of one of this machine without its folders, of one of the hub with its repository."""
    return str(item["title"]) if item.get("revision") else Path(item["title"]).name


def _rows(item: dict[str, Any]) -> str:
    """How many rows a file has, counted in the run's frozen copy; a question mark where that is gone."""
    copy = rows_dir() / f"{item['sha256']}.jsonl"
    try:
        return str(sum(1 for _ in read_values(copy, item.get("name") or "rows.jsonl")))
    except DataError:
        return "?"


def _results(source: Source, fidelity: dict[str, Any] | None) -> str:
    record = source.run / "report.json"
    report = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
    rows = [
        ("steps", f"{report['step']} of {report['steps']}" if "steps" in report else None),
        ("training time in seconds", f"{report['seconds']:.0f}" if "seconds" in report else None),
        ("validation loss of the base model (nats)", _number(report.get("base_loss"))),
        ("validation loss (nats)", _number(report.get("loss"))),
    ]
    if fidelity:
        rows += [
            (
                "largest difference of a logit, merged to base and adapter",
                f"{fidelity['max_difference']:.3g}",
            ),
            (f"same likeliest token, of {fidelity['positions']}", f"{fidelity['same']:.1%}"),
            ("precision of both", fidelity["dtype"]),
        ]
    lines = [f"| {name} | {value} |" for name, value in rows if value is not None]
    return "\n".join(["| | |", "| --- | --- |", *lines]) if lines else "None recorded: the run did not end."


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _given_away(source: Source) -> Any:
    """The recipe without this machine's folders."""
    recipe = source.recipe
    change: dict[str, Any] = {
        "data": [
            item.model_copy(update={"path": Path(item.path).name} if item.path else {})
            for item in recipe.data
        ]
    }
    for name in ("model", "validation", "chat_template"):
        value = getattr(recipe, name)
        if value and Path(value).is_absolute():
            change[name] = Path(value).name
    return recipe.model_copy(update=change)


def _plain(text: str) -> str:
    """Foreign text in a line of Markdown: one line, nothing of it markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """Foreign text as code in a line or a cell."""
    return "`" + " ".join(text.replace("`", "'").replace("|", "\\|").split()) + "`"


def _fenced(language: str, text: str) -> str:
    """Code in a fence that it can't close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}{fence}"
