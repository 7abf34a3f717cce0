"""The Modelfile that tells Ollama how to talk to a merged model.

Its language is described in docs/modelfile.mdx of github.com/ollama/ollama; what can stand in a quoted value was read
from that project's parser/parser.go, how a folder of safetensors becomes Ollama's own format from convert/.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from core.data.conversation import Message
from core.data.rendering import Renderer
from core.training.export_source import ExportError, Source
from core.training.export_template import TemplateError, Turns, learn

LEAST_CONTEXT = 4096
"""Tokens of context, unless the model has fewer: what Ollama takes too."""


def refuse_task(source: Source) -> None:
    """See that Ollama can run a model of this task.

    Raises:
        ExportError: it can't.
    """
    if source.task == "classification":
        raise ExportError(
            "A classifier can't be exported for Ollama.",
            "Ollama writes text; this model gives a label.",
            "Export `--to adapter` or `--to merged`; both load in transformers.",
        )


def write_modelfile(source: Source, folder: Path) -> tuple[str, ...]:
    """Write the Modelfile into a folder of merged weights.

    The template writes the begin-of-text token itself where training did, so the tokenizer's settings in this folder
    tell Ollama not to add another.

    Returns:
        What the user should know, in sentences.

    Raises:
        ExportError: Ollama would read the model's text or tokens otherwise than training did.
        TemplateError: the chat template can't be said in Ollama's language.
    """
    _check_tokenizer(folder)
    _no_second_bos(folder / "tokenizer_config.json")
    turns = None if source.task == "completion" else learned(folder)
    stops = _stops(turns, Renderer.from_folder(folder)) if turns else []
    context = _context(source, folder)
    (folder / "Modelfile").write_text(
        modelfile(turns, stops, source.system if turns else "", context), encoding="utf-8"
    )
    return turns.notes if turns else ()


def learned(folder: Path) -> Turns:
    """The chat template of a folder, as turns.

    Raises:
        TemplateError: it can't be said so.
    """
    found = [_learned_at(folder, datetime(year, 1, 31, 12)) for year in (2001, 2022)]
    if found[0] != found[1]:
        raise TemplateError(
            "The chat template prints today's date.",
            "Ollama's templates would keep the day of the export.",
            "Give the recipe a `chat_template` without a date, or export `--to merged`.",
        )
    return found[0]


def _learned_at(folder: Path, now: datetime) -> Turns:
    renderer = Renderer.from_folder(folder, now=now)
    ends = [renderer.decode([token]) for token in renderer.turn_end_ids]
    return learn(lambda messages: renderer.render_prompt(messages)[0], ends)


def modelfile(turns: Turns | None, stops: list[str], system: str, context: int) -> str:
    """The Modelfile's text.

    Args:
        turns: the chat template; None for a model that continues plain text.
        stops: texts at which a reply ends.
        system: the run's system message, or empty.
        context: tokens.

    Raises:
        ExportError: the system message can't stand in a Modelfile.
    """
    lines = ["FROM ."]
    for note in turns.notes if turns else ():
        lines.append(f"# {note}")
    lines.append(f'TEMPLATE """{turns.as_go() if turns else "{{ .Prompt }}"}"""')
    if system:
        lines.append(f'SYSTEM """{_checked(system)}"""')
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines.append(f"PARAMETER num_ctx {context}")
    return "\n".join(lines) + "\n"


def _checked(system: str) -> str:
    """The system message; a Modelfile's reader ends it at three quotes and drops what can't be printed."""
    wrong = sorted({item for item in system if not (item.isprintable() or item in "\n\t")})
    if wrong or '"""' in system:
        named = ", ".join(f"U+{ord(item):04X}" for item in wrong) or 'three quotes (""")'
        raise ExportError(
            "The run's system message can't stand in a Modelfile.",
            f"It contains {named}.",
            "Export `--to merged` and give Ollama the system message with each request, or train without it.",
        )
    return system


def _quoted(text: str) -> str:
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _stops(turns: Turns, renderer: Renderer) -> list[str]:
    """The tokens that end a turn and the markers that begin one: a reply that goes on to them is over."""
    _, ids = renderer.render_prompt([Message("user", "a")])
    special = {renderer.decode([token]) for token in ids if not renderer.decode([token], skip_special=True)}
    stops = [renderer.decode([token]) for token in renderer.turn_end_ids]
    for turn in turns.roles.values():
        marker = (turn.before if turn.before is not None else turn.first).strip()
        found = [text for text in special if text and text in marker]
        stops.append(min(found, key=marker.index) if found else marker)
    return list(dict.fromkeys(filter(None, stops)))


def _context(source: Source, folder: Path) -> int:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = {**config, **config.get("text_config", {})}
    wanted = max(LEAST_CONTEXT, int(source.recipe.value("sequence_length")))
    return min(wanted, int(config.get("max_position_embeddings", wanted)))


def _no_second_bos(path: Path) -> None:
    config = json.loads(path.read_text(encoding="utf-8"))
    config["add_bos_token"] = False
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False), encoding="utf-8")


def _check_tokenizer(folder: Path) -> None:
    """See that Ollama, which takes every tokenizer.json for byte-level BPE, would read this one as it is.

    Raises:
        ExportError: it is of another kind, and there is no tokenizer.model, which Ollama prefers.
    """
    description = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    byte_level = "ByteLevel" in json.dumps([description.get("pre_tokenizer"), description.get("decoder")])
    if not byte_level and not (folder / "tokenizer.model").exists():
        raise ExportError(
            "Ollama can't read this model's tokenizer.",
            "It is not byte-level BPE, and the base has no tokenizer.model.",
            "Put tokenizer.model into the base model's folder, or export `--to merged`.",
        )
