"""What two sides are asked: a run's validation rows, another file's rows, or prompts. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.conversation import Conversation, Message
from core.data.formats import format_of
from core.errors import FinetuiError
from core.recipe import Recipe, build, load
from core.training.held_out import HeldOut, held_out, trained_on
from core.training.inputs import Files, freeze_files
from core.training.questions import question

MAX_PROMPTS_BYTES = 64 << 20
EXPECTED = ("expected", "answer", "completion")
"""What a line of prompts may call the answer it should get."""


class JudgeError(FinetuiError):
    """There is nothing to ask."""


@dataclass(frozen=True)
class Question:
    """One thing that both sides are asked.

    Args:
        where: file and line.
        text: what the user says last.
        messages: the conversation up to the reply.
        expected: the answer it should get, or empty.
        scored: a reply can be held against that.
    """

    where: str
    text: str
    messages: tuple[Message, ...]
    expected: str
    scored: bool


@dataclass(frozen=True)
class Asked:
    """The questions.

    Args:
        kind: `validation`, `split`, `file` or `prompts`.
        available: rows there were to choose from.
        files: title and SHA-256 of each.
        questions: those chosen.
        notes: what has to be known to read the figures rightly.
    """

    kind: str
    available: int
    files: tuple[dict[str, str], ...]
    questions: tuple[Question, ...]
    notes: tuple[str, ...]


def from_rows(run: Path | None, data: Path | None, rows: int, seed: int) -> Asked:
    """Questions of a run's validation rows, or of another file's.

    Args:
        run: the run's directory, None for none.
        data: a file of rows to ask instead.
        rows: how many at most; the seed decides which.
        seed: of the choice.

    Raises:
        JudgeError: there is neither run nor file, the file holds plain texts, or none of the rows asks anything.
        HeldOutError: the run held no rows back, or rows are broken.
        DataError: the file can't be read.
    """
    if run is None and data is None:
        raise JudgeError(
            "There is nothing to ask these two.",
            "Neither of them is a run's, so there are no validation rows.",
            "Name a file of rows (`--data FILE`) or of prompts (`--prompts FILE`).",
        )
    if data is not None and format_of(data).kind == "text":
        raise JudgeError(
            f"{data} holds plain texts, no rows.",
            "A row is a question with its answer, such as a conversation of JSON Lines.",
            f"To ask its lines as prompts: `--prompts {data}` (p on the page).",
        )
    recipe, files = (
        _of_run(run) if run is not None else (build({"model": "-", "data": str(data)}), Files((), None))
    )
    held = held_out(recipe, files, data, rows, seed)
    questions = tuple(item for row in held if (item := _question(held.task, row)) is not None)
    if not questions:
        raise JudgeError(
            "None of these rows asks anything.",
            "Asked is the last answer of a conversation without tools; plain texts have none.",
            "Name a file of conversations (`--data FILE`) or of prompts (`--prompts FILE`).",
        )
    known = tuple({"title": part.file.title, "sha256": part.file.sha256} for part in held.parts)
    return Asked(held.kind, held.available, known, questions, tuple(_notes(files, held, len(questions))))


def _of_run(run: Path) -> tuple[Recipe, Files]:
    recipe = load(run / "recipe.yaml")
    return recipe, freeze_files(recipe, run / "data" / "sources.json")


def _question(task: str, row: Conversation) -> Question | None:
    found = question(task, row)
    if found is None or not found.prompt.messages:
        return None
    expected = found.prompt.expected if found.scored else ""
    return Question(found.where, found.prompt.text, found.prompt.messages, expected, found.scored)


def _notes(files: Files, held: HeldOut, asked: int) -> Iterator[str]:
    if trained_on(files, held):
        yield "The run was trained on this very file: the figures show what it remembers, not what it has learned."
    if asked < len(held):
        yield f"{len(held) - asked} rows ask nothing, or with tools; they were left out."


def from_prompts(path: Path, rows: int, system: str) -> Asked:
    """The first prompts of a file: one a line, or one JSON object a line with `prompt` and maybe `expected`.

    Args:
        path: of the file.
        rows: how many at most.
        system: a system message before each, or empty.

    Raises:
        JudgeError: the file can't be read, or holds none.
    """
    content = _content(path)
    lines = [(number, line) for number, line in enumerate(content.decode().splitlines(), 1) if line.strip()]
    plain = not all(line.lstrip().startswith("{") for _, line in lines)
    chosen = list(islice(lines, rows))
    read = _plain if plain else _json
    questions = tuple(read(path, number, line, system) for number, line in chosen)
    if not questions:
        raise JudgeError(f"{path} holds no prompts.", "", "Write one a line.")
    files = ({"title": str(path), "sha256": hashlib.sha256(content).hexdigest()},)
    return Asked("prompts", len(lines), files, questions, ())


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_PROMPTS_BYTES + 1)
        content.decode()
    except OSError as error:
        raise JudgeError(f"{path} can't be read.", str(error.strerror), "Name a file of prompts.") from error
    except UnicodeDecodeError as error:
        raise JudgeError(
            f"{path} is not UTF-8 text.", f"Byte {error.start + 1} is none.", "Save it as UTF-8."
        ) from error
    if len(content) > MAX_PROMPTS_BYTES:
        raise JudgeError(f"{path} is larger than 64 MiB.", "", "Ask fewer prompts, or use --data for rows.")
    return content


def _before(system: str, prompt: str) -> tuple[Message, ...]:
    return (*((Message("system", system),) if system else ()), Message("user", prompt))


def _plain(path: Path, number: int, line: str, system: str) -> Question:
    return Question(f"{path}:{number}", line.strip(), _before(system, line.strip()), "", False)


def _json(path: Path, number: int, line: str, system: str) -> Question:
    where = f"{path}:{number}"
    try:
        row: Any = json.loads(line)
    except ValueError as error:
        raise JudgeError(
            f"{where}: {error}.", "Its first line is JSON, so all must be.", "Mend the line."
        ) from error
    prompt = row.get("prompt") if isinstance(row, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise JudgeError(
            f"{where}: there is no `prompt`.",
            "A line of prompts is an object with `prompt`, and maybe `expected`.",
            "Mend the line; rows of other shapes are asked with --data.",
        )
    answers: Sequence[Any] = [row[name] for name in EXPECTED if name in row]
    expected = answers[0] if answers and isinstance(answers[0], str) else ""
    return Question(where, prompt, _before(system, prompt), expected, bool(expected.strip()))
