"""What a recipe's `model:` means: a catalogue id, a hub id or a folder. Reads the disk, never the network."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from core import catalog, paths
from core.errors import FinetuiError

MANIFEST = "finetui.json"
WEIGHTS_INDEX = "model.safetensors.index.json"

_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)


class ModelError(FinetuiError):
    """A model is unknown, can't be had, or is not one finetui can train."""


@dataclass(frozen=True)
class ModelRef:
    """A model as named by the user, made sense of.

    Args:
        kind: what the name was.
        id: the catalogue id, the hub id, or the folder's absolute path.
        revision: the hub commit, branch or tag asked for; None for whatever is cached, else the newest.
        folder: where it lies on this machine, or None while it must be fetched first.
        hub_id: its hub repository; empty for a folder.
    """

    kind: Literal["catalog", "hub", "folder"]
    id: str
    revision: str | None
    folder: Path | None
    hub_id: str = ""

    @property
    def entry(self) -> catalog.Entry | None:
        """What the catalogue knows of it, if anything."""
        return catalog.get(self.id) if self.kind == "catalog" else catalog.by_hub_id(self.hub_id)

    @property
    def cache_folder(self) -> Path:
        """The folder of all its cached revisions."""
        entry = self.entry
        return paths.models_dir() / (entry.id if entry else self.hub_id.lower().replace("/", "--"))


def resolve(model: str, revision: str | None = None, base_dir: Path | None = None) -> ModelRef:
    """Make sense of a model's name.

    Args:
        model: a catalogue id, a hub id ("owner/name") or a folder.
        revision: hub commit, branch or tag.
        base_dir: what a relative folder is relative to (the recipe's folder); the current one by default.

    Raises:
        ModelError: it can't be anything, or it is a folder that lacks something.
    """
    name = model.strip()
    entry = catalog.get(name)
    if entry is not None:
        return _with_folder("catalog", entry.id, revision or entry.revision, entry.hub_id)
    folder = (base_dir or Path.cwd()) / Path(name).expanduser()
    if name.startswith(("/", ".", "~")) or (name and folder.is_dir()):
        if revision:
            raise ModelError(
                f"{model} is a folder, and a folder has no revision.",
                f"model_revision is set to {revision}.",
                "Take model_revision out, or name a hub model.",
            )
        check_folder(folder)
        return ModelRef("folder", str(folder.resolve()), None, folder.resolve())
    if _HUB_ID.fullmatch(name):
        return _with_folder("hub", name, revision, name)
    raise _unknown(name)


def _with_folder(
    kind: Literal["catalog", "hub"], model_id: str, revision: str | None, hub_id: str
) -> ModelRef:
    ref = ModelRef(kind, model_id, revision, None, hub_id)
    return replace(ref, folder=cached(ref))


def _unknown(name: str) -> ModelError:
    near = catalog.nearest(name)
    return ModelError(
        f"Unknown model: {name or '(empty)'}.",
        "It is no catalogue id, no hub id (owner/name) and no folder.",
        f"Did you mean {' or '.join(near)}?"
        if near
        else f"Known ids: {', '.join(entry.id for entry in catalog.entries())}.",
    )


def cached(ref: ModelRef) -> Path | None:
    """The complete local folder of a model, or None. Of several revisions that fit, the one fetched last."""
    if ref.kind == "folder":
        return Path(ref.id)
    found = [
        (manifest.stat().st_mtime, manifest.parent)
        for manifest in ref.cache_folder.glob(f"[!.]*/{MANIFEST}")
        if _fits(ref, manifest)
    ]
    return max(found)[1] if found else None


def _fits(ref: ModelRef, manifest: Path) -> bool:
    """True when the folder is what `ref` asks for and no file of it is missing or cut."""
    try:
        record = json.loads(manifest.read_text(encoding="utf-8"))
    except ValueError:  # damaged: fetched again
        return False
    if ref.kind == "hub" and record["source"] != "hub":
        return False  # who names the hub's repository wants its weights, not a conversion
    if ref.revision not in (None, record["revision"], record["requested"]):
        return False
    sizes = {path.name: path.stat().st_size for path in manifest.parent.iterdir()}
    return all(sizes.get(name) == size for name, size in record["bytes"].items())


def check_folder(folder: Path) -> None:
    """See that a folder holds a model finetui can train.

    Raises:
        ModelError: it is missing, or lacks config.json, tokenizer.json or complete safetensors weights.
    """
    if not folder.is_dir():
        raise ModelError(
            f"{folder} is not a folder." if folder.exists() else f"{folder} does not exist.",
            "model: names a folder here.",
            "Give the folder of a model, a catalogue id or a hub id.",
        )
    names = {path.name for path in folder.iterdir()}
    if "config.json" not in names and "adapter_config.json" in names:
        raise ModelError(
            f"{folder} holds an adapter, not a model.",
            "It has adapter_config.json and no config.json.",
            "Name the base model, or merge the adapter into it first.",
        )
    absent = lacking(names)
    if not absent and WEIGHTS_INDEX in names and "model.safetensors" not in names:
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        absent = sorted(set(index["weight_map"].values()) - names)
    if absent:
        raise ModelError(
            f"{folder} is not a complete model: it lacks {', '.join(absent)}.",
            why_refused(names),
            "Save the model with save_pretrained (safetensors is its default) and its tokenizer beside it.",
        )


def lacking(names: set[str]) -> list[str]:
    """Which of the files that every model needs are not among these."""
    absent = [name for name in ("config.json", "tokenizer.json") if name not in names]
    if not names & {"model.safetensors", WEIGHTS_INDEX}:
        absent.append("model.safetensors")
    return absent


def why_refused(names: set[str]) -> str:
    """Why a folder without the needed files won't do."""
    if any(name.endswith((".bin", ".pt", ".pth")) for name in names):
        return "Only safetensors are read: .bin and .pt files are pickles, which can run code when opened."
    return "A model is config.json, tokenizer.json and weights as safetensors."


def folder_here(model: str) -> Path:
    """A model's files on this machine.

    Raises:
        ModelError: it is unknown, or not fetched yet.
    """
    folder = cached(resolve(model))
    if folder is None:
        raise ModelError(
            f"{model} is not on this machine yet.",
            "Tokens need the model's tokenizer and chat template.",
            f"Fetch it with `finetui models fetch {model}`, or choose another.",
        )
    return folder
