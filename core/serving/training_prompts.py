"""The training prompts of what is deployed, for its profiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.data.conversation import Conversation
from core.data.rows import read_rows
from core.errors import FinetuiError
from core.serving.profile import Profile, make
from core.serving.served import Tuned
from core.training.inputs import Files, FrozenFile, InputError, freeze_files


def profiles_of(tuned: Sequence[Tuned]) -> tuple[dict[str, Profile], list[str]]:
    """A profile of each model's training prompts, and what is to be said of those that have none."""
    found: dict[str, Profile] = {}
    missing = []
    for item in tuned:
        record = item.source.run / "data" / "sources.json"
        try:
            if not record.exists():
                raise InputError("its record of files is gone")
            found[item.name] = make(_prompts(freeze_files(item.source.recipe, record)))
        except FinetuiError as error:
            missing.append(f"Prompts to {item.name} are not compared with its training rows: {error.what}")
    return found, missing


def _prompts(files: Files) -> Iterator[str]:
    for file in files.training:
        yield from _prompts_of(file)


def _prompts_of(file: FrozenFile) -> Iterator[str]:
    for row in read_rows(file.copy, file.columns, file.name or "rows.jsonl"):
        if not isinstance(row, Conversation):
            continue
        if row.text:
            yield row.text
        yield from (message.content for message in row.messages if message.role == "user")
