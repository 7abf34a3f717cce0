"""The parts of a model card that tell of its data and its figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from core.data.problems import DataError
from core.data.repair.target import LINEAGE
from core.data.rows import read_values
from core.data.split import split
from core.paths import rows_dir
from core.training.export_source import Source

FIGURES = {
    "loss": "loss (nats)",
    "perplexity": "perplexity",
    "token_accuracy": "token accuracy",
    "exact_match": "exact match",
    "token_f1": "token F1",
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "preference_accuracy": "chosen preferred to rejected",
    "margin": "margin",
}
"""What is told of an evaluation, by name in the report."""


def data(source: Source) -> str:
    """The files with their hashes, and what those were made of that finetui has made."""
    record = source.run / "data" / "sources.json"
    if not record.exists():
        return "Not recorded."
    content = json.loads(record.read_text(encoding="utf-8"))
    fraction = 0.0 if content["validation"] else source.recipe.validation_fraction or 0.0
    files = [("training", item) for item in content["training"]]
    files += [("validation", content["validation"])] if content["validation"] else []
    lines = ["| file | used for | rows | sha256 |", "| --- | --- | --- | --- |"]
    for use, item in files:
        revision = f" at {code(item['revision'])}" if item.get("revision") else ""
        rows = _rows(item)
        if fraction and rows is not None:
            rows, apart = (len(numbers) for numbers in split(rows, fraction, 0))
            lines.append(_file_line(item, revision, "training", rows))
            lines.append(_file_line(item, revision, "validation", apart))
        else:
            lines.append(_file_line(item, revision, use, rows))
    made = [sentence for _, item in files if (sentence := _made_of(item))]
    return "\n".join([*lines, *([""] if made else []), *(f"* {sentence}" for sentence in made)])


def _file_line(item: dict[str, Any], revision: str, use: str, rows: int | None) -> str:
    number = "?" if rows is None else str(rows)
    return f"| {code(_file_name(item))}{revision} | {use} | {number} | {code(item['sha256'])} |"


def _file_name(item: dict[str, Any]) -> str:
    """A data file's name: of one of this machine without its folders, of one of the hub with its repository."""
    return str(item["title"]) if item.get("revision") else Path(item["title"]).name


def _rows(item: dict[str, Any]) -> int | None:
    """How many rows a file has, counted in the run's frozen copy; None where that is gone."""
    copy = rows_dir() / f"{item['sha256']}.jsonl"
    try:
        return sum(1 for _ in read_values(copy, item.get("name") or "rows.jsonl"))
    except DataError:
        return None


def _made_of(item: dict[str, Any]) -> str:
    """What a file was made of, by the record beside it; empty where there is none of this very file."""
    record = Path(item["title"] + LINEAGE)
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
        if found["target_sha256"] != item["sha256"]:
            return ""
        steps = [_step(step) for step in found["steps"]] if "steps" in found else [_choice(found["how"])]
        origin, digest = Path(found["source"]).name, str(found["source_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return (
        f"{code(_file_name(item))} was made of {code(origin)} (sha256 {code(digest)}) by {', '.join(steps)}."
    )


def _step(step: dict[str, Any]) -> str:
    """A repair in words; what an edit put in a row's place is the row's own, and not told."""
    codes = f" of {', '.join(map(code, step['codes']))}" if step.get("codes") else ""
    rows = f" in {len(step['rows'])} rows" if step.get("rows") is not None else ""
    return f"{code(step['repair'])}{codes}{rows}"


def _choice(how: dict[str, Any]) -> str:
    """How rows were split off or sampled."""
    return code(json.dumps(how, ensure_ascii=False))


def results(source: Source, fidelity: dict[str, Any] | None) -> str:
    """What training, merging and evaluation have measured.

    Args:
        source: what was exported.
        fidelity: of merged weights, by name.
    """
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
    parts = ["\n".join(["| | |", "| --- | --- |", *lines])] if lines else []
    evaluation = report.get("evaluation")
    if evaluation and source.folder == source.run / evaluation["model"]:
        parts.append(_evaluation(evaluation))
    return "\n\n".join(parts) or "None recorded: the run did not end."


def _evaluation(evaluation: dict[str, Any]) -> str:
    """Base beside tuned on rows that were measured after training."""
    base, tuned = evaluation["base"], evaluation["tuned"]
    files = ", ".join(f"{code(Path(item['title']).name)}" for item in evaluation["data"]["files"])
    lines = [
        f"Measured on {evaluation['rows']} rows of {files} with the base model beside it, "
        f"replies of up to {evaluation['max_tokens']} tokens:",
        "",
        "| | base | this model |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {title} | {_number(base.get(name)) or '-'} | {_number(tuned[name])} |"
        for name, title in FIGURES.items()
        if tuned.get(name) is not None
    ]
    return "\n".join([*lines, *("\n" + plain(note) for note in evaluation["notes"])])


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def plain(text: str) -> str:
    """Foreign text in a line of Markdown: one line, nothing of it markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", " ".join(text.split()))


def code(text: str) -> str:
    """Foreign text as code in a line or a cell."""
    return "`" + " ".join(text.replace("`", "'").replace("|", "\\|").split()) + "`"
