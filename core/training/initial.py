"""Going on from an earlier model: a run whose `init_from` names what another has trained. Needs no torch.

The trained weights are frozen in the run's own directory at its first start, so that the earlier run may be deleted.
What an adapter is (rank, alpha, layers) is its own: the recipe takes it over and can't set it otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import FinetuiError
from core.paths import make_private, runs_dir
from core.recipe import Recipe

FROZEN = "init"
"""Name of the folder in a run's data that holds the frozen weights."""

METHODS = {"LORA": "lora", "IA3": "ia3"}


class InitialError(FinetuiError):
    """What `init_from` names can't be gone on from."""


@dataclass(frozen=True)
class Initial:
    """A trained model to go on from.

    Args:
        folder: with its weights and `finetui.json`.
        name: what the recipe calls it.
        base: name of the model it was trained from.
        method: lora, ia3 or full.
        labels: of its classes, where it is a classifier.
        settings: of its adapter, as fields of a recipe.
    """

    folder: Path
    name: str
    base: str
    method: str
    labels: tuple[str, ...]
    settings: dict[str, Any]

    def refuse_other_base(self, base: str) -> None:
        """Raise unless the recipe's model is what this was trained from.

        Raises:
            InitialError: it is another.
        """
        if base != self.base:
            raise InitialError(
                f"`init_from`: {self.name} was trained from {self.base}, and `model` is {base}.",
                "Trained weights fit only their own base.",
                f"Set `model: {self.base}`, or leave `init_from` out.",
            )

    def refuse_other_labels(self, labels: tuple[str, ...]) -> None:
        """Raise unless the rows' classes are those this has learned.

        Raises:
            InitialError: they are others, or in another order.
        """
        if labels != self.labels:
            raise InitialError(
                f"`init_from`: {self.name} has learned the labels {', '.join(self.labels) or '(none)'}.",
                f"The training rows have {', '.join(labels) or 'none'}.",
                "Use rows with the same labels and the same task, or leave `init_from` out.",
            )


def named(reference: str) -> Initial:
    """What a recipe's `init_from` names.

    Args:
        reference: a run's id, `RUN@STEP` for one of its checkpoints, or a folder with an absolute path.

    Raises:
        InitialError: there is no such model, or none that finetui has trained.
    """
    return read(_folder(reference), reference)


def _folder(reference: str) -> Path:
    if reference.startswith("/"):
        return Path(reference)
    run, _, step = reference.partition("@")
    directory = runs_dir() / run
    if not (directory / "run.json").exists():
        raise InitialError(
            f"`init_from`: there is no run {run!r}.",
            f"{runs_dir()} was looked in.",
            "`finetui runs` lists them; a run in the trash has to be restored first.",
        )
    if not step:
        return directory / "model"
    kept = sorted(int(item.name.removeprefix("step-")) for item in directory.glob("checkpoints/step-*"))
    if not step.isdecimal() or int(step) not in kept:
        raise InitialError(
            f"`init_from`: {run} has no checkpoint of step {step}.",
            f"Kept are: {', '.join(map(str, kept)) or 'none'}.",
            "Name one of these, or the run alone for its model.",
        )
    return directory / "checkpoints" / f"step-{step}"


def read(folder: Path, name: str) -> Initial:
    """The trained model of a folder.

    Args:
        folder: a run's model, a checkpoint, or a copy of one.
        name: what the recipe calls it.

    Raises:
        InitialError: the folder holds none.
    """
    try:
        facts = json.loads((folder / "finetui.json").read_text(encoding="utf-8"))
        adapter = folder / "adapter_config.json"
        config = json.loads(adapter.read_text(encoding="utf-8")) if adapter.exists() else None
        base, labels = str(facts["base"]), tuple(facts["labels"])
        method = METHODS[config["peft_type"]] if config else "full"
        settings = _settings(method, config) if config else {}
    except FileNotFoundError as error:
        raise InitialError(
            f"`init_from`: {name} has no model to go on from.",
            f"There is none in {folder}.",
            "Name a run that has finished, `RUN@STEP` for one of its checkpoints, or a folder of a trained model.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InitialError(
            f"`init_from`: {name} has no model to go on from.",
            f"{folder}: {type(error).__name__}: {error}",
            "Name a run that has finished, `RUN@STEP` for one of its checkpoints, or a folder of a trained model.",
        ) from error
    return Initial(folder, name, base, method, labels, settings)


def _chosen(saved: list[str] | None) -> list[str] | None:
    """The modules that a recipe named: peft adds both names of a classifier's head by itself."""
    return [name for name in saved or () if name not in ("classifier", "score")] or None


def _settings(method: str, config: dict[str, Any]) -> dict[str, Any]:
    """An adapter's own configuration, as fields of a recipe."""
    shared = {
        "target_modules": sorted(config["target_modules"]),
        "modules_to_save": _chosen(config.get("modules_to_save")),
    }
    if method == "ia3":
        return shared
    return {
        **shared,
        "rank": config["r"],
        "alpha": config["lora_alpha"],
        "rslora": config.get("use_rslora", False),
        "dora": config.get("use_dora", False),
    }


def adopted(recipe: Recipe, initial: Initial) -> Recipe:
    """A recipe with the method and the settings of the adapter it goes on from, as if they were its own.

    Raises:
        InitialError: the recipe's method is another, or its task needs another kind of model.
    """
    if recipe.method is not None and recipe.method != initial.method:
        raise InitialError(
            f"`method` is {recipe.method}, and `init_from` {initial.name} was trained with {initial.method}.",
            "",
            "Leave `method` out: it is taken from there."
            if initial.method != "full"
            else "Leave `method` out, or set `model` to the folder of those weights.",
        )
    if (recipe.value("task") == "classification") != bool(initial.labels):
        raise InitialError(
            f"`task` is {recipe.value('task')}, and `init_from` {initial.name} "
            f"{'is a classifier' if initial.labels else 'is none'}.",
            "A classifier has a head of its own in place of the model's.",
            "Change `task`, or leave `init_from` out.",
        )
    change = {**initial.settings, "method": initial.method, "init_from": None}
    return recipe.model_copy(update=change)


def freeze(initial: Initial, data: Path) -> Initial:
    """The same model in a run's own data folder; a file that can be linked takes no space.

    Args:
        initial: what the recipe names.
        data: folder of the run.
    """
    place, aside = data / FROZEN, data / f".{FROZEN}.part"
    shutil.rmtree(aside, ignore_errors=True)
    make_private(aside)
    for item in sorted(initial.folder.iterdir()):
        if item.suffix in (".json", ".safetensors") and item.is_file():
            _link(item, aside / item.name)
    aside.rename(place)
    return read(place, initial.name)


def _link(item: Path, place: Path) -> None:
    """Weights are written once and never changed, so a second name is as good as a copy."""
    try:
        os.link(item, place)
    except OSError:  # another disk, or one without links
        shutil.copyfile(item, place)
        place.chmod(0o600)


def frozen(data: Path, name: str) -> Initial | None:
    """What a run froze at its first start, or None."""
    return read(data / FROZEN, name) if (data / FROZEN).is_dir() else None
