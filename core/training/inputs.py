"""From a recipe's files to rows: frozen copies, parsed, split, weighted, rendered. Nothing here needs torch."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from core.data.conversation import Conversation, Message
from core.data.problems import Problem
from core.data.rendering import Renderer, RenderingError
from core.data.rows import read_rows
from core.data.sources import fetch_hub_file, freeze, select
from core.data.split import split
from core.data.tasks import WANTS, wrong_task
from core.data.unpack import unpacked
from core.errors import FinetuiError
from core.paths import rows_dir, write_private
from core.recipe import Recipe
from core.source import Source
from core.training.rows import Example, Rows, make_rows
from core.training.tasks import render

SHOWN_PROBLEMS = 5
WATCHED_PROMPTS = 3
OPENING_WORDS = 8
"""Of a plain text that the model is asked to go on with."""
MOST_LABELS = 1000
FIRST_ROWS = 1000
ASSETS_STAY = "This machine trains on files; a data asset is read by jobs in Azure."
ASSET_HERE = "`finetui azure data {} --save FILE` fetches its rows; or train with `backend: azure`."


class InputError(FinetuiError):
    """The data can't be trained on."""


@dataclass(frozen=True)
class Prompt:
    """A prompt whose reply is watched during training.

    Args:
        text: what the user asks, as shown.
        messages: the conversation up to the reply; empty for a text to go on with, without a template.
        expected: the reply of the validation row, when it came from one.
    """

    text: str
    messages: tuple[Message, ...]
    expected: str = ""

    @classmethod
    def of(cls, text: str, system: str = "") -> Prompt:
        """A prompt that is one message of the user, after the system message if there is one."""
        before = (Message("system", system),) if system else ()
        return cls(text, (*before, Message("user", text)))

    def encoded(self, renderer: Renderer) -> list[int]:
        """The tokens that the model goes on from."""
        return renderer.render_prompt(self.messages)[1] if self.messages else renderer.encode(self.text)


@dataclass(frozen=True)
class FrozenFile:
    """One data file as a run uses it: a copy by content that later edits of the original don't touch.

    Args:
        title: how the user knows it.
        sha256: of its bytes, unpacked; also names the copy.
        revision: commit of a hub data set, or empty.
        name: the plain file's name, whose ending may decide its format; empty in runs from before there were any
            but JSON Lines.
        columns: which column holds which part of a row, or None.
    """

    title: str
    sha256: str
    revision: str = ""
    name: str = ""
    columns: dict[str, str] | None = None

    @property
    def copy(self) -> Path:
        return rows_dir() / f"{self.sha256}.jsonl"


@dataclass(frozen=True)
class Files:
    """All data files of a run; `validation` is None when rows are split off or there are none."""

    training: tuple[FrozenFile, ...]
    validation: FrozenFile | None


def freeze_files(recipe: Recipe, record: Path) -> Files:
    """Copy the recipe's files by content and write down which they are; a resumed run reads that record.

    Args:
        recipe: with absolute paths.
        record: JSON file in the run directory.

    Raises:
        InputError: a resumed run's copy is gone.
    """
    if record.exists():
        return _recorded(record)
    files = Files(
        training=tuple(_freeze_source(source) for source in recipe.data),
        validation=_freeze_source(validation_source(recipe)) if recipe.validation else None,
    )
    content = {
        "training": [item.__dict__ for item in files.training],
        "validation": files.validation.__dict__ if files.validation else None,
        "seed": recipe.value("seed"),
    }
    write_private(record, json.dumps(content, indent=2).encode())
    return files


def validation_source(recipe: Recipe) -> Source:
    """The recipe's validation file; its columns are named as those of the first training file."""
    return Source.of(recipe.validation or "", recipe.data[0].columns)


def _freeze_source(source: Source) -> FrozenFile:
    if source.asset is not None:
        raise InputError(f"{source.asset} lies in Azure.", ASSETS_STAY, ASSET_HERE.format(source.asset))
    if source.hub is not None and source.file is not None:
        path = fetch_hub_file(source.hub, source.file, source.revision)
        revision = path.parts[path.parts.index("snapshots") + 1]  # the cache names folders by commit
    else:
        path, revision = Path(source.path or ""), ""
    plain = unpacked(path)
    return FrozenFile(source.title, freeze(plain).sha256, revision, plain.name, source.columns)


def _recorded(record: Path) -> Files:
    content: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
    validation = content["validation"]
    files = Files(
        tuple(FrozenFile(**item) for item in content["training"]),
        FrozenFile(**validation) if validation else None,
    )
    for item in [*files.training, *([files.validation] if files.validation else [])]:
        if not item.copy.exists():
            raise InputError(
                f"The rows of {item.title} that this run was started with are gone.",
                f"{item.copy} was deleted.",
                "Start a new run on the file; a run goes on only with exactly its own rows.",
            )
    return files


@dataclass(frozen=True)
class Inputs:
    """What a run trains and measures on.

    Args:
        training: rows of one epoch, weights and caps applied.
        validation: rows that are never trained on.
        prompts: whose replies are watched.
        system: the system message most training rows share, or empty; a chat starts with it.
        labels: names of the classes, where there are classes; a label is its number here.
    """

    training: Rows
    validation: Rows
    prompts: tuple[Prompt, ...]
    system: str
    labels: tuple[str, ...] = ()


def gather(recipe: Recipe, files: Files, renderer: Renderer) -> Inputs:
    """Rows, split and prompts of a recipe.

    Raises:
        InputError: rows are broken (the first few are named), or none can be trained on.
    """
    task, length = recipe.value("task"), recipe.value("sequence_length")
    training, held_out = parted(recipe, files)
    labels = labels_of(training) if task == "classification" else ()
    numbers = {label: number for number, label in enumerate(labels)}
    _refuse_unknown_labels(held_out, numbers)
    rows_to_train = make_rows(_rendered(task, training, renderer), length, numbers)
    if not rows_to_train.rows:
        raise InputError(
            "No row can be trained on.",
            f"None of {len(training)} rows has a token to learn within {length} tokens.",
            "Raise `sequence_length`, or check the rows with `finetui data check`.",
        )
    system = common_system(training)
    return Inputs(
        training=rows_to_train,
        validation=make_rows(_rendered(task, held_out, renderer), length, numbers),
        prompts=_prompts(recipe, held_out or training, system),
        system=system,
        labels=labels,
    )


def parted(recipe: Recipe, files: Files) -> tuple[list[Conversation], list[Conversation]]:
    """Rows to train on, weights and caps applied, and rows held out.

    Raises:
        InputError: rows are broken; the first few are named.
    """
    seed, task = recipe.value("seed"), recipe.value("task")
    fraction = recipe.validation_fraction or 0.0
    training: list[Conversation] = []
    held_out: list[Conversation] = []
    for source, file in zip(recipe.data, files.training, strict=True):
        rows = conversations(file, task)
        kept, apart = split(len(rows), fraction, seed)
        held_out += [rows[number] for number in apart]
        training += [rows[kept[number]] for number in select(len(kept), source.weight, source.max_rows, seed)]
    if files.validation:
        held_out = conversations(files.validation, task)
    return training, held_out


def labels_of(rows: Iterable[Conversation]) -> tuple[str, ...]:
    """The classes of some rows, numbers in their order and words in the alphabet's.

    Raises:
        InputError: they are too few or too many to be learned.
    """

    return in_order(row.label for row in rows if row.label is not None)


def in_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Each label once, numbers in their order and words in the alphabet's.

    Raises:
        InputError: they are too few or too many to be learned.
    """

    def order(label: str) -> tuple[bool, float, str]:
        number = label.removeprefix("-").isdecimal()
        return (not number, float(label) if number else 0.0, label)

    found = tuple(sorted(set(labels), key=order))
    if not 2 <= len(found) <= MOST_LABELS:
        raise InputError(
            f"All rows have the same label, {found[0]!r}."
            if len(found) == 1
            else f"The rows have {len(found)} different labels.",
            "Classification learns from 2 on; so many are rather values than classes."
            if len(found) > MOST_LABELS
            else "There is nothing to tell apart.",
            "See the labels with `finetui data show`, or choose another task.",
        )
    return found


def _refuse_unknown_labels(rows: list[Conversation], numbers: Mapping[str, int]) -> None:
    unknown = next((row for row in rows if row.label is not None and row.label not in numbers), None)
    if unknown is not None:
        raise unknown_label(unknown, numbers)


def unknown_label(row: Conversation, labels: Iterable[str]) -> InputError:
    """A row to measure on has a label that can't be learned."""
    return InputError(
        f"{row.where}: no training row has the label {row.label!r}.",
        f"They have {', '.join(islice(labels, 8))}.",
        "Correct it, or add training rows with it.",
    )


def conversations(file: FrozenFile, task: str) -> list[Conversation]:
    """All rows of a file, as its task takes them.

    Raises:
        InputError: naming the first broken rows by line.
    """
    good: list[Conversation] = []
    bad: list[Problem] = []
    fix = ""
    for item in read_rows(file.copy, file.columns, file.name or "rows.jsonl"):
        named = replace(item, path=file.title)  # the user knows the original, not our copy
        if isinstance(named, Conversation):
            wrong = wrong_task(task, named)
            if wrong is None:
                good.append(named)
            else:
                bad.append(wrong)
                fix = fix or wrong.fix or f"Give a file of {WANTS[task]}."
        elif named.severity == "error":
            bad.append(named)
    if bad:
        raise InputError(
            "\n".join(str(problem) for problem in bad[:SHOWN_PROBLEMS]),
            f"{len(bad)} of {len(bad) + len(good)} rows of {file.title} can't be read."
            if len(bad) > 1
            else f"This row of {file.title} can't be read.",
            fix or listing(file),
        )
    if not good:
        raise InputError(f"{file.title} has no rows.", "", "Give a file with one JSON conversation a line.")
    return good


def listing(file: FrozenFile) -> str:
    """What to do about rows that can't be read. Those of another task can, and no check knows the run's."""
    columns = ",".join(f"{part}={name}" for part, name in (file.columns or {}).items())
    words = ["finetui", "data", "check", file.title, *(["--columns", columns] if columns else [])]
    return f"Fix or remove them. `{shlex.join(words)}` lists every one."


def first_of_other_task(path: Path, columns: dict[str, str] | None, task: str) -> Problem | None:
    """The first row of a file that `wrong_task` is about, if it is among the first that can be read.

    Raises:
        DataError: the file can't be read.
    """
    rows = islice(read_rows(unpacked(path), columns), FIRST_ROWS)
    found = (wrong_task(task, replace(row, path=str(path))) for row in rows if isinstance(row, Conversation))
    return next((problem for problem in found if problem is not None), None)


def _rendered(task: str, rows: list[Conversation], renderer: Renderer) -> Iterator[Example]:
    for item in render(task, rows, renderer):
        if isinstance(item, RenderingError):
            raise item
        yield item


def common_system(rows: list[Conversation]) -> str:
    """The system message that more than half of the rows begin with, or empty."""
    counts = Counter(
        row.messages[0].content for row in rows if row.messages and row.messages[0].role == "system"
    )
    text, count = counts.most_common(1)[0] if counts else ("", 0)
    return text if count * 2 > len(rows) else ""


def prompt_of(task: str, text: str, system: str = "") -> Prompt:
    """A prompt of the user's for a model of a task."""
    return Prompt(text, ()) if task == "completion" else Prompt.of(text, system)


def _prompts(recipe: Recipe, rows: list[Conversation], system: str) -> tuple[Prompt, ...]:
    task = recipe.value("task")
    if task == "classification":
        return ()
    if recipe.sample_prompts is not None:
        return tuple(prompt_of(task, text, system) for text in recipe.sample_prompts)
    first = _opening if task == "completion" else _first_prompt
    return tuple(first(row) for row in rows[:WATCHED_PROMPTS] if row.messages or row.text)


def _opening(row: Conversation) -> Prompt:
    """A prompt and its completion, or the first words of a text and what follows them."""
    if row.messages:
        prompt, completion = (message.content for message in row.messages)
        return Prompt(prompt, (), completion)
    words = re.findall(r"\s*\S+", row.text or "")
    opening = "".join(words[:OPENING_WORDS])
    return Prompt(opening, (), (row.text or "").removeprefix(opening).strip())


def _first_prompt(row: Conversation) -> Prompt:
    """The conversation up to its first assistant turn that is learned, and that turn as what is expected."""
    first = next(
        number
        for number, message in enumerate(row.messages)
        if message.role == "assistant" and number >= row.prompt_turns
    )
    before = row.messages[:first]
    asked = next((message.content for message in reversed(before) if message.role == "user"), "")
    return Prompt(asked, before, row.messages[first].content)
